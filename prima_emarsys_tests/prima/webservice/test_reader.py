"""The reader on a live service: one shape with the SQL reader, every fault a typed outcome, nothing asked in vain."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import requests

from prima_emarsys.contract import ENTITIES
from prima_emarsys.prima.mirror import Mirror
from prima_emarsys.prima.sql import Page, SqlReader
from prima_emarsys.prima.webservice import (
    Access,
    Disbelieved,
    Misconfigured,
    ParkedFile,
    Partial,
    Refused,
    Sku,
    StillParked,
    Unavailable,
    WebServiceError,
    WebServiceReader,
)
from prima_emarsys.prima.webservice.parked import one_at_a_time
from prima_emarsys.rules.availability import available_stock
from prima_emarsys.sandbox.prima.envelope import Style
from prima_emarsys.sandbox.prima.faults import Fault, Faults
from prima_emarsys.sandbox.prima.server import LocalPrima
from prima_emarsys.sandbox.world import tick
from prima_emarsys.warehouse import open_warehouse
from prima_emarsys_tests.prima.tables import site as sql_site
from prima_emarsys_tests.prima.webservice.conftest import TRIES, Read, site
from prima_emarsys_tests.sandbox.world.conftest import NOW

AVAILABLE, STOCK, CUSTOMER = (ENTITIES[name] for name in ("available_stock", "stock", "customer"))
BOOT = Sku("300ANV")
KEYS = [*AVAILABLE.key, "available", "expected_on"]
CUSTOMERS = {
    "type": "InventedCustomers",
    "rows": "Data/Customer",
    "columns": {name: name.title().replace("_", "") for name in CUSTOMER.column if name != "company"},
}


def whole(pages: Iterator[Page]) -> list[dict[str, Any]]:
    return pa.concat_tables(page.good for page in pages).select(KEYS).to_pylist()


# --- one shape ------------------------------------------------------------------------------------------------------


def by_sql(world: str) -> list[dict[str, Any]]:
    """The same by the other way: SQL into the mirror, and the rule over it."""
    sql = SqlReader(world, sql_site(page_rows=5_000))
    with open_warehouse("duckdb://") as warehouse:
        mirror = Mirror(warehouse)
        for name in ("warehouse", "stock"):
            mirror.land(sql, name, sweep=False, short_share=0.02)
        found = warehouse.read(available_stock(mirror.live("stock"), mirror.live("warehouse")).order_by(AVAILABLE.key))
    sql.close()
    return found.select(KEYS).to_pylist()


def test_sql_and_web_service_agree_sku_by_sku_while_the_world_ticks(world: str, reader: Read) -> None:
    web = reader(entry_point="comwsomhandler", companies=["1", "2"])
    before: list[dict[str, Any]] = []
    for minute in range(2):
        if minute:
            kinds = ["order", "despatch", "order-cancelled", "return-receipted", "goods-in"]
            tick(world, now=NOW + timedelta(minutes=minute), changes=80, seed=minute, kinds=kinds)
        read = sorted(whole(web.everything(AVAILABLE)), key=lambda row: [row[name] for name in AVAILABLE.key])
        assert read == by_sql(world)
        assert read != before
        before = read
    assert len(before) > 6_000
    assert {row["company"] for row in before} == {"1", "2"}
    assert all(row["expected_on"] is None for row in before if row["available"])
    assert any(row["expected_on"] and row["expected_on"] < date(2026, 10, 5) for row in before)


def test_pages_are_bounded_counted_and_have_the_contracts_schema(reader: Read) -> None:
    pages = list(reader().everything(AVAILABLE))
    assert [page.read for page in pages[:-1]] == [2_000] * (len(pages) - 1)
    for page in pages:
        assert page.good.schema == AVAILABLE.arrow_schema
        assert page.read == page.good.num_rows + page.quarantined
        assert (page.mark, page.gone, page.findings) == (None, [], [])
    assert pages[-1].last_key == tuple(pages[-1].good.select(AVAILABLE.key).to_pylist()[-1].values())


def test_the_mirror_lands_it_and_a_second_read_changes_nothing(reader: Read) -> None:
    web = reader()
    with open_warehouse("duckdb://") as warehouse:
        first = Mirror(warehouse).land(web, "available_stock", sweep=True, short_share=0.02)
        second = Mirror(warehouse).land(web, "available_stock", sweep=True, short_share=0.02)
    assert first.changed == first.read > 4_000
    assert (second.read, second.changed, second.gone) == (first.read, 0, 0)


@pytest.mark.parametrize("style", ["rpc-literal", "rpc-encoded", "document-literal"])
@pytest.mark.parametrize("entry_point", ["wsomhandler", "comwsomhandler"])
def test_style_and_names_of_parts_come_from_the_wsdl(
    world: str, tmp_path: Path, style: Style, entry_point: str
) -> None:
    with LocalPrima(world, style=style) as prima:
        description = tmp_path / "omlink.wsdl"
        description.write_bytes(requests.get(prima.wsdl, timeout=5).content)
        access = Access(str(description), entry_point=entry_point)
        web = WebServiceReader(access, site(entry_point=entry_point), tmp_path / "state")
        page = web.available("1", [BOOT])
        web.close()
        [call] = prima.calls
    assert page.read == 1
    assert (call.operation, call.company) == (entry_point, "1")
    assert (b'xsi:type="xsd:string"' in call.envelope) == (style == "rpc-encoded")


def test_ranges_put_together_are_the_whole_and_each_sku_once(prima: LocalPrima, reader: Read) -> None:
    cut = reader(ranges_from=["330", "359BNV", "400"])
    found = list(cut.everything(AVAILABLE))
    assert len(prima.calls) == 4
    assert whole(iter(found)) == whole(reader().everything(AVAILABLE))


def test_named_skus_are_answered_in_the_order_asked(reader: Read) -> None:
    web = reader()
    rows = pa.concat_tables(page.good for page in web.everything(AVAILABLE)).to_pylist()
    some = [rows[at] for at in (900, 4, 77)]
    asked = [Sku(row["product"], *(row[f"matrix_{n}"] for n in range(1, 5))) for row in some]
    assert web.available("1", asked).good.to_pylist() == some


def test_a_sku_that_is_not_answered_makes_the_answer_a_partial_one(prima: LocalPrima, reader: Read) -> None:
    prima.faults = Faults(Fault(kind="short"))
    products = ["300ANV", "301", "302", "303", "304"]
    with pytest.raises(Partial) as caught:
        reader().available("1", [Sku(product) for product in products])
    assert isinstance(caught.value.page, Page)
    assert set(caught.value.missing) <= set(products)


def test_the_state_of_an_order_is_primas_word_and_the_contracts(world: str, prima: LocalPrima, reader: Read) -> None:
    web = reader()
    pages = SqlReader(world, sql_site()).everything(ENTITIES["sales_order"])
    orders = pa.concat_tables(page.good for page in pages).to_pylist()
    done = next(row for row in orders if row["status"] == "part despatched" and row["company"] == "1")
    state = web.order_state("1", done["order_number"])
    assert state.said.casefold().replace("-", " ") == "part despatched"
    assert state.status == "part despatched"
    for _ in range(2):
        with pytest.raises(Refused, match=r"E:9003"):
            web.order_state("1", "0")
    assert len([call for call in prima.calls if call.request_type == "OrderStatus"]) == 3, "it is never parked"


def test_what_else_a_site_answers_is_declared_not_coded(world: str, reader: Read) -> None:
    web = reader(requests={"customer": CUSTOMERS})
    assert web.serves(CUSTOMER)
    assert not web.serves(STOCK)
    [page] = web.everything(CUSTOMER)
    sql = {
        row["customer_code"]: row
        for found in SqlReader(world, sql_site()).everything(CUSTOMER)
        for row in found.good.to_pylist()
        if row["company"] == "1"
    }
    read = {row["customer_code"]: row for row in page.good.to_pylist()}
    assert set(read) == set(sql)
    same = ["forename", "account_type", "is_trade", "opened_at", "receive_email", "date_of_birth", "changed_at"]
    assert [[row[name] for name in same] for row in read.values()] == [
        [sql[code][name] for name in same] for code in read
    ]


# --- faults ---------------------------------------------------------------------------------------------------------

FAULTS: dict[str, tuple[Fault, type[WebServiceError], str]] = {
    "another company's answer": (Fault(kind="wrong-company"), Disbelieved, "is one of company '2'"),
    "another request's answer": (Fault(kind="wrong-request"), Disbelieved, "is one to 'PriceEnquiry'"),
    "no status": (Fault(kind="no-status"), Disbelieved, "does not say whether it succeeded"),
    "unreadable inside": (Fault(kind="unreadable"), Disbelieved, "inside the envelope cannot be read"),
    "nothing inside": (Fault(kind="nil"), Disbelieved, "empty \\(nil\\)"),
    "disabled": (Fault(kind="disabled"), Unavailable, "10921.*request 5a4d.*#"),
    "Tomcat's page": (Fault(kind="html"), Unavailable, "HTTP 503"),
    "Tomcat's page with 200": (Fault(kind="html", status=200), Disbelieved, "no SOAP"),
    "Tomcat's page with 500": (Fault(kind="html", status=500), Unavailable, "HTTP 500 without a fault"),
    "dropped": (Fault(kind="drop"), Unavailable, "connection failed or broke off"),
    "cut off": (Fault(kind="cut"), Unavailable, "connection failed or broke off"),
    "slow": (Fault(kind="slow", seconds=30), Unavailable, "no answer in time"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_passing_fault_is_tried_again_named_and_over_when_it_is_over(
    prima: LocalPrima, reader: Read, case: str
) -> None:
    fault, expected, words = FAULTS[case]
    impatient = reader({"read_seconds": 0.7} if fault.kind == "slow" else None)
    prima.faults = Faults(fault.model_copy(update={"calls": TRIES}))
    with pytest.raises(expected, match=words):
        impatient.available("1", [BOOT])
    assert len(prima.calls) == TRIES
    assert reader().available("1", [BOOT]).read == 1, "and then it works again"


@pytest.mark.parametrize("kind", ["drop", "nil", "disabled", "wrong-company"])
def test_one_passing_fault_is_not_even_noticed(prima: LocalPrima, reader: Read, kind: str) -> None:
    prima.faults = Faults(Fault.model_validate({"kind": kind, "calls": 1}))
    assert reader().available("1", [BOOT]).read == 1
    assert len(prima.calls) == 2


def test_a_page_of_tomcats_that_says_no_is_a_matter_for_a_person(prima: LocalPrima, reader: Read) -> None:
    for status, words in ((404, "Check the addresses"), (401, "user and password"), (302, "redirects")):
        prima.faults = Faults(Fault(kind="html", status=status))
        with pytest.raises(Misconfigured, match=words):
            reader().available("1", [BOOT])
    assert len(prima.calls) == 3, "none was tried again"


def test_a_short_answer_with_status_ok_is_read_for_the_guard_to_judge(prima: LocalPrima, reader: Read) -> None:
    web = reader()
    full = whole(web.everything(AVAILABLE))
    prima.faults = Faults(Fault(kind="short"))
    short = whole(web.everything(AVAILABLE))
    assert 0 < len(short) < len(full) / 4


def test_spoilt_texts_are_mended_and_counted_and_no_row_is_lost(prima: LocalPrima, reader: Read) -> None:
    web = reader(requests={"customer": CUSTOMERS})
    [sound] = web.everything(CUSTOMER)
    surnames = {row["surname"] for row in sound.good.to_pylist()}
    assert {"M\u00fcller", "Fairweather"} <= surnames
    assert sound.repairs == {"control-characters": 1, "mojibake": 1}
    for kind, repair in (("mojibake", "mojibake"), ("raw-bytes", "windows-1252")):
        prima.faults = Faults(Fault.model_validate({"kind": kind}))
        [page] = web.everything(CUSTOMER)
        assert page.read == sound.read
        assert page.repairs[repair] > sound.repairs[repair]
        assert "O\u2019Brien" in {row["surname"] for row in page.good.to_pylist()}
    prima.faults = Faults(Fault(kind="control"))
    pages = list(web.everything(AVAILABLE))
    assert sum((page.repairs["control-characters"] for page in pages), 0) == 1
    prima.faults = Faults()
    assert whole(iter(pages)) == whole(web.everything(AVAILABLE))


def test_a_refused_request_is_parked_and_not_sent_again_until_it_changes_or_is_released(
    prima: LocalPrima, reader: Read, tmp_path: Path
) -> None:
    prima.faults = Faults(Fault(kind="refused"))
    for expected in (Refused, StillParked, StillParked):
        with pytest.raises(expected, match=r"14586"):
            reader().available("1", [BOOT])
    assert len(prima.calls) == 1
    memory = ParkedFile(tmp_path / "state" / "parked.json")
    [parked] = memory.all()
    assert parked.what == "MultiAvailableToSell of company 1"
    assert parked.finding.kind == "request-parked"
    prima.faults = Faults()
    assert reader().available("1", [BOOT, BOOT]).read == 2, "another request goes out"
    assert not memory.release("no such key")
    assert memory.release(parked.key)
    assert reader().available("1", [BOOT]).read == 1


# --- one at a time, and the way in ------------------------------------------------------------------------------------


def test_calls_take_turns_among_threads(prima: LocalPrima, reader: Read) -> None:
    prima.faults = Faults(Fault(kind="slow", seconds=0.4))
    readers = [reader() for _ in range(3)]
    threads = [threading.Thread(target=one.available, args=("1", [BOOT])) for one in readers]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - began >= 1.2


def test_who_waits_too_long_for_a_turn_says_so(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    held = pytest.raises(Unavailable, match="Another call has been under way")
    with one_at_a_time(lock, 1), held, one_at_a_time(lock, 0.1):
        pass
    with one_at_a_time(lock, 0):
        pass


class _Static(BaseHTTPRequestHandler):
    pages: dict[str, bytes] = {}

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.pages[self.path])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def described(prima: LocalPrima) -> Iterator[Any]:
    """Serves the local Prima's WSDL with something in it replaced."""
    sound = requests.get(prima.wsdl, timeout=5).text
    server = HTTPServer(("127.0.0.1", 0), _Static)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()

    def serve(old: str, new: str) -> str:
        assert old in sound
        _Static.pages = {"/wsdl": sound.replace(old, new).encode()}
        return f"http://127.0.0.1:{server.server_port}/wsdl"

    yield serve
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('operation name="comwsomhandler"', 'operation name="Connect_omlink"', "session-managed"),
        ('operation name="wsomhandler"', 'operation name="other"', "no SOAP 1.1 operation 'wsomhandler'; it has: com"),
        ("<wsdl:definitions", '<!DOCTYPE d [<!ENTITY e "x">]><wsdl:definitions', "WSDL cannot be used: DTDForbidden"),
        ("<wsdl:types>", '<wsdl:import namespace="a" location="http://127.0.0.1:9/"/><wsdl:types>', "cannot be used"),
        ("</wsdl:definitions>", "", "WSDL cannot be used"),
        ("http://127.0.0.1", "http://prima.example", "must begin with https://.*tunnel that ends on this machine"),
    ],
    ids=["session-managed", "no such operation", "a document type", "an import", "cut off", "plain HTTP"],
)
def test_a_description_that_cannot_be_used_says_what_to_do(
    described: Any, reader: Read, old: str, new: str, words: str
) -> None:
    with pytest.raises(Misconfigured, match=words):
        list(reader({"wsdl": described(old, new)}).everything(AVAILABLE))


