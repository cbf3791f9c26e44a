"""`proof/contacts`: does Emarsys hold what it should?"""

import dagster as dg

from prima_emarsys.defs.checks import checks_of
from prima_emarsys.defs.resources import ProjectResource
from prima_emarsys.defs.showing import check_result, counts, exceptions
from prima_emarsys.steps.verdicts import Verdict


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
            **exceptions(proof.findings),
        },
        check_results=[check_result("emarsys_equals_desired", Verdict(proof.holds, sentence, figures))],
    )
