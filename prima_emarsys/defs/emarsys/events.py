"""`emarsys/events`: what happens to orders, told at once. The relay calls the same functions and reports the same."""

from datetime import timedelta
from typing import Any

import dagster as dg

from prima_emarsys.defs.checks import checks_of
from prima_emarsys.defs.resources import ProjectResource
from prima_emarsys.defs.showing import check_result, described_columns, exceptions, findings_result, flow, table
from prima_emarsys.project import Project
from prima_emarsys.proof.latency import by_part
from prima_emarsys.steps.events import Collected
from prima_emarsys.steps.verdicts import Verdict, lanes_go, no_event_waits_long
from prima_emarsys.sync.drain import Drained
from prima_emarsys.sync.lanes import CONTACTS
from prima_emarsys.sync.outbox import CANCELLED, HELD, PENDING, QUARANTINED, WITHHELD, lane_of

EVENTS = dg.AssetKey(["emarsys", "events"])
OLDEST_UNSENT = timedelta(minutes=2)
OBJECTIVE_SECONDS = 10.0
"""By the sensor alone. The relay needs two."""
_MEASURED = timedelta(hours=1)


@dg.asset(
    key=EVENTS,
    group_name="emarsys",
    kinds={"emarsys"},
    owners=["team:marketing"],
    pool="events",
    deps=[["core", "sales"], ["emarsys", "contacts"]],
    description="Order confirmed, part despatched, despatched, cancelled, return receipted, credit note finalised: "
    "each is told to Emarsys once, as an external event with order value, currency and lines, so that journeys start "
    "and stop. A new buyer's contact goes first. What is older than the site's limit is withheld, so that a first load "
    "mails nobody. The relay sends them within two seconds; this asset does the same and is its safety net. It reads "
    "Prima itself and waits for no check upstream: an order that keeps the contract is news, whatever else is wrong.",
    metadata={
        "dagster/column_schema": described_columns(
            [
                ("event_id", "code", "The business fact, for ever: Emarsys's trigger_id."),
                ("kind", "word", "What happened."),
                ("document", "code", "The record of Prima that shows it."),
                ("depends_on", "code", "The contact that it is told to: a person key."),
                ("state", "word", "pending, sending, sent, withheld, cancelled, held or quarantined."),
                ("dated_at", "timestamp", "When it happened, by the document's date."),
                ("happened_at", "timestamp", "When Prima wrote it down."),
                ("seen_at", "timestamp", "When it was read."),
                ("first_sent_at", "timestamp", "When it was on its way."),
                ("accepted_at", "timestamp", "When Emarsys had accepted it."),
            ]
        )
    },
    check_specs=checks_of("emarsys/events"),
)
def events(project: ProjectResource) -> dg.MaterializeResult:
    """Look at Prima, write down, send."""
    with project.open() as opened:
        collected = opened.collect_events()
        drained = opened.drain_events(settle_seconds=30)
        metadata, results = told(opened, collected, drained)
    return dg.MaterializeResult(metadata=metadata, check_results=results)


def told(opened: Project, collected: Collected, drained: Drained) -> tuple[dict[str, Any], list[Any]]:
    """What a look and a drain (or many) came to: an asset's metadata, and the results of its checks."""
    outbox, tally = opened.outbox, drained.tally
    states = outbox.states()
    findings = opened.event_findings()
    latencies = outbox.latencies(outbox.clock() - _MEASURED)
    spreads = by_part(latencies)
    ended = collected.new.get(WITHHELD, 0) + collected.new.get(CANCELLED, 0)
    metadata: dict[str, Any] = {
        "dagster/row_count": sum(sum(of_kind.values()) for of_kind in states.values()),
        **flow(
            read=collected.orders,
            changed=sum(collected.new.values()),
            excluded=ended + sum(drained.ended.values()),
            quarantined=sum(of_kind.get(state, 0) for of_kind in states.values() for state in (HELD, QUARANTINED)),
            planned=collected.new.get(PENDING, 0) + collected.resolved,
            sent=tally.acknowledged + tally.refused + tally.again + tally.in_doubt,
            accepted=tally.acknowledged,
            refused=tally.refused,
            unknown=tally.in_doubt,
        ),
        "first contacts": drained.contacts.acknowledged,
        "events": table(
            ["kind", "state", "events"],
            [(kind, state, number) for kind, of_kind in sorted(states.items()) for state, number in of_kind.items()],
        ),
        **exceptions(findings),
    }
    if spreads:
        metadata["accepted within (s, p95)"] = spreads["total"].p95
        metadata["seconds, of the last hour"] = table(
            ["part", "median", "p95", "longest"],
            [(part, *(f"{value:.2f}" for value in (one.median, one.p95, one.most))) for part, one in spreads.items()],
        )
    in_time = not spreads or spreads["total"].p95 <= OBJECTIVE_SECONDS
    sentence = f"{len(latencies):,} events, 95 % within {spreads['total'].p95:.1f} s." if spreads else "No event."
    lanes = [CONTACTS, *(lane_of(kind) for kind in opened.event_kinds)]
    results = [
        check_result("no_event_waits_long", no_event_waits_long(outbox.oldest_unsent(), OLDEST_UNSENT)),
        check_result("told_in_time", Verdict(in_time, sentence), dg.AssetCheckSeverity.WARN),
        check_result("nothing_held", lanes_go(opened.ledger, lanes)),
        findings_result("event_exceptions", findings),
    ]
    return metadata, results
