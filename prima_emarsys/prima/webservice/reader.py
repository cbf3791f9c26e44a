"""Entities of the contract by web service: asked for company by company, passed through the SQL reader's door.

`available_stock` is known and shipped: `ProductAvailableToSell`. Whatever else a site's Prima answers is declared in
the site file. There are no pages, no marks and no changes on this wire: every read is the whole, and is handed on only
when all of it has come and is believed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import stamina

from prima_emarsys.contract import ENTITIES, Entity
from prima_emarsys.prima.columns import Reading, type_column
from prima_emarsys.prima.pages import type_page
from prima_emarsys.prima.sql import Mark, Page
from prima_emarsys.prima.webservice.answer import Answer, Shape, build_request, judge, read_answer
from prima_emarsys.prima.webservice.envelope import opened
from prima_emarsys.prima.webservice.line import Access, Line
from prima_emarsys.prima.webservice.mending import mended_bytes
from prima_emarsys.prima.webservice.outcome import Partial, Refused, StillParked, Transient
from prima_emarsys.prima.webservice.parked import ParkedFile, ParkedRequest, ParkedRequests, now
from prima_emarsys.site import Site, WebRequest, WebService

AVAILABLE = ENTITIES["available_stock"]
_ORDER = ENTITIES["sales_order"]
_TRIES = 3

_SKU = {
    "product": "Product",
    "matrix_1": "MtrxCode1",
    "matrix_2": "MtrxCode2",
    "matrix_3": "MtrxCode3",
    "matrix_4": "MtrxCode4",
}
_STOCK = _SKU | {"available": "AvailableQuantity", "expected_on": "AvailableDate"}
_WHOLE_STOCK = WebRequest(type="ProductAvailableToSell", rows="Data/sku", columns=_STOCK)
_NAMED_STOCK = WebRequest(type="MultiAvailableToSell", rows="Data/SKU", columns=_STOCK)


@dataclass(frozen=True)
class Sku:
    """A style in one combination of its matrix; empty codes where it has none."""

    product: str
    matrix_1: str = ""
    matrix_2: str = ""
    matrix_3: str = ""
    matrix_4: str = ""


@dataclass(frozen=True)
class OrderState:
    """Where an order stands: Prima's own word, and the contract's, or None for a word that nobody has mapped."""

    said: str
    status: str | None


class WebServiceReader:
    """Reads entities from one web service. One call at a time, whoever shares `folder`, where the lock is kept.

    `parked` remembers requests that Prima refused for good (default: a file in the folder).
    """

    def __init__(self, access: Access, site: Site, folder: Path, parked: ParkedRequests | None = None) -> None:
        if site.prima.webservice is None:
            raise ValueError("the site file has no prima.webservice")
        self._site = site
        self._service: WebService = site.prima.webservice
        self._requests = {AVAILABLE.name: _WHOLE_STOCK} | self._service.requests
        self._line = Line(access, folder)
        self._parked = parked or ParkedFile(folder / "parked.json")

    def serves(self, entity: Entity) -> bool:
        """Whether this entity is read here."""
        return entity.name in self._requests

    def everything(self, entity: Entity) -> Iterator[Page]:
        """All rows of all companies, in the answers' order. Their pages carry no mark.

        Nothing is handed out before everything has come. Raises `WebServiceError`.
        """
        request = self._requests[entity.name]
        found = [
            (self._rows(entity, request, company, answer), answer.repairs)
            for company in self._service.companies
            for answer in [self._whole(entity, request, company)]
        ]
        for rows, repairs in found:
            yield from self._pages(entity, rows, request.words, repairs)

    def changed(self, entity: Entity, since: Mark | None) -> Iterator[Page]:  # noqa: ARG002 (the readers' interface)
        """The same: the web service cannot tell what changed."""
        return self.everything(entity)

    def latest(self, entity: Entity) -> Mark | None:  # noqa: ARG002 (the readers' interface)
        """None: the web service has no marks."""
        return None

    def available(self, company: str, skus: Sequence[Sku]) -> Page:
        """What can be sold of some SKUs, in the order asked. Raises `Partial`, with the page, if one is missing."""
        named = [("sku", {theirs: getattr(sku, ours) for ours, theirs in _SKU.items()}) for sku in skus]
        what = f"{_NAMED_STOCK.type} of company {company}"
        answer = self._ask(what, company, _NAMED_STOCK, {}, named)
        rows = self._rows(AVAILABLE, _NAMED_STOCK, company, answer)
        page = self._page(AVAILABLE, rows, {}, answer.repairs)
        told = {_folded(row[name] or "" for name in _SKU) for row in rows.select(list(_SKU)).to_pylist()}
        missing = [sku.product for sku in skus if _folded(getattr(sku, name) for name in _SKU) not in told]
        if missing:
            raise Partial(what, missing, page)
        return page

    def order_state(self, company: str, order_number: str) -> OrderState:
        """Where one order stands. Raises `Refused` for an order that Prima does not know; that is not parked."""
        request = WebRequest(type="OrderStatus", rows="Data", columns={"status": "OrderStatus"})
        what = f"{request.type} of an order of company {company}"
        answer = self._ask(what, company, request, {"OrderNumber": order_number}, parks=False)
        said = (answer.rows["OrderStatus"].to_pylist() or [None])[0] or ""
        words = self._site.prima.entity(_ORDER.name).words.get("status", {})
        typed = type_column(_ORDER.column["status"], pa.array([said]), Reading(self._site.zone, words))
        return OrderState(said, typed.values[0].as_py())

    def close(self) -> None:
        """Give up the connections."""
        self._line.close()

    # --- asking -----------------------------------------------------------------------------------------------------

    def _whole(self, entity: Entity, request: WebRequest, company: str) -> Answer:
        """Everything of one company, in one answer or in several ranges put together."""
        what = f"{request.type} of company {company}"
        if request is not _WHOLE_STOCK:
            return self._ask(what, company, request, request.data)
        bounds = ["", *self._service.ranges_from, ""]
        answers = [
            self._ask(what, company, request, {"ProductFrom": first, "ProductTo": last})
            for first, last in zip(bounds, bounds[1:], strict=False)
        ]
        if len(answers) == 1:
            return answers[0]
        whole, *_ = answers
        keys = [request.columns[column] for column in entity.key if column in request.columns]
        whole.rows = _once(pa.concat_tables(answer.rows for answer in answers), keys)
        whole.repairs = sum((answer.repairs for answer in answers), Counter[str]())
        return whole

    def _ask(
        self,
        what: str,
        company: str,
        request: WebRequest,
        data: Mapping[str, str],
        named: Iterable[tuple[str, Mapping[str, str]]] = (),
        *,
        parks: bool = True,
    ) -> Answer:
        """One answer that is believed; passing faults are tried again, a little apart."""
        document = build_request(request.type, data, named)
        key = self._line.key(company, document)
        if parks and (known := self._parked.find(key)):
            raise StillParked(
                f"{what} was refused on {known.since} ({known.reason}) and has not been sent again. Mend the cause, "
                f"then run `prima-emarsys release-request {key}`."
            )
        shape = Shape(request.rows, list(dict.fromkeys(request.columns.values())))

        def read(chunks: Iterator[bytes], part: str) -> Answer:
            repairs: Counter[str] = Counter()
            return read_answer(opened(mended_bytes(chunks, repairs), part), shape, repairs)

        try:
            for attempt in stamina.retry_context(Transient, _TRIES, timeout=None, wait_initial=1.0, wait_max=30.0):
                with attempt:
                    answer = self._line.call(what, company, document, read)
                    judge(answer, what, company, request.type)
                    return answer
        except Refused as refused:
            if parks:
                self._parked.park(ParkedRequest(key, what, str(refused.messages[0] if refused.messages else ""), now()))
            raise
        raise AssertionError("a try either returns or raises")

    # --- judging ----------------------------------------------------------------------------------------------------

    def _rows(self, entity: Entity, request: WebRequest, company: str, answer: Answer) -> pa.Table:
        """The answer's rows under the contract's names."""
        columns = {column: answer.rows[attribute] for column, attribute in request.columns.items()}
        if "company" in entity.column and "company" not in columns:
            columns["company"] = pa.repeat(pa.scalar(company, pa.string()), answer.rows.num_rows)
        return pa.table(columns)

    def _pages(
        self, entity: Entity, rows: pa.Table, words: Mapping[str, Mapping[str, str]], repairs: Counter[str]
    ) -> Iterator[Page]:
        size = self._site.prima.page_rows
        for start in range(0, rows.num_rows, size):
            yield self._page(entity, rows.slice(start, size), words, repairs if start == 0 else Counter())

    def _page(
        self, entity: Entity, rows: pa.Table, words: Mapping[str, Mapping[str, str]], repairs: Counter[str]
    ) -> Page:
        typed = type_page(entity, rows, self._site.zone, words, now=datetime.now(UTC), day_first=True)
        last = typed.good.slice(max(typed.good.num_rows - 1, 0)).select(list(entity.key)).to_pylist()
        return Page(
            entity,
            typed.good,
            typed.findings,
            rows.num_rows,
            typed.quarantined,
            last_key=tuple(last[0].values()) if last else None,
            repairs=typed.repairs + repairs,
        )


def _once(rows: pa.Table, keys: Sequence[str]) -> pa.Table:
    """Each key once, as it was answered last: ranges include both their ends."""
    numbered = rows.append_column("row", pa.array(range(rows.num_rows), pa.int64()))
    last = numbered.group_by(list(keys)).aggregate([("row", "max")])["row_max"]
    return rows.take(pa.array(sorted(last.to_pylist()), pa.int64()))


def _folded(codes: Iterable[str]) -> tuple[str, ...]:
    return tuple(code.strip().casefold() for code in codes)
