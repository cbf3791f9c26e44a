"""The works that are timed, by name: what the product does, and the floors that it is held against.

Each runs in a process of its own: `python -m benchmarks.works NAME CUSTOMERS`. It imports what it needs itself, so that
a floor carries nothing of the product.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any

import duckdb

from benchmarks.measuring import Clock, Work, do, peak_memory
from benchmarks.sizes import KEPT_FILES, World, emarsys, project, scratch

CHANGED_PERSONS = 1_000
VALIDATED_ROWS = 1_000_000
PUSHED = 100_000
_ONE_PERCENT = "hash(person_key) % 100 = 0"
_CHANGE = f"UPDATE emarsys.contacts SET first_name = coalesce(first_name, '') || 'x' WHERE {_ONE_PERCENT}"  # noqa: S608


def first_sync(world: World, clock: Clock) -> Mapping[str, Any]:
    """Everything read, computed and sent for the first time; what it leaves behind is kept for the other works."""
    with scratch(world) as home:
        with emarsys(home / "emarsys") as url:
            opened = project(world, home, url)
            steps: dict[str, dict[str, float]] = {}

            def timed(name: str, step: Callable[..., Any], **options: Any) -> Any:
                part = Clock()
                with clock, part:
                    done = step(**options)
                steps[name] = {"cpu": part.cpu, "wall": part.wall, "peak": peak_memory()}
                return done

            for subject in ("customers", "orders", "returns"):
                timed(f"read {subject}", opened.read, subject=subject)
            for name in ("persons", "sales", "attributes", "predict", "compose"):
                timed(name, getattr(opened, name))
            sent = timed("send", opened.send, settle_seconds=30)
            opened.close()
        world.forget_first_sync()
        for name in KEPT_FILES:
            (home / name).rename(world.folder / name)
    return {
        "as_of": opened.settings.today.isoformat(),
        "steps": steps,
        "contacts": sent.plan.contacts,
        "sent": sent.delivered.tally.acknowledged,
        "calls": sent.delivered.tally.calls,
        "settled": sent.delivered.settled,
    }


@contextmanager
def _engine(world: World) -> Iterator[duckdb.DuckDBPyConnection]:
    """The kept warehouse without the product, nothing written to it."""
    connection = duckdb.connect(str(world.warehouse), read_only=True)
    try:
        yield connection
    finally:
        connection.close()


class _Undo(Exception):
    """Ends a transaction whose changes are not to stay."""


# -- attributes --------------------------------------------------------------------------------------------------------


def sales_scan(world: World, clock: Clock) -> Mapping[str, Any]:
    """Floor: every value once of the columns of `core.sales` that the attributes are made from."""
    columns = ("account", "order_key", "ordered_on", "posted_on", "kind", "nature", "excluded", "quantity",
               "base_incl_vat")  # fmt: skip
    with _engine(world) as engine:
        [(rows,)] = engine.execute("SELECT count(*) FROM core.sales").fetchall()
        with clock:
            engine.sql(f"SELECT {', '.join(f'max({name})' for name in columns)} FROM core.sales").fetchall()  # noqa: S608
    return {"rows": rows}


def _attributes(world: World, clock: Clock, memory: str) -> Mapping[str, Any]:
    from prima_emarsys.rules import attributes as rule
    from prima_emarsys.warehouse import open_warehouse

    rules = project(world, world.folder).site.attributes
    with open_warehouse(f"duckdb:///{world.warehouse}", memory=memory) as warehouse:
        links = warehouse.table("core.persons").select("account", "person_key")
        with clock:
            orders = rule.orders_of_persons(warehouse.table("core.sales"), links)
            persons = links.select("person_key").distinct()
            bought = warehouse.settle(rule.purchases(orders, persons, world.as_of, rules))
            warehouse.settle(rule.quintile_boundaries(bought))
            scored = warehouse.settle(rule.attributes(bought, {}))
        return {"persons": warehouse.count(scored)}


def attributes(world: World, clock: Clock) -> Mapping[str, Any]:
    """All attributes of all persons from `core.sales`, cut points included, in 512 MB."""
    return _attributes(world, clock, "512MB")


def attributes_unbounded(world: World, clock: Clock) -> Mapping[str, Any]:
    """The same with as much memory as it likes."""
    return _attributes(world, clock, "64GB")


# -- identity ----------------------------------------------------------------------------------------------------------


def customers_scan(world: World, clock: Clock) -> Mapping[str, Any]:
    """Floor of identity: group the accounts by e-mail, once."""
    statement = "SELECT count(*) FROM (SELECT lower(trim(email)) e, min(customer_code) FROM mirror.customer GROUP BY e)"
    with _engine(world) as engine, clock:
        engine.sql(statement).fetchall()
    return {}


def identity(world: World, clock: Clock) -> Mapping[str, Any]:
    """Accounts to persons by e-mail and merge: groups, keys and reasons of everybody, without the ledger's part."""
    import ibis

    from prima_emarsys.prima.mirror import Mirror
    from prima_emarsys.rules import identity as rule
    from prima_emarsys.warehouse import open_warehouse

    rules = project(world, world.folder).site.identity
    with open_warehouse(f"duckdb:///{world.warehouse}", memory="512MB") as warehouse:
        mirror = Mirror(warehouse)
        with clock:
            accounts = warehouse.settle(rule.accounts(mirror.live("customer"), rules))
            steps = warehouse.settle(rule.merge_steps(mirror.live("customer_merge")))
            wanted = accounts.filter(ibis._.excluded.isnull())
            members = warehouse.settle(rule.components(wanted, steps, warehouse.settle))
        persons = warehouse.count(members.select("root").distinct())
        return {"accounts": warehouse.count(accounts), "merges": warehouse.count(steps), "persons": persons}


