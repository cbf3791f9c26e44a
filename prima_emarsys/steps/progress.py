"""How far each step has come, and which persons it left for the steps after it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from prima_emarsys.warehouse import Warehouse

_PROGRESS = pa.schema([("step", pa.string()), ("at", pa.int64()), ("as_of", pa.date32())])
_TOUCHED = pa.schema([("person_key", pa.string()), ("number", pa.int64())])
FOLLOWERS = ("attributes", "contacts", "sales_data")
"""Steps that read the log of touched persons; what all of them have read is forgotten."""


@dataclass(frozen=True)
class Cursor:
    """Where a step stands: the landing or log number that it has taken in, and the day that it last counted for."""

    at: int
    as_of: date | None


class Progress:
    """Cursors of the steps, and the log of persons that somebody has touched."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._progress = warehouse.ensure("core.progress", _PROGRESS)
        self._touched = warehouse.ensure("core.touched", _TOUCHED)

    def cursor(self, step: str) -> Cursor | None:
        """Where the step stands, or None if it never ran."""
        rows = self._warehouse.read(self._progress.filter(self._progress.step == step)).to_pylist()
        return Cursor(rows[0]["at"], rows[0]["as_of"]) if rows else None

    def move(self, step: str, at: int, as_of: date | None = None) -> None:
        """Set the step's cursor. Call it in the transaction that writes the step's output."""
        self._warehouse.delete("core.progress", pa.table({"step": [step]}), on=["step"])
        row = pa.Table.from_pylist([{"step": step, "at": at, "as_of": as_of}], schema=_PROGRESS)
        self._warehouse.append("core.progress", row)

    def touch(self, persons: ir.Table) -> None:
        """Tell the following steps that these persons (column person_key) may have changed."""
        numbered = persons.select("person_key").distinct().mutate(number=ibis.literal(self.last() + 1))
        self._warehouse.append("core.touched", numbered)

    def last(self) -> int:
        """Number of the latest entry of the log; never falls, although read entries are forgotten."""
        noted = self._warehouse.read(self._touched.agg(number=ibis._.number.max()))["number"][0].as_py() or 0
        cursors = [cursor.at for cursor in map(self.cursor, FOLLOWERS) if cursor]
        return max([noted, *cursors])

    def touched_since(self, at: int) -> ir.Table:
        """Persons touched after log entry `at`. Column: person_key."""
        return self._touched.filter(self._touched.number > at).select("person_key").distinct()

    def forget(self) -> None:
        """Drop what every follower has read, so that the log stays small."""
        # Who never ran will begin with everybody.
        cursors = [cursor.at for cursor in map(self.cursor, FOLLOWERS) if cursor]
        if cursors:
            numbers = self._touched.filter(self._touched.number <= min(cursors)).select("number").distinct()
            self._warehouse.delete("core.touched", numbers, on=["number"])
