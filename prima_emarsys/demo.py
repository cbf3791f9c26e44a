"""The demonstration: the product at work on the sandbox, for a newcomer to watch. `make demo` and `make dev`.

It drives the real Dagster jobs on the real stores; only Prima and Emarsys are made up.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import dagster as dg
import orjson
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from prima_emarsys.defs.showing import FLOW
from prima_emarsys.emarsys.contacts import Contacts
from prima_emarsys.project import Project
from prima_emarsys.proof.sales import SalesProof
from prima_emarsys.rules.availability import SKU
from prima_emarsys.sandbox.emarsys.faults import Faults
from prima_emarsys.sandbox.emarsys.server import LocalEmarsys
from prima_emarsys.sandbox.prima.server import LocalPrima
from prima_emarsys.sandbox.world import build, tick
from prima_emarsys.sandbox.world.clock import local
from prima_emarsys.sandbox.world.store import open_world
from prima_emarsys.settings import DEFAULT_SITE, load_settings
from prima_emarsys.site import load_site
from prima_emarsys.steps.availability import AVAILABILITY
from prima_emarsys.steps.triggering import OPT_IN_FIELD, OPTED_IN
from prima_emarsys.sync.exceptions import open_exceptions
from prima_emarsys.sync.periods import CLOCKS
from prima_emarsys.sync.plan import LANE

_KILL = "kill"
_FEW = 50
_AWAITED, _UNITS = 3, 12
_CATALOGUE = "catalogue/catalogue.csv"
_ABREAST = 3
"""Assets side by side in a table, so that it fits a narrow terminal."""
_MONTHS = 4
"""Months that the table of sales shows, the latest ones."""
_ROUNDS = 8
"""Syncs tried until nothing is due; a killed process's lease must end first."""
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@contextmanager
def sandbox(folder: Path, port: int = 0) -> Iterator[tuple[LocalEmarsys, dict[str, str]]]:
    """The local Emarsys and the web service of the folder's world running, and the environment that points there."""
    folder = folder.absolute()
    key_file = folder / "hash.key"
    if not key_file.exists():
        key_file.write_text(secrets.token_hex(32))
        key_file.chmod(0o600)
    catalogue = folder / "catalogue"
    catalogue.mkdir(exist_ok=True)
    world = f"sqlite:///{folder / 'prima.sqlite'}"
    with (
        LocalEmarsys(folder / "emarsys", port=port) as emarsys,
        LocalPrima(world, port=port + 1 if port else 0) as prima,
    ):
        for name in (one.name for one in load_site(DEFAULT_SITE).emarsys.events.values() if one):
            with contextlib.suppress(ValueError):  # it is there from an earlier start
                emarsys.add_event(name)
        yield (
            emarsys,
            {
                "PRIMA_URL": world,
                "PRIMA_WSDL": prima.wsdl,
                "PRIMA_EMARSYS_HOME": str(folder),
                "PRIMA_EMARSYS_HASH_KEY_FILE": str(key_file),
                "EMARSYS_URL": emarsys.url,
                "EMARSYS_TOKEN_URL": emarsys.token_url,
                "EMARSYS_CLIENT_ID": emarsys.client_id,
                "EMARSYS_CLIENT_SECRET": emarsys.client_secret,
                "EMARSYS_SALES_URL": f"{emarsys.sales_url}/hapi/merchant/{emarsys.merchant_id}/sales-data/api",
                "EMARSYS_SALES_TOKEN": emarsys.sales_token,
                "EMARSYS_CATALOGUE_FOLDER": str(catalogue),
            },
        )


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def run_demo(console: Console, folder: Path, customers: int, fault: str | None) -> bool:
    """The demonstration; true if Emarsys ends equal to the desired state, and every difference in sales has a cause."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    started = time.monotonic()
    now = datetime.now(UTC)
    console.print(f"[bold]1.[/] A made-up retailer's Prima with {customers:,} customer accounts …")
    url = f"sqlite:///{folder.absolute() / 'prima.sqlite'}"
    world = build(url, customers=customers, now=now - timedelta(minutes=5))
    orders, lines = world.rows["sales_order"], world.rows["sales_order_line"]
    awkward = sum(len(found) for found in world.cases.values())
    console.print(
        f"   {orders:,} orders, {lines:,} lines, and {awkward:,} awkward records of {len(world.cases)} kinds."
    )
    with sandbox(folder) as (emarsys, environment), _environment(environment | _site(folder, fault)):
        if fault and fault != _KILL:
            emarsys.faults = Faults.named(fault)
            console.print(
                f"   [yellow]Fault switched on in Emarsys: {fault}; {_FEW} contacts a call, so that it bites.[/]"
            )
        console.print("[bold]2.[/] Everything is read, computed and sent for the first time …")
        if fault == _KILL:
            _killed_sync(console, environment)
        _sync(console, "First sync")
        emarsys.pull_catalogue(folder / _CATALOGUE)
        awaited = _let_people_wait(emarsys)
        console.print("[bold]3.[/] Things happen in Prima …")
        facts = tick(url, now=datetime.now(UTC), changes=25, seed=7)
        kinds: dict[str, int] = {}
        for fact in facts:
            kinds[fact.kind] = kinds.get(fact.kind, 0) + 1
        console.print("   " + ", ".join(f"{number} × {kind}" for kind, number in kinds.items()))
        _restock(url, awaited)
        console.print(f"   {len(awaited)} SKUs come in that were out, and for which people wait.")
        console.print("[bold]4.[/] Only what changed is read, computed and sent …")
        _sync(console, "Second sync")
        project = Project(load_settings())
        try:
            if project.ledger.counts(LANE).quarantined:
                _mend(console, project, emarsys)
            emarsys.faults = Faults()
            console.print("[bold]5.[/] Emarsys is read back and compared, field by field …")
            proof = project.prove()
            console.print("[bold]6.[/] Sales are added up again in Prima, and compared with what Emarsys accepted …")
            sales = project.prove_sales()
            emarsys.load_sales()
            turnover = sum(emarsys.turnover().values(), Decimal(0))
            _exceptions(console, project)
            _catalogue(console, emarsys, folder)
        finally:
            project.close()
        _two_clocks(console, sales)
        console.print(f"   The local Emarsys adds the files that it has loaded up to {turnover:,.2f} {sales.currency}.")
        console.print(f"   {time.monotonic() - started:.0f} seconds in all.")
    what = f"{proof.equal:,} of {proof.desired:,} contacts are as desired"
    if proof.holds:
        console.print(f"[bold green]Emarsys equals the desired state: {what}.[/]")
    else:
        console.print(
            f"[bold red]Emarsys differs from the desired state: {what}; {proof.differing:,} differ, "
            f"{proof.missing:,} are missing, {proof.waiting:,} wait.[/]"
        )
    console.print(f"[bold {'green' if sales.holds else 'red'}]{sales.sentence}[/]")
    return proof.holds and sales.holds


def _two_clocks(console: Console, proof: SalesProof) -> None:
    """The latest months on both clocks, and why the two sides differ."""
    shown = Table(
        title=f"Sales on two clocks, in {proof.currency}", title_justify="left", title_style="bold", box=SIMPLE
    )
    shown.add_column("month", no_wrap=True)
    figures = [(clock, name) for clock in CLOCKS for name in ("net", "difference")]
    for by in ("order", "posting"):
        shown.add_column(f"net by {by} date", justify="right")
        shown.add_column("difference", justify="right")
    earlier, latest = list(proof.months)[:-_MONTHS], list(proof.months)[-_MONTHS:]
    for title, months in (("earlier", earlier), *((month, [month]) for month in latest), ("all", list(proof.months))):
        found = [
            [proof.months[month].get(clock, {}).get(name, Decimal(0)) for month in months] for clock, name in figures
        ]
        if not any(any(amounts) for amounts in found):
            continue
        shown.add_row(title, *(f"{sum(amounts, Decimal('0.00')):,}" for amounts in found))
    console.print(shown)
    why = Table(title="Why they differ", title_justify="left", title_style="bold", box=SIMPLE)
    why.add_column("cause", no_wrap=True)
    why.add_column("rule or reason", overflow="fold")
    why.add_column(proof.currency, justify="right", no_wrap=True)
    why.add_column("whose turn")
    amounts: dict[tuple[str, str, str], Decimal] = {}  # of all the currencies that orders are in
    for one in proof.causes:
        row = (one.cause, one.detail, one.owner or "")
        amounts[row] = amounts.get(row, Decimal("0.00")) + one.amount
    for (cause, detail, owner), amount in sorted(amounts.items(), key=lambda item: -abs(item[1])):
        why.add_row(cause, detail, f"{amount:,}", owner)
    console.print(why)


def _site(folder: Path, fault: str | None) -> dict[str, str]:
    """With a fault, the sandbox's site file is used with smaller batches: a few calls would hardly meet it."""
    if not fault:
        return {}
    path = folder.absolute() / "site.yaml"
    path.write_text(f"{DEFAULT_SITE.read_text()}  contacts_per_call: {_FEW}\n")
    return {"PRIMA_EMARSYS_SITE": str(path)}


