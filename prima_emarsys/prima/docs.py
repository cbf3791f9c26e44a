"""The pages about reading Prima that are generated: contract, views and site file.

`python -m prima_emarsys.prima.docs FOLDER` writes them; a test says that the committed ones are what this module makes.
Meanings are taken from `contract.ENTITIES` and from the site file's models, never written here a second time; only keys
that a model does not describe are described below.
"""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from prima_emarsys.contract import ENTITIES, TABLES, Column, Entity, Type
from prima_emarsys.site import Site

_SQL_TYPES = {
    Type.CODE: "VARCHAR(60)",
    Type.TEXT: "VARCHAR(255)",
    Type.WORD: "VARCHAR(60)",
    Type.MONEY: "DECIMAL(18,4)",
    Type.RATE: "DECIMAL(18,8)",
    Type.INTEGER: "INTEGER",
    Type.DATE: "DATE",
    Type.TIMESTAMP: "TIMESTAMP",
    Type.FLAG: "SMALLINT",
}

_TYPES_EXPLAINED = {
    Type.CODE: "an identifier: text for ever, leading zeros kept, surrounding blanks removed",
    Type.TEXT: "text; surrounding blanks and control characters removed, blank is null",
    Type.WORD: "one of a list, compared without case, spaces, hyphens; other words are mapped in the site file",
    Type.MONEY: "exact amount with four places, half up; never a float",
    Type.RATE: "exact number with eight places",
    Type.INTEGER: "whole number",
    Type.DATE: "calendar day: a DATE, `2026-10-25` or `25/10/2026`; a day of 1753 means unknown",
    Type.TIMESTAMP: "instant: a TIMESTAMP, or ISO text; without a zone it is the site's wall clock. Its calendar day "
    "at the site is kept beside it as `…_on`",
    Type.FLAG: "yes, no or unknown: a BIT, `Yes`/`No`, `Y`/`N`, `true`/`false`, `1`/`0`; null and blank are unknown",
}

_MEANINGS = {
    "site": "Name of the site and environment.",
    "time_zone": "Zone of Prima's clocks, where its times carry none.",
    "prima.url": "SQLAlchemy URL of the database that holds Prima (a replica).",
    "prima.schema": "Schema of the tables, unless an entity names its own.",
    "prima.page_rows": "Rows read and judged at a time; bounds memory.",
    "prima.entities": "Entity of the contract → where it stands. What is left out is as in the contract.",
    "prima.entities.*.table": "Table or view; default is the entity's name.",
    "prima.entities.*.schema": "Schema of that table.",
    "prima.entities.*.columns": "Column of the contract → column of the site; `{date: …, seconds: …}` (date, and "
    "seconds since midnight); `{extent: …, element: n}` (an OpenEdge array); `{constant: …}`; "
    "or `null` (the site keeps none).",
    "prima.entities.*.filters": "Only rows that keep all of these belong to us.",
    "prima.entities.*.filters[].column": "Column of the site.",
    "prima.entities.*.filters[].op": "Comparison.",
    "prima.entities.*.filters[].value": "Value, or list of values for `in` and `not in`.",
    "identity.internal": "Rules for accounts that never reach Emarsys.",
    "identity.internal[].name": "Name of the rule, as counts show it.",
    "identity.internal[].account_types": "Types of account.",
    "identity.internal[].channels": "Channels in which the account was opened.",
    "identity.internal[].code_prefixes": "Beginnings of account codes.",
    "identity.internal[].codes": "Account codes.",
    "identity.internal[].email_domains": "Domains of e-mail addresses.",
    "attributes.rfm.method": "`quintiles`: five groups of equal size; `thresholds`: fixed limits.",
    "attributes.rfm.recency_days": "With `thresholds`: four rising limits, days since the last order.",
    "attributes.rfm.frequency_orders": "With `thresholds`: four rising limits, number of orders.",
    "attributes.rfm.monetary_net": "With `thresholds`: four rising limits, net money.",
    "attributes.active_days": "A person who ordered within so many days is active.",
    "attributes.inactive_days": "A person who did not order for so many days is inactive.",
    "emarsys.token_url": "Address where v3 signs in; default is the vendor's.",
    "emarsys.secret": "OAuth client secret, or WSSE secret.",
    "emarsys.parallel": "Calls under way at once.",
    "emarsys.call_deadline_seconds": "Longest that one call may take, retries inside it included.",
    "emarsys.in_doubt_seconds": "Wait before the outcome of a lost call is looked up.",
    "emarsys.volume.updates_share": "Share of contacts updated.",
    "emarsys.volume.creates_share": "Contacts created, as a share of those there.",
    "emarsys.volume.removals_share": "Share of contacts taken out.",
    "emarsys.volume.ignore_below": "A plan with fewer changes is never held.",
}