# -- plan --------------------------------------------------------------------------------------------------------------


def compare(world: World, clock: Clock) -> Mapping[str, Any]:
    """Floor of the diff: desired against acknowledged, column by column, in the engine's own SQL; 1 % differ."""
    with scratch(world, "warehouse.duckdb") as home, duckdb.connect(str(home / "warehouse.duckdb")) as engine:
        engine.sql(_CHANGE)
        names = [name for name in engine.table("emarsys.contacts").columns if name != "person_key"]
        differs = " OR ".join(f'd."{name}" IS DISTINCT FROM a."{name}"' for name in names)
        statement = (
            "CREATE TEMP TABLE differing AS SELECT d.* FROM emarsys.contacts d "  # noqa: S608 (our own names)
            f"LEFT JOIN emarsys.contacts_acknowledged a USING (person_key) WHERE a.person_key IS NULL OR {differs}"
        )
        with clock:
            engine.sql(statement)
        [(changed,)] = engine.execute("SELECT count(*) FROM differing").fetchall()
    return {"changed": changed}


def diff(world: World, clock: Clock) -> Mapping[str, Any]:
    """What the plan finds: every contact that differs, with all its columns, whether it is new, what is cleared."""
    from prima_emarsys.sync.plan import changes
    from prima_emarsys.warehouse import open_warehouse

    with scratch(world, "warehouse.duckdb") as home:
        with duckdb.connect(str(home / "warehouse.duckdb")) as engine:
            engine.sql(_CHANGE)
        with open_warehouse(f"duckdb:///{home / 'warehouse.duckdb'}", memory="512MB") as warehouse:
            with clock:
                found = warehouse.settle(changes(warehouse))
            return {"changed": warehouse.count(found), "contacts": warehouse.size("emarsys.contacts")}


def to_json(world: World, clock: Clock) -> Mapping[str, Any]:
    """Floor of the bodies: the engine writes each contact as JSON, Python joins a thousand of them."""
    size = 0
    with _engine(world) as engine, clock:
        rows = engine.execute("SELECT to_json(c)::VARCHAR FROM emarsys.contacts c")
        while part := rows.fetchmany(1_000):
            size += len(("[" + ",".join(row[0] for row in part) + "]").encode())
    return {"bytes": size}


