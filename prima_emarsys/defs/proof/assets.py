"""Proof: does Emarsys hold what it should (`proof/contacts`), and what waits for whom (`proof/exceptions`)?"""

from collections import Counter
from collections.abc import Sequence

import dagster as dg

from prima_emarsys.defs.checks import checks_of
from prima_emarsys.defs.resources import ProjectResource
from prima_emarsys.defs.showing import check_result, counts, described_columns, table
from prima_emarsys.defs.showing import exceptions as shown_exceptions
from prima_emarsys.finding import KINDS
from prima_emarsys.proof.exceptions import AGES, OLDER, Waiting, waiting
from prima_emarsys.steps.verdicts import Verdict
from prima_emarsys.sync.exceptions import ExceptionCase, open_exceptions


@dg.asset(
    key=["proof", "contacts"],
    group_name="proof",
    kinds={"emarsys"},
    owners=["team:marketing"],
    pool="warehouse",
    deps=[["emarsys", "contacts"]],
    description="Reads back every contact that Emarsys holds and compares it with the desired one, field by field. "
    "Whatever differs is listed with its owner, and sent again by the next run.",
    check_specs=checks_of("proof/contacts"),
)
def contacts(project: ProjectResource) -> dg.MaterializeResult:
    """Read Emarsys back and compare."""
    with project.open() as opened:
        proof = opened.prove()
    figures = {
        "desired": proof.desired,
        "equal": proof.equal,
        "differing": proof.differing,
        "missing in Emarsys": proof.missing,
        "waiting": proof.waiting,
        "held with a key of ours": proof.held,
        "not desired": proof.unexpected,
        "of them explained": proof.explained,
    }
    sentence = (
        f"Emarsys holds exactly the {proof.desired:,} desired contacts."
        if proof.holds
        else f"{proof.equal:,} of {proof.desired:,} desired contacts are as they should be in Emarsys."
    )
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": proof.held,
            "comparison": counts(figures),
            "differences by field": counts(proof.by_field),
            **shown_exceptions(proof.findings),
        },
        check_results=[check_result("emarsys_equals_desired", Verdict(proof.holds, sentence, figures))],
    )


@dg.asset(
    key=["proof", "exceptions"],
    group_name="proof",
    kinds={"table"},
    owners=["team:finance", "team:marketing", "team:customer-service", "team:data"],
    deps=[["emarsys", "contacts"], ["emarsys", "sales_data"]],
    description="The list of everything that needs a person: how much waits for which owner, since when, and how much "
    "money is at stake. Each owner has a check, which turns red when an error has waited too long. What to do about "
    "each kind stands in the handbook (docs/handbook, a page an owner).",
    metadata={
        "dagster/column_schema": described_columns(
            [
                ("number", "integer", "The number that people quote."),
                ("owner", "word", "Who must act."),
                ("kind", "word", "What is wrong, from the catalogue."),
                ("record", "code", "Business key of the record."),
                ("detail", "text", "What is wrong with it, masked."),
                ("money", "money", "Money at stake."),
                ("state", "word", "open, acknowledged, or accepted until it changes."),
                ("handbook", "text", "Where its owner reads what to do, below docs/."),
            ]
        )
    },
    check_specs=checks_of("proof/exceptions"),
)
def exceptions(project: ProjectResource) -> dg.MaterializeResult:
    """Ask the ledger."""
    with project.open() as opened:
        cases = open_exceptions(opened.ledger)
        by_owner = waiting(cases, opened.ledger.clock(), opened.site.overdue_hours)
    kinds = Counter((case.owner, case.kind) for case in cases)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(cases),
            "by owner": table(
                ["owner", "errors", "warnings", "accepted", *(name for name, _ in AGES), OLDER, "money at stake"],
                [_line(one) for one in by_owner],
            ),
            "by kind": table(
                ["owner", "kind", "number", "what to do"],
                [(*key, number, KINDS[key[1]].what_to_do) for key, number in sorted(kinds.items())],
            ),
            "first": _listed(cases),
        },
        check_results=[check_result(one.owner.name.lower(), _verdict(one)) for one in by_owner],
    )


def _line(one: Waiting) -> tuple[object, ...]:
    money = ", ".join(f"{value:,.2f} {currency}" for currency, value in sorted(one.money.items()))
    return (one.owner.value, one.errors, one.warnings, one.accepted, *one.by_age.values(), money)


def _verdict(one: Waiting) -> Verdict:
    if not one.overdue:
        waits = f"{one.errors + one.warnings:,} exceptions wait for {one.owner.value}, none of them too long."
        return Verdict(True, waits)
    oldest = one.overdue[0]
    return Verdict(
        False,
        f"{len(one.overdue):,} errors wait for {one.owner.value} too long, the oldest since "
        f"{oldest.first_seen:%Y-%m-%d %H:%M} UTC: `prima-emarsys exceptions --owner {one.owner.value}`.",
        {f"{case.id}: {case.kind}": case.record for case in one.overdue[:10]},
    )


def _listed(cases: Sequence[ExceptionCase]) -> dg.MarkdownMetadataValue:
    """The first of the list, those that wait longest first."""
    rows = [
        (str(case.id), case.owner, case.kind, case.record, case.detail, case.money, case.state, case.runbook)
        for case in cases
    ]
    return table(["number", "owner", "kind", "record", "detail", "money", "state", "handbook"], rows)