def _sync(console: Console, title: str) -> None:
    """Run Dagster's `sync` job until nothing is due."""
    from prima_emarsys.definitions import defs

    totals: dict[str, dict[str, int]] = {}
    with dg.DagsterInstance.ephemeral() as instance:
        for _ in range(_ROUNDS):
            with console.status("[dim]Dagster's job `sync` is running …"):
                result = defs.resolve_job_def("sync").execute_in_process(
                    instance=instance, run_config=_QUIET, raise_on_error=False
                )
            for event in result.get_asset_materialization_events():
                made = event.step_materialization_data.materialization
                name = made.asset_key.to_user_string()
                for count in FLOW:
                    if count in made.metadata:
                        _add(totals.setdefault(name, {}), count, int(made.metadata[count].value))  # pyright: ignore
            if not result.success:
                console.print(f"   A run failed, and the next begins where it ended: {_cause(result)}")
                continue
            project = Project(load_settings())
            state = project.ledger.counts(LANE)
            project.close()
            if state.dirty + state.leased + state.in_doubt == 0:
                break
            console.print(f"   {state.dirty + state.leased + state.in_doubt:,} contacts wait to be sent again …")
            time.sleep(10)
    names = list(totals)
    for first in range(0, len(names), _ABREAST):
        abreast = names[first : first + _ABREAST]
        shown = Table(title="" if first else title, title_justify="left", title_style="bold", box=SIMPLE)
        shown.add_column("", no_wrap=True, min_width=len("quarantined"))
        for name in abreast:
            shown.add_column(name, justify="right", no_wrap=True)
        for count in FLOW:
            if any(count in totals[name] for name in abreast):
                shown.add_row(count, *(f"{n[count]:,}" if count in (n := totals[name]) else "" for name in abreast))
        console.print(shown)