def bodies(world: World, clock: Clock) -> Mapping[str, Any]:
    """All contacts as records for the ledger, joined into the bodies of calls."""
    import ibis

    from prima_emarsys.sync.plan import DESIRED, Route, _records
    from prima_emarsys.warehouse import open_warehouse

    size = contacts = 0
    with open_warehouse(f"duckdb:///{world.warehouse}", memory="512MB") as warehouse:
        desired = warehouse.table(DESIRED)
        names = [name for name in desired.columns if name != "person_key"]
        route = Route(10_001, {name: number for number, name in enumerate(names, 10_002)})
        with clock:
            for batch in warehouse.batches(desired.mutate(cleared=ibis.literal("")), 20_000):
                records = _records(batch, names, route)
                while part := [one.payload for one in islice(records, 1_000)]:
                    size += len(b"[" + b",".join(part) + b"]")
                    contacts += len(part)
    return {"bytes": size, "contacts": contacts}


# -- read and validate -------------------------------------------------------------------------------------------------


class _Recorded:
    """A stream that remembers what was asked of it."""

    def __init__(self, inner: Any) -> None:
        self.statements: list[Any] = []
        self._inner = inner

    def batches(self, statement: Any, rows: int) -> Generator[Any]:
        self.statements.append(statement)
        return self._inner.batches(statement, rows)


def adbc_stream(world: World, clock: Clock) -> Mapping[str, Any]:
    """Floor of the read: the bare driver streams the reader's own statement over the order lines."""
    import adbc_driver_sqlite.dbapi
    import sqlalchemy as sa
    from sqlalchemy.dialects import sqlite

    from prima_emarsys.contract import ENTITIES
    from prima_emarsys.prima.sql import SqlReader
    from prima_emarsys.prima.streams import open_stream

    asked = _Recorded(open_stream(sa.create_engine(world.prima_url)))
    site = project(world, world.folder).site
    reader = SqlReader(world.prima_url, site, asked)
    with suppress(StopIteration):
        next(reader.changed(ENTITIES["sales_order_line"], None))
    compiled = asked.statements[-1].compile(
        dialect=sqlite.dialect(paramstyle="qmark"), compile_kwargs={"render_postcompile": True}
    )
    values = tuple(compiled.params[name] for name in compiled.positiontup or ())
    rows = 0
    with adbc_driver_sqlite.dbapi.connect(str(world.folder / "prima.sqlite")) as connection:
        cursor = connection.cursor()
        cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": site.prima.page_rows})
        with clock:
            cursor.execute(str(compiled), values)
            for batch in cursor.fetch_record_batch():
                rows += batch.num_rows
        cursor.close()
    return {"rows": rows}


def read(world: World, clock: Clock) -> Mapping[str, Any]:
    """All order lines of Prima as typed and judged pages."""
    from prima_emarsys.contract import ENTITIES
    from prima_emarsys.prima.sql import SqlReader

    reader = SqlReader(world.prima_url, project(world, world.folder).site)
    rows = quarantined = 0
    with clock:
        for page in reader.changed(ENTITIES["sales_order_line"], None):
            rows += page.read
            quarantined += page.quarantined
    reader.close()
    return {"rows": rows, "quarantined": quarantined}


