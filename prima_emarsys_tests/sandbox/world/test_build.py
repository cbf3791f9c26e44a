"""What a world promises: the same again, sums that come out, every case there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from prima_emarsys.contract import ENTITIES, TABLES
from prima_emarsys.sandbox.world import WorldSummary, build
from prima_emarsys.sandbox.world.build import FEWEST
from prima_emarsys.sandbox.world.nasty import BURST, CASES, TRIPPING_SURNAMES
from prima_emarsys_tests.sandbox.world.conftest import NOW

Rows = list[dict[str, Any]]


def query(url: str, text: str) -> Rows:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        rows = [dict(row) for row in connection.execute(sa.text(text)).mappings()]
    engine.dispose()
    return rows


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, WorldSummary]:
    """One world that the read-only tests share."""
    url = f"sqlite:///{tmp_path_factory.mktemp('world') / 'prima.db'}"
    return url, build(url, customers=2_000, seed=1, now=NOW)


def test_the_same_seed_size_and_moment_give_byte_identical_files(fresh_url: Callable[[], str]) -> None:
    files = []
    for _ in range(2):
        url = fresh_url()
        build(url, customers=400, seed=3, now=NOW)
        files.append(Path(url.removeprefix("sqlite:///")).read_bytes())
    assert files[0] == files[1]


def test_another_seed_gives_another_world(fresh_url: Callable[[], str]) -> None:
    surnames = []
    for seed in (1, 2):
        url = fresh_url()
        build(url, customers=FEWEST, seed=seed, now=NOW)
        surnames.append(query(url, "SELECT surname FROM customer ORDER BY customer_code"))
    assert surnames[0] != surnames[1]


def test_sqlite_and_postgresql_hold_the_same_facts(sqlite_url: str, postgres_url: str) -> None:
    for url in (sqlite_url, postgres_url):
        build(url, customers=400, seed=3, now=NOW)
    for entity in TABLES.values():
        names = [column.name for column in entity.columns if column.name not in ("quantity", "value_excl_vat")]
        table = sa.table(entity.name, *map(sa.column, names))
        contents = []
        for url in (sqlite_url, postgres_url):
            engine = sa.create_engine(url)
            with engine.connect() as connection:
                rows = connection.execute(sa.select(table)).all()
                contents.append(sorted(tuple(map(as_text, row)) for row in rows))
            engine.dispose()
        assert contents[0] == contents[1], entity.name


def as_text(value: object) -> str:
    """One writing for what the two databases hand out as different types."""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S.%f")
    if isinstance(value, bool):
        return str(int(value))
    return str(value)


def test_the_contract_flavour_has_the_contracts_tables_columns_and_indexes(url: str) -> None:
    build(url, customers=FEWEST, now=NOW)
    engine = sa.create_engine(url)
    inspector = sa.inspect(engine)
    for entity in TABLES.values():
        assert [column["name"] for column in inspector.get_columns(entity.name)] == [c.name for c in entity.columns]
        indexed = [index["column_names"] for index in inspector.get_indexes(entity.name)]
        assert list(entity.key) in indexed
        assert ["changed_at"] in indexed
    engine.dispose()


def test_money_on_sqlite_is_text_with_four_decimals(world: tuple[str, WorldSummary]) -> None:
    rows = query(world[0], "SELECT DISTINCT typeof(value_incl_vat) AS kind FROM sales_order_line")
    assert rows == [{"kind": "text"}]
    (row,) = query(world[0], "SELECT count(*) AS n FROM sales_order_line WHERE value_incl_vat NOT GLOB '*[0-9].[0-9]*'")
    assert row["n"] == 0


def test_the_summary_counts_what_is_there(world: tuple[str, WorldSummary]) -> None:
    url, summary = world
    for entity in TABLES:
        assert query(url, f"SELECT count(*) AS n FROM {entity}") == [{"n": summary.rows[entity]}]  # noqa: S608
    assert summary.rows["customer"] == 2_002
    assert 8 < summary.rows["sales_order_line"] / 2_000 < 12


def test_keys_are_unique(world: tuple[str, WorldSummary]) -> None:
    for entity in TABLES.values():
        key = ", ".join(entity.key)
        doubled = query(world[0], f"SELECT {key} FROM {entity.name} GROUP BY {key} HAVING count(*) > 1")  # noqa: S608
        assert doubled == [], entity.name


def test_every_row_has_a_change_stamp_and_only_the_case_lies_in_the_future(world: tuple[str, WorldSummary]) -> None:
    url, summary = world
    for entity in TABLES:
        missing = query(url, f"SELECT count(*) AS n FROM {entity} WHERE changed_at IS NULL")  # noqa: S608
        assert missing == [{"n": 0}], entity
    ahead = query(url, "SELECT order_number FROM sales_order WHERE changed_at > '2026-10-05 13:00:00.000000'")
    assert [f"sales_order:1|{row['order_number']}" for row in ahead] == summary.cases["stamp-in-the-future"]


def lines_with_prices(url: str) -> Rows:
    return query(
        url,
        """
        SELECT l.*, o.currency, o.ordered_at, o.order_type, p.category
        FROM sales_order_line l
        JOIN sales_order o ON o.company = l.company AND o.order_number = l.order_number
        JOIN product p ON p.company = l.company AND p.product = l.product
        WHERE typeof(l.quantity) = 'integer' AND o.exchange_rate IS NOT NULL
        """,
    )


def test_a_lines_value_is_quantity_times_list_price_minus_discount(world: tuple[str, WorldSummary]) -> None:
    prices: dict[tuple[str, str, str], list[tuple[str, Decimal]]] = {}
    for row in query(world[0], "SELECT * FROM price ORDER BY valid_from"):
        key = (row["company"], row["price_list"], row["product"])
        prices.setdefault(key, []).append((row["valid_from"], Decimal(row["price_incl_vat"])))
    lists = {"GBP": "RETAIL", "EUR": "EURO", "USD": "DOLLAR"}
    shifted = {key.split("|")[1] for case in ("ambiguous-hour", "missing-hour") for key in world[1].cases[case]}
    checked = 0
    for line in lines_with_prices(world[0]):
        if line["order_number"] in shifted:
            continue
        price_list = "TRADE" if line["order_type"] == "TRADE" else lists[line["currency"]]
        dated = prices[line["company"], price_list, line["product"]]
        unit = [price for since, price in dated if since <= line["ordered_at"][:10]][-1]
        full = Decimal(line["value_incl_vat"]) + Decimal(line["discount_incl_vat"])
        assert full == line["quantity"] * unit, line
        checked += 1
    assert checked > 10_000


def test_vat_is_a_fifth_and_childrens_shoes_have_none(world: tuple[str, WorldSummary]) -> None:
    for line in lines_with_prices(world[0]):
        with_vat, without = Decimal(line["value_incl_vat"]), Decimal(line["value_excl_vat"])
        free = line["category"].startswith("Children")
        expected = with_vat if free else (with_vat / Decimal("1.2")).quantize(Decimal("0.01"), ROUND_HALF_UP)
        assert without == expected, line


def test_statuses_follow_from_quantities(world: tuple[str, WorldSummary]) -> None:
    for line in query(world[0], "SELECT * FROM sales_order_line WHERE typeof(quantity) = 'integer'"):
        assert_status(line["status"], line["quantity"], line["quantity_cancelled"], line["quantity_despatched"])
    headers = query(
        world[0],
        """
        SELECT o.order_number, o.status, sum(l.quantity) AS q, sum(l.quantity_cancelled) AS c,
               sum(l.quantity_despatched) AS d
        FROM sales_order o JOIN sales_order_line l ON l.company = o.company AND l.order_number = o.order_number
        GROUP BY o.order_number, o.status HAVING min(typeof(l.quantity)) = 'integer'
        """,
    )
    unknown = {key.split("|")[1] for key in world[1].cases["unknown-status-word"]}
    for row in headers:
        if row["order_number"] not in unknown:
            assert_status(row["status"], row["q"], row["c"], row["d"])


def assert_status(word: str, ordered: int, cancelled: int, despatched: int) -> None:
    folded = word.lower().replace("-", " ")
    assert cancelled + despatched <= ordered
    if cancelled == ordered:
        assert folded == "cancelled"
    elif despatched == 0:
        assert folded in ("held", "confirmed", "picking")
    elif cancelled + despatched < ordered:
        assert folded == "part despatched"
    else:
        assert folded in ("despatched", "invoiced")


def test_despatches_add_up_to_the_lines_despatched_quantity(world: tuple[str, WorldSummary]) -> None:
    wrong = query(
        world[0],
        """
        SELECT l.order_number, l.line_number FROM sales_order_line l
        LEFT JOIN (
            SELECT company, order_number, order_line_number, sum(quantity) AS gone FROM despatch GROUP BY 1, 2, 3
        ) d ON d.company = l.company AND d.order_number = l.order_number AND d.order_line_number = l.line_number
        WHERE l.quantity_despatched <> coalesce(d.gone, 0)
        """,
    )
    assert wrong == []


def test_nothing_comes_back_that_was_not_despatched(world: tuple[str, WorldSummary]) -> None:
    wrong = query(
        world[0],
        """
        SELECT r.return_number FROM customer_return r
        LEFT JOIN sales_order_line l ON l.company = r.company AND l.order_number = r.order_number
            AND l.line_number = r.order_line_number
        GROUP BY r.company, r.order_number, r.order_line_number
        HAVING sum(r.quantity) > coalesce(max(l.quantity_despatched), 0)
        """,
    )
    assert wrong == []


def test_credits_name_their_returns_and_are_worth_what_was_sold_save_for_the_cases(
    world: tuple[str, WorldSummary],
) -> None:
    url, summary = world
    above = {key.split("|")[1] for key in summary.cases["refund-above-sale"]}
    rows = query(
        url,
        """
        SELECT k.credit_number, k.quantity, k.value_incl_vat AS credited, l.value_incl_vat AS sold, l.quantity AS q,
               r.quantity AS came
        FROM credit_note_line k
        LEFT JOIN sales_order_line l ON l.company = k.company AND l.order_number = k.order_number
            AND l.line_number = k.order_line_number
        LEFT JOIN customer_return r ON r.company = k.company AND r.return_number = k.return_number
            AND r.order_line_number = k.order_line_number
        WHERE k.product IS NOT NULL
        """,
    )
    assert len(rows) > 500
    for row in rows:
        assert row["quantity"] == row["came"], row
        share = Decimal(row["sold"]) * row["quantity"] / row["q"]
        within = abs(Decimal(row["credited"]) - share) <= Decimal("0.01")
        assert within == (row["credit_number"] not in above), row


def test_an_exchange_credit_pays_for_a_later_order_of_the_same_account(world: tuple[str, WorldSummary]) -> None:
    rows = query(
        world[0],
        """
        SELECT o.order_number, o.customer_code, o.ordered_at, n.customer_code AS credited, n.finalised_at, n.credit_type
        FROM sales_order o LEFT JOIN credit_note n
            ON n.company = o.company AND n.credit_number = o.exchange_credit_number
        WHERE o.exchange_credit_number IS NOT NULL
        """,
    )
    assert len(rows) > 20
    for row in rows:
        assert row["credit_type"] == "Exchange"
        assert row["customer_code"] == row["credited"]
        assert row["ordered_at"] >= row["finalised_at"]


def test_allocated_stock_is_what_open_orders_wait_for(world: tuple[str, WorldSummary]) -> None:
    wrong = query(
        world[0],
        """
        SELECT s.product, s.allocated, w.waits FROM stock s
        LEFT JOIN (
            SELECT company, warehouse, product, matrix_1, matrix_2,
                   sum(quantity - quantity_cancelled - quantity_despatched) AS waits
            FROM sales_order_line WHERE typeof(quantity) = 'integer' GROUP BY 1, 2, 3, 4, 5
        ) w ON w.company = s.company AND w.warehouse = s.warehouse AND w.product = s.product
            AND w.matrix_1 = s.matrix_1 AND w.matrix_2 = s.matrix_2
        WHERE s.allocated <> coalesce(w.waits, 0)
        """,
    )
    assert len(wrong) == 1  # the line with a quantity of "x"


def test_every_order_has_an_account_and_every_line_an_order_and_a_sku(world: tuple[str, WorldSummary]) -> None:
    url = world[0]
    assert not query(
        url,
        "SELECT o.order_number FROM sales_order o LEFT JOIN customer c ON c.company = o.company "
        "AND c.customer_code = o.customer_code WHERE c.customer_code IS NULL",
    )
    assert not query(
        url,
        "SELECT l.order_number FROM sales_order_line l LEFT JOIN sku s ON s.company = l.company AND "
        "s.product = l.product AND s.matrix_1 = l.matrix_1 AND s.matrix_2 = l.matrix_2 WHERE s.product IS NULL",
    )


def test_a_quarter_of_the_persons_has_two_to_eight_accounts(world: tuple[str, WorldSummary]) -> None:
    rows = query(
        world[0],
        "SELECT count(*) AS accounts FROM customer WHERE trim(coalesce(email, '')) <> '' GROUP BY lower(trim(email))",
    )
    several = sum(2 <= row["accounts"] <= 8 for row in rows) / len(rows)
    assert 0.2 < several < 0.3


def test_orders_are_skewed_from_none_to_forty_one(world: tuple[str, WorldSummary]) -> None:
    rows = query(
        world[0],
        "SELECT count(o.order_number) AS n FROM customer c LEFT JOIN sales_order o ON o.company = c.company "
        "AND o.customer_code = c.customer_code GROUP BY c.company, c.customer_code",
    )
    counts = sorted(row["n"] for row in rows)
    assert counts[0] == 0
    assert 30 < counts[-1] <= 60  # a merge may add one account's orders to another's
    assert counts[len(counts) // 2] <= 4


def test_every_case_names_records_that_exist(world: tuple[str, WorldSummary]) -> None:
    url, summary = world
    expected = {case.__name__.replace("_", "-") for case in CASES} | set(TRIPPING_SURNAMES)
    assert expected <= set(summary.cases)
    for name, records in summary.cases.items():
        assert records, name
        for key in records:
            entity, _, codes = key.partition(":")
            values = dict(zip(ENTITIES[entity].key, codes.split("|"), strict=True))
            values = {k: v + ".000000" if k.endswith("_at") else v for k, v in values.items()}
            where = " AND ".join(f"{k} = '{v}'" for k, v in values.items())
            assert len(query(url, f"SELECT 1 FROM {entity} WHERE {where}")) == 1, key  # noqa: S608


def test_the_broken_rows_stay_few(world: tuple[str, WorldSummary]) -> None:
    broken = ("text-where-a-number-belongs", "unknown-status-word", "foreign-order-without-rate", "broken-email")
    assert sum(len(world[1].cases[name]) for name in broken) < 20


def test_five_thousand_lines_share_one_stamp(world: tuple[str, WorldSummary]) -> None:
    rows = query(world[0], "SELECT count(*) AS n FROM sales_order_line GROUP BY changed_at ORDER BY 1 DESC LIMIT 1")
    assert BURST <= rows[0]["n"] < BURST + 50


def test_text_survives_as_it_was_meant(url: str) -> None:
    summary = build(url, customers=400, seed=1, now=NOW)
    for name, surname in TRIPPING_SURNAMES.items():
        code = summary.cases[name][0].split("|")[1]
        assert query(url, f"SELECT surname FROM customer WHERE customer_code = '{code}'") == [{"surname": surname}]  # noqa: S608
    assert len(query(url, "SELECT 1 FROM customer WHERE customer_code = '00123'")) == 1
    assert len(TRIPPING_SURNAMES["surname-over-wide"]) == 10_000
    (city,) = query(url, "SELECT city FROM customer_address WHERE city LIKE 'Llanfairpwll%'")
    assert len(city["city"]) == 61


def test_mail_domains_are_ours_or_plain_placeholders(world: tuple[str, WorldSummary]) -> None:
    rows = query(world[0], "SELECT DISTINCT email FROM customer WHERE email LIKE '%@%'")
    foreign = {row["email"] for row in rows if not row["email"].strip().lower().endswith((".example", "@"))}
    assert foreign == {"test@test.com", "noemail@noemail.com", "none@none.com", "na@na.com"}


def test_a_world_is_refused_with_the_reason(sqlite_url: str) -> None:
    with pytest.raises(ValueError, match="at least 300 accounts"):
        build(sqlite_url, customers=10, now=NOW)
    with pytest.raises(ValueError, match="time zone"):
        build(sqlite_url, now=datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="needs a file"):
        build("sqlite://", now=NOW)
    build(sqlite_url, customers=FEWEST, now=NOW)
    with pytest.raises(ValueError, match="give an empty one"):
        build(sqlite_url, customers=FEWEST, now=NOW)


def test_progress_is_told_up_to_one(sqlite_url: str) -> None:
    shares: list[float] = []
    build(sqlite_url, customers=FEWEST, now=NOW, progress=lambda _doing, share: shares.append(share))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_the_moment_is_put_on_the_sites_wall_clock(sqlite_url: str) -> None:
    summer = datetime(2026, 7, 1, 22, 59, tzinfo=UTC)
    build(sqlite_url, customers=FEWEST, now=summer)
    (latest,) = query(sqlite_url, "SELECT max(ordered_at) AS at FROM sales_order")
    assert latest["at"] <= "2026-07-01 23:59:00.000000"
