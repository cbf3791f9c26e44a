"""`prima-emarsys …`: the commands of operators and newcomers. What they do stands in the rooms; here is only talk."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from prima_emarsys.emarsys.fields import FieldsUnusable
from prima_emarsys.emarsys.outcome import NotAnswered
from prima_emarsys.finding import KINDS, Owner, mask
from prima_emarsys.prima.sql import ReadError, WritableRoleError
from prima_emarsys.prima.webservice import WebServiceError
from prima_emarsys.project import Project
from prima_emarsys.proof.latency import by_part
from prima_emarsys.relay import Relay, Report
from prima_emarsys.settings import SettingsError, load_settings
from prima_emarsys.site import EventKind
from prima_emarsys.steps.catalogue import LANE as CATALOGUE_LANE
from prima_emarsys.steps.catalogue import explain_catalogue
from prima_emarsys.steps.catalogue import plan_catalogue as make_catalogue_plan
from prima_emarsys.steps.stock import LANE as STOCK_LANE
from prima_emarsys.sync import audit as audit_log
from prima_emarsys.sync import guard, lanes
from prima_emarsys.sync import retention as ledger_retention
from prima_emarsys.sync.database import LedgerUnusable
from prima_emarsys.sync.doctor import examine
from prima_emarsys.sync.exceptions import ExceptionCase, as_csv, assign, find, mark, open_exceptions
from prima_emarsys.sync.outbox import ENDED, lane_of
from prima_emarsys.sync.outbox import STATES as OUTBOX_STATES
from prima_emarsys.sync.periods import ORDERED, POSTED, ClosedPeriod, NotSignable, Periods
from prima_emarsys.sync.plan import LANE, changes, explain, make_plan
from prima_emarsys.sync.sales_files import STATES, NotResolvable, SalesFiles
from prima_emarsys.sync.sales_plan import FOR_CONTACT, QUARANTINED
from prima_emarsys.sync.upload import LANE as SALES_LANE
from prima_emarsys.warehouse import WarehouseBusyError

if TYPE_CHECKING:
    from prima_emarsys.sandbox.prima.envelope import Style

console = Console(highlight=False)
_EXPLAINED = (
    SettingsError, ReadError, WritableRoleError, WebServiceError, FieldsUnusable, NotAnswered, LedgerUnusable,
    WarehouseBusyError, NotResolvable, NotSignable,
)  # fmt: skip
"""Errors whose message is all that an operator needs."""


def table(title: str, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; numbers stand on the right."""
    shown = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE)
    for place, heading in enumerate(headings):
        numeric = bool(rows) and all(isinstance(row[place], int | Decimal) or row[place] in ("", None) for row in rows)
        shown.add_column(heading, justify="right" if numeric else "left", overflow="fold", no_wrap=numeric)
    for row in rows:
        shown.add_row(
            *(f"{cell:,}" if isinstance(cell, int | Decimal) else "" if cell is None else str(cell) for cell in row)
        )
    console.print(shown)


def explained(command: Callable[..., Any]) -> Callable[..., Any]:
    """Errors with an explanation end the command with it, and without a traceback."""

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> Any:
        try:
            return command(*arguments, **options)
        except _EXPLAINED as error:
            raise click.ClickException(str(error)) from None

    return run