def sql_checks(world: World, clock: Clock) -> Mapping[str, Any]:
    """Floor of the validation: the same checks over as many order lines as one statement."""
    from prima_emarsys.contract import ENTITIES
    from prima_emarsys.prima.schemas import may_be_null, rules

    entity = ENTITIES["sales_order_line"]
    checks = [f'count(*) FILTER ("{c.name}" IS NULL)' for c in entity.columns if not may_be_null(entity, c)]
    for rule in rules(entity).values():
        words = ", ".join(f"'{word}'" for word in sorted(rule.among))
        broken = f'"{rule.column}" < {rule.least}' if rule.least is not None else f'"{rule.column}" NOT IN ({words})'
        checks.append(f"count(*) FILTER ({broken})")
    key = ", ".join(f'"{name}"' for name in entity.key)
    checks.append(f"count(*) - count(DISTINCT ({key}))")
    with _engine(world) as engine, clock:
        part = f"(SELECT * FROM mirror.sales_order_line LIMIT {VALIDATED_ROWS})"  # noqa: S608 (our own names)
        engine.sql(f"SELECT {', '.join(checks)} FROM {part}").fetchall()  # noqa: S608
    return {"checks": len(checks)}


def validate(world: World, clock: Clock) -> Mapping[str, Any]:
    """The contract's pandera schema over order lines, page by page as they come from Prima."""
    import pandas as pd

    from prima_emarsys.contract import ENTITIES
    from prima_emarsys.prima.schemas import schema

    entity = ENTITIES["sales_order_line"]
    page_rows = project(world, world.folder).site.prima.page_rows
    rows = 0
    with _engine(world) as engine:
        lines = engine.table("mirror.sales_order_line").limit(VALIDATED_ROWS).project(
            ", ".join(f'"{name}"' for name in entity.arrow_schema.names)
        )  # fmt: skip
        for batch in lines.to_arrow_reader(page_rows):
            page = batch_table(batch).cast(entity.arrow_schema)
            with clock:
                schema(entity).validate(page.to_pandas(types_mapper=pd.ArrowDtype), lazy=True)
            rows += page.num_rows
    return {"rows": rows}


def batch_table(batch: Any) -> Any:
    """One Arrow batch as a table."""
    import pyarrow as pa

    return pa.Table.from_batches([batch])


# -- increment ---------------------------------------------------------------------------------------------------------

_REAGGREGATE = """
CREATE OR REPLACE TEMP TABLE renewed AS
WITH wanted AS (SELECT account, person_key FROM core.persons SEMI JOIN changed USING (person_key)),
orders AS (
    SELECT person_key, order_key, min(ordered_on) ordered_on,
        sum(CASE WHEN kind IN ('sale', 'cancellation') THEN quantity ELSE 0 END) units,
        sum(CASE WHEN kind IN ('sale', 'cancellation') THEN base_incl_vat ELSE 0 END) gross,
        sum(base_incl_vat) net, max(CASE WHEN kind NOT IN ('sale', 'cancellation') THEN posted_on END) returned_on
    FROM core.sales JOIN wanted USING (account)
    WHERE excluded IS NULL AND nature <> 'charge' GROUP BY person_key, order_key
)
SELECT person_key, min(ordered_on) first_on, max(ordered_on) last_on, count(*) orders, sum(units) units,
    sum(gross) gross, sum(net) net, sum(CASE WHEN ordered_on > DATE '{year_ago}' THEN net END) net_12m,
    max(returned_on) last_return
FROM orders GROUP BY person_key
"""


def reaggregate(world: World, clock: Clock) -> Mapping[str, Any]:
    """Floor of the increment: the sums of the same persons by hand, written in place of the earlier ones."""
    year_ago = world.as_of.replace(year=world.as_of.year - 1, day=min(world.as_of.day, 28))
    with scratch(world, "warehouse.duckdb") as home, duckdb.connect(str(home / "warehouse.duckdb")) as engine:
        engine.sql("CREATE TABLE sums AS SELECT * FROM emarsys.rfm_clv")
        engine.sql(f"CREATE TEMP TABLE changed AS {_some_persons()}")
        for _ in range(3):
            with clock.round():
                engine.sql(_REAGGREGATE.format(year_ago=year_ago))
                engine.sql("BEGIN")
                engine.sql(
                    "CREATE OR REPLACE TEMP TABLE again AS SELECT * FROM sums SEMI JOIN renewed USING (person_key)"
                )
                engine.sql("DELETE FROM sums WHERE person_key IN (SELECT person_key FROM renewed)")
                engine.sql("INSERT INTO sums SELECT * FROM again")
                engine.sql("COMMIT")
    return {}


