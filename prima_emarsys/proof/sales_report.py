"""What the proof of sales found, for people: months on both clocks, CSV whose columns sum, and a page for finance.

Here is only how it is told. The page is one file without scripts or addresses in it: figures first, then what differs,
then whose turn it is. It holds order numbers and sums, nothing personal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from html import escape
from pathlib import Path

import ibis
import ibis.expr.types as ir
from pyarrow import csv

from prima_emarsys.finding import KINDS, Owner
from prima_emarsys.proof.sales import CAUSES, FIGURES, GROUP, NO_DATE, PROVED, SalesProof
from prima_emarsys.rules.reconciliation import CAUSES as KNOWN_CAUSES
from prima_emarsys.rules.reconciliation import owners
from prima_emarsys.sync.exceptions import ExceptionCase
from prima_emarsys.sync.periods import ORDERED, POSTED, ClosedPeriod
from prima_emarsys.warehouse import Warehouse

_MONEY = "decimal(18,2)"
_FORMULA = "^[=+@\\-\t\r]"
"""A text that begins so is a formula to a spreadsheet."""

# -- CSV -------------------------------------------------------------------------------------------------------------


def figures_by_day(warehouse: Warehouse, clock: str, currency: str) -> ir.Table:
    """A row for each day, company, channel and order currency: the figures, and one column for each cause.

    Amounts are in the account's `currency`; in every row the causes sum to the difference, and every column sums to the
    total of the proof. Rows are in no order.
    """
    proved, causes = warehouse.table(PROVED), warehouse.table(CAUSES)
    names = {cause: f"cause_{cause}".replace(" ", "_") for cause in KNOWN_CAUSES}
    nought = ibis.literal(Decimal("0.00"), type=_MONEY)
    here = proved.filter(proved.clock == clock)
    figures = here.select(
        "day", *GROUP, **{name: here[name].cast(_MONEY) for name in FIGURES}, **dict.fromkeys(names.values(), nought)
    )
    of_causes = causes.select(
        *GROUP,
        day=causes[f"{clock}_on"],
        **dict.fromkeys(FIGURES, nought),
        **{name: (causes.cause == cause).ifelse(causes.amount, nought).cast(_MONEY) for cause, name in names.items()},
    )
    columns = figures.columns
    every = figures.union(of_causes.select(*columns))
    sums = {name: every[name].sum().cast(_MONEY) for name in (*FIGURES, *names.values())}
    summed = every.group_by(["day", *GROUP]).agg(**sums)
    return _plain(summed.select(*columns).mutate(amounts_in=ibis.literal(currency)))


def records(warehouse: Warehouse) -> ir.Table:
    """Every record behind the difference: cause, whose turn it is, detail, record, its place and its amounts."""
    causes = warehouse.table(CAUSES)
    owned = causes.mutate(whose_turn=owners(causes.cause, causes.detail))
    return _plain(owned.select("cause", "whose_turn", *(name for name in causes.columns if name != "cause")))


def _plain(rows: ir.Table) -> ir.Table:
    """The rows with no text that a spreadsheet would take for a formula."""
    texts = [name for name, kind in rows.schema().items() if kind.is_string()]
    guarded = {name: rows[name].re_search(_FORMULA).ifelse("'" + rows[name], rows[name]) for name in texts}
    return rows.mutate(**guarded).select(*rows.columns)


def write_report(folder: Path, warehouse: Warehouse, proof: SalesProof, told: Told) -> list[Path]:
    """Write the page and the CSV files into the folder, over those of an earlier report; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = {
        "sales-by-posting-date.csv": figures_by_day(warehouse, POSTED, proof.currency),
        "sales-by-order-date.csv": figures_by_day(warehouse, ORDERED, proof.currency),
        "sales-records.csv": records(warehouse),
    }
    html = folder / "sales.html"
    html.write_text(page(warehouse, proof, told), encoding="utf-8")
    for name, rows in tables.items():
        with csv.CSVWriter(folder / name, rows.schema().to_pyarrow()) as file:
            for part in warehouse.batches(rows, order=rows.columns):
                file.write_table(part.cast(rows.schema().to_pyarrow()))
    return [html, *(folder / name for name in tables)]


# -- the page --------------------------------------------------------------------------------------------------------

