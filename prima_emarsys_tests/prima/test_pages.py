"""What the door promises about the values and rows of one page."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import ibis
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prima_emarsys.contract import ENTITIES, Entity, Type
from prima_emarsys.prima.pages import PageError, Typed, type_page
from prima_emarsys.prima.schemas import schema, violations

LONDON = ZoneInfo("Europe/London")
CUSTOMER, ORDER, LINE, STOCK = (ENTITIES[n] for n in ("customer", "sales_order", "sales_order_line", "stock"))

SOUND: dict[str, dict[str, Any]] = {
    "customer": {"company": "01", "customer_code": "00123"},
    "sales_order": {
        "company": "01",
        "order_number": "1",
        "customer_code": "00123",
        "status": "held",
        "currency": "GBP",
        "ordered_at": "2026-03-02 09:00:00",
    },
    "sales_order_line": {
        "company": "01",
        "order_number": "1",
        "line_number": "1",
        "product": "310BRF",
        "status": "held",
        "quantity": "1",
        "quantity_cancelled": "0",
        "quantity_despatched": "0",
        "value_incl_vat": "1.00",
        "value_excl_vat": "1.00",
    },
    "stock": {"company": "01", "warehouse": "MAIN", "product": "P", "physical": "1", "allocated": "0", "held": "0"},
    "customer_address": {
        "company": "01",
        "customer_code": "1",
        "address_number": "1",
        "address_type": "invoice",
    },
}


def judge(entity: Entity, *changes: dict[str, Any], words: Any = None, now: datetime | None = None) -> Typed:
    """Judge a page of rows that are sound but for the changes; each has a key of its own."""
    own = {"customer": "customer_code", "sales_order": "order_number", "customer_address": "address_number"}
    numbered = own.get(entity.name)
    rows = [
        {**SOUND[entity.name], **({numbered: str(n)} if numbered else {}), **change} for n, change in enumerate(changes)
    ]
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: [row.get(name) for row in rows] for name in names}
    typed = type_page(entity, pa.table(columns), LONDON, words, now=now)
    assert len(changes) == typed.good.num_rows + typed.quarantined
    return typed


def one(entity: Entity, column: str, value: Any) -> tuple[Any, list[str]]:
    """What a column of an otherwise sound row becomes, and the kinds of findings. A row held back gives 'held'."""
    typed = judge(entity, {column: value})
    kinds = [finding.kind for finding in typed.findings]
    return ("held" if typed.quarantined else typed.good[column][0].as_py()), kinds


@pytest.mark.parametrize(
    ("given", "kept"),
    [("  00123  ", "00123"), ("NA", "NA"), ("Null", "Null"), ("nan", "nan"), (123, "123"), (Decimal("123.00"), "123")],
)
def test_a_code_stays_text_and_keeps_its_leading_zeros_row_84(given: Any, kept: str) -> None:
    assert one(ORDER, "customer_code", given) == (kept, [])


@pytest.mark.parametrize("name", ["Null", "NA", "None", "O\u2019Brien", "Müller", "MÃ¼ller", "王", "Żółć", "🥾"])
def test_a_surname_is_never_taken_for_something_else_row_84(name: str) -> None:
    assert one(CUSTOMER, "surname", f" {name} ") == (name, [])


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("12.5", "12.5000"),
        ("2.00005", "2.0001"),
        ("-2.00005", "-2.0001"),
        ("1e3", "1000.0000"),
        (2.675, "2.6750"),
        (0.1 + 0.2, "0.3000"),
        (Decimal("7.123456"), "7.1235"),
        (7, "7.0000"),
        (" 5 ", "5.0000"),
    ],
)
def test_money_is_exact_and_rounds_half_up(given: Any, kept: str) -> None:
    assert one(LINE, "value_incl_vat", given) == (Decimal(kept), [])


@pytest.mark.parametrize("given", ["NaN", "Infinity", float("nan"), float("inf"), "1.234,56", "£5", "1_0", "9" * 15])
def test_what_is_no_money_holds_the_row_back_row_86(given: Any) -> None:
    assert one(LINE, "value_incl_vat", given) == ("held", ["contract-breach"])


@pytest.mark.parametrize(("given", "kept"), [("3", 3), ("3.0", 3), (3.0, 3), ("+3", 3)])
def test_a_quantity_is_a_whole_number(given: Any, kept: int) -> None:
    assert one(LINE, "quantity", given) == (kept, [])


@pytest.mark.parametrize("given", ["x", "2.5", "0x10", None, "", "-1"])
def test_a_quantity_that_is_none_holds_the_row_back(given: Any) -> None:
    assert one(LINE, "quantity", given) == ("held", ["contract-breach"])


@pytest.mark.parametrize(
    ("given", "kept"),
    [("Yes", True), ("y", True), (1, True), ("TRUE", True), ("No", False), ("0", False), (None, None), ("  ", None)],
)
def test_consent_has_three_states_and_blank_is_never_an_answer(given: Any, kept: bool | None) -> None:
    assert one(CUSTOMER, "receive_email", given) == (kept, [])


def test_consent_that_cannot_be_read_holds_the_row_back() -> None:
    assert one(CUSTOMER, "receive_email", "perhaps") == ("held", ["contract-breach"])


def test_another_flag_that_cannot_be_read_leaves_only_itself_out() -> None:
    assert one(CUSTOMER, "is_trade", "perhaps") == (None, ["field-withheld"])


@pytest.mark.parametrize("given", ["Part Despatched", "part-despatched", "PART_DESPATCHED ", "Teilgeliefert"])
def test_a_status_is_known_by_the_contract_or_by_the_site(given: str) -> None:
    typed = judge(ORDER, {"status": given}, words={"status": {"TEILGELIEFERT": "part despatched"}})
    assert typed.good["status"].to_pylist() == ["part despatched"]


def test_an_unknown_status_waits_and_is_not_guessed() -> None:
    typed = judge(ORDER, {"status": "Gone fishing"}, {})
    assert [(f.kind, f.record) for f in typed.findings] == [("unknown-status", "sales_order|01|0")]
    assert "status: 'Gone fishing'" in typed.findings[0].detail
    assert typed.good.num_rows == 1


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("1980-02-29", date(1980, 2, 29)),
        ("29/02/1980", date(1980, 2, 29)),
        ("1980-02-29 00:00:00", date(1980, 2, 29)),
        (date(1980, 2, 29), date(1980, 2, 29)),
        ("1753-01-01", None),
    ],
)
def test_dates_are_read_in_each_spelling_and_1753_means_unknown(given: Any, kept: date | None) -> None:
    assert one(CUSTOMER, "date_of_birth", given) == (kept, [])


@pytest.mark.parametrize("given", ["31.02.1980", "1980-02-31", "31/02/1980", "yesterday"])
def test_an_impossible_birthday_leaves_only_itself_out_row_85(given: str) -> None:
    assert one(CUSTOMER, "date_of_birth", given) == (None, ["field-withheld"])


@pytest.mark.parametrize(
    ("given", "instant", "day"),
    [
        ("2026-07-01 00:30:00", datetime(2026, 6, 30, 23, 30, tzinfo=UTC), date(2026, 7, 1)),
        ("2026-06-30T23:30:00Z", datetime(2026, 6, 30, 23, 30, tzinfo=UTC), date(2026, 7, 1)),
        ("2026-07-01T01:30:00+02:00", datetime(2026, 6, 30, 23, 30, tzinfo=UTC), date(2026, 7, 1)),
        ("01/07/2026 00:30", datetime(2026, 6, 30, 23, 30, tzinfo=UTC), date(2026, 7, 1)),
        ("1969-12-31 23:30:00", datetime(1969, 12, 31, 22, 30, tzinfo=UTC), date(1969, 12, 31)),
    ],
)
def test_a_time_is_kept_in_utc_with_the_sites_day_beside_it_row_89(given: str, instant: datetime, day: date) -> None:
    typed = judge(ORDER, {"ordered_at": given})
    assert typed.good["ordered_at"][0].as_py() == instant
    assert typed.good["ordered_on"][0].as_py() == day


def test_spellings_of_time_may_differ_from_row_to_row() -> None:
    given = ["2026-01-01 09:00:00", "2026-01-01T09:00:00Z", "01/01/2026 09:00", "2026-01-01T10:00:00+01:00"]
    typed = judge(ORDER, *({"ordered_at": text} for text in given))
    assert set(typed.good["ordered_at"].to_pylist()) == {datetime(2026, 1, 1, 9, tzinfo=UTC)}


def test_a_doubled_hour_is_the_earlier_and_a_skipped_one_moves_forward_both_counted_row_89() -> None:
    typed = judge(ORDER, {"ordered_at": "2026-10-25 01:30:00"}, {"ordered_at": "2026-03-29 01:30:00"}, {})
    assert typed.good["ordered_at"].to_pylist()[:2] == [
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        datetime(2026, 3, 29, 1, 0, tzinfo=UTC),
    ]
    assert typed.repairs == {"ambiguous-hour": 1, "missing-hour": 1}
    assert typed.findings == []


def test_a_time_three_days_ahead_is_not_believed_row_89() -> None:
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    typed = judge(ORDER, {"ordered_at": "2026-03-04 12:00:00"}, {"ordered_at": "2026-03-01 13:00:00"}, now=now)
    assert [f.record for f in typed.findings] == ["sales_order|01|0"]
    assert typed.quarantined == 1


def test_control_characters_are_removed_and_counted_row_76() -> None:
    typed = judge(CUSTOMER, {"surname": "O\x00Neil\x07"}, {"surname": "Two\r\nlines"}, {"surname": "Sound"})
    assert typed.good["surname"].to_pylist() == ["ONeil", "Two lines", "Sound"]
    assert typed.repairs == {"control-characters": 2}


def test_bytes_that_are_no_text_leave_only_their_field_out_row_76() -> None:
    half_a_pair = "M\ud800".encode("utf-8", "surrogatepass")
    raw = pa.table({"company": ["01"], "customer_code": ["1"], "surname": pa.array([half_a_pair], pa.binary())})
    typed = type_page(CUSTOMER, raw, LONDON)
    assert typed.good["surname"].to_pylist() == [None]
    assert [finding.kind for finding in typed.findings] == ["field-withheld"]


def test_country_codes_are_iso_with_two_reserved_spellings_row_82() -> None:
    address = ENTITIES["customer_address"]
    assert one(address, "country", "gb") == ("GB", [])
    assert one(address, "country", "UK") == ("GB", [])
    assert one(address, "country", "XK") == ("XK", [])
    assert one(address, "country", "Atlantis") == (None, ["field-withheld"])


def test_a_currency_that_does_not_exist_holds_an_order_back() -> None:
    assert one(ORDER, "currency", "POUNDS") == ("held", ["contract-breach"])


def test_parts_of_a_key_that_may_be_absent_are_empty_text() -> None:
    typed = judge(STOCK, {"matrix_1": None})
    assert [typed.good[f"matrix_{n}"][0].as_py() for n in (1, 2, 3, 4)] == ["", "", "", ""]


def test_a_key_that_comes_twice_holds_both_rows_back() -> None:
    typed = judge(STOCK, {"product": "A"}, {"product": "A "}, {"product": "B"})
    assert typed.good["product"].to_pylist() == ["B"]
    assert {f.record for f in typed.findings} == {"stock|01|MAIN|A||||"}


def test_personal_values_are_masked_in_findings() -> None:
    typed = judge(CUSTOMER, {"date_of_birth": "31.02.1980"})
    assert "1980" not in str(typed.findings)
    assert "3…(10)" in typed.findings[0].detail


def test_a_row_with_several_faults_has_a_finding_for_each_and_counts_once() -> None:
    typed = judge(LINE, {"quantity": "x", "status": "?", "order_number": None, "value_incl_vat": "y"})
    assert typed.quarantined == 1
    assert sorted(f.kind for f in typed.findings) == ["contract-breach", "contract-breach", "unknown-status"]
    assert typed.findings[0].record == "sales_order_line|01|(none)|1"


def test_a_page_without_a_required_column_is_refused_by_its_name() -> None:
    with pytest.raises(PageError, match="sales_order.order_number is required"):
        type_page(ORDER, pa.table({"company": ["01"]}), LONDON)


def test_a_date_can_be_asked_to_be_day_first_in_ten_characters_or_to_be_none() -> None:
    wrong = ["2026-10-25", "5/1/2026", "10/25/2026", "31/02/2026", "25/10/2026 12:00"]
    said = ["25/10/2026", "", None, *wrong, "01/01/1753"]
    page = pa.table({"company": ["01"] * 9, "product": list("abcdefghi"), "available": [0] * 9, "expected_on": said})
    typed = type_page(ENTITIES["available_stock"], page, LONDON, day_first=True)
    assert typed.good["expected_on"].to_pylist() == [date(2026, 10, 25), *[None] * 8]
    assert [f.kind for f in typed.findings] == ["field-withheld"] * len(wrong)
    assert typed.repairs == {"placeholder-date": 1}


def test_an_empty_page_is_a_typed_empty_page() -> None:
    raw = pa.table({c.name: pa.array([], pa.string()) for c in ORDER.columns})
    assert type_page(ORDER, raw, LONDON).good.schema == ORDER.arrow_schema


@pytest.mark.parametrize("entity", ENTITIES.values(), ids=list(ENTITIES))
def test_each_schema_describes_every_column(entity: Entity) -> None:
    described = schema(entity)
    assert list(described.columns) == entity.arrow_schema.names
    assert all(column.description for column in described.columns.values())


texts = st.one_of(
    st.none(),
    st.text(max_size=8),
    st.sampled_from(
        ["1", " 01 ", "2026-03-29 01:30", "25/10/2026", "yes", "held", "GBP", "GB", "1.23456", "-0", "NaN"]
    ),
)


@st.composite
def pages(draw: st.DrawFn) -> tuple[Entity, pa.Table]:
    entity = ENTITIES[draw(st.sampled_from(sorted(ENTITIES)))]
    rows = draw(st.integers(0, 6))
    base = {Type.MONEY: "1", Type.INTEGER: "1", Type.DATE: "2026-01-01", Type.TIMESTAMP: "2026-01-01"}
    columns: dict[str, pa.Array] = {}
    wild = draw(st.sets(st.sampled_from([c.name for c in entity.columns]), max_size=3))
    for column in entity.columns:
        sound = column.words[0] if column.words else base.get(column.type, "GBP" if "currency" in column.name else None)
        values = [draw(texts) if column.name in wild else sound or f"k{n}" for n in range(rows)]
        columns[column.name] = pa.array(values, pa.string())
    return entity, pa.table(columns)


@settings(max_examples=100, deadline=None)
@given(pages())
def test_whatever_text_comes_every_row_is_counted_and_typing_twice_changes_nothing(
    page: tuple[Entity, pa.Table],
) -> None:
    entity, raw = page
    once = type_page(entity, raw, LONDON)
    assert raw.num_rows == once.good.num_rows + once.quarantined
    assert once.good.schema == entity.arrow_schema
    twice = type_page(entity, once.good, LONDON)
    assert twice.good.equals(once.good)
    assert (twice.findings, twice.quarantined, twice.repairs) == ([], 0, {})


@settings(max_examples=15, deadline=None)
@given(pages())
def test_what_the_door_lets_in_breaks_no_rule_once_stored(page: tuple[Entity, pa.Table]) -> None:
    entity, raw = page
    good = type_page(entity, raw, LONDON).good
    assert set(broken(entity, good).values()) <= {0}


def test_what_is_stored_and_breaks_the_rules_is_counted_by_rule() -> None:
    rows = pa.table(
        {
            name: pa.nulls(3, type_)
            for name, type_ in zip(STOCK.arrow_schema.names, STOCK.arrow_schema.types, strict=True)
        }
    )
    counted = broken(STOCK, rows)
    assert counted["product_present"] == 3
    assert counted["key_unique"] == 3
    line = judge(LINE, {}).good
    spoilt = line.set_column(
        line.schema.get_field_index("quantity"), line.schema.field("quantity"), pa.array([-1], pa.int64())
    ).set_column(line.schema.get_field_index("status"), line.schema.field("status"), pa.array(["?"]))
    assert {name for name, count in broken(LINE, spoilt).items() if count} == {"quantity_at_least_0", "status_known"}


def broken(entity: Entity, rows: pa.Table) -> dict[str, int]:
    """How many stored rows break each rule, counted by DuckDB."""
    engine = ibis.duckdb.from_connection(duckdb.connect())
    table = engine.create_table("stored", rows, temp=True)
    return {name: int(table.filter(rule(table)).count().execute()) for name, rule in violations(entity).items()}
