"""The same world under other names holds the same facts, and the example's site file alone finds them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa

from prima_emarsys.contract import ENTITIES, TABLES
from prima_emarsys.prima.sql import Mark, SqlReader
from prima_emarsys.sandbox.world import build, tick
from prima_emarsys.sandbox.world.openedge import OPENEDGE
from prima_emarsys.site import PrimaMap, Site, load_site
from prima_emarsys_tests.sandbox.world.conftest import NOW

EXAMPLE = Path(__file__).parents[3] / "sites" / "openedge-example.yaml"
CONTRACT_SITE = Site.model_validate(
    {
        "site": "sandbox",
        "prima": {
            "entities": {
                name: {"words": {"status": {"Picking": "confirmed"}}} for name in ("sales_order", "sales_order_line")
            }
        },
    }
)


def example_for(url: str) -> Site:
    """The example as it stands; on SQLite, which has no schemas, with the prefix that its first lines describe."""
    site = load_site(EXAMPLE)
    if not url.startswith("sqlite"):
        return site
    tables = {
        name: entity.model_copy(update={"table": f"PUB_{entity.table}"}) for name, entity in site.prima.entities.items()
    }
    prima: PrimaMap = site.prima.model_copy(update={"db_schema": None, "entities": tables})
    return site.model_copy(update={"prima": prima})


def everything(reader: SqlReader, entity: str) -> tuple[list[dict[str, object]], int]:
    """All good rows in key order, and how many were held back."""
    pages = list(reader.everything(ENTITIES[entity]))
    good = pa.concat_tables([page.good for page in pages])
    rows = sorted(good.to_pylist(), key=lambda row: [str(row[name]) for name in ENTITIES[entity].key])
    return rows, sum(page.quarantined for page in pages)


@pytest.fixture
def twin_url(url: str, tmp_path: Path) -> Iterator[str]:
    """A second empty database of the same kind as `url`."""
    if url.startswith("sqlite"):
        yield f"sqlite:///{tmp_path / 'twin.db'}"
        return
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    name = f"{sa.make_url(url).database}_twin"
    with engine.connect() as connection:
        connection.exec_driver_sql(f'CREATE DATABASE "{name}"')
    yield sa.make_url(url).set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.exec_driver_sql(f'DROP DATABASE "{name}" WITH (FORCE)')
    engine.dispose()


def test_the_example_reads_the_same_facts_as_the_contract(url: str, twin_url: str) -> None:
    plain_world = build(url, customers=400, seed=2, now=NOW)
    openedge_world = build(twin_url, customers=400, seed=2, now=NOW, flavour="openedge")
    assert plain_world.rows == openedge_world.rows
    assert plain_world.cases == openedge_world.cases
    contract, example = SqlReader(url, CONTRACT_SITE), SqlReader(twin_url, example_for(twin_url))
    for entity in TABLES:
        plain, openedge = everything(contract, entity), everything(example, entity)
        assert plain == openedge, entity
        assert plain[0], entity
    contract.close()
    example.close()


def test_what_a_tick_says_is_what_the_reader_sees(url: str) -> None:
    build(url, customers=400, seed=2, now=NOW, flavour="openedge")
    facts = tick(url, now=NOW + timedelta(minutes=5), changes=30, seed=4)
    reader = SqlReader(url, example_for(url))
    seen: set[str] = set()
    for name in {fact.key.partition(":")[0] for fact in facts}:
        for page in reader.changed(ENTITIES[name], Mark.parse(NOW.isoformat())):
            rows = page.good.select(list(ENTITIES[name].key[:2])).to_pylist()
            seen |= {f"{name}:{'|'.join(map(str, row.values()))}" for row in rows}
    reader.close()
    for fact in facts:
        assert "|".join(fact.key.split("|")[:2]) in seen, fact


def test_a_deleted_row_stays_with_a_mark_and_is_read_as_gone(sqlite_url: str) -> None:
    build(sqlite_url, customers=400, seed=2, now=NOW, flavour="openedge")
    later = NOW + timedelta(minutes=5)
    facts = tick(sqlite_url, now=later, changes=0, seed=1, deletes=True)
    reader = SqlReader(sqlite_url, example_for(sqlite_url))
    for fact in facts:
        entity, _, codes = fact.key.partition(":")
        marks = reader.latest(ENTITIES[entity])
        gone = [key for page in reader.changed(ENTITIES[entity], marks) for key in page.gone]
        assert tuple(codes.split("|")) in [tuple(key) for key in gone]
    reader.close()


def test_the_site_file_maps_every_column_as_the_flavour_keeps_it() -> None:
    site = load_site(EXAMPLE)
    assert set(site.prima.entities) == set(TABLES)
    for name, layout in OPENEDGE.layouts.items():
        mapped = site.prima.entity(name)
        assert mapped.table == layout.table
        for column in ENTITIES[name].columns:
            source = mapped.columns.get(column.name, column.name)
            assert source is not None
            named = {source} if isinstance(source, str) else set(map(str, source.model_dump().values()))
            assert set(layout.names(column.name)) <= named, f"{name}.{column.name}"


def test_names_are_at_most_thirty_two_characters_as_openedge_allows() -> None:
    for layout in OPENEDGE.layouts.values():
        for stand in layout.stands:
            assert all(len(column.name) <= 32 for column in stand.columns())
