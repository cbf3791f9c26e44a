"""The mirror: what Prima said last, row by row, in the warehouse. It can be dropped and read again at any time.

Each row carries `load`, the number of the landing that last changed it, so that whoever derives something reads only
what lies above its own cursor; and `gone`, for rows that Prima no longer has. A high-water mark moves in the same
transaction as the rows that it covers. Rows that break the contract stand in `mirror.quarantine` until they are read
again and keep it; the rows that were good before stay as they were.
"""

# Ibis types a table's columns as their base class, so arithmetic on them cannot be checked statically.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from prima_emarsys.contract import ENTITIES, Entity
from prima_emarsys.finding import Finding
from prima_emarsys.prima.sql import Mark, Page
from prima_emarsys.warehouse import Warehouse

_CURSOR = pa.schema([("entity", pa.string()), ("mark", pa.string()), ("load", pa.int64())])
_QUARANTINE = pa.schema(
    [(name, pa.string()) for name in ("entity", "record", "kind", "detail", "owner")] + [("load", pa.int64())]
)
_SMALLEST_GUARDED = 20
"""A table with fewer rows may lose any share of them without being called short."""


class Reader(Protocol):
    """What the mirror needs of a reader of Prima; `SqlReader` is one."""

    def changed(self, entity: Entity, since: Mark | None) -> Iterator[Page]:
        """Pages of rows that changed since a mark, oldest first."""
        ...

    def everything(self, entity: Entity) -> Iterator[Page]:
        """Pages of all rows, by key."""
        ...


@dataclass
class Landing:
    """Counts of one landing. `read` = good + quarantined; `changed` of the good ones differed from the mirror."""

    entity: str
    swept: bool
    read: int = 0
    changed: int = 0
    quarantined: int = 0
    gone: int = 0
    refused: str | None = None
    load: int = 0
    """Its number: rows above `load - 1` are what it changed."""
    findings: list[Finding] = field(default_factory=list, repr=False)


def _table(entity: Entity) -> str:
    return f"mirror.{entity.name}"


def _stored_schema(entity: Entity) -> pa.Schema:
    return entity.arrow_schema.append(pa.field("load", pa.int64())).append(pa.field("gone", pa.bool_()))


