"""The plan for sales data, by example: what goes, once, in which file, and what becomes of a line that changed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from prima_emarsys.finding import Finding
from prima_emarsys.settings import SettingsError
from prima_emarsys.sync import guard, lanes
from prima_emarsys.sync.exceptions import mark, observe, open_exceptions
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.sync.sales_files import ABSENT, ACCEPTED, REFUSED, SEALED, UNKNOWN, SalesFiles
from prima_emarsys.sync.sales_plan import FILES as FILES_TABLE
from prima_emarsys.sync.sales_plan import SEALED as SEALED_TABLE
from prima_emarsys.warehouse import Warehouse, open_warehouse
from prima_emarsys_tests.sync.conftest import HASH_KEY, MovedClock
from prima_emarsys_tests.sync.shop import (
    BatchLoad,
    Endpoint,
    Shop,
    a_line,
    accept_silently,
    busy,
    lose,
    read,
    refuse,
)

D = Decimal


@pytest.fixture
def warehouse() -> Iterator[Warehouse]:
    with open_warehouse("duckdb://") as opened:
        yield opened


@pytest.fixture
def shop(warehouse: Warehouse, tmp_path: Any, clock: MovedClock) -> Iterator[Shop]:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}", HASH_KEY, clock=clock) as ledger:
        yield Shop(warehouse, ledger)


def rows(endpoint: Endpoint) -> list[tuple[str, ...]]:
    """line and version, kind, order, item, price, quantity."""
    return [
        (row["s_line"], row["s_kind"], row["order"], row["item"], row["price"], row["quantity"])
        for row in endpoint.rows
    ]


def test_each_line_goes_once(shop: Shop) -> None:
    endpoint = Endpoint()
    shop.want(a_line("100|1|sale"), a_line("100|1|return", "-4.00", day=date(2026, 4, 1)))
    sent = shop.send(endpoint)
    assert sent.plan is not None
    assert (sent.plan.new, sent.plan.rows, sent.plan.value, sent.rows_sealed, sent.to_go) == (2, 2, D("6.00"), 2, 0)
    assert sent.uploaded is not None
    assert (sent.uploaded.files, sent.uploaded.rows) == ({ACCEPTED: 1}, {ACCEPTED: 2})
    again = shop.send(endpoint)
    assert again.plan is not None
    assert (again.plan.new, again.plan.adjusted, again.plan.removed, again.sealed) == (0, 0, 0, [])
    assert rows(endpoint) == [
        ("100|1|sale/1", "sale", "100", "BOOT", "10.00", "1"),
        ("100|1|return/1", "return", "100", "BOOT", "-4.00", "-1"),
    ]
    assert endpoint.rows[1]["timestamp"] == "2026-04-01T12:00:00Z"


def test_row_58_a_line_that_changed_goes_as_the_difference_dated_when_it_was_found(shop: Shop) -> None:
    endpoint = Endpoint()
    shop.want(a_line("100|1|sale"), a_line("100|2|sale", "5.00"))
    shop.send(endpoint)
    shop.want(a_line("100|1|sale", "7.50"), a_line("100|2|sale", "5.00"))
    sent = shop.send(endpoint)
    assert sent.plan is not None
    assert (sent.plan.new, sent.plan.adjusted, sent.plan.removed) == (0, 1, 0)
    assert rows(endpoint)[2:] == [("100|1|sale/2", "adjustment", "100", "BOOT", "-2.50", "0")]
    assert endpoint.rows[2]["timestamp"] == "2026-11-20T09:00:00Z"
    assert (endpoint.rows[2]["f_gross"], endpoint.rows[2]["f_net"]) == ("-2.50", "-2.08")
    assert endpoint.turnover() == shop.desired() == D("12.50")


def test_a_line_that_goes_back_to_an_earlier_amount_is_adjusted_back(shop: Shop) -> None:
    endpoint = Endpoint()
    for price in ("10.00", "4.00", "10.00", "4.00"):
        shop.want(a_line("100|1|sale", price))
        shop.send(endpoint)
        assert endpoint.turnover() == D(price)
    assert [row["s_line"] for row in endpoint.rows] == [f"100|1|sale/{version}" for version in (1, 2, 3, 4)]


def test_a_line_that_is_no_longer_in_the_books_is_reversed_and_comes_back_as_an_adjustment(shop: Shop) -> None:
    endpoint = Endpoint()
    shop.want(a_line("100|1|sale"))
    shop.send(endpoint)
    shop.want()
    sent = shop.send(endpoint)
    assert sent.plan is not None
    assert (sent.plan.adjusted, sent.plan.removed) == (0, 1)
    assert rows(endpoint)[1:] == [("100|1|sale/2", "adjustment", "100", "BOOT", "-10.00", "-1")]
    shop.want(a_line("100|1|sale"))
    shop.send(endpoint)
    assert rows(endpoint)[2:] == [("100|1|sale/3", "adjustment", "100", "BOOT", "10.00", "1")]


@pytest.mark.parametrize("change", [{"item": "SHOE"}, {"order_id": "101"}, {"currency": "EUR"}])
def test_a_line_of_another_identity_is_reversed_and_goes_anew(shop: Shop, change: dict[str, str]) -> None:
    endpoint = Endpoint()
    shop.want(a_line("100|1|sale"))
    shop.send(endpoint)
    shop.want(a_line("100|1|sale", "8.00", **change))
    shop.send(endpoint)
    name = {"order_id": "order", "currency": "s_currency"}.get(next(iter(change)), next(iter(change)))
    held: dict[str, Decimal] = {}
    for row in endpoint.rows:
        held[row[name]] = held.get(row[name], D(0)) + D(row["price"])
    assert sorted(held.values()) == [D("0.00"), D("8.00")]
    assert held[next(iter(change.values()))] == D("8.00")
    assert {row["s_line"] for row in endpoint.rows} == {f"100|1|sale/{version}" for version in (1, 2, 3)}
    assert shop.send(endpoint).sealed == []


def test_an_order_that_moves_to_another_person_is_not_sent_again_and_what_follows_goes_to_the_survivor(
    shop: Shop,
) -> None:
    endpoint = Endpoint()
    shop.want(a_line("100|1|sale", customer="P1"))
    shop.send(endpoint)
    shop.want(a_line("100|1|sale", customer="P2"), a_line("100|1|return", "-4.00", customer="P2"))
    shop.send(endpoint)
    assert [(row["customer"], row["price"]) for row in endpoint.rows] == [("P1", "10.00"), ("P2", "-4.00")]


def test_no_line_leaves_before_its_contact_is_acknowledged(shop: Shop) -> None:
    endpoint = Endpoint()
    shop.want(a_line("100|1|sale"), a_line("200|1|sale", customer="P9"))
    sent = shop.send(endpoint)
    assert sent.plan is not None
    assert sent.plan.waiting == {"contact": 1}
    assert [row["customer"] for row in endpoint.rows] == ["P1"]
    waiting = shop.warehouse.read(shop.warehouse.table("emarsys.sales_waiting")).to_pylist()
    assert [(row["line_key"], row["reason"], row["price"]) for row in waiting] == [
        ("200|1|sale", "contact", D("10.00"))
    ]
    shop.know("P9")
    shop.send(endpoint)
    assert [row["customer"] for row in endpoint.rows] == ["P1", "P9"]
    assert shop.warehouse.size("emarsys.sales_waiting") == 0


def test_row_59_a_refund_above_the_sale_waits_until_finance_accepts_it_or_prima_takes_it_back(shop: Shop) -> None:
    endpoint = Endpoint()
    sale = a_line("100|1|sale")
    shop.want(sale)
    shop.send(endpoint)
    twice = [a_line("100|1|return", "-10.00"), a_line("100|1|credit", "-10.00")]
    dispute = Finding("refund-above-sale", "order-line|100|1", "refunds exceed the sale")
    observe(shop.ledger, "core/sales", [dispute])
    shop.want(sale, *twice)
    sent = shop.send(endpoint)
    assert sent.plan is not None
    assert (sent.disputed, sent.plan.waiting, endpoint.turnover()) == (1, {"quarantined": 2}, D("10.00"))
    mark(shop.ledger, open_exceptions(shop.ledger)[0].id, "accepted", "Fay", "goodwill, agreed")
    shop.send(endpoint)
    assert endpoint.turnover() == shop.desired() == D("-10.00")


def test_what_an_erased_person_bought_stays_as_it_was_sent(shop: Shop) -> None:
    endpoint = Endpoint()
    shop.want(a_line("100|1|sale"))
    shop.send(endpoint)
    shop.warehouse.append("core.sales", pa.table({"sale_key": ["100|1|sale"], "account": ["1-A"]}))
    shop.warehouse.append("core.accounts", pa.table({"account": ["1-A"], "excluded": ["erased"]}))
    shop.want()
    sent = shop.send(endpoint)
    assert sent.plan is not None
    assert (sent.plan.removed, len(endpoint.rows)) == (0, 1)


# -- files -----------------------------------------------------------------------------------------------------------


def test_a_first_load_goes_oldest_first_in_bounded_files_with_orders_kept_together_and_goes_on_where_it_was(
    shop: Shop,
) -> None:
    endpoint = Endpoint()
    lines = [
        a_line(f"{order}|{number}|sale", day=date(2020, 1, 1) + timedelta(days=1000 - order))
        for order in range(100, 110)
        for number in range(3)
    ]
    shop.want(*lines)
    first = shop.send(endpoint, rows_per_file=5, rows_per_run=12)
    assert [file.rows for file in first.sealed] == [6, 6]
    assert first.to_go == 18
    assert [row["order"] for row in endpoint.rows] == [str(order) for order in (109, 108, 107, 106) for _ in range(3)]
    while shop.send(endpoint, rows_per_file=5, rows_per_run=12).to_go:
        pass
    assert len(endpoint.rows) == len(lines)
    assert endpoint.by_line() == {one["line_key"]: one["price"] for one in lines}
    assert [row["order"] for row in endpoint.rows][-1] == "100"


def test_files_leave_no_faster_than_the_site_allows(shop: Shop, clock: MovedClock) -> None:
    shop.want(*(a_line(f"{order}|1|sale") for order in range(100, 104)))
    began = clock.now
    shop.send(Endpoint(), rows_per_file=1, files_per_minute=6)
    assert clock.now - began == timedelta(seconds=30)


def test_row_5_a_lost_reply_leaves_a_file_unknown_and_nothing_of_it_goes_again_until_a_person_speaks(
    shop: Shop,
) -> None:
    endpoint = Endpoint(accept_silently)
    shop.want(a_line("100|1|sale"))
    sent = shop.send(endpoint)
    assert sent.uploaded is not None
    assert sent.uploaded.files == {UNKNOWN: 1}
    for _ in range(3):
        shop.send(endpoint)
    assert len(endpoint.uploads) == 1
    [file] = SalesFiles(shop.ledger).all(UNKNOWN)
    [case] = open_exceptions(shop.ledger)
    assert (case.kind, case.money, case.owner) == ("sales-file-unknown", D("10.00"), "marketing")
    SalesFiles(shop.ledger).resolve(file.name, "arrived", "Ann", "on the page")
    shop.send(endpoint)
    assert (len(endpoint.uploads), endpoint.turnover(), open_exceptions(shop.ledger)) == (1, D("10.00"), [])


def test_a_change_to_a_line_whose_fate_is_unknown_goes_as_the_difference(shop: Shop) -> None:
    endpoint = Endpoint(accept_silently)
    shop.want(a_line("100|1|sale"))
    shop.send(endpoint)
    shop.want(a_line("100|1|sale", "7.00"))
    shop.send(endpoint)
    assert endpoint.turnover() == D("7.00")


def test_an_absent_file_frees_its_lines_as_they_are_by_then(shop: Shop) -> None:
    endpoint = Endpoint(lose)
    shop.want(a_line("100|1|sale"), a_line("200|1|sale"))
    shop.send(endpoint)
    shop.want(a_line("100|1|sale", "7.00"), a_line("200|1|sale"))
    shop.send(endpoint)
    files = SalesFiles(shop.ledger)
    files.resolve(files.all(UNKNOWN)[0].name, "absent", "Ann", "not on the page")
    shop.send(endpoint)
    assert endpoint.by_line() == {"100|1|sale": D("7.00"), "200|1|sale": D("10.00")}
    assert [file.state for file in files.all()] == [ABSENT, ACCEPTED, ACCEPTED]


def test_a_refused_file_waits_with_its_bytes_and_the_others_go_on(shop: Shop) -> None:
    endpoint = Endpoint(refuse)
    shop.want(a_line("100|1|sale"), a_line("200|1|sale"))
    shop.send(endpoint, rows_per_file=1)
    files = SalesFiles(shop.ledger)
    [refused] = files.all(REFUSED)
    assert endpoint.turnover() == D("10.00")
    assert [case.kind for case in open_exceptions(shop.ledger)] == ["sales-file-refused"]
    files.release(refused.name, "Ann", "the header is right now")
    shop.send(endpoint)
    assert endpoint.uploads[0] == endpoint.uploads[2]
    assert (endpoint.turnover(), open_exceptions(shop.ledger)) == (D("20.00"), [])


def test_row_9_a_wait_that_emarsys_asks_for_is_sat_out_and_the_same_bytes_go_again(
    shop: Shop, clock: MovedClock
) -> None:
    endpoint = Endpoint(busy, busy)
    shop.want(a_line("100|1|sale"))
    began = clock.now
    sent = shop.send(endpoint)
    assert sent.uploaded is not None
    assert sent.uploaded.files == {ACCEPTED: 1, SEALED: 2}
    assert clock.now - began >= timedelta(seconds=40)
    assert len(set(endpoint.uploads)) == 1


def test_a_sender_that_raises_leaves_the_file_unknown(shop: Shop) -> None:
    def explode(_endpoint: Endpoint, _content: bytes) -> Any:
        raise RuntimeError("boom")

    shop.want(a_line("100|1|sale"))
    with pytest.raises(RuntimeError):
        shop.send(Endpoint(explode))
    assert [file.state for file in SalesFiles(shop.ledger).all()] == [UNKNOWN]
    assert [case.kind for case in open_exceptions(shop.ledger)] == ["sales-file-unknown"]


# -- stores ----------------------------------------------------------------------------------------------------------


def test_a_deleted_warehouse_loses_nothing_and_sends_nothing(shop: Shop) -> None:
    endpoint = Endpoint(accept_silently)
    lines = [a_line("100|1|sale"), a_line("200|1|sale")]
    shop.want(*lines)
    shop.send(endpoint, rows_per_file=1)
    shop.send(endpoint)
    before = [
        shop.warehouse.read(shop.warehouse.table(name).order_by("file_id")) for name in (SEALED_TABLE, FILES_TABLE)
    ]
    with open_warehouse("duckdb://") as fresh:
        again = Shop(fresh, shop.ledger)
        again.want(*lines)
        again.send(endpoint)
        assert [fresh.read(fresh.table(name).order_by("file_id")) for name in (SEALED_TABLE, FILES_TABLE)] == before
    assert len(endpoint.uploads) == 2


def test_row_45_files_that_a_restored_ledger_forgot_are_unknown(shop: Shop, tmp_path: Any, clock: MovedClock) -> None:
    endpoint = Endpoint()
    shop.want(a_line("100|1|sale"))
    shop.send(endpoint)
    shop.ledger.close()
    backup = (tmp_path / "ledger.db").read_bytes()
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}", HASH_KEY, clock=clock) as ledger:
        later = Shop(shop.warehouse, ledger)
        later.want(a_line("100|1|sale"), a_line("200|1|sale"))
        later.send(endpoint)
    (tmp_path / "ledger.db").write_bytes(backup)
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}", HASH_KEY, clock=clock) as ledger:
        restored = Shop(shop.warehouse, ledger)
        restored.want(a_line("100|1|sale"), a_line("200|1|sale"), a_line("300|1|sale"))
        sent = restored.send(endpoint)
        assert sent.forgotten == 1
        assert [(file.state, file.value) for file in SalesFiles(ledger).all()] == [
            (ACCEPTED, D("10.00")),
            (UNKNOWN, D("10.00")),
            (ACCEPTED, D("10.00")),
        ]
        [case] = open_exceptions(ledger)
        assert "the ledger did not know it" in case.detail
        assert "last saw it accepted" in case.detail
        assert restored.send(endpoint).forgotten == 0
    assert endpoint.by_line() == {f"{order}|1|sale": D("10.00") for order in (100, 200, 300)}


def test_row_36_another_process_that_is_sending_is_left_alone(shop: Shop) -> None:
    lanes.take(shop.ledger, "sales", timedelta(minutes=1))
    shop.want(a_line("100|1|sale"))
    sent = shop.send(Endpoint())
    assert sent.held_by is not None
    assert (sent.plan, sent.sealed) == (None, [])


def test_an_order_id_of_two_orders_holds_everything(shop: Shop) -> None:
    endpoint = Endpoint()
    shop.want(a_line("100|1|sale"), a_line("2-100|1|sale", order_id="100"))
    sent = shop.send(endpoint)
    assert sent.held == "1 order ids would stand for several orders each; see emarsys.sales.order_id"
    assert endpoint.uploads == []


def test_a_plan_that_would_take_back_much_of_what_was_sent_waits_for_a_person(shop: Shop) -> None:
    endpoint = Endpoint()
    shop.want(*(a_line(f"{order}|1|sale") for order in range(100, 130)))
    shop.send(endpoint)
    shop.want(a_line("100|1|sale"))
    sent = shop.send(endpoint, ignore_below=10)
    assert sent.held == "29 removals (96.7%, limit 2%) against 30 acknowledged records"
    assert len(endpoint.uploads) == 1
    guard.release(shop.ledger, "sales", "Ann", "they were a test")
    shop.send(endpoint, ignore_below=10)
    assert endpoint.turnover() == D("10.00")


def test_another_sink_would_send_everything_again_and_is_refused(shop: Shop) -> None:
    shop.want(a_line("100|1|sale"))
    shop.send(Endpoint())
    with pytest.raises(SettingsError, match="went to the sink http so far; by files all of it would go again"):
        shop.send(BatchLoad())


# -- batch loads -----------------------------------------------------------------------------------------------------


def test_a_batch_file_holds_whole_orders_and_a_change_replaces_the_orders_image(shop: Shop) -> None:
    endpoint = BatchLoad()
    shop.want(a_line("100|1|sale"), a_line("100|2|sale", "5.00"), a_line("200|1|sale"))
    shop.send(endpoint)
    shop.want(a_line("100|1|sale", "7.00"), a_line("100|2|sale", "5.00"), a_line("200|1|sale"))
    shop.send(endpoint)
    assert [(row["s_line"], row["price"], row["s_kind"]) for row in read(endpoint.uploads[1])] == [
        ("100|1|sale/2", "7.00", "sale"),
        ("100|2|sale/1", "5.00", "sale"),
    ]
    assert "2026-03-01T12:00:00+00:00" in endpoint.rows[0]["timestamp"]
    assert endpoint.turnover() == shop.desired() == D("22.00")
    # In the ledger the difference stands, so that sums of versions are what Emarsys holds by either way.
    assert [file.value for file in SalesFiles(shop.ledger).all()] == [D("25.00"), D("-3.00")]


def test_an_order_that_is_gone_is_replaced_by_nothing_and_a_lost_reply_is_repeated(shop: Shop) -> None:
    endpoint = BatchLoad()
    shop.want(a_line("100|1|sale"), a_line("200|1|sale"))
    shop.send(endpoint)
    shop.want(a_line("200|1|sale"))
    endpoint.script = [accept_silently]
    shop.send(endpoint)
    shop.send(endpoint)
    assert [(row["order"], row["price"], row["quantity"]) for row in read(endpoint.uploads[-1])] == [
        ("100", "0.00", "0")
    ]
    assert endpoint.turnover() == shop.desired() == D("10.00")
    assert {file.state for file in SalesFiles(shop.ledger).all()} == {ACCEPTED}
    assert SalesFiles(shop.ledger).all(SEALED, UNKNOWN) == []


def test_an_order_waits_as_a_whole_for_a_batch_file(shop: Shop) -> None:
    endpoint = BatchLoad()
    shop.want(a_line("100|1|sale"), a_line("100|2|sale", customer="P9"), a_line("200|1|sale"))
    sent = shop.send(endpoint)
    assert sent.plan is not None
    assert sent.plan.waiting == {"contact": 2}
    assert [row["order"] for row in endpoint.rows] == ["200"]