def opened() -> Project:
    """The project of this environment."""
    return Project(load_settings())


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Keeps SAP Emarsys true to Prima."""


# -- looking ---------------------------------------------------------------------------------------------------------


@main.group()
def plan() -> None:
    """Show what would be sent. Sends nothing."""


@plan.command("contacts")
@click.option("--limit", default=50, show_default=True, help="Field changes to list.")
@click.option("--show-personal", is_flag=True, help="Show personal values instead of masking them.")
@explained
def plan_contacts(limit: int, show_personal: bool) -> None:
    """Which contacts would be sent, and why: field by field, old and new."""
    project = opened()
    personal = {field.name for field in project.contact_fields if field.personal and not show_personal}
    with project.warehouse() as warehouse:
        if not warehouse.has("emarsys.contacts"):
            raise click.ClickException("No contact has been computed yet: materialise emarsys/contacts first.")
        counted = make_plan(warehouse, changes(warehouse))
        rows = explain(warehouse, limit).to_pylist()
    table(
        "Plan for contacts",
        ["contacts", "new", "changed", "unchanged", "no longer sent"],
        [[counted.contacts, counted.creates, counted.updates, counted.unchanged, sum(counted.removals.values())]],
    )

    def shown(name: str, value: str | None) -> str:
        return mask(value) if name in personal else value or "(empty)"

    if rows:
        listed = [[r["person_key"], r["field"], shown(r["field"], r["old"]), shown(r["field"], r["new"])] for r in rows]
        table(f"First {len(rows)} field changes", ["person", "field", "Emarsys acknowledged", "would become"], listed)


@plan.command("sales")
@click.option("--limit", default=50, show_default=True, help="Rows to list.")
@explained
def plan_sales(limit: int) -> None:
    """Which rows of sales data would be sent: new ones, and differences to what was sent."""
    project = opened()
    with project.warehouse() as warehouse:
        if not warehouse.has("emarsys.sales_data"):
            raise click.ClickException("No sales data have been computed yet: materialise emarsys/sales_data first.")
        planned = project.plan_sales()
        rows = planned.first(limit)
    counted = planned.plan
    table(
        "Plan for sales data",
        ["lines", "rows in files", "new lines", "changed", "no longer there", "rows to go", "their value"],
        [[counted.lines, counted.sent, counted.new, counted.adjusted, counted.removed, counted.rows, counted.value]],
    )
    if counted.waiting:
        table("Waiting", ["for", "rows"], [[_WAITS_FOR[reason], number] for reason, number in counted.waiting.items()])
    if rows:
        shown = ("order_id", "kind", "item", "quantity", "price", "happened_at", "customer")
        listed = [[row[name] for name in shown] for row in rows]
        table(f"First {len(rows)} rows", ["order", "kind", "item", "quantity", "price", "when", "person"], listed)


@plan.command("catalogue")
@click.option("--limit", default=50, show_default=True, help="Differences to list.")
@explained
def plan_catalogue(limit: int) -> None:
    """What the next catalogue file would change, item by item."""
    with opened().warehouse() as warehouse:
        if not warehouse.has("emarsys.catalogue"):
            raise click.ClickException("No catalogue has been computed yet: materialise emarsys/catalogue first.")
        counted = make_catalogue_plan(warehouse)
        rows = explain_catalogue(warehouse, limit)
    table(
        "Plan for the catalogue",
        ["items in Emarsys", "new", "changed", "gone", "back in stock", "gone out"],
        [[counted.sent, counted.new, counted.changed, counted.gone, counted.back, counted.out]],
    )
    if rows:
        table(f"First {len(rows)} differences", ["item", "column", "Emarsys has", "would become"], rows)


_WAITS_FOR = {FOR_CONTACT: "its buyer to be acknowledged", QUARANTINED: "finance: refunded above the sale"}


@main.command()
@explained
def doctor() -> None:
    """Check the ledger's invariants and its database. Exits 1 if something is wrong."""
    found = examine(opened().ledger)
    table("Doctor", ["check", "", "detail"], [[one.name, "ok" if one.ok else "WRONG", one.detail] for one in found])
    if not all(one.ok for one in found):
        sys.exit(1)


@main.command()
@explained
def prove() -> None:
    """Read Emarsys back and compare it with the desired contacts. Exits 1 if they differ."""
    proof = opened().prove()
    table(
        "Proof of contacts",
        ["desired", "equal", "differing", "missing", "waiting", "not desired", "of them explained"],
        [
            [
                proof.desired,
                proof.equal,
                proof.differing,
                proof.missing,
                proof.waiting,
                proof.unexpected,
                proof.explained,
            ]
        ],
    )
    if not proof.holds:
        sys.exit(1)


@main.group()
def report() -> None:
    """Write what a proof found, for people to read."""


@report.command("sales")
@click.option(
    "--folder", type=click.Path(path_type=Path), default=Path("reports"), show_default=True, help="Where to write it."
)
@explained
def report_sales(folder: Path) -> None:
    """Prove sales now, and write a page and CSV files for finance. Exits 1 if a difference has no cause."""
    project = opened()
    with project.warehouse() as warehouse:
        if not warehouse.has("emarsys.sales_data"):
            raise click.ClickException("No sales data have been computed yet: materialise emarsys/sales_data first.")
    proof, written = project.report_sales(folder)
    for path in written:
        console.print(str(path))
    console.print(proof.sentence)
    if not proof.holds:
        sys.exit(1)


