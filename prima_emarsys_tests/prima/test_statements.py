"""What the SELECTs promise on databases that a test cannot run: they are compiled by SQLAlchemy's own dialects."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mssql, oracle, postgresql, sqlite

from prima_emarsys.prima.statements import MappingError, Place, Statements, split_extent
from prima_emarsys.site import EntityMap
from prima_emarsys_tests.prima.tables import ORDERS, STOCK, TYPES

LONDON = ZoneInfo("Europe/London")
DIALECTS = {"sqlite": sqlite, "postgresql": postgresql, "mssql": mssql, "oracle": oracle}


def statements(dialect: str, entity: Any = STOCK, extra: dict[str, Any] | None = None, **site_map: Any) -> Statements:
    columns = {c.name: (TYPES.get(c.type, sa.String(200)), True) for c in entity.columns}
    columns |= {name: (type_, True) for name, type_ in (extra or {}).items()}
    return Statements(entity, EntityMap.model_validate(site_map), Place("st-ock", "PUB", columns), LONDON, dialect)


def compiled(statement: sa.Select, dialect: str) -> str:
    text = str(statement.compile(dialect=DIALECTS[dialect].dialect(), compile_kwargs={"render_postcompile": True}))
    return " ".join(text.split())


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_name_is_quoted_and_no_page_word_of_one_database_is_used(dialect: str) -> None:
    made = statements(dialect)
    key = ("01", "MAIN", "P", "", "", "", "")
    mark = datetime(2026, 3, 2, tzinfo=UTC)
    for statement in (
        made.everything(),
        made.everything(key, key),
        made.undated(key),
        made.changed(mark, None, (mark, *key)),
        made.latest(),
    ):
        text = compiled(statement, dialect)
        opening, closing = ("[", "]") if dialect == "mssql" else ('"', '"')
        assert f"FROM {opening}PUB{closing}.{opening}st-ock{closing}" in text
        bare = text
        for name in STOCK.column:
            bare = bare.replace(f"{opening}{name}{closing}", "")
        assert not [name for name in STOCK.column if f".{name}" in bare]
        for word in ("LIMIT", "OFFSET", "FETCH", "TOP ", "RETURNING", "TRUE", "FALSE"):
            assert word not in text.upper()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_place_in_the_order_is_bound_and_spelled_with_and_and_or(dialect: str) -> None:
    made = statements(dialect, ORDERS)
    statement = made.everything(("01", "7'; DROP TABLE x"))
    text = compiled(statement, dialect)
    assert "DROP" not in text
    assert "7'; DROP TABLE x" in statement.compile(dialect=DIALECTS[dialect].dialect()).params.values()
    assert " AND " in text
    assert " OR " in text
    assert text.endswith(("company], [PUB].[st-ock].[order_number]", 'company", "PUB"."st-ock"."order_number"'))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_filters_are_bound_and_fitted_to_the_columns_type(dialect: str) -> None:
    extra = {"comp-no": sa.Integer(), "deleted": sa.Boolean()}
    made = statements(
        dialect,
        extra=extra,
        filters=[{"column": "comp-no", "op": "in", "value": ["1", "2"]}],
        logical_delete={"column": "deleted", "value": "true"},
    )
    statement = made.everything()
    values = list(statement.compile(dialect=DIALECTS[dialect].dialect()).params.values())
    assert [1, 2] in values
    assert True in values
    assert "CASE WHEN" in compiled(made.changed(None, None), dialect)


@pytest.mark.parametrize("name", ['"; DROP TABLE stock; --', "physcal", ""])
def test_an_unknown_column_is_refused_and_what_exists_is_named_row_95(name: str) -> None:
    with pytest.raises(
        MappingError, match=r"columns\.physical: .*has no column.*It has: company, warehouse"
    ) as refused:
        statements("sqlite", columns={"physical": name})
    if name == "physcal":
        assert "Did you mean 'physical'?" in str(refused.value)


def test_a_filter_on_an_unknown_column_is_refused_row_95() -> None:
    with pytest.raises(MappingError, match="has no column 'x'"):
        statements("sqlite", filters=[{"column": "x", "value": 1}])


def test_a_filter_that_does_not_fit_its_column_is_refused() -> None:
    with pytest.raises(MappingError, match="'one' does not fit a column of INTEGER"):
        statements("postgresql", filters=[{"column": "physical", "value": "one"}]).everything()


def test_a_word_of_the_contract_cannot_be_mapped_to_another() -> None:
    with pytest.raises(MappingError, match="always means 'held'"):
        statements("sqlite", ORDERS, words={"status": {"Held": "confirmed"}})


@pytest.mark.parametrize(
    ("text", "elements"),
    [
        (None, None),
        ("", [""]),
        ("1 High St;;Leeds", ["1 High St", "", "Leeds"]),
        ("a~;b;?;~?;~~", ["a;b", None, "?", "~"]),
        ("?", [None]),
    ],
)
def test_an_extent_is_split_with_its_escapes(text: str | None, elements: list[str | None] | None) -> None:
    assert split_extent(text) == elements


def test_pro2s_spread_extents_are_found_by_their_numbers() -> None:
    made = statements("mssql", extra={"mtrx##2": sa.String(9)}, columns={"matrix_2": {"extent": "mtrx", "element": 2}})
    assert made.assemble(pa.table({"mtrx##2": ["075"]}))["matrix_2"].to_pylist() == ["075"]


@pytest.mark.parametrize(
    ("instant", "wall"),
    [
        (datetime(2026, 7, 1, 12, tzinfo=UTC), "2026-07-01 13:00:00"),
        (datetime(2026, 10, 25, 0, 44, tzinfo=UTC), "2026-10-25 00:44:00"),
        (datetime(2026, 10, 25, 1, 10, tzinfo=UTC), "2026-10-25 01:10:00"),
    ],
)
def test_no_row_of_the_doubled_hour_lies_before_the_bound(instant: datetime, wall: str) -> None:
    statement = statements("sqlite").changed(instant, "2026-01-01 00:00:00.000000")
    assert wall in statement.compile().params.values()


def test_a_bound_is_written_as_the_column_writes_its_own_times() -> None:
    made, instant = statements("sqlite"), datetime(2026, 7, 1, 12, tzinfo=UTC)
    for sample, bound in (
        ("2026-07-01T13:00:00Z", "2026-07-01T12:00:00"),
        ("2026-07-01 13:00:00.5", "2026-07-01 13:00:00"),
        ("2026-07-01", "2026-07-01"),
    ):
        assert bound in made.changed(instant, sample).compile().params.values()
