"""The XML inside: requests built, answers read as a stream and judged.

A request is made by a serialiser, in ASCII with references, so that no code page on the way can spoil it. An answer's
rows are gathered column by column while it is parsed: some seventy bytes a row, whatever the answer's size. Names of
elements and attributes are compared without case; texts stay texts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, SubElement, tostring
from xml.parsers.expat import XMLParserType

import pyarrow as pa

from prima_emarsys.prima.webservice.envelope import NoXml, feed, guarded_parser, local
from prima_emarsys.prima.webservice.mending import mended_bytes, mended_value
from prima_emarsys.prima.webservice.outcome import Disbelieved, Message, Partial, Refused, messages

_BATCH = 20_000
_MOST_MESSAGES = 20
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def build_request(
    request_type: str, data: Mapping[str, str], rows: Iterable[tuple[str, Mapping[str, str]]] = ()
) -> str:
    """The document of a request: attributes of its `Data`, and elements below it by name.

    Raises ValueError for a text that XML cannot hold.
    """
    root = Element("Request", {"RequestType": _fit(request_type)})
    top = SubElement(root, "Data", {name: _fit(value) for name, value in data.items()})
    for name, attributes in rows:
        SubElement(top, name, {key: _fit(value) for key, value in attributes.items()})
    return '<?xml version="1.0"?>' + tostring(root, encoding="us-ascii").decode("ascii")


def _fit(text: str) -> str:
    if _FORBIDDEN.search(text):
        raise ValueError(f"{text!a} holds a character that XML cannot")
    return text


@dataclass(frozen=True)
class Shape:
    """Where an answer's rows stand, `Data/sku`, and which of their attributes are wanted."""

    rows: str
    attributes: Sequence[str]


@dataclass
class Answer:
    """An answer that was read to its end. `rows` has the wanted attributes as text columns, null where one is missing.

    `failed`: the root itself tells an error. `succeeded`, `refused` and `silent` count its `Data` elements by what they
    say of themselves; `said` are Prima's error messages, wherever they stood.
    """

    rows: pa.Table
    root: str = ""
    company: str = ""
    request_type: str = ""
    status: str = ""
    failed: bool = False
    succeeded: int = 0
    refused: int = 0
    silent: int = 0
    said: list[Message] = field(default_factory=list)
    repairs: Counter[str] = field(default_factory=Counter)


