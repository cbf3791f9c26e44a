"""What must hold within one table of the contract, once as pandera schemas and once as Ibis expressions.

Both are made from the same list of rules, which is made from `contract.ENTITIES`. pandera judges pages on their way in;
the Ibis form judges what is already stored, in the engine. (pandera's own Ibis backend is not used: it skips `unique`
without a word and loses the names of columns.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import ibis
import pandas as pd
import pandera.pandas as pandera

from prima_emarsys.contract import Column, Entity, Type
from prima_emarsys.prima.codes import COUNTRIES, CURRENCIES

KEY_UNIQUE = "key_unique"


@dataclass(frozen=True)
class Rule:
    """One rule about one column. `least` or `among` is set; a value that is null keeps every rule of this kind."""

    name: str
    column: str
    says: str
    least: int | None = None
    among: frozenset[str] = frozenset()

    @property
    def check(self) -> pandera.Check:
        """The rule for pandera, whose failure cases show it by `error`: our name."""
        if self.least is not None:
            return pandera.Check.ge(self.least, name=self.name, error=self.name)
        return pandera.Check.isin(sorted(self.among), name=self.name, error=self.name)

    def broken(self, table: ibis.Table) -> ibis.expr.types.BooleanValue:
        """True for each row that breaks the rule."""
        value: Any = table[self.column]
        keeps = value >= self.least if self.least is not None else value.isin(sorted(self.among))
        return value.notnull() & ~keeps.fill_null(True)


def may_be_null(entity: Entity, column: Column) -> bool:
    """Whether a typed page may hold null there. Parts of the key are never null: what is absent is an empty text."""
    return not column.required and column.name not in entity.key


@cache
def rules(entity: Entity) -> dict[str, Rule]:
    """Rules about single values, by name."""
    found: list[Rule] = []
    for column in entity.columns:
        name = column.name
        if column.least is not None:
            found.append(Rule(f"{name}_at_least_{column.least}", name, f"is below {column.least}", least=column.least))
        if column.words:
            says = f"is none of: {', '.join(column.words)}"
            found.append(Rule(f"{name}_known", name, says, among=frozenset(column.words)))
        if name in ("currency", "base_currency"):
            found.append(Rule(f"{name}_iso_4217", name, "is no currency of ISO 4217", among=CURRENCIES))
        if name == "country":
            found.append(Rule(f"{name}_iso_3166", name, "is no country code of ISO 3166", among=COUNTRIES))
    return {rule.name: rule for rule in found}


@cache
def schema(entity: Entity) -> pandera.DataFrameSchema:
    """pandera schema of a typed page (pandas, every column an ArrowDtype)."""
    days = {column.day: column for column in entity.columns if column.type is Type.TIMESTAMP}
    columns: dict[str, pandera.Column] = {}
    for field in entity.arrow_schema:
        column = days.get(field.name) or entity.column[field.name]
        meaning = f"Calendar day at the site of: {column.meaning}" if field.name in days else column.meaning
        columns[field.name] = pandera.Column(
            pd.ArrowDtype(field.type),
            [rule.check for rule in rules(entity).values() if rule.column == field.name],
            # A day is there whenever its instant is; one missing value is one breach.
            nullable=field.name in days or may_be_null(entity, column),
            description=meaning,
        )
    return pandera.DataFrameSchema(
        columns, name=entity.name, title=entity.meaning, unique=list(entity.key), strict=True, report_duplicates="all"
    )


def violations(entity: Entity) -> dict[str, Callable[[ibis.Table], ibis.expr.types.BooleanValue]]:
    """The same rules for a stored table: name → expression that is true for each row that breaks it.

    Count them all in one scan with `table.aggregate(**{name: broken(table).sum() for name, broken in …})`; the one
    about the key is a window, so filter by it (`table.filter(broken(table))`) or mutate it in before aggregating.
    """
    found: dict[str, Callable[[ibis.Table], ibis.expr.types.BooleanValue]] = {}
    for column in entity.columns:
        if not may_be_null(entity, column):
            found[f"{column.name}_present"] = lambda table, name=column.name: table[name].isnull()
    found |= {name: rule.broken for name, rule in rules(entity).items()}
    found[KEY_UNIQUE] = lambda table: _times(table, entity.key) > 1
    return found


def _times(table: ibis.Table, key: tuple[str, ...]) -> Any:
    """How often each row's key occurs in the table."""
    same_key = ibis.window(group_by=[table[name] for name in key])
    return table.count().over(same_key)