_MONTHS_SHOWN = 13
_RECORDS_SHOWN = 40
_SHORT = 10
"""Such a text stays on one line: a day, a period."""
_COMMAND = re.compile("`([^`]+)`")
_WORDS = {
    "orders": "Orders, with charges",
    "refunds": "Cancellations and finalised credit notes",
    "returns_waiting": "Returns that wait for their credit note",
    "net": "Net in Prima",
    "desired": "Should be in Emarsys",
    "accepted": "Accepted by Emarsys",
    "difference": "Difference",
}
_STYLE = """
:root { --ink: #1c2733; --quiet: #5b6875; --line: #d5dbe1; --good: #1c6e43; --bad: #a4262c;
  --bar: #33658a; --pale: #9fc2d8 }
* { box-sizing: border-box }
body { font: 14px/1.45 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; color: var(--ink); margin: 0 auto;
  max-width: 62rem; padding: 2rem 1.5rem }
h1 { font-size: 1.5rem; margin: 0 }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; padding-top: .6rem; border-top: 2px solid var(--ink) }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem }
p { margin: .3rem 0 .7rem } .quiet { color: var(--quiet) } .verdict { font-size: 1.15rem; font-weight: 600 }
.good { color: var(--good) } .bad { color: var(--bad) }
table { border-collapse: collapse; width: 100%; margin: .4rem 0 .8rem }
th, td { text-align: left; vertical-align: top; padding: .28rem .9rem .28rem 0; border-bottom: 1px solid var(--line) }
th { font-weight: 600; color: var(--quiet); font-size: .86rem; border-bottom-color: var(--ink) }
.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums } .n:last-child { padding-right: 0 }
.over { text-align: right; border-bottom-color: var(--line) }
td { overflow-wrap: break-word } td:first-child, .short { white-space: nowrap }
tr.sum td { font-weight: 600; border-top: 1px solid var(--ink) }
table.narrow { width: auto; min-width: 30rem } svg { width: 100%; height: auto; margin: .6rem 0 }
thead { display: table-header-group } tr, svg { break-inside: avoid } h2, h3 { break-after: avoid }
@page { size: A4; margin: 14mm }
@media print { body { font-size: 9.5pt; padding: 0; max-width: none } * { print-color-adjust: exact } }
"""


@dataclass(frozen=True)
class Told:
    """What the page tells besides the proof's tables. `cases` are the open exceptions about sales."""

    site: str
    made_at: datetime
    vat: str
    periods: Sequence[ClosedPeriod]
    cases: Sequence[ExceptionCase]