def _cause(result: dg.ExecuteInProcessResult) -> str:
    """The innermost error of a failed run, in one line."""
    error = next(event.step_failure_data.error for event in result.all_events if event.is_step_failure)
    while error is not None and error.cause is not None:
        error = error.cause
    return " ".join(error.message.split()) if error else "unknown"


_LATEST = ("excluded", "quarantined", "unchanged")
"""Counts of a state rather than of work: the last round's stands."""


def _add(totals: dict[str, int], count: str, number: int) -> None:
    totals[count] = number if count in _LATEST else totals.get(count, 0) + number


def _killed_sync(console: Console, environment: Mapping[str, str]) -> None:
    """Start a sync in a process of its own that is killed (SIGKILL) just after Emarsys has answered its first call."""
    command = [sys.executable, "-c", "from prima_emarsys.demo import sync_once; sync_once()"]
    ended = subprocess.run(  # noqa: S603 (our own interpreter and code)
        command,
        env={**os.environ, **environment, "PRIMA_EMARSYS_FAILPOINT": "after_send:1"},
        capture_output=True,
        check=False,
    )
    console.print(f"   [yellow]The first sync was killed in the middle of sending (exit {ended.returncode}).[/]")


def sync_once() -> None:
    """One run of the `sync` job, in this process."""
    from prima_emarsys.definitions import defs

    with dg.DagsterInstance.ephemeral() as instance:
        defs.resolve_job_def("sync").execute_in_process(instance=instance, run_config=_QUIET)


def _mend(console: Console, project: Project, emarsys: LocalEmarsys) -> None:
    """What the owners of refused contacts would do: mend the cause, and release them."""
    waiting = project.ledger.quarantined(LANE)
    console.print(
        f"   Emarsys refused {len(waiting):,} contacts under HTTP 200; the rest went on. Their owners hear of it:"
    )
    _exceptions(console, project, kind_of="contact-refused")
    emarsys.faults = Faults()
    number = project.ledger.release(LANE, None, "demo", "the cause is mended in Emarsys")
    console.print(f"   The cause is mended and the {number:,} contacts are released:")
    _sync(console, "After the release")


def _let_people_wait(emarsys: LocalEmarsys) -> list[dict[str, str]]:
    """A few contacts who agreed to mails wait for a few SKUs that are out. Returns these SKUs."""
    project = Project(load_settings())
    try:
        with project.warehouse() as warehouse:
            known = warehouse.table(AVAILABILITY)
            out = known.filter(known["available"] == 0, known["company"] == "1").order_by("sku").limit(_AWAITED)
            skus = warehouse.read(out.select("sku", *SKU)).to_pylist()
        people = sorted(emarsys.contacts())[: len(skus)]
        # The contacts' own doing: they sign up in the shop. The product never raises an opt-in.
        key_field = project.route.key_field
        agreed = {person: orjson.dumps({str(key_field): person, str(OPT_IN_FIELD): OPTED_IN}) for person in people}
        Contacts(project.emarsys).upsert(key_field, agreed)
    finally:
        project.close()
    for sku, person in zip(skus, people, strict=False):
        emarsys.wait_for(sku["sku"], person)
    return skus


