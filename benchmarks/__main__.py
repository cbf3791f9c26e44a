"""`python -m benchmarks`: build the world once, time everything against its floor, print and keep the table."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks import latency, relaying, rivals
from benchmarks.measuring import Measured, best, run
from benchmarks.sizes import World

RESULTS = Path(__file__).parent / "results.md"
_SMALL, _FULL = 100_000, 1_000_000
_PACKAGES = ("duckdb", "ibis-framework", "pandas", "pandera", "pyarrow", "sqlalchemy", "dagster")
console = Console()


@dataclass(frozen=True)
class Row:
    """One line of the table. `met` is None where there is no goal."""

    what: str
    found: str
    goal: str = ""
    met: bool | None = None

    @property
    def verdict(self) -> str:
        """The word for the last column."""
        return "" if self.met is None else "met" if self.met else "**missed**"


def _against(what: str, ours: Measured, floor: Measured, goal: float) -> Row:
    ratio = ours.cpu / floor.cpu
    return Row(what, f"{ratio:.1f} × ({ours.cpu:.2f} s to {floor.cpu:.2f} s CPU)", f"≤ {goal:g} ×", ratio <= goal)


def _attributes(world: World) -> list[Row]:
    found = best(["sales_scan", "attributes", "attributes_unbounded"], world)
    ours, free, scan = found["attributes"], found["attributes_unbounded"], found["sales_scan"]
    rows, persons = scan.figures["rows"], ours.figures["persons"]
    return [
        _against(f"attributes of {persons:,} persons from {rows:,} sales rows, to the bare scan", ours, scan, 12),
        _against("the same in 512 MB, to unbounded memory", ours, free, 1.5),
        Row("its process's peak memory", f"{ours.rss:,.0f} MB"),
    ]


def _identity(world: World) -> list[Row]:
    found = best(["customers_scan", "identity"], world)
    ours, floor = found["identity"], found["customers_scan"]
    what = "{accounts:,} accounts and {merges:,} merges to {persons:,} groups".format(**ours.figures)
    ratio = f"{ours.cpu / floor.cpu:.1f} × ({ours.cpu:.2f} s to {floor.cpu:.2f} s CPU)"
    return [Row(f"{what}, to one grouping by e-mail", ratio)]


def _plan(world: World) -> list[Row]:
    found = best(["compare", "diff", "to_json", "bodies"], world)
    changed, contacts = found["diff"].figures["changed"], found["bodies"].figures["contacts"]
    if changed != found["compare"].figures["changed"]:
        raise AssertionError(f"the plan finds {changed} contacts, the engine {found['compare'].figures['changed']}")
    return [
        _against(
            f"diff: {changed:,} of {contacts:,} contacts, to a compare in SQL", found["diff"], found["compare"], 2
        ),
        _against(f"bodies of {contacts:,} contacts, to the engine's JSON", found["bodies"], found["to_json"], 3),
    ]


def _read(world: World) -> list[Row]:
    found = best(["adbc_stream", "read"], world, times=1 if world.customers > _SMALL else 3)
    ours = found["read"]
    return [
        _against(
            f"read of {ours.figures['rows']:,} order lines, to the bare ADBC stream", ours, found["adbc_stream"], 4
        ),
        Row("its process's peak memory", f"{ours.rss:,.0f} MB", "≤ 300 MB", ours.rss <= 300),
    ]


def _validate(world: World) -> list[Row]:
    found = best(["sql_checks", "validate"], world)
    what = f"validation of {found['validate'].figures['rows']:,} rows by pandera, to one SQL pass"
    return [_against(what, found["validate"], found["sql_checks"], 4)]


def _increment(world: World) -> list[Row]:
    smaller = World(world.customers // 10)
    found, before = best(["reaggregate", "increment"], world), best(["reaggregate", "increment"], smaller)
    ours, floor = found["increment"], found["reaggregate"]
    growth, least = ours.cpu / before["increment"].cpu, floor.cpu / before["reaggregate"].cpu
    what = f"attributes of {ours.figures['computed']:,} changed persons, to the same by hand"
    grown = f"its growth from {smaller.customers:,} to {world.customers:,} customers"
    return [
        _against(what, ours, floor, 5),
        Row(grown, f"{growth:.1f} × (by hand {least:.1f} ×)", "below the floor's", growth <= least),
    ]


def _reconcile(world: World) -> list[Row]:
    run("seal_lines", world)
    found = best(["sales_scan", "reconcile"], world, times=1)
    ours, floor = found["reconcile"], found["sales_scan"]
    figures = ours.figures
    what = f"reconciliation of {figures['lines']:,} lines, {figures['causes']:,} of them with a cause, to one scan"
    time = f"{ours.cpu / floor.cpu:.0f} × ({ours.cpu:.2f} s to {floor.cpu:.2f} s CPU)"
    memory = f"{ours.rss / floor.rss:.1f} × ({ours.rss:,.0f} MB to {floor.rss:,.0f} MB)"
    return [
        Row(what, time),
        Row("its process's peak memory, to that of the scan's", memory),
        Row(f"the first one, which freezes {figures['frozen']:,} periods", f"{figures['freezing']:.2f} s CPU"),
    ]


def _push(world: World) -> list[Row]:
    pushed = run("push", world)
    figures, parts = pushed.figures, pushed.figures["parts"]
    per_part = ", ".join(f"{name} {figures['contacts'] / part['wall']:,.0f}/s" for name, part in parts.items())
    rate = figures["contacts"] / sum(parts[name]["wall"] for name in ("stage", "deliver"))
    cpu = figures["contacts"] / sum(parts[name]["cpu"] for name in ("stage", "deliver"))
    least = math.ceil(figures["contacts"] / 1_000)
    return [
        Row(
            f"push of {figures['contacts']:,} new contacts through ledger and delivery",
            f"{rate:,.0f} contacts/s by the wall, {cpu:,.0f} by our CPU ({per_part})",
            "≥ 15,000/s",
            rate >= 15_000,
        ),
        Row("its calls", f"{figures['calls']:,} of {least:,} at least", "equal", figures["calls"] == least),
    ]


def _again(world: World) -> list[Row]:
    same, some = run("rerun", world).figures, run("one_percent", world).figures
    return [
        Row(
            f"rerun over {same['contacts']:,} contacts, nothing changed",
            f"{same['sent']:,} sent",
            "0",
            not same["sent"],
        ),
        Row(
            f"rerun with {some['changed']:,} contacts changed",
            f"{some['sent']:,} sent in {some['calls']:,} calls",
            f"{some['changed']:,} in {some['least_calls']:,}",
            some["sent"] == some["changed"] and some["calls"] == some["least_calls"],
        ),
    ]


def _rivals(world: World) -> list[Row]:
    return [Row(f"sync of contacts by {name}", found) for name, found in rivals.measure(world).items()]


def _first(world: World) -> list[Row]:
    first = json.loads(world.first_sync.read_text())
    steps = ", ".join(f"{name} {part['cpu']:,.0f} s" for name, part in first["figures"]["steps"].items())
    memory = first["rss"]
    return [
        Row(f"first sync of {first['figures']['contacts']:,} contacts, peak memory", f"{memory:,.0f} MB", "≤ 700 MB",
            memory <= 700),
        Row("its CPU", f"{first['cpu']:,.0f} s ({steps})"),
    ]  # fmt: skip


def _within(what: str, found: Sequence[float | None], goal: float) -> Row:
    """The spread of these seconds; None is one that never ended."""
    seconds = sorted(one for one in found if one is not None)
    if len(seconds) < 2:
        return Row(what, f"{len(seconds)} of {len(found)}", "", False)
    p95 = statistics.quantiles(seconds, n=20, method="inclusive")[-1] if len(seconds) == len(found) else math.inf
    spread = f"p50 {statistics.median(seconds):.1f} s, p95 {p95:.1f} s, longest {seconds[-1]:.1f} s"
    return Row(f"{len(found)} {what}", spread, f"p95 ≤ {goal:g} s", p95 <= goal)


def _latency(_world: World) -> list[Row]:
    what = "orders in Prima until the contact is acknowledged, through the sensor"
    return [_within(what, latency.measure(), 10)]


def _relay(_world: World) -> list[Row]:
    what = "order events in Prima until Emarsys accepted them, through"
    return [
        _within(f"{what} the relay", relaying.measure(), 2),
        _within(f"{what} the sensor alone", relaying.measure_net(), 10),
    ]


PARTS: dict[str, Callable[[World], list[Row]]] = {
    "attributes": _attributes,
    "identity": _identity,
    "plan": _plan,
    "read": _read,
    "validate": _validate,
    "increment": _increment,
    "reconcile": _reconcile,
    "push": _push,
    "again": _again,
    "rivals": _rivals,
    "first": _first,
    "latency": _latency,
    "relay": _relay,
}


_OF_THEIR_OWN = {"latency", "relay"}
"""Parts that build a small world for themselves."""


def _prepare(world: World) -> None:
    """The world, and the first sync of it, unless both are kept from an earlier run."""
    with console.status(f"[dim]Building a world of {world.customers:,} customers …"):
        world.build()
    if not world.first_sync.exists():
        with console.status(f"[dim]Syncing {world.customers:,} customers for the first time …"):
            measured = run("first_sync", world)
        world.first_sync.write_text(json.dumps(vars(measured)))


def _conditions(world: World) -> list[str]:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    return [
        f"- World: {world.customers:,} customer accounts, seed 1.",
        f"- {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores, load {load}, {platform.platform()}.",
        f"- Python {platform.python_version()}, {versions}.",
    ]


def _markdown(world: World, rows: Sequence[Row]) -> str:
    lines = ["# Results", "", "Written by `python -m benchmarks`; `README.md` says how to read it.", ""]
    lines += [*_conditions(world), "", "| what | measured | goal | |", "|---|---|---|---|"]
    lines += [f"| {row.what} | {row.found} | {row.goal} | {row.verdict} |" for row in rows]
    return "\n".join(lines) + "\n"


@click.command()
@click.option("--customers", default=_FULL, show_default=True, help="Customer accounts of the world.")
@click.option("--small", is_flag=True, help=f"A quick look at {_SMALL:,} customers.")
@click.option("--only", multiple=True, type=click.Choice(list(PARTS)), help="This part alone; results are not kept.")
def main(customers: int, small: bool, only: Sequence[str]) -> None:
    """Measure this project against floors that are timed in the same run."""
    world = World(_SMALL if small else customers)
    if {"increment"} & set(only or PARTS):
        _prepare(World(world.customers // 10))
    if set(only or PARTS) - _OF_THEIR_OWN:
        _prepare(world)
    rows: list[Row] = []
    for name in only or PARTS:
        with console.status(f"[dim]{name} …"):
            found = PARTS[name](world)
        for row in found:
            mark: Any = {None: " ", True: "[green]✓[/]", False: "[red]✗[/]"}[row.met]
            console.print(f"{mark} {row.what}: [bold]{row.found}[/]" + (f"  (goal {row.goal})" if row.goal else ""))
        rows += found
        if not only:  # after each part, so that a run that is stopped has its table too
            RESULTS.write_text(_markdown(world, rows), encoding="utf-8")


if __name__ == "__main__":
    main()