# -- deciding --------------------------------------------------------------------------------------------------------

_by = click.option("--by", required=True, help="Your name; it is written to the audit table.")
_note = click.option("--note", required=True, help="Why.")
_held = click.argument("lane", type=click.Choice([LANE, SALES_LANE, CATALOGUE_LANE, STOCK_LANE]))
_lane = click.argument("lane", type=click.Choice([LANE, SALES_LANE, CATALOGUE_LANE, *map(lane_of, EventKind)]))


@main.command()
@_held
@click.option("--record", "records", multiple=True, help="Person key of a refused contact; may be repeated.")
@click.option("--refused", is_flag=True, help="All refused contacts, instead of a held plan.")
@_by
@_note
@explained
def release(lane: str, records: tuple[str, ...], refused: bool, by: str, note: str) -> None:
    """Release what a guard holds (a plan, a snapshot of stock), or refused contacts, so that the next run goes on."""
    ledger = opened().ledger
    if (records or refused) and lane == SALES_LANE:
        raise click.ClickException("A refused file is released by `prima-emarsys sales release FILE`.")
    if (records or refused) and lane != LANE:
        raise click.ClickException("Only contacts are refused one by one.")
    if records or refused:
        number = ledger.release(lane, list(records) or None, by, note)
        console.print(f"{number:,} contacts will be sent again by the next run.")
    else:
        if guard.release(ledger, lane, by, note) is None:
            raise click.ClickException("No plan is held. For refused contacts, name them or use --refused.")
        console.print("The held plan is released for the next run.")


@main.command()
@_lane
@_by
@_note
@explained
def resume(lane: str, by: str, note: str) -> None:
    """Let a stopped lane try again."""
    lanes.resume(opened().ledger, lane, by, note)
    console.print("The next run tries the lane with one small batch.")


# -- exceptions ------------------------------------------------------------------------------------------------------

_owner = click.option("--owner", type=click.Choice([owner.value for owner in Owner]), help="One owner's.")
_number = click.argument("number", type=int)


@main.group(invoke_without_command=True)
@_owner
@click.option("--limit", default=50, show_default=True, help="Exceptions to list.")
@click.pass_context
@explained
def exceptions(context: click.Context, owner: str | None, limit: int) -> None:
    """What waits for a person, with its owner and what to do; without a further command, the list."""
    if context.invoked_subcommand is None:
        show_exceptions(opened(), owner, limit)


def show_exceptions(project: Project, owner: str | None = None, limit: int = 0) -> None:
    """Print open exceptions by owner and kind, and the first of them."""
    cases = open_exceptions(project.ledger, owner)
    by_kind = Counter((case.owner, case.kind) for case in cases)
    rows = [[owner, kind, number, KINDS[kind].what_to_do] for (owner, kind), number in sorted(by_kind.items())]
    table("Open exceptions", ["owner", "kind", "number", "what to do"], rows)
    if limit and cases:
        listed = [
            [str(case.id), case.owner, case.kind, case.record, case.detail, _money(case), _since(case), case.state]
            for case in cases[:limit]
        ]
        headings = ["number", "owner", "kind", "record", "detail", "money", "since", "state"]
        table(f"First {len(listed)}", headings, listed)


def _money(case: ExceptionCase) -> str:
    return "" if case.money is None else f"{case.money:,.2f} {case.currency or ''}".strip()


def _since(case: ExceptionCase) -> str:
    return f"{case.first_seen:%Y-%m-%d}"


@exceptions.command("show")
@_number
@explained
def exceptions_show(number: int) -> None:
    """All about one: what it means, what to do, when it closes, and who did what."""
    ledger = opened().ledger
    case = find(ledger, number)
    if case is None:
        raise click.ClickException(_NO_EXCEPTION.format(number))
    kind = KINDS[case.kind]
    lines = {
        "kind": case.kind,
        "record": case.record,
        "detail": case.detail,
        "owner": case.owner,
        "severity": case.severity,
        "money at stake": _money(case),
        "state": case.state,
        "first seen": f"{case.first_seen:%Y-%m-%d %H:%M} UTC",
        "last seen": f"{case.last_seen:%Y-%m-%d %H:%M} UTC, {case.times_seen} times",
        "what it means": kind.meaning,
        "what to do": kind.what_to_do,
        "closes when": kind.closes_when,
        "handbook": case.runbook,
    }
    table(f"Exception {number}", ["", ""], [[name, text] for name, text in lines.items() if text])
    acts = audit_log.of_subject(ledger, "exception", str(number))
    if acts:
        rows = [[f"{act.at:%Y-%m-%d %H:%M}", act.who, act.what, act.detail] for act in acts]
        table("What was decided", ["when (UTC)", "who", "what", "note"], rows)