class _Reading:
    """Takes the parser's events."""

    def __init__(self, shape: Shape, repairs: Counter[str]) -> None:
        self.answer = Answer(pa.table({}), repairs=repairs)
        self._shape = shape
        self._row_path = [part.casefold() for part in shape.rows.split("/")]
        self._place = {name.casefold(): place for place, name in enumerate(shape.attributes)}
        self._known: dict[str, int | None] = {}
        self._schema = pa.schema([(name, pa.string()) for name in shape.attributes])
        self._columns: list[list[str | None]] = [[] for _ in shape.attributes]
        self._batches: list[pa.RecordBatch] = []
        self._path: list[str] = []
        self._data_refused: bool | None = None

    def start(self, name: str, attributes: dict[str, str]) -> None:
        path = self._path
        path.append(local(name).casefold())
        if path[1:] == self._row_path:
            self._row(attributes)
        if len(path) == 1:
            self._root(local(name), attributes)
        elif path[1:] == ["data"]:
            self._data(attributes)
        elif path[-1] == "requesterror":
            self._error(attributes)

    def end(self, _name: str) -> None:
        if self._path[1:] == ["data"]:
            self.answer.succeeded += self._data_refused is False
            self.answer.refused += self._data_refused is True
            self.answer.silent += self._data_refused is None
        self._path.pop()

    def finish(self) -> Answer:
        self._settle()
        self.answer.rows = pa.Table.from_batches(self._batches, self._schema)
        return self.answer

    def _root(self, name: str, attributes: dict[str, str]) -> None:
        told = {key.casefold(): value for key, value in attributes.items()}
        answer = self.answer
        answer.root, answer.company = name.casefold(), told.get("company", "")
        answer.request_type, answer.status = told.get("requesttype", ""), told.get("requeststatus", "")
        self.answer.failed = bool(told.get("error"))
        self._say(told.get("error", ""))

    def _data(self, attributes: dict[str, str]) -> None:
        told = {key.casefold(): value for key, value in attributes.items()}
        status = told.get("requeststatus", "").casefold()
        self._data_refused = status != "ok" if status else None

    def _error(self, attributes: dict[str, str]) -> None:
        if "data" in self._path:
            self._data_refused = True
        else:
            self.answer.failed = True
        self._say(next((value for key, value in attributes.items() if key.casefold() == "error"), ""))

    def _say(self, text: str) -> None:
        new = [one for one in messages(text) if one not in self.answer.said]
        self.answer.said += new[: _MOST_MESSAGES - len(self.answer.said)]

    def _row(self, attributes: dict[str, str]) -> None:
        values: list[str | None] = [None] * len(self._columns)
        for key, value in attributes.items():
            if key not in self._known:
                self._known[key] = self._place.get(key.casefold())
            place = self._known[key]
            if place is not None:
                values[place] = mended_value(value, self.answer.repairs)
        for column, value in zip(self._columns, values, strict=True):
            column.append(value)
        if len(self._columns[0]) >= _BATCH:
            self._settle()

    def _settle(self) -> None:
        arrays = [pa.array(column, pa.string()) for column in self._columns]
        self._batches.append(pa.record_batch(arrays, schema=self._schema))
        for column in self._columns:
            column.clear()


def read_answer(texts: Iterable[str], shape: Shape, repairs: Counter[str]) -> Answer:
    """Read an answer to its end. Raises `Disbelieved` if it is no XML; judges nothing else."""
    reading = _Reading(shape, repairs)
    parser = guarded_parser()
    parser.StartElementHandler = reading.start
    parser.EndElementHandler = reading.end
    begun = False
    for data in mended_bytes((text.encode("utf-8") for text in texts), repairs):
        # A declaration must be the first thing, so white space before it would be an error.
        _feed(parser, data if begun else data.lstrip())
        begun = begun or bool(data.strip())
    _feed(parser, b"", final=True)
    return reading.finish()


def _feed(parser: XMLParserType, data: bytes, *, final: bool = False) -> None:
    try:
        feed(parser, data, final=final)
    except NoXml as error:
        raise Disbelieved(f"The answer inside the envelope cannot be read: {error}.") from None


def judge(answer: Answer, what: str, company: str, request_type: str) -> None:
    """Whether an answer is one, and a yes. `what` names the request in errors.

    Looks at the root's status and error, then at each `Data`, then at whose answer it is. Raises `Refused`, `Partial`
    or `Disbelieved`. No status anywhere is no yes.
    """
    if answer.root != "result":
        raise Disbelieved(f"The answer to {what} begins with <{answer.root[:40]}>, not with <Result>.")
    status = answer.status.casefold()
    if status == "error" or answer.failed:
        raise Refused(what, answer.said)
    if status not in ("ok", ""):
        raise Disbelieved(f"The answer to {what} has the status {answer.status[:40]!r}, which nobody knows.")
    if answer.refused and not answer.succeeded:
        raise Refused(what, answer.said)
    if answer.refused:
        raise Partial(what, [str(one) for one in answer.said])
    if not status and (answer.silent or not answer.succeeded):
        raise Disbelieved(f"The answer to {what} does not say whether it succeeded.")
    if answer.request_type.casefold() != request_type.casefold():
        raise Disbelieved(f"The answer to {what} is one to {answer.request_type[:40]!r}.")
    if answer.company != company:
        raise Disbelieved(f"The answer to {what} is one of company {answer.company[:40]!r}.")