class Mirror:
    """The mirror's tables in one open warehouse."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        warehouse.ensure("mirror.cursor", _CURSOR)
        warehouse.ensure("mirror.quarantine", _QUARANTINE)

    def stored(self, name: str) -> ir.Table:
        """All rows of an entity with `load` and `gone`; empty if it was never read."""
        return self._warehouse.ensure(f"mirror.{name}", _stored_schema(ENTITIES[name]))

    def live(self, name: str) -> ir.Table:
        """The rows that Prima has, with the contract's columns."""
        return self.stored(name).filter(~ibis._.gone).drop("load", "gone")

    def above(self, name: str, load: int) -> ir.Table:
        """Rows that changed after landing `load`, those that went included."""
        return self.stored(name).filter(ibis._.load > load)

    def latest_load(self) -> int:
        """Number of the last landing; 0 for an empty mirror."""
        latest = self._warehouse.read(self._warehouse.table("mirror.cursor").agg(load=ibis._.load.max()))
        return latest["load"][0].as_py() or 0

    def mark(self, name: str) -> Mark | None:
        """High-water mark of an entity, or None before its first landing."""
        cursor = self._warehouse.table("mirror.cursor")
        found = self._warehouse.read(cursor.filter(cursor.entity == name))["mark"].to_pylist()
        return Mark.parse(found[0]) if found and found[0] else None

    def quarantined(self, names: Iterable[str]) -> list[Finding]:
        """The rows of these entities that break the contract now."""
        table = self._warehouse.table("mirror.quarantine")
        rows = self._warehouse.read(table.filter(table.entity.isin(list(names))).order_by("record", "kind", "detail"))
        return [Finding(row["kind"], row["record"], row["detail"]) for row in rows.to_pylist()]

    def land(self, reader: Reader, name: str, *, sweep: bool, short_share: float) -> Landing:
        """Bring one entity up to date.

        `sweep` reads everything, which finds late commits and rows that were deleted; a sweep that would take out more
        than `short_share` of the table is refused: nothing is marked gone and a finding says so.
        """
        entity = ENTITIES[name]
        self.stored(name)
        landing = Landing(name, sweep)
        load = self.latest_load() + 1
        noted = mark = self.mark(name)
        clean = not self.quarantined([name])
        pages = reader.everything(entity) if sweep else reader.changed(entity, mark)
        seen = f"mirror.seen_{name}"
        if sweep:
            self._warehouse.drop(seen)
            self._warehouse.ensure(seen, pa.schema([entity.arrow_schema.field(column) for column in entity.key]))
        for page in pages:
            mark = max(filter(None, (mark, page.mark)), default=None)
            self._land_page(entity, page, load, mark, landing, settled=clean and mark == noted is not None)
            if sweep:
                self._warehouse.append(seen, page.good.select(list(entity.key)))
        if sweep:
            self._mark_gone(entity, load, landing, short_share)
            self._warehouse.drop(seen)
        landing.load = load
        if landing.quarantined or not clean:
            landing.findings += self.quarantined([name])
        return landing

    def _land_page(
        self, entity: Entity, page: Page, load: int, mark: Mark | None, landing: Landing, *, settled: bool
    ) -> None:
        """Write one page. `settled`: nothing but its rows could differ, so that an unchanged page writes nothing."""
        warehouse, key = self._warehouse, list(entity.key)
        landing.read += page.read
        landing.quarantined += page.quarantined
        stored = self.stored(entity.name)
        with (
            warehouse.settled(page.good) as incoming,
            warehouse.settled(stored.semi_join(incoming, key)) as before,
            warehouse.settled(_differing(incoming, before, load)) as changed,
        ):
            differing = warehouse.count(changed)
            landing.changed += differing
            if settled and not (differing or page.gone or page.findings):
                return
            with warehouse.transaction():
                if warehouse.count(before):  # a first read need not look for what to delete
                    warehouse.delete(_table(entity), changed, on=key)
                warehouse.append(_table(entity), changed)
                if page.gone:
                    self._retire(
                        entity, pa.table(dict(zip(key, zip(*page.gone, strict=True), strict=True))), load, landing
                    )
                self._quarantine(entity, page, load)
                self._move_cursor(entity.name, mark, load)

    def _quarantine(self, entity: Entity, page: Page, load: int) -> None:
        """Forget what was wrong with the rows of this page, and note what is wrong now."""
        read_again = pa.concat_arrays([_records(entity, page.good), pa.array(_refused(page), pa.string())])
        table = self._warehouse.table("mirror.quarantine")
        stands = self._warehouse.read(table.filter(table.entity == entity.name).count().as_table())[0][0].as_py()
        if stands:
            self._warehouse.delete("mirror.quarantine", pa.table({"record": read_again}), on=["record"])
        rows = [
            {
                "entity": entity.name,
                "record": f.record,
                "kind": f.kind,
                "detail": f.detail,
                "owner": f.owned_by,
                "load": load,
            }
            for f in page.findings
        ]
        if rows:
            self._warehouse.append("mirror.quarantine", pa.Table.from_pylist(rows, schema=_QUARANTINE))

    def _move_cursor(self, name: str, mark: Mark | None, load: int) -> None:
        row = pa.table({"entity": [name], "mark": pa.array([str(mark) if mark else None], pa.string()), "load": [load]})
        self._warehouse.delete("mirror.cursor", pa.table({"entity": [name]}), on=["entity"])
        self._warehouse.append("mirror.cursor", row)

    def _mark_gone(self, entity: Entity, load: int, landing: Landing, short_share: float) -> None:
        stored = self.stored(entity.name)
        live = stored.filter(~stored.gone)
        seen = self._warehouse.table(f"mirror.seen_{entity.name}")
        quarantine = self._warehouse.table("mirror.quarantine").filter(ibis._.entity == entity.name)
        refused = quarantine.filter(quarantine.load == load).select("record")
        unseen = live.anti_join(seen, list(entity.key)).mutate(record=record_of(entity, live))
        missing = self._warehouse.settle(unseen.anti_join(refused, "record").drop("record"))
        total, gone = self._warehouse.count(live), self._warehouse.count(missing)
        if gone > short_share * total and total >= _SMALLEST_GUARDED:
            landing.refused = f"the read holds {total - gone:,} of the {total:,} rows that the mirror has"
            landing.findings.append(Finding("short-read", entity.name, landing.refused))
            return
        with self._warehouse.transaction():
            # What this sweep did not meet again is wrong no more: Prima has it no longer.
            self._warehouse.delete(
                "mirror.quarantine", quarantine.filter(quarantine.load < load).select("record"), on=["record"]
            )
            self._retire(entity, missing, load, landing)
            self._move_cursor(entity.name, self.mark(entity.name), load)

    def _retire(self, entity: Entity, keys: ir.Table | pa.Table, load: int, landing: Landing) -> None:
        warehouse, key = self._warehouse, list(entity.key)
        stored = self.stored(entity.name)
        live = stored.filter(~stored.gone)
        with (
            warehouse.settled(keys) as named,
            warehouse.settled(live.semi_join(named, key).mutate(load=ibis.literal(load), gone=True)) as retired,
        ):
            landing.gone += warehouse.count(retired)
            warehouse.replace(_table(entity), retired, gone=retired, on=key)


def _differing(incoming: ir.Table, before: ir.Table, load: int) -> ir.Table:
    """The incoming rows that are not in the mirror as they are; what went and came back differs."""
    same = before.filter(~before.gone).select(incoming.columns)
    return incoming.difference(same).mutate(load=ibis.literal(load), gone=False)


def record_of(entity: Entity, table: ir.Table) -> ir.StringValue:
    """The business key as findings write it: `entity|company|code`."""
    parts = [ibis.literal(entity.name), *(table[column].cast("string") for column in entity.key)]
    return ibis.literal("|").join(parts)


def _records(entity: Entity, page: pa.Table) -> pa.Array:
    """The same for an Arrow page."""
    import pyarrow.compute as pc

    parts = [page[column].combine_chunks().cast(pa.string()) for column in entity.key]
    joined = pc.binary_join_element_wise(pa.scalar(entity.name), *parts, "|")
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def _refused(page: Page) -> list[str]:
    return sorted({finding.record for finding in page.findings})