_NO_EXCEPTION = "There is no open exception {}; `prima-emarsys exceptions` lists them."


def _decided(number: int, done: bool, said: str) -> None:
    if not done:
        raise click.ClickException(_NO_EXCEPTION.format(number))
    console.print(f"Exception {number} {said}.")


@exceptions.command("assign")
@_number
@click.argument("owner", type=click.Choice([owner.value for owner in Owner]))
@_by
@_note
@explained
def exceptions_assign(number: int, owner: str, by: str, note: str) -> None:
    """Give one to another owner, for as long as it lasts."""
    _decided(number, assign(opened().ledger, number, Owner(owner), by, note), f"belongs to {owner}")


@exceptions.command("acknowledge")
@_number
@_by
@_note
@explained
def exceptions_acknowledge(number: int, by: str, note: str) -> None:
    """Say that you work on it."""
    _decided(number, mark(opened().ledger, number, "acknowledged", by, note), "is acknowledged")


@exceptions.command("accept")
@_number
@_by
@_note
@explained
def exceptions_accept(number: int, by: str, note: str) -> None:
    """Live with it until it changes. A refund above its sale is sent from then on."""
    _decided(number, mark(opened().ledger, number, "accepted", by, note), "is accepted until it changes")


@exceptions.command("resolve")
@_number
@_by
@_note
@explained
def exceptions_resolve(number: int, by: str, note: str) -> None:
    """Close it by hand. Should its check find it again, it opens as a new one."""
    _decided(number, mark(opened().ledger, number, "resolved", by, note), "is resolved")


@exceptions.command("retry")
@_number
@_by
@_note
@explained
def exceptions_retry(number: int, by: str, note: str) -> None:
    """Send a refused contact again, now, whatever else waits."""
    project = opened()
    case = find(project.ledger, number)
    if case is None or case.resolved_at is not None:
        raise click.ClickException(_NO_EXCEPTION.format(number))
    if case.scope != f"delivery/{LANE}":
        raise click.ClickException(f"A {case.kind} is not sent from here. {KINDS[case.kind].what_to_do}")
    project.retry_contact(case.record, by, note)
    again = find(project.ledger, number)
    still = again is not None and again.resolved_at is None
    console.print(f"Refused again: {again.detail}" if again and still else f"Exception {number} is resolved.")
    if still:
        sys.exit(1)


@exceptions.command("export")
@_owner
@click.option("--to", type=click.Path(path_type=Path, dir_okay=False), help="A file; else standard output.")
@explained
def exceptions_export(owner: str | None, to: Path | None) -> None:
    """Write the open ones as CSV, for a spreadsheet."""
    text = as_csv(open_exceptions(opened().ledger, owner))
    if to is None:
        click.echo(text, nl=False)
    else:
        to.write_text(text, encoding="utf-8-sig", newline="")
        console.print(f"{to} is written.")


@main.group(invoke_without_command=True)
@click.option("--limit", default=50, show_default=True, help="Entries to list, the newest last.")
@click.pass_context
@explained
def audit(context: click.Context, limit: int) -> None:
    """Who decided what, and the head of the log, which is worth noting elsewhere."""
    if context.invoked_subcommand is None:
        ledger = opened().ledger
        rows = [
            [str(one.id), f"{one.at:%Y-%m-%d %H:%M}", one.who, one.what, one.subject, one.detail]
            for one in audit_log.entries(ledger, limit)
        ]
        table("Audit log", ["entry", "when (UTC)", "who", "what", "of", "note"], rows)
        console.print(f"Head: {audit_log.head(ledger) or 'none'}", soft_wrap=True)


@audit.command("verify")
@explained
def audit_verify() -> None:
    """Exits 1 at the first entry that was changed, put in or taken out."""
    ledger = opened().ledger
    fault = ledger.read(lambda connection: audit_log.first_fault(connection, ledger))
    if fault is not None:
        raise click.ClickException(f"The audit log is not what was written: {fault}.")
    console.print("Every entry follows the one before it, unchanged.")


