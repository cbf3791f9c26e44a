"""What the reader promises on real databases: every row once, in order, whatever goes wrong on the way."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from prima_emarsys.contract import ENTITIES
from prima_emarsys.prima.sql import Mark, ReadError, SqlReader, WritableRoleError
from prima_emarsys.prima.statements import MappingError
from prima_emarsys_tests.prima.tables import NINE, ORDERS, STOCK, create, order, reader, run, site, stock, whole

ways = pytest.mark.parametrize("way", ["fast", "cursor"])


def numbers(pages: list[Any]) -> list[str]:
    return whole(pages)["order_number"].to_pylist()


def minute(number: int) -> datetime:
    return (NINE + timedelta(minutes=number)).replace(tzinfo=UTC)


@ways
def test_everything_comes_once_in_the_order_of_the_key_in_bounded_pages(url: str, way: str) -> None:
    create(url, ORDERS, [order(n) for n in reversed(range(250))])
    pages = list(reader(url, way).everything(ORDERS))
    assert numbers(pages) == [f"{n:06d}" for n in range(250)]
    assert [page.read for page in pages] == [100, 100, 50]
    assert pages[0].last_key == ("01", "000099")
    assert {page.mark for page in pages} == {None}


def test_the_fast_stream_and_the_cursor_give_the_same(url: str) -> None:
    nasty = [
        order(1, customer_code=" 00042 ", order_email="x\ty@z", exchange_rate=Decimal("0.12345678")),
        order(2, status="part-despatched", cancelled_at=datetime(2026, 10, 25, 1, 30)),  # noqa: DTZ001
        order(3, status="?", prices_include_vat=None),
        order(4, ordered_at=datetime(2026, 3, 29, 1, 30)),  # noqa: DTZ001
    ]
    create(url, ORDERS, nasty + [order(n) for n in range(10, 140)])
    fast, cursor = (list(reader(url, way).everything(ORDERS)) for way in ("fast", "cursor"))
    assert whole(fast).equals(whole(cursor))
    assert [page.findings for page in fast] == [page.findings for page in cursor]
    assert [page.repairs for page in fast] == [page.repairs for page in cursor]


@ways
def test_parts_of_the_key_that_are_null_lose_no_row(url: str, way: str) -> None:
    rows = [stock(f"P{n // 3:03d}", matrix_1=[None, "F", "G"][n % 3]) for n in range(250)]
    create(url, STOCK, rows)
    good = whole(list(reader(url, way).everything(STOCK)))
    assert good.num_rows == 250
    assert good["matrix_1"].to_pylist().count("") == 84


@ways
def test_rows_that_share_one_stamp_across_pages_are_neither_lost_nor_doubled_row_53(url: str, way: str) -> None:
    create(url, ORDERS, [order(n, changed_at=NINE) for n in range(5_000)])
    pages = list(reader(url, way).changed(ORDERS, None))
    assert numbers(pages) == [f"{n:06d}" for n in range(5_000)]
    assert pages[-1].mark == Mark(minute(0))
    assert sum(page.read for page in reader(url, way).changed(ORDERS, pages[-1].mark)) == 5_000


@ways
def test_only_what_changed_since_the_mark_less_the_overlap_is_read_again(url: str, way: str) -> None:
    create(url, ORDERS, [order(n) for n in range(250)])
    pages = list(reader(url, way).changed(ORDERS, Mark(minute(200))))
    assert numbers(pages) == [f"{n:06d}" for n in range(185, 250)]
    assert pages[-1].mark == Mark(minute(249))


@ways
def test_a_row_that_commits_late_is_found_by_the_overlap_and_beyond_it_by_the_sweep_row_52(url: str, way: str) -> None:
    create(url, ORDERS, [order(n) for n in range(100)])
    prima = reader(url, way)
    mark = list(prima.changed(ORDERS, None))[-1].mark
    create(url, ORDERS, [order(500, changed_at=NINE + timedelta(minutes=90)), order(501, changed_at=NINE)])
    found = numbers(list(prima.changed(ORDERS, mark)))
    assert "000500" in found
    assert "000501" not in found
    assert "000501" in numbers(list(prima.everything(ORDERS)))


def test_the_mark_rises_page_by_page_and_never_passes_the_present(url: str) -> None:
    ahead = datetime.now() + timedelta(days=3)  # noqa: DTZ005 (Prima's wall clock)
    create(url, ORDERS, [order(n) for n in range(250)] + [order(900, changed_at=ahead)])
    prima = reader(url)
    pages = list(prima.changed(ORDERS, None))
    marks = [page.mark for page in pages]
    assert marks == [Mark(minute(99)), Mark(minute(199)), Mark(minute(249))]
    assert [f.record for page in pages for f in page.findings] == ["sales_order|01|000900"]
    assert prima.latest(ORDERS) == Mark(minute(249))


def test_a_mark_survives_being_written_down() -> None:
    mark = Mark(datetime(2026, 3, 2, 9, 0, 0, 123456, tzinfo=UTC))
    assert Mark.parse(str(mark)) == mark


def test_rows_without_a_stamp_come_with_the_first_read(url: str) -> None:
    create(url, ORDERS, [order(1, changed_at=None), order(2)])
    prima = reader(url)
    pages = list(prima.changed(ORDERS, None))
    assert [(numbers([page]), page.mark) for page in pages] == [(["000001"], None), (["000002"], Mark(minute(2)))]
    assert numbers(list(prima.changed(ORDERS, pages[-1].mark))) == ["000002"]


def test_a_table_without_change_column_is_read_whole(url: str) -> None:
    create(url, STOCK, [stock("A"), stock("B")])
    prima = reader(url, entities={"stock": {"change": "full", "columns": {"changed_at": None}}})
    assert whole(list(prima.changed(STOCK, Mark(minute(0))))).num_rows == 2
    assert prima.latest(STOCK) is None


def test_a_table_that_the_site_does_not_have_is_read_as_empty(url: str) -> None:
    prima = reader(url, entities={"stock": {"absent": True}})
    assert list(prima.everything(STOCK)) == list(prima.changed(STOCK, None)) == []
    assert prima.latest(STOCK) is None


def test_an_empty_table_gives_no_page_row_54(url: str) -> None:
    create(url, ORDERS)
    assert list(reader(url).everything(ORDERS)) == []
    assert reader(url).latest(ORDERS) is None


@ways
def test_rows_deleted_logically_or_filtered_away_are_gone_when_they_change_and_missing_from_a_sweep(
    url: str, way: str
) -> None:
    create(url, ORDERS, [order(1), order(2, source_media="DEL"), order(3, company="99"), order(4)])
    rules = {
        "filters": [{"column": "company", "op": "in", "value": ["01", "02"]}],
        "logical_delete": {"column": "source_media", "value": "DEL"},
    }
    prima = reader(url, way, entities={"sales_order": rules})
    [page] = prima.changed(ORDERS, None)
    assert page.good["order_number"].to_pylist() == ["000001", "000004"]
    assert sorted(page.gone) == [("01", "000002"), ("99", "000003")]
    assert page.read == page.good.num_rows + page.quarantined + len(page.gone)
    assert numbers(list(prima.everything(ORDERS))) == ["000001", "000004"]


# --- OpenEdge -----------------------------------------------------------------------------------------------------


@ways
def test_a_site_with_openedge_habits_is_read_by_its_map_alone(url: str, way: str) -> None:
    run(
        url,
        'CREATE TABLE "ord-head" ("ord-num" CHAR(10), "cust-num" CHAR(12), stat VARCHAR(20), "upd-date" DATE,'
        ' "upd-time" INTEGER, "open-date" DATE, "inc-vat" VARCHAR(3), "codes" VARCHAR(80), "can-date" DATE)',
        "INSERT INTO \"ord-head\" VALUES ('7         ', ' 00123      ', 'Complete', '2026-03-02', 32400, '2026-03-01',"
        " 'Yes', 'WEB;a~;b;?', '1753-01-01')",
        "INSERT INTO \"ord-head\" VALUES ('8', '00124', 'Complete', '2026-03-02', 32460, '2026-03-01', NULL,"
        " 'M', NULL)",
        "INSERT INTO \"ord-head\" VALUES ('9', '00125', 'Complete', '2026-03-01', 99999, '2026-03-01', 'No', '', NULL)",
    )
    nowhere = dict.fromkeys(
        ("invoice_address_number", "delivery_address_number", "order_email", "exchange_credit_number", "exchange_rate")
    )
    columns = {
        **nowhere,
        "company": {"constant": "01"},
        "order_number": "ord-num",
        "customer_code": "cust-num",
        "status": "stat",
        "channel": {"extent": "codes", "element": 1},
        "source_media": {"extent": "codes", "element": 2},
        "order_type": {"extent": "codes", "element": 3},
        "currency": {"constant": "GBP"},
        "prices_include_vat": "inc-vat",
        "ordered_at": "open-date",
        "cancelled_at": "can-date",
        "changed_at": {"date": "upd-date", "seconds": "upd-time"},
    }
    words = {"status": {"Complete": "despatched"}}
    prima = reader(url, way, entities={"sales_order": {"table": "ord-head", "columns": columns, "words": words}})
    assert prima.latest(ORDERS) == Mark(minute(1))
    [page] = prima.changed(ORDERS, None)
    first, second = page.good.to_pylist()
    assert (first["order_number"], first["customer_code"], first["status"]) == ("7", "00123", "despatched")
    assert (first["channel"], first["source_media"], first["order_type"]) == ("WEB", "a;b", None)
    assert (first["prices_include_vat"], first["cancelled_at"]) == (True, None)
    assert first["changed_at"] == minute(0)
    assert (second["channel"], second["source_media"], second["prices_include_vat"]) == ("M", None, None)
    assert page.mark == Mark(minute(1))
    [finding] = page.findings
    assert finding.record == "sales_order|01|9"
    assert "changed_at" in finding.detail
    later = list(prima.changed(ORDERS, Mark(minute(1) + timedelta(minutes=15))))
    assert numbers(later) == ["8"]


# --- faults -------------------------------------------------------------------------------------------------------


def spoil(url: str, *bad: str) -> None:
    """Hide the orders behind a view whose e-mail cannot be read in some rows, as an over-wide value cannot."""
    is_sqlite = url.startswith("sqlite")
    failing = "json('over-wide')" if is_sqlite else "CAST(CAST(1 / (length(order_number) - 6) AS INTEGER) AS VARCHAR)"
    listed = ", ".join(f"'{number}'" for number in bad)
    columns = ", ".join(name for name in ORDERS.column if name != "order_email")
    run(
        url,
        f"CREATE VIEW spoilt AS SELECT {columns}, CASE WHEN order_number IN ({listed})"  # noqa: S608 (all ours)
        f" THEN {failing} END AS order_email FROM sales_order",
    )


@ways
def test_rows_that_the_database_will_not_hand_out_are_named_and_the_rest_goes_on(url: str, way: str) -> None:
    create(url, ORDERS, [order(n) for n in range(250)])
    spoil(url, "000000", "000123", "000124", "000249")
    prima = reader(url, way, entities={"sales_order": {"table": "spoilt"}})
    for pages in (list(prima.everything(ORDERS)), list(prima.changed(ORDERS, None))):
        assert sum(page.read for page in pages) == 250
        assert whole(pages).num_rows == 246
        assert [f.record for page in pages for f in page.findings] == [
            f"sales_order|01|{number}" for number in ("000000", "000123", "000124", "000249")
        ]
        assert {f.kind for page in pages for f in page.findings} == {"unreadable-row"}
        assert sum(page.quarantined for page in pages) == 4
    assert pages[-1].mark == Mark(minute(248))


def test_a_table_of_which_no_row_can_be_read_stops_that_table(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path / 'prima.db'}"
    create(url, ORDERS, [order(n) for n in range(150)])
    spoil(url, *(f"{n:06d}" for n in range(150)))
    with pytest.raises(ReadError, match="sales_order: table 'spoilt' cannot be read"):
        list(reader(url, entities={"sales_order": {"table": "spoilt"}}).everything(ORDERS))


def test_a_column_that_was_renamed_stops_its_entity_by_name_and_others_go_on_row_55(url: str) -> None:
    create(url, ORDERS, [order(1)])
    create(url, STOCK, [stock("A")])
    prima = reader(url)
    assert numbers(list(prima.everything(ORDERS))) == ["000001"]
    run(url, "ALTER TABLE sales_order RENAME COLUMN customer_code TO customer_no")
    with pytest.raises(ReadError, match="sales_order"):
        list(prima.everything(ORDERS))
    with pytest.raises(MappingError, match=r"has no column 'customer_code'. Did you mean 'customer_no'\?"):
        list(prima.everything(ORDERS))
    assert whole(list(prima.everything(STOCK))).num_rows == 1


def test_a_table_that_is_not_there_is_refused_and_what_is_there_is_named_row_95(url: str) -> None:
    create(url, ORDERS, [order(1)])
    with pytest.raises(MappingError, match="It sees: sales_order"):
        list(reader(url, entities={"sales_order": {"table": '"; DROP TABLE sales_order; --'}}).everything(ORDERS))
    assert numbers(list(reader(url).everything(ORDERS))) == ["000001"]


@ways
@pytest.mark.parametrize("how", ["everything", "changed"])
def test_a_lost_connection_is_taken_up_again_where_it_broke(postgres_url: str, way: str, how: str) -> None:
    create(postgres_url, ORDERS, [order(n, changed_at=NINE) for n in range(450)])
    prima = reader(postgres_url, way)
    pages = []
    for page in prima.everything(ORDERS) if how == "everything" else prima.changed(ORDERS, Mark(minute(0))):
        pages.append(page)
        if len(pages) == 2:
            run(
                postgres_url,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
    assert numbers(pages) == [f"{n:06d}" for n in range(450)]


def test_a_lock_that_passes_only_delays_the_read(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path / 'prima.db'}"
    create(url, ORDERS, [order(n) for n in range(150)])
    prima = reader(url)
    prima.latest(ORDERS)
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN EXCLUSIVE")
        found: list[int] = []
        reading = threading.Thread(target=lambda: found.extend(p.read for p in prima.everything(ORDERS)))
        reading.start()
        time.sleep(0.3)
        connection.rollback()
        reading.join(20)
    assert found == [100, 50]


def test_a_database_that_is_down_is_said_so_without_its_secrets_row_51() -> None:
    url = "postgresql+psycopg://reader:hush-hush@127.0.0.1:9/prima"
    with pytest.raises(ReadError, match="sales_order") as refused:
        list(SqlReader(url, site()).everything(ORDERS))
    assert "hush" not in str(refused.value)


# --- the role -----------------------------------------------------------------------------------------------------

ONLY_ORDERS = {name: {"absent": True} for name in ENTITIES if name != "sales_order"}


def test_a_role_that_may_write_is_refused_by_the_name_of_the_setting_row_97(url: str) -> None:
    create(url, ORDERS, [order(1)])
    with pytest.raises(WritableRoleError, match=r"prima\.allow_writable_role"):
        reader(url, entities=ONLY_ORDERS).probe()
    reader(url, entities=ONLY_ORDERS, allow_writable_role=True).probe()
    assert numbers(list(reader(url).everything(ORDERS))) == ["000001"]


def test_a_file_that_is_opened_read_only_is_accepted_row_97(tmp_path: Any) -> None:
    create(f"sqlite:///{tmp_path / 'prima.db'}", ORDERS, [order(1)])
    prima = reader(f"sqlite:///file:{tmp_path / 'prima.db'}?mode=ro&uri=true", entities=ONLY_ORDERS)
    prima.probe()
    assert numbers(list(prima.everything(ORDERS))) == ["000001"]


@pytest.mark.parametrize(("grant", "refused"), [("SELECT", False), ("SELECT, DELETE", True), ("SELECT, UPDATE", True)])
def test_the_rights_of_a_postgres_role_are_asked_of_the_database_row_97(
    postgres_url: str, grant: str, refused: bool
) -> None:
    create(postgres_url, ORDERS, [order(1)])
    role = f"reader_{abs(hash((postgres_url, grant)))}"
    run(postgres_url, f"CREATE ROLE {role} LOGIN", f"GRANT {grant} ON sales_order TO {role}")
    url = sa.make_url(postgres_url).set(username=role).render_as_string(hide_password=False)
    prima = reader(url, entities=ONLY_ORDERS)
    if refused:
        with pytest.raises(WritableRoleError, match="sales_order"):
            prima.probe()
    else:
        prima.probe()
    assert numbers(list(prima.everything(ORDERS))) == ["000001"]
    run(postgres_url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_pages_have_the_contracts_schema(url: str) -> None:
    create(url, ORDERS, [order(1)])
    [page] = reader(url).everything(ORDERS)
    assert page.good.schema == ORDERS.arrow_schema
    assert isinstance(page.good, pa.Table)


# -- looking rows up ---------------------------------------------------------------------------------------------------


def looked_up(prima: SqlReader, *wanted: tuple[str, str]) -> list[str]:
    return sorted(prima.matching(ORDERS, ("company", "order_number"), wanted)["order_number"].to_pylist())


def test_rows_are_looked_up_by_their_codes_judged_and_however_many(url: str) -> None:
    create(url, ORDERS, [order(n) for n in range(1_300)] + [order(5, company="02"), order(7, status="?", company="03")])
    prima = reader(url)
    assert looked_up(prima, ("01", "000005"), ("02", "000005"), ("02", "000006"), ("03", "000007")) == ["000005"] * 2
    assert len(looked_up(prima, *(("01", f"{n:06d}") for n in range(1_300)))) == 1_300
    assert looked_up(prima) == []


@pytest.mark.parametrize(
    ("columns", "wanted", "found"),
    [
        ({"company": {"constant": "01"}}, ("01", "000005"), ["000005"]),
        ({"company": {"constant": "02"}}, ("01", "000005"), []),
        ({"exchange_credit_number": None}, ("01", "000005"), ["000005"]),
    ],
)
def test_a_company_that_is_constant_is_looked_up_by_as_well(
    url: str, columns: dict[str, Any], wanted: tuple[str, str], found: list[str]
) -> None:
    create(url, ORDERS, [order(5)])
    assert looked_up(reader(url, entities={"sales_order": {"columns": columns}}), wanted) == found


def test_what_the_filters_leave_out_is_not_found(url: str) -> None:
    create(url, ORDERS, [order(5, channel="SHOP"), order(6)])
    entities = {"sales_order": {"logical_delete": {"column": "channel", "value": "SHOP"}}}
    assert looked_up(reader(url, entities=entities), ("01", "000005"), ("01", "000006")) == ["000006"]


def test_codes_filled_up_with_blanks_and_codes_that_are_numbers_are_found(url: str) -> None:
    create(url, ORDERS, [order(n, order_number=f"{n:06d}".ljust(12)) for n in range(3)])
    assert looked_up(reader(url), ("01", "000002")) == ["000002"]
    integers = "CREATE VIEW numbered AS SELECT *, CAST(order_number AS INTEGER) AS no FROM sales_order"
    run(url, integers)
    numbered = {"sales_order": {"table": "numbered", "columns": {"order_number": "no"}}}
    assert looked_up(reader(url, entities=numbered), ("01", "2"), ("01", "x")) == ["2"]


def test_a_column_that_is_an_element_of_an_array_cannot_be_looked_up_by(url: str) -> None:
    create(url, ORDERS, [order(5)])
    columns = {"order_number": {"extent": "source_media", "element": 1}}
    with pytest.raises(MappingError, match="must be one column or a constant"):
        looked_up(reader(url, entities={"sales_order": {"columns": columns}}), ("01", "000005"))


def test_a_shorter_overlap_reads_less_again(url: str) -> None:
    create(url, ORDERS, [order(n) for n in range(30)])
    prima = reader(url)
    assert len(numbers(list(prima.changed(ORDERS, Mark(minute(29)))))) == 16
    assert len(numbers(list(prima.changed(ORDERS, Mark(minute(29)), timedelta(minutes=2))))) == 3