def page(warehouse: Warehouse, proof: SalesProof, told: Told) -> str:
    """The page, in HTML."""
    vat = "with VAT" if told.vat == "incl" else "without VAT"
    body = [
        "<h1>Sales: what Prima says, and what Emarsys has accepted</h1>",
        f'<p class="quiet">{escape(told.site)}, {told.made_at:%d %B %Y, %H:%M %Z}. '
        f"Amounts in {escape(proof.currency)}, {vat}, unless another currency is named.</p>",
        *_figures(proof),
        *_differs(proof),
        *_turns(proof, told.cases),
        *_periods(proof, told.periods),
        *(_largest(warehouse, proof) if proof.causes else ()),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en-GB"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Sales: Prima and Emarsys</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def _figures(proof: SalesProof) -> Iterator[str]:
    yield f'<p class="verdict {"good" if proof.holds else "bad"}">{escape(proof.sentence)}</p>'
    waits = proof.waiting_for_people
    if proof.causes:
        yield f"<p>{waits:,.2f} waits for a person; the rest is as a rule of the site wants it, or settles itself.</p>"
    yield "<h2>The figures</h2>"
    total = [(_WORDS[name], proof.totals[name]) for name in FIGURES]
    yield _table(["Over all days", proof.currency], total, sums=("Net in Prima", "Difference"), narrow=True)
    months = proof.months
    shown = {name: months[name] for name in list(months)[-_MONTHS_SHOWN:]}
    yield "<h3>By month, on two clocks</h3>"
    yield (
        '<p class="quiet">By order date, a refund counts in the month of its order (marketing’s view). By posting '
        "date, it counts in the month in which it was cancelled, or its credit note finalised (finance’s view).</p>"
    )
    yield _bars({name: clocks.get(POSTED, {}) for name, clocks in shown.items() if name != NO_DATE})
    headings = ["Month", *["Net in Prima", "Accepted", "Difference"] * 2]
    above = {"": 1, "By order date": 3, "By posting date": 3}
    figures = [(clock, name) for clock in (ORDERED, POSTED) for name in ("net", "accepted", "difference")]
    nought = Decimal("0.00")

    def row(title: str, chosen: Mapping[str, Mapping[str, Mapping[str, Decimal]]]) -> list[object]:
        sums = [sum((of.get(clock, {}).get(name, nought) for of in chosen.values()), nought) for clock, name in figures]
        return [title, *sums]

    rows = [row(name, {name: clocks}) for name, clocks in shown.items()]
    earlier = {name: clocks for name, clocks in months.items() if name not in shown}
    rows = ([row("earlier", earlier)] if earlier else []) + rows + [row("all", months)]
    yield _table(headings, [row for row in rows if any(row[1:])], sums=("all",), above=above)


def _bars(months: Mapping[str, Mapping[str, Decimal]]) -> str:
    """Net in Prima beside what Emarsys accepted, by month, as a drawing."""
    width, height, foot, nought = 720, 150, 18, Decimal(0)
    values = [figures.get(name, nought) for figures in months.values() for name in ("net", "accepted")]
    top, bottom = max([nought, *values]), min([nought, *values])
    scale = (height - foot - 16) / ((top - bottom) or Decimal(1))
    step = width / max(1, len(months))
    drawn = []
    for place, (month, figures) in enumerate(months.items()):
        for number, (name, colour) in enumerate((("net", "var(--bar)"), ("accepted", "var(--pale)"))):
            value = figures.get(name, nought)
            x, y = place * step + step * (0.14 + 0.36 * number), 16 + (top - max(value, nought)) * scale
            drawn.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{step * 0.34:.1f}" height="{abs(value) * scale:.1f}" '
                f'fill="{colour}"><title>{month}, {_WORDS[name]}: {value:,}</title></rect>'
            )
        drawn.append(
            f'<text x="{(place + 0.5) * step:.1f}" y="{height - 4}" text-anchor="middle" font-size="10" '
            f'fill="var(--quiet)">{month}</text>'
        )
    legend = (
        '<rect x="2" y="1" width="9" height="9" fill="var(--bar)"/>'
        '<text x="15" y="9" font-size="10">net in Prima</text>'
        '<rect x="90" y="1" width="9" height="9" fill="var(--pale)"/>'
        '<text x="103" y="9" font-size="10">accepted by Emarsys (both by posting date)</text>'
    )
    label = "Net in Prima and accepted by Emarsys, by month of posting"
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}">{legend}{"".join(drawn)}</svg>'


def _differs(proof: SalesProof) -> Iterator[str]:
    yield "<h2>What differs</h2>"
    if not proof.causes:
        yield "<p>Nothing.</p>"
        return
    rows: list[Sequence[object]] = []
    for name, cause in KNOWN_CAUSES.items():
        mine = [one for one in proof.causes if one.cause == name]
        if mine:
            rows.append([name, cause.meaning, sum(one.records for one in mine), proof.amount_of(name)])
    rows.append(["Difference", "", sum(one.records for one in proof.causes), proof.totals["difference"]])
    yield _table(["Cause", "What it means", "Records", proof.currency], rows, sums=("Difference",))
    yield "<h3>In detail</h3>"
    yield _table(
        ["Cause", "Rule, file or reason", "Records", "In the order’s currency", "", proof.currency],
        [(one.cause, one.detail, one.records, one.value, one.currency, one.amount) for one in proof.causes],
    )


def _turns(proof: SalesProof, cases: Sequence[ExceptionCase]) -> Iterator[str]:
    yield "<h2>Whose turn it is</h2>"
    rows: list[Sequence[object]] = []
    for owner in Owner:
        for name, cause in KNOWN_CAUSES.items():
            mine = [one for one in proof.causes if one.cause == name and one.owner is owner]
            if mine:
                numbers = (sum(one.records for one in mine), sum((one.amount for one in mine), Decimal("0.00")))
                rows.append([owner.value, name, *numbers, cause.what_to_do])
    if rows:
        yield _table(["Owner", "Cause", "Records", proof.currency, "What to do"], rows)
    else:
        yield "<p>Nobody’s: whatever differs is right, or settles itself.</p>"
    groups: dict[tuple[str, str], list[ExceptionCase]] = {}
    for case in cases:
        groups.setdefault((str(case.owner), case.kind), []).append(case)
    if groups:
        yield "<h3>Open exceptions about sales</h3>"
        yield _table(
            ["Owner", "Kind", "Number", "Money", "What to do"],
            [
                (owner, kind, len(mine), _money(mine), KINDS[kind].what_to_do)
                for (owner, kind), mine in sorted(groups.items())
            ],
        )