# -- sales files -----------------------------------------------------------------------------------------------------


@main.group()
def sales() -> None:
    """Files of sales data: where each stands, and what a person must say of it."""


@sales.command("files")
@click.option("--state", "states", type=click.Choice(STATES), multiple=True, help="Only these; may be repeated.")
@click.option("--limit", default=50, show_default=True, help="Files to list, the newest last.")
@explained
def sales_files(states: tuple[str, ...], limit: int) -> None:
    """List the files, with rows, value and state."""
    files = SalesFiles(opened().ledger)
    counted = [[state, *numbers] for state, numbers in files.by_state().items() if not states or state in states]
    table("Files of sales data", ["state", "files", "rows", "value"], counted)
    found = files.all(*states)[-limit:]
    if found:
        listed = [
            [
                file.name,
                file.state,
                file.rows,
                f"{file.value:,} {file.currency}",
                f"{file.sealed_at:%Y-%m-%d %H:%M}",
                f"{file.sent_at:%Y-%m-%d %H:%M}" if file.sent_at else None,
                file.resolved_by and f"{file.resolution}, says {file.resolved_by}" or file.reason,
            ]
            for file in found
        ]
        headings = ["file", "state", "rows", "value", "sealed (UTC)", "sent (UTC)", "why"]
        table(f"{len(found)} files", headings, listed)


@sales.command("resolve")
@click.argument("file")
@click.option("--arrived", is_flag=True, help="Emarsys's Sales Data page shows it.")
@click.option("--absent", is_flag=True, help="It does not.")
@_by
@_note
@explained
def sales_resolve(file: str, arrived: bool, absent: bool, by: str, note: str) -> None:
    """Say of a file of unknown fate whether it is in Emarsys, or give up a refused one (--absent)."""
    if arrived == absent:
        raise click.UsageError("Say either --arrived or --absent.")
    files = SalesFiles(opened().ledger)
    resolved = files.resolve(file, "arrived" if arrived else "absent", by, note)
    files.report()
    what = "counts as accepted" if arrived else "counts for nothing; the next run puts its lines into another file"
    console.print(f"{resolved.name} ({resolved.rows:,} rows, {resolved.value:,} {resolved.currency}) {what}.")


@sales.command("release")
@click.argument("file")
@_by
@_note
@explained
def sales_release(file: str, by: str, note: str) -> None:
    """Let a refused file go again as it is."""
    files = SalesFiles(opened().ledger)
    files.release(file, by, note)
    files.report()
    console.print("The next run sends it again.")


@main.group()
def events() -> None:
    """Order events: what was told to Emarsys, what waits and why, and what a person must say of it."""


@events.command("list")
@click.option(
    "--state", type=click.Choice(ENDED), help="Those that ended so, the latest first; else what is unfinished."
)
@click.option("--limit", default=50, show_default=True, help="Events to list.")
@explained
def events_list(state: str | None, limit: int) -> None:
    """List the events, with what became of each, and how long they took."""
    outbox = opened().outbox
    counted = [
        [kind, *(of_kind.get(one) for one in OUTBOX_STATES)] for kind, of_kind in sorted(outbox.states().items())
    ]
    table("Order events", ["event", *OUTBOX_STATES], counted)
    if spreads := by_part(outbox.latencies(outbox.clock() - timedelta(days=1))):
        rows = [[part, f"{one.median:.2f}", f"{one.p95:.2f}", f"{one.most:.2f}"] for part, one in spreads.items()]
        table("Seconds from Prima's commit to acceptance, of the last day", ["part", "median", "95 %", "longest"], rows)
    found = outbox.ended(state, limit) if state else outbox.unfinished(limit)
    if found:
        listed = [
            [one.event_id, one.kind, one.document, one.state, f"{one.since:%Y-%m-%d %H:%M}", one.owner, one.reason]
            for one in found
        ]
        table(f"{len(found)} events", ["event", "kind", "record", "state", "since (UTC)", "owner", "why"], listed)


_event = click.option("--event", "event_ids", multiple=True, help="Id of a waiting or withheld event; may be repeated.")
_kind = click.option(
    "--kind", type=click.Choice([kind.value for kind in EventKind]), help="All of this kind that wait for a person."
)