def _some_persons() -> str:
    return f"SELECT person_key FROM emarsys.rfm_clv WHERE orders > 0 ORDER BY hash(person_key) LIMIT {CHANGED_PERSONS}"  # noqa: S608


def increment(world: World, clock: Clock) -> Mapping[str, Any]:
    """The attributes of some persons, of whom something has changed, as the asset computes and writes them."""
    import pyarrow as pa

    from prima_emarsys.steps.attributes import score_persons
    from prima_emarsys.steps.progress import Progress
    from prima_emarsys.warehouse import open_warehouse

    with _engine(world) as engine:
        chosen = pa.table({"person_key": [row[0] for row in engine.sql(_some_persons()).fetchall()]})
    rules = project(world, world.folder).site.attributes
    counts = None
    with (
        scratch(world, "warehouse.duckdb") as home,
        open_warehouse(f"duckdb:///{home / 'warehouse.duckdb'}", memory="512MB") as warehouse,
    ):
        for _ in range(3):
            Progress(warehouse).touch(warehouse.settle(chosen))
            with clock.round():
                counts = score_persons(warehouse, rules, world.as_of)
    return {"computed": counts and counts.computed}


# -- sending -----------------------------------------------------------------------------------------------------------


def push(world: World, clock: Clock) -> Mapping[str, Any]:
    """Contacts that Emarsys has never seen, through a fresh ledger; parts timed apart."""
    from prima_emarsys.emarsys.contacts import Contacts
    from prima_emarsys.steps.sending import ContactSender
    from prima_emarsys.sync.deliver import Policy, deliver
    from prima_emarsys.sync.plan import ACKNOWLEDGED, LANE, STAGED, changes, note_acknowledged, stage

    parts = {name: Clock() for name in ("stage", "deliver", "note")}
    with scratch(world, "warehouse.duckdb") as home:
        with duckdb.connect(str(home / "warehouse.duckdb")) as engine:
            engine.sql(f"DROP TABLE {STAGED}")
            engine.sql(f"DROP TABLE {ACKNOWLEDGED}")
            rest = f"SELECT person_key FROM emarsys.contacts LIMIT {PUSHED}"  # noqa: S608
            engine.sql(f"DELETE FROM emarsys.contacts WHERE person_key NOT IN ({rest})")  # noqa: S608
        with emarsys(home / "emarsys") as url:
            opened = project(world, home, url)
            sender = ContactSender(Contacts(opened.emarsys), opened.route)
            with opened.warehouse() as warehouse, clock, parts["stage"]:
                staged = stage(warehouse, opened.ledger, opened.route, warehouse.settle(changes(warehouse)))
            with clock, parts["deliver"]:
                sent = deliver(opened.ledger, LANE, sender, Policy(parallel=opened.site.emarsys.parallel))
            with opened.warehouse() as warehouse, clock, parts["note"]:
                noted = note_acknowledged(warehouse, opened.ledger)
            opened.close()
    seconds = {name: {"cpu": part.cpu, "wall": part.wall} for name, part in parts.items()}
    return {"contacts": staged.new, "acknowledged": sent.tally.acknowledged, "noted": noted, "calls": sent.tally.calls,
            "parts": seconds}  # fmt: skip