def _money(cases: Sequence[ExceptionCase]) -> str:
    sums: dict[str, Decimal] = {}
    for case in cases:
        if case.money is not None:
            sums[case.currency or ""] = sums.get(case.currency or "", Decimal(0)) + case.money
    return ", ".join(f"{money:,.2f} {currency}" for currency, money in sorted(sums.items()))


def _periods(proof: SalesProof, periods: Sequence[ClosedPeriod]) -> Iterator[str]:
    yield "<h2>Closed periods</h2>"
    if not periods:
        yield "<p>Prima has closed none.</p>"
        return
    latest = sorted({(one.starts_on, one.key) for one in periods}, reverse=True)[:_MONTHS_SHOWN]
    found = {(one.key, one.clock): one for one in periods}
    rows = []
    for _, key in latest:
        ordered, posted = found.get((key, ORDERED)), found.get((key, POSTED))
        one = posted or ordered
        if one is not None:
            signed = f"{one.signed_by}, {one.signed_at:%Y-%m-%d}" if one.signed_by else "not signed"
            sums = [posted and posted.net, posted and posted.late, ordered and ordered.net]
            rows.append([one.company, one.period, *sums, one.currency, signed])
    yield (
        '<p class="quiet">Figures as they were when Prima closed the period, with VAT, in the company’s own currency. '
        "They never change; what is posted into a closed period later counts in the open one.</p>"
    )
    headings = ["Company", "Period", "Net, by posting date", "Of it late", "Net, by order date", "In", "Signed off"]
    yield _table(headings, rows)
    late = [one for one in proof.late if one.clock == POSTED]
    if late:
        yield "<h3>Late adjustments of the open period</h3>"
        yield _table(
            ["Company", "Of the closed period", "Counts in", "Records", "Net", "In"],
            [(o.company, o.period, o.counts_in or "none is open", o.records, o.base, o.currency) for o in late],
        )


def _largest(warehouse: Warehouse, proof: SalesProof) -> Iterator[str]:
    causes = warehouse.table(CAUSES)
    largest = causes.order_by(ibis.desc(causes.amount.abs()), "record", "cause", "detail").limit(_RECORDS_SHOWN)
    number = warehouse.count(causes)
    listed = [
        (row["record"], row["cause"], row["detail"], row["ordered_on"], row["posted_on"], row["amount"])
        for row in warehouse.read(largest).to_pylist()
    ]
    yield f"<h2>The {len(listed):,} largest of {number:,} entries</h2>"
    yield '<p class="quiet">The file <code>sales-records.csv</code> has them all.</p>'
    yield _table(["Record", "Cause", "Detail", "Ordered", "Posted", proof.currency], listed)


def _table(
    headings: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    sums: Sequence[str] = (),
    narrow: bool = False,
    above: Mapping[str, int] | None = None,
) -> str:
    """A table; numbers stand on the right, and rows whose first cell is among `sums` are sums.

    `above` are headings over so many columns each.
    """
    numeric = [
        bool(rows) and all(row[place] is None or isinstance(row[place], int | Decimal) for row in rows)
        for place in range(len(headings))
    ]

    def cell(tag: str, place: int, value: object) -> str:
        number = f"{value:,.2f}" if isinstance(value, Decimal) else f"{value:,}" if isinstance(value, int) else None
        shown = number or ("" if value is None else str(value))
        kind = ' class="n"' if numeric[place] else ' class="short"' if len(shown) <= _SHORT else ""
        words = _COMMAND.sub(r"<code>\1</code>", escape(shown))
        return f"<{tag}{kind}>{words}</{tag}>"

    head = "".join(cell("th", place, heading) for place, heading in enumerate(headings))
    lines = [
        f"<tr{' class=sum' if row[0] in sums else ''}>"
        + "".join(cell("td", place, value) for place, value in enumerate(row))
        + "</tr>"
        for row in rows
    ]
    over = "".join(f'<th class="over" colspan="{span}">{escape(title)}</th>' for title, span in (above or {}).items())
    heads = f"<tr>{over}</tr><tr>{head}</tr>" if above else f"<tr>{head}</tr>"
    opened = '<table class="narrow">' if narrow else "<table>"
    return f"{opened}<thead>{heads}</thead><tbody>{''.join(lines)}</tbody></table>"