def _chosen(event_ids: tuple[str, ...], kind: str | None) -> dict[str, Any]:
    if bool(event_ids) == bool(kind):
        raise click.UsageError("Name either events (--event) or a kind (--kind).")
    return {"event_ids": event_ids, "kind": EventKind(kind) if kind else None}


@events.command("release")
@_event
@_kind
@_by
@_note
@explained
def events_release(event_ids: tuple[str, ...], kind: str | None, by: str, note: str) -> None:
    """Let events go that are held, quarantined or withheld, whatever their age.

    What was too old when it was first seen keeps no data and stays withheld.
    """
    number = opened().outbox.release(by, note, **_chosen(event_ids, kind))
    console.print(f"{number:,} events go as soon as the relay or the next run looks.")


@events.command("drop")
@_event
@_kind
@_by
@_note
@explained
def events_drop(event_ids: tuple[str, ...], kind: str | None, by: str, note: str) -> None:
    """Give up events that are held, quarantined or withheld, for good."""
    number = opened().outbox.drop(by, note, **_chosen(event_ids, kind))
    console.print(f"{number:,} events are dropped.")


@main.group(invoke_without_command=True)
@click.option("--limit", default=36, show_default=True, help="Periods to list, the newest last.")
@click.pass_context
@explained
def periods(context: click.Context, limit: int) -> None:
    """List the accounting periods that Prima has closed, with their frozen figures and who signed them off."""
    if context.invoked_subcommand:
        return
    found = Periods(opened().ledger).active()
    by_key: dict[tuple[str, str], dict[str, ClosedPeriod]] = {}
    for one in found:
        by_key.setdefault(one.key, {})[one.clock] = one
    listed = [
        [
            posted.company,
            posted.period,
            posted.net,
            posted.late,
            clocks[ORDERED].net if ORDERED in clocks else None,
            posted.currency,
            posted.signed_by,
        ]
        for clocks in list(by_key.values())[-limit:]
        if (posted := clocks.get(POSTED))
    ]
    headings = ["company", "period", "net posted", "of it late", "net ordered", "", "signed by"]
    table(f"{len(listed)} closed periods", headings, listed)


@periods.command("sign")
@click.argument("company")
@click.argument("period")
@_by
@_note
@explained
def periods_sign(company: str, period: str, by: str, note: str) -> None:
    """Sign the frozen figures of a closed period off, on both clocks."""
    for one in Periods(opened().ledger).sign(company, period, by, note):
        console.print(
            f"{one.period} of company {one.company}, by {one.clock} date: {one.net:,} {one.currency}. Signed."
        )


@main.command()
@explained
def retention() -> None:
    """Delete from the ledger what its tables need not keep."""
    table(
        "Retention",
        ["table", "rows deleted"],
        [[name, number] for name, number in ledger_retention.apply(opened().ledger).items()],
    )


@main.command("parked-requests")
@explained
def parked_requests() -> None:
    """List requests that Prima's web service refused for good; they are not sent again."""
    parked = opened().parked_requests.all()
    table(
        "Parked requests", ["key", "request", "since", "reason"], [[p.key, p.what, p.since, p.reason] for p in parked]
    )


@main.command("release-request")
@click.argument("key")
@_by
@_note
@explained
def release_request(key: str, by: str, note: str) -> None:
    """Let a parked request of Prima's web service be sent again."""
    if not opened().release_request(key, by, note):
        raise click.ClickException(f"No request {key} is parked; `prima-emarsys parked-requests` lists them.")
    console.print("The request is sent again by the next run.")