def _restock(url: str, skus: list[dict[str, str]]) -> None:
    """Goods arrive in the distribution centre."""
    with open_world(url) as store, store.rows() as rows:
        for sku in skus:
            stock = rows.one("stock", warehouse="MAIN", **{name: sku[name] for name in SKU})
            if stock is not None:
                arrived = {
                    "physical": stock["allocated"] + stock["held"] + _UNITS,
                    "changed_at": local(datetime.now(UTC)),
                }
                rows.rewrite("stock", stock | arrived)


def _catalogue(console: Console, emarsys: LocalEmarsys, folder: Path) -> None:
    """What Emarsys has of the catalogue, and who is mailed because of what came back."""
    report = emarsys.pull_catalogue(folder / _CATALOGUE)
    items = emarsys.catalogue()
    shown = Table(title="Catalogue, as Emarsys pulled it", title_justify="left", title_style="bold", box=SIMPLE)
    for heading in ("items", "available", "out", "more expected", "rejected rows"):
        shown.add_column(heading, justify="right")
    available = sum(1 for item in items.values() if item["available"] == "true")
    expected = sum(1 for item in items.values() if "c_expected_in" in item)
    numbers = (len(items), available, len(items) - available, expected, len(report.rejects))
    shown.add_row(*(f"{number:,}" for number in numbers))
    console.print(shown)
    shown = Table(title="Back in stock", title_justify="left", title_style="bold", box=SIMPLE)
    for heading in ("item", "title", "units", "mailed"):
        shown.add_column(heading, overflow="fold")
    for back in emarsys.back_in_stock()[:_FEW]:
        item = items[back.item]
        shown.add_row(back.item, item["title"], item["c_stock"], ", ".join(back.mailed) or "(nobody waits)")
    console.print(shown)


def _exceptions(console: Console, project: Project, kind_of: str | None = None) -> None:
    cases = [case for case in open_exceptions(project.ledger) if kind_of in (None, case.kind)]
    shown = Table(title="Open exceptions, by owner", title_justify="left", title_style="bold", box=SIMPLE)
    for heading in ("owner", "kind", "number", "for example"):
        shown.add_column(heading, overflow="fold")
    groups: dict[tuple[str, str], list] = {}
    for case in cases:
        groups.setdefault((str(case.owner), case.kind), []).append(case)
    for (owner, kind), members in sorted(groups.items()):
        shown.add_row(owner, kind, f"{len(members):,}", f"{members[0].record}: {members[0].detail}")
    console.print(shown)


def run_dev(console: Console, folder: Path, customers: int, every: timedelta, port: int) -> None:
    """The sandbox with a ticking world, and `dagster dev`, until interrupted."""
    folder.mkdir(parents=True, exist_ok=True)
    url = f"sqlite:///{folder.absolute() / 'prima.sqlite'}"
    if not (folder / "prima.sqlite").exists():
        console.print(f"Building a made-up Prima with {customers:,} customer accounts …")
        build(url, customers=customers, now=datetime.now(UTC))
    home = folder.absolute() / "dagster"
    home.mkdir(exist_ok=True)
    shutil.copy(Path("dagster.yaml"), home / "dagster.yaml")
    with sandbox(folder, port=8085) as (emarsys, environment):
        service = environment["PRIMA_WSDL"]
        console.print(f"Local Emarsys: {emarsys.url}   Prima's web service: {service}")
        console.print(f"Dagster: http://127.0.0.1:{port}   (Ctrl-C ends all)")
        over = threading.Event()
        world = threading.Thread(target=_turn, args=(url, every, over, console), daemon=True)
        if every:
            world.start()
        command = [str(Path(sys.executable).with_name("dagster")), "dev", "-w", "workspace.yaml", "-h", "127.0.0.1"]
        # Each in a group of its own: whatever ends this process ends theirs with it.
        dagster, relay = (
            subprocess.Popen(  # noqa: S603 (the installed dagster command, and our own)
                started,
                env={**os.environ, **environment, "DAGSTER_HOME": str(home)},
                start_new_session=True,
            )
            for started in ([*command, "-p", str(port)], [sys.executable, "-m", "prima_emarsys.cli", "relay"])
        )
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        try:
            dagster.wait()
        except KeyboardInterrupt:
            pass
        finally:
            over.set()
            _end(relay)
            _end(dagster)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its whole group: asked first, then killed, for a run that is cut off loses nothing."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)


def _turn(url: str, every: timedelta, over: threading.Event, console: Console) -> None:
    """Let something happen in the world again and again."""
    number = 0
    while not over.wait(every.total_seconds()):
        number += 1
        now = datetime.now(UTC)
        facts = tick(url, now=now, changes=1 + number % 3, seed=int(now.timestamp()))
        console.print("[dim]Prima: " + ", ".join(fact.kind for fact in facts) + "[/]")