def _send_again(world: World, clock: Clock, *, change: bool) -> Mapping[str, Any]:
    changed = 0
    with scratch(world, *KEPT_FILES) as home:
        if change:
            with duckdb.connect(str(home / "warehouse.duckdb")) as engine:
                engine.sql(_CHANGE)
                [(changed,)] = engine.execute(
                    f"SELECT count(*) FROM emarsys.contacts WHERE {_ONE_PERCENT}"  # noqa: S608 (our own words)
                ).fetchall()
        with emarsys(home / "emarsys") as url:
            opened = project(world, home, url)
            with clock:
                sent = opened.send(settle_seconds=30)
            opened.close()
    tally = sent.delivered.tally if sent.delivered else None
    return {"contacts": sent.plan.contacts, "changed": changed, "sent": tally and tally.acknowledged,
            "calls": tally and tally.calls, "least_calls": math.ceil(changed / 1_000)}  # fmt: skip


def rerun(world: World, clock: Clock) -> Mapping[str, Any]:
    """A run after which nothing has changed."""
    return _send_again(world, clock, change=False)


def one_percent(world: World, clock: Clock) -> Mapping[str, Any]:
    """A run in which one contact in a hundred differs."""
    return _send_again(world, clock, change=True)


# -- reconciling -------------------------------------------------------------------------------------------------------

_SEALED = {"sealed.duckdb": "warehouse.duckdb", "sealed.sqlite": "ledger.sqlite"}
"""Where a warehouse and a ledger are kept in which all lines of sales but one in a hundred were accepted."""


def seal_lines(world: World, _clock: Clock) -> Mapping[str, Any]:
    """What `reconcile` begins with. The ledger has one file with one line; its mirror in the warehouse has them all."""
    from prima_emarsys.sync.sales_files import LINE_COLUMNS, SalesFiles
    from prima_emarsys.sync.sales_plan import LINES, SEALED, mirror_sealed

    with scratch(world, "warehouse.duckdb") as home:
        opened = project(world, home)
        opened.sales_lines(whole=True)
        with opened.warehouse() as warehouse:
            lines = warehouse.table(LINES)
            desired = lines.filter(lines.excluded.isnull()).mutate(version=1)
            files = SalesFiles(opened.ledger)
            [one] = warehouse.read(desired.select(*LINE_COLUMNS).limit(1)).to_pylist()
            file = files.seal("http", "GBP", [one], b"")
            if (sending := files.begin(file)) is None:
                raise AssertionError("nobody else has this ledger")
            files.accept(sending)
            mirror_sealed(warehouse, files)
            columns = warehouse.table(SEALED).columns
            sent = desired.filter(desired.line_key.hash() % 100 != 0).mutate(file_id=file.id)
            warehouse.write(SEALED, sent.select(*columns).cast(dict(warehouse.table(SEALED).schema().items())))
            figures = {"lines": warehouse.size(LINES), "sealed": warehouse.size(SEALED)}
        opened.close()
        for kept, name in _SEALED.items():
            (home / name).replace(world.folder / kept)
    return figures


def reconcile(world: World, clock: Clock) -> Mapping[str, Any]:
    """The proof of sales, in a process that does nothing else. The first of three also freezes all closed periods."""
    with scratch(world, *_SEALED) as home:
        for kept, name in _SEALED.items():
            (home / kept).rename(home / name)
        opened = project(world, home)
        with clock.round():
            proof = opened.prove_sales()
        freezing, frozen = clock.cpu, len(proof.closing.frozen)
        for _ in range(2):
            with clock.round():
                proof = opened.prove_sales()
        opened.close()
    if not proof.holds:
        raise AssertionError(proof.sentence)
    causes = sum(one.records for one in proof.causes)
    return {"lines": proof.lines, "causes": causes, "frozen": frozen, "freezing": freezing}


WORKS: dict[str, Work] = {
    work.__name__: work
    for work in (
        first_sync, sales_scan, attributes, attributes_unbounded, customers_scan, identity, compare, diff, to_json,
        bodies, adbc_stream, read, sql_checks, validate, reaggregate, increment, push, rerun, one_percent,
        seal_lines, reconcile,
    )
}  # fmt: skip

if __name__ == "__main__":
    do(WORKS[sys.argv[1]], World(int(sys.argv[2])))
