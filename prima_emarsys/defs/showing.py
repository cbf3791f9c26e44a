"""How counts, tables and verdicts look in Dagster: bounded, in words, nothing personal."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from io import BytesIO
from typing import Any

import dagster as dg

from prima_emarsys.contract import Entity
from prima_emarsys.finding import KINDS, Finding, Severity
from prima_emarsys.steps.verdicts import Verdict

MOST_ROWS = 50
"""Rows of a table in metadata; Dagster stores every one of them for ever."""
_LARGEST_PICTURE = 14_000
"""Bytes; the same holds for pictures."""


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> dg.MarkdownMetadataValue:
    """A small Markdown table. Numbers get thousands marks; beyond `MOST_ROWS` it says how many are left out."""
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows[:MOST_ROWS]]
    if len(rows) > MOST_ROWS:
        lines.append(f"\n… and {len(rows) - MOST_ROWS:,} more")
    return dg.MetadataValue.md("\n".join(lines))


def _cell(value: object) -> str:
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value).replace("|", "\\|")


def counts(rows: Mapping[str, int | Decimal | str]) -> dg.MarkdownMetadataValue:
    """A two-column table of names and numbers."""
    return table(["", "count"], list(rows.items()))


FLOW = ("read", "changed", "excluded", "quarantined", "planned", "sent", "accepted", "refused", "unknown", "unchanged")
"""The counts that every materialisation carries, as far as they mean something for it."""


def flow(**numbers: int) -> dict[str, int]:
    """Counts of `FLOW`, in its order, as metadata that Dagster plots. Raises ValueError for any other name."""
    if strange := set(numbers) - set(FLOW):
        raise ValueError(f"no such count: {', '.join(sorted(strange))}")
    return {name: numbers[name] for name in FLOW if name in numbers}


def bars(title: str, groups: Sequence[str], series: Mapping[str, Sequence[float]]) -> dg.MarkdownMetadataValue:
    """A small bar chart, one bar a group and series, as a picture inside Markdown. Raises ValueError if it is no longer
    small (`_LARGEST_PICTURE`)."""
    figure, axes = _figure(title)
    width = 0.8 / len(series)
    for number, (name, values) in enumerate(series.items()):
        places = [place + (number + 0.5) * width - 0.4 for place in range(len(groups))]
        axes.bar(places, values, width, label=name)
    axes.set_xticks(range(len(groups)), groups)
    axes.legend()
    return _picture(figure, title)


def steps(title: str, points: Sequence[tuple[datetime, int]]) -> dg.MarkdownMetadataValue:
    """A number that stays until the next point, over time; bounded as `bars` is."""
    figure, axes = _figure(title)
    axes.step([moment for moment, _ in points], [number for _, number in points], where="post")
    axes.tick_params(labelsize="small")
    figure.autofmt_xdate()
    return _picture(figure, title)


def _figure(title: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # takes its time, which only an asset with a picture should spend

    figure = Figure(figsize=(5, 3), dpi=72, layout="tight")
    axes = figure.add_subplot(title=title)
    axes.title.set_fontsize("medium")
    return figure, axes


def _picture(figure: Any, title: str) -> dg.MarkdownMetadataValue:
    file = BytesIO()
    figure.savefig(file, format="png")
    if len(file.getvalue()) > _LARGEST_PICTURE:
        raise ValueError(f"the picture {title!r} has {len(file.getvalue()):,} bytes")
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{b64encode(file.getvalue()).decode()})")


def exceptions(findings: Sequence[Finding]) -> dict[str, Any]:
    """How many exceptions each owner has, and the first ones. Empty without findings."""
    if not findings:
        return {}
    by_kind: dict[tuple[str, str], int] = {}
    for finding in findings:
        key = (finding.owned_by.value, finding.kind)
        by_kind[key] = by_kind.get(key, 0) + 1
    summary = [(owner, kind, number, KINDS[kind].what_to_do) for (owner, kind), number in sorted(by_kind.items())]
    first = [(f.owned_by.value, f.kind, f.record, f.detail) for f in findings[:MOST_ROWS]]
    return {
        "exceptions by owner": table(["owner", "kind", "number", "what to do"], summary),
        "exceptions": table(["owner", "kind", "record", "detail"], first),
        "exception count": len(findings),
    }


def check_result(name: str, verdict: Verdict, severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR) -> Any:
    """A verdict as the result of the asset check `name`."""
    figures: dict[str, Any] = {"finding": verdict.sentence}
    if verdict.figures:
        figures["figures"] = counts(verdict.figures)
    return dg.AssetCheckResult(passed=verdict.passed, check_name=name, severity=severity, metadata=figures)


def findings_result(name: str, findings: Sequence[Finding]) -> Any:
    """A warning check that is green without exceptions; errors and warnings alike have owners already."""
    errors = sum(1 for finding in findings if KINDS[finding.kind].severity is Severity.ERROR)
    sentence = f"{len(findings):,} exceptions are open, {errors:,} of them hold a record back."
    verdict = Verdict(
        not findings, sentence if findings else "No exceptions.", {"open": len(findings), "errors": errors}
    )
    return check_result(name, verdict, dg.AssetCheckSeverity.WARN)


def column_schema(entity: Entity) -> dg.TableSchema:
    """The contract's columns as Dagster shows them."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                column.type.value,
                f"{column.meaning}{f' ({column.unit})' if column.unit else ''}",
                dg.TableColumnConstraints(nullable=not column.required),
            )
            for column in entity.columns
        ]
    )


def described_columns(columns: Sequence[tuple[str, str, str]]) -> dg.TableSchema:
    """A table schema from (name, type, meaning)."""
    return dg.TableSchema(columns=[dg.TableColumn(name, kind, meaning) for name, kind, meaning in columns])