def test_which_parameter_is_the_company_is_told_where_its_name_does_not_say_so(described: Any, reader: Read) -> None:
    where = described("ipcCompany", "p1")
    with pytest.raises(Misconfigured, match="company_part: p1, iplcRequest"):
        list(reader({"wsdl": where}, entry_point="comwsomhandler").everything(AVAILABLE))
    told = reader({"wsdl": where, "company_part": "p1"}, entry_point="comwsomhandler")
    # The local Prima knows the parameter by its own name only, so it is the server that complains now.
    with pytest.raises(Refused, match="Parameters are missing: ipcCompany"):
        list(told.everything(AVAILABLE))


@pytest.mark.parametrize("wsdl", ["http://prima.example/wsdl", "/nowhere/omlink.wsdl", "ftp://127.0.0.1/wsdl"])
def test_a_description_elsewhere_must_be_safe_or_there(reader: Read, wsdl: str) -> None:
    with pytest.raises(Misconfigured):
        list(reader({"wsdl": wsdl}).everything(AVAILABLE))


def test_a_service_that_is_not_there_is_unavailable(reader: Read) -> None:
    with pytest.raises(Unavailable):
        list(reader({"wsdl": "http://127.0.0.1:9/wsdl"}).everything(AVAILABLE))


def test_credentials_are_sent_when_given_and_never_shown(prima: LocalPrima, tmp_path: Path) -> None:
    from pydantic import SecretStr

    access = Access(prima.wsdl, user="shop", password=SecretStr("hunter2"))
    assert "hunter2" not in repr(access)
    web = WebServiceReader(access, site(), tmp_path / "state")
    assert web.available("1", [BOOT]).read == 1
    web.close()