EXAMPLE = """\
site: example-live
time_zone: Europe/London
prima:
  url: ${PRIMA_URL}
  schema: PUB
  read_uncommitted: true
  entities:
    customer:
      table: cust-master
      columns:
        customer_code: cust-num
        account_name: cust-name
        opened_at: {date: open-date, seconds: open-time}
        erased_at: null
        changed_at: {date: upd-date, seconds: upd-time}
      filters:
        - {column: comp-no, op: in, value: ["01", "02"]}
      logical_delete: {column: deleted, value: true}
    customer_address:
      columns:
        line_1: {extent: addr-line, element: 1}
        line_2: {extent: addr-line, element: 2}
    sales_order:
      words:
        status: {Backorder: confirmed, Complete: despatched}
    stock: {change: full}
    customer_merge: {absent: true}
  webservice:
    entry_point: comwsomhandler
    companies: ["01", "02"]
    requests:
      sales_order:
        type: OrderList
        rows: Data/Order
        data: {Open: "Yes"}
        columns:
          order_number: OrderNumber
          customer_code: CustomerCode
          status: OrderStatus
          currency: Currency
          ordered_at: OrderDate
        words:
          status: {Complete: despatched}
identity:
  internal:
    - {name: staff, account_types: [STAFF], email_domains: [example.com]}
emarsys:
  fields: {lifecycle_stage: null}
owners: {missing-rate: finance}
"""


def contract_page() -> str:
    """`docs/prima-contract.md`: every entity and column."""
    lines = [
        "# What Prima must be able to tell us",
        "",
        "Generated from `prima_emarsys/contract.py`. The names are ours: no public read interface of Prima is known. A "
        "site maps its own tables onto them in the [site file](site-file.md), or a DBA creates "
        "[views](prima-views.sql) with these names.",
        "",
        "A row that breaks a *required* or *vital* column is held back and reported; in any other column only that "
        "field is left out. Values of *personal* columns are masked in every report and log.",
        "",
        "| Type | How it is read |",
        "|---|---|",
        *(f"| {type_} | {_cell(says)} |" for type_, says in _TYPES_EXPLAINED.items()),
    ]
    for entity in ENTITIES.values():
        lines += ["", f"## {entity.name}", "", entity.meaning, "", f"Key: {', '.join(f'`{k}`' for k in entity.key)}."]
        lines += ["", "| Column | Type | Meaning | Unit | Required | Personal |", "|---|---|---|---|---|---|"]
        lines += [_row(column) for column in entity.columns]
    return "\n".join(lines) + "\n"


def views_page() -> str:
    """`docs/prima-views.sql`: one view for each entity, which can be created as it stands and is empty then."""
    lines = [
        "-- Views by which a database speaks the contract. Generated from prima_emarsys/contract.py.",
        "-- In each view put the site's own columns in the places of CAST(NULL AS ...), a FROM in the place of its",
        "-- comment, and take out WHERE 1 = 0. As they stand the views can be created and are empty. For SQL Server",
        "-- write DATETIME2 for TIMESTAMP; Oracle and OpenEdge need a FROM at once (dual, SYSPROGRESS.SYSCALCTABLE).",
        "-- The reading role needs SELECT on these views and nothing else.",
    ]
    for entity in TABLES.values():
        lines += ["", *_view(entity)]
    return "\n".join(lines) + "\n"


def site_page() -> str:
    """`docs/site-file.md`: every key of the site file."""
    lines = [
        "# The site file",
        "",
        "Generated from `prima_emarsys/site.py`. One YAML file says how one real Prima and one real Emarsys account "
        "map onto the contract and the rules. Everything but `site` has a default. No secret stands in it: "
        "connections are references to the environment such as `${PRIMA_URL}`.",
        "",
        "`*` stands for a name that you choose from a list (an entity), `[]` for each item of a list.",
        "",
        "| Key | Allowed | Default | Meaning |",
        "|---|---|---|---|",
        *(
            f"| `{path}` | {_cell(allowed)} | {_cell(default)} | {_cell(says)} |"
            for path, allowed, default, says in keys()
        ),
        "",
        "## Example",
        "",
        "The names of tables, columns, requests and attributes on the right are made up; they are not Prima's.",
        "",
        "```yaml",
        EXAMPLE.rstrip(),
        "```",
    ]
    return "\n".join(lines) + "\n"


