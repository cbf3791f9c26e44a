"""`emarsys/rfm_clv` and `emarsys/contacts`: what Emarsys should know of a person, and sending it."""

from typing import Any

import dagster as dg

from prima_emarsys.defs.checks import blocking_checks, checks_of
from prima_emarsys.defs.core.assets import StepConfig
from prima_emarsys.defs.gate import refuse_unless_passed
from prima_emarsys.defs.resources import ProjectResource
from prima_emarsys.defs.showing import check_result, counts, described_columns, exceptions, findings_result, flow, table
from prima_emarsys.rules.contacts import FIELDS, SCORED
from prima_emarsys.steps.contacts import ContactCounts
from prima_emarsys.steps.sending import Sent
from prima_emarsys.steps.verdicts import attributes_tie, every_contact_explained, every_person_composed, lane_goes
from prima_emarsys.sync.deliver import Tally
from prima_emarsys.sync.plan import FIRST_CONTACT, LANE

UPSTREAM = (
    "prima/customers", "prima/orders", "prima/returns", "core/persons", "core/sales", "emarsys/rfm_clv",
    "emarsys/predicted_value",
)  # fmt: skip
"""Everything upstream of `emarsys/contacts`; a test compares it with the graph."""


@dg.asset(
    key=["emarsys", "rfm_clv"],
    group_name="emarsys",
    kinds={"ibis"},
    owners=["team:marketing"],
    pool="warehouse",
    deps=[["core", "persons"], ["core", "sales"]],
    description="What each person has bought, net of refunds: first and last order, value, returns, RFM scores (each "
    "measure in five equal groups, 5 is best, cut points frozen for the day), a named segment and a lifecycle stage. "
    "Dates, never ages, so that nobody changes overnight without a reason.",
    metadata={
        "dagster/column_schema": described_columns(
            [
                ("person_key", "code", "The person."),
                *((one.name, one.storage.value, one.meaning) for one in SCORED),
            ]
        )
    },
    check_specs=checks_of("emarsys/rfm_clv"),
)
def rfm_clv(config: StepConfig, project: ProjectResource) -> dg.MaterializeResult:
    """Score the touched persons, and those who cross a date boundary today."""
    with project.open() as opened, opened.warehouse() as warehouse:
        result = opened.attributes(whole=config.whole)
        tie = attributes_tie(warehouse)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": result.persons,
            **flow(read=result.computed, changed=result.changed, unchanged=result.persons - result.changed),
            "crossed a date boundary": result.crossed_a_day,
            "counted for": str(result.as_of),
            "cut points of": str(result.cut_points_of),
            "lifecycle stages": counts(result.stages),
            "segments": counts(result.segments),
            "whole": result.whole,
        },
        check_results=[check_result("ties_to_sales", tie)],
    )


@dg.asset(
    key=["emarsys", "contacts"],
    group_name="emarsys",
    kinds={"ibis", "emarsys"},
    owners=["team:marketing"],
    pool="warehouse",
    deps=[["emarsys", "rfm_clv"], ["emarsys", "predicted_value"], ["core", "persons"], ["prima", "customers"]],
    description="The contact of each person in Emarsys: identity, address and attributes. Computes what Emarsys should "
    "hold and sends only the difference to what it acknowledged. Sends nothing while a blocking check upstream is not "
    "green, or while the volume guard holds the plan. Opt-in is never sent.",
    metadata={
        "dagster/column_schema": described_columns(
            [("person_key", "code", "Key in Emarsys."), *((one.name, one.storage.value, one.meaning) for one in FIELDS)]
        )
    },
    check_specs=checks_of("emarsys/contacts"),
)
def contacts(context: dg.AssetExecutionContext, config: StepConfig, project: ProjectResource) -> dg.MaterializeResult:
    """Compose, plan, send, note what was acknowledged."""
    refuse_unless_passed(context.instance, blocking_checks(UPSTREAM))
    with project.open() as opened:
        composed = opened.compose(whole=config.whole)
        sent = opened.send(settle_seconds=30)
        with opened.warehouse() as warehouse:
            everyone = every_person_composed(warehouse)
            first = opened.ledger.of_mapping(LANE, FIRST_CONTACT)
            explained = every_contact_explained(warehouse, opened.ledger.counts(LANE), first)
        held = f"The volume guard holds the plan: {sent.held}" if sent.held else ""
        going = lane_goes(opened.ledger, LANE, held)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": composed.contacts,
            **_flow(composed, sent),
            "excluded by rule": counts(composed.excluded | dict(sent.plan.removals)),
            "fields withheld": composed.withheld,
            "whole": composed.whole,
            **_delivery(sent),
            **exceptions(composed.findings),
        },
        check_results=[
            check_result("every_person_composed", everyone),
            check_result("every_contact_explained", explained),
            check_result("nothing_held", going),
            findings_result("contact_exceptions", composed.findings),
        ],
    )


def _flow(composed: ContactCounts, sent: Sent) -> dict[str, int]:
    tally = sent.delivered.tally if sent.delivered else Tally()
    waiting = sent.delivered.counts.quarantined if sent.delivered else 0
    return flow(
        read=composed.persons,
        excluded=sum(composed.excluded.values()),
        quarantined=waiting,
        planned=sent.plan.creates + sent.plan.updates,
        sent=tally.acknowledged + tally.refused + tally.again + tally.in_doubt,
        accepted=tally.acknowledged,
        refused=tally.refused,
        unknown=tally.in_doubt,
        unchanged=sent.plan.unchanged,
    ) | {"new": sent.plan.creates, "calls": tally.calls}


def _delivery(sent: Sent) -> dict[str, Any]:
    if sent.delivered is None:
        return {"held by the volume guard": sent.held or ""}
    state = sent.delivered.counts
    places = {
        "acknowledged": state.acknowledged,
        "to be sent": state.dirty,
        "on its way": state.leased,
        "in doubt": state.in_doubt,
        "waiting for a person": state.quarantined,
        **{f"not sent: {rule}": number for rule, number in state.filtered.items()},
    }
    return {"ledger": table(["state", "contacts"], list(places.items())), "contacts in the ledger": state.total}