@main.command()
@explained
def relay() -> None:
    """Tell what happens to orders within seconds, until interrupted. Any number of relays may run.

    With DAGSTER_HOME set, the asset emarsys/events shows what it does.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s relay: %(message)s", level=logging.WARNING)
    logging.getLogger("prima_emarsys").setLevel(logging.INFO)
    over = threading.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda *_: over.set())
    console.print("The relay watches Prima.")
    Relay(opened, _reports()).run(over)
    console.print("The relay has ended.")


def _reports() -> Report:
    """To Dagster, of which DAGSTER_HOME says where it is; else to nobody."""
    if not os.environ.get("DAGSTER_HOME"):
        console.print("DAGSTER_HOME is not set, so Dagster does not hear of what the relay does.")
        return lambda *_: None
    from prima_emarsys.defs.emarsys.relayed import reports

    return reports()


# -- the sandbox -----------------------------------------------------------------------------------------------------


@main.group()
def sandbox() -> None:
    """A local Prima and a local Emarsys, made up and on the loopback only."""


_folder = click.option(
    "--folder", type=click.Path(path_type=Path), default=Path(".local/sandbox"), show_default=True, help="Its state."
)


@sandbox.command("world")
@_folder
@click.option("--customers", default=2_000, show_default=True, help="Customer accounts; a million is possible.")
@click.option("--seed", default=1, show_default=True, help="The same seed and size make the same world.")
@click.option("--url", help="Database to fill instead of a file in the folder.")
def sandbox_world(folder: Path, customers: int, seed: int, url: str | None) -> None:
    """Build the world: a made-up retailer's Prima."""
    from prima_emarsys.sandbox.world import build

    folder.mkdir(parents=True, exist_ok=True)
    where = url or f"sqlite:///{folder / 'prima.sqlite'}"
    with click.progressbar(length=100, label="Building the world") as bar:
        summary = build(
            where,
            customers=customers,
            seed=seed,
            now=datetime.now(UTC),
            progress=lambda _doing, share: bar.update(int(share * 100) - bar.pos),
        )
    table("World", ["table", "rows"], [[name, rows] for name, rows in summary.rows.items()])


@sandbox.command("tick")
@_folder
@click.option("--changes", default=20, show_default=True, help="Things that happen.")
@click.option("--url", help="Database of the world, if not in the folder.")
def sandbox_tick(folder: Path, changes: int, url: str | None) -> None:
    """Let things happen in the world."""
    from prima_emarsys.sandbox.world import tick

    now = datetime.now(UTC)
    facts = tick(url or f"sqlite:///{folder / 'prima.sqlite'}", now=now, changes=changes, seed=int(now.timestamp()))
    table("What happened", ["kind", "record"], [[fact.kind, fact.key] for fact in facts])


@sandbox.command("prima")
@_folder
@click.option("--port", default=8086, show_default=True)
@click.option(
    "--style", type=click.Choice(["rpc-literal", "rpc-encoded", "document-literal"]), default="rpc-literal",
    show_default=True, help="SOAP format of the service.",
)  # fmt: skip
@click.option("--url", help="Database of the world, if not in the folder.")
def sandbox_prima(folder: Path, port: int, style: Style, url: str | None) -> None:
    """Serve the world's web service until interrupted. Faults are switched at /sandbox/faults."""
    from prima_emarsys.sandbox.prima.server import LocalPrima

    with LocalPrima(url or f"sqlite:///{folder / 'prima.sqlite'}", style=style, port=port) as prima:
        console.print(f"Prima's web service: {prima.wsdl}   (Ctrl-C ends it)", soft_wrap=True)
        prima.wait()


@sandbox.command("emarsys")
@_folder
@click.option("--port", default=8085, show_default=True)
def sandbox_emarsys(folder: Path, port: int) -> None:
    """Serve the local Emarsys until interrupted. Faults are switched at /sandbox/faults."""
    from prima_emarsys.sandbox.emarsys.server import serve

    serve(folder / "emarsys", port)


@main.command()
@click.option("--customers", default=2_000, show_default=True, help="Customer accounts of the made-up world.")
@click.option(
    "--fault", help="Switch on one fault, such as row-errors, lost-replies, rate-limit, server-errors, slow, kill."
)
@click.option("--folder", type=click.Path(path_type=Path), default=Path(".local/demo"), show_default=True)
def demo(customers: int, fault: str | None, folder: Path) -> None:
    """Run the whole flow once against the sandbox, change Prima, run it again, and compare both sides."""
    from prima_emarsys.demo import run_demo

    sys.exit(0 if run_demo(console, folder, customers, fault) else 1)


@main.command()
@click.option("--customers", default=2_000, show_default=True)
@click.option(
    "--every", default=10.0, show_default=True, help="Seconds between changes in Prima; 0: the world stands still."
)
@click.option("--port", default=3000, show_default=True, help="Port of the Dagster UI.")
@click.option("--folder", type=click.Path(path_type=Path), default=Path(".local/dev"), show_default=True)
def dev(customers: int, every: float, port: int, folder: Path) -> None:
    """Start the sandbox, with a world that ticks, and the Dagster UI. On the loopback only."""
    from prima_emarsys.demo import run_dev

    run_dev(console, folder, customers, timedelta(seconds=every), port)


if __name__ == "__main__":
    main()