def keys() -> list[tuple[str, str, str, str]]:
    """Every key of the site file: path, what is allowed, default, meaning (empty if nobody described it)."""
    found: dict[str, tuple[str, str, str, str]] = {}
    for path, info in _walk(Site, ""):
        meaning = info.description or _MEANINGS.get(path) or _docstring(info.annotation)
        allowed = _allowed(info.annotation, info.metadata)
        if path in found:  # one key of two models that stand for each other
            _, before, default, meaning = found[path]
            found[path] = (path, f"{before}, {allowed}", default, meaning)
        else:
            found[path] = (path, allowed, _default(info), meaning)
    return list(found.values())


def write(folder: Path) -> None:
    """Write the three pages into a folder."""
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")


PAGES = {"prima-contract.md": contract_page, "prima-views.sql": views_page, "site-file.md": site_page}


def _row(column: Column) -> str:
    meaning = f"{column.meaning} One of: {', '.join(column.words)}." if column.words else column.meaning
    if column.least is not None:
        meaning = f"{meaning} At least {column.least}."
    required = "required" if column.required else "vital" if column.vital else ""
    personal = "personal" if column.personal else ""
    return f"| `{column.name}` | {column.type} | {_cell(meaning)} | {column.unit} | {required} | {personal} |"


def _view(entity: Entity) -> Iterator[str]:
    yield f"-- {entity.meaning}"
    yield f"-- Key: {', '.join(entity.key)}."
    yield f'CREATE VIEW "{entity.name}" AS'
    yield "SELECT"
    last = entity.columns[-1]
    for column in entity.columns:
        words = f" One of: {', '.join(column.words)}." if column.words else ""
        marks = "".join(f", {mark}" for mark in ("required", "personal") if getattr(column, mark))
        comma = "" if column is last else ","
        yield f'    CAST(NULL AS {_SQL_TYPES[column.type]}) AS "{column.name}"{comma}'
        yield f"        -- {column.type}{marks}: {column.meaning}{words}"
    yield "-- FROM ..."
    yield "WHERE 1 = 0;"


def _walk(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, info in model.model_fields.items():
        path = f"{prefix}{info.alias or name}"
        inner = list(_models(info.annotation))
        if path.endswith(".columns"):
            inner = []  # its forms are told in its meaning; the column names are the contract's
        is_leaf = not inner or get_origin(info.annotation) in (dict, list)
        if is_leaf or info.description:
            yield path, info
        step = {dict: ".*.", list: "[]."}.get(get_origin(info.annotation), ".")  # pyright: ignore[reportArgumentType]
        for nested in inner:
            if not path.endswith("logical_delete"):
                yield from _walk(nested, f"{path}{step}")


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _docstring(annotation: Any) -> str:
    return next((" ".join((model.__doc__ or "").split()) for model in _models(annotation)), "")


def _allowed(annotation: Any, metadata: list[Any]) -> str:
    limits = "".join(_limit(item) for item in metadata)
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _allowed(parts[0], [*parts[1:], *metadata])
    if origin is Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_allowed(part, metadata) for part in parts))
    if origin is dict:
        return f"mapping: {_allowed(parts[0], [])} → {_allowed(parts[1], [])}"
    if origin is list:
        return f"list of {_allowed(parts[0], [])}"
    if origin is tuple:
        return f"{len(parts)} × {_allowed(parts[0], [])}"
    if annotation is type(None):
        return "null"
    if isinstance(annotation, type) and hasattr(annotation, "__members__"):
        return ", ".join(f"`{member.value}`" for member in annotation)  # pyright: ignore[reportGeneralTypeIssues]
    if any(getattr(getattr(item, "func", None), "__name__", "") == "_check_reference" for item in metadata):
        return "`${NAME}`"
    if any(getattr(getattr(item, "func", None), "__name__", "") == "_check_zone" for item in metadata):
        return "zone such as `Europe/London`"
    return f"{_TYPE_NAMES.get(annotation, getattr(annotation, '__name__', str(annotation)))}{limits}"


_TYPE_NAMES: dict[Any, str] = {str: "text", int: "whole number", bool: "true, false", float: "number"}
_TYPE_NAMES[timedelta] = "duration such as `PT15M`"


def _limit(item: Any) -> str:
    match item:
        case annotated_types.Ge(ge=limit):
            return f" ≥ {limit}"
        case annotated_types.Gt(gt=limit):
            return f" > {limit}"
        case annotated_types.Le(le=limit):
            return f" ≤ {limit}"
        case annotated_types.Lt(lt=limit):
            return f" < {limit}"
    pattern = getattr(item, "pattern", None)
    return f" like `{pattern}`" if pattern else ""


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    if value is None:
        return ""
    if isinstance(value, timedelta):
        return f"{int(value.total_seconds() // 60)} minutes"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, BaseModel):
        return ""
    return f"`{value}`" if value not in ({}, []) else "none"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
