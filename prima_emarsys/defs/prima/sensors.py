"""Watches Prima's change marks and asks for the changed assets and what depends on them.

Level-triggered: each tick compares what Prima has with what was last landed, so that a missed tick, a failed run or a
doubled request changes nothing but the time at which the mirror catches up.
"""

import json
import os
from datetime import UTC, datetime

import dagster as dg

from prima_emarsys.defs.prima.assets import SUBJECTS
from prima_emarsys.defs.resources import ProjectResource

DOWNSTREAM = {
    "customers": ["core/persons", "core/sales", "emarsys/rfm_clv", "emarsys/contacts"],
    "orders": ["core/sales", "emarsys/rfm_clv", "emarsys/contacts"],
    "returns": ["core/sales", "emarsys/rfm_clv", "emarsys/contacts"],
}
"""What follows each subject, `proof/contacts` aside, which is nightly; a test compares it with the graph."""

AUTOMATIC = dg.DefaultSensorStatus.STOPPED if os.getenv("PRIMA_EMARSYS_MANUAL") else dg.DefaultSensorStatus.RUNNING
_WATCHED = dict.fromkeys([f"prima/{subject}" for subject in SUBJECTS] + [n for s in SUBJECTS for n in DOWNSTREAM[s]])
_RETRY_SECONDS = 60
"""A request that came to nothing is repeated after this."""


@dg.sensor(
    name="prima_changes",
    target=[dg.AssetKey(name.split("/")) for name in _WATCHED],
    minimum_interval_seconds=1,
    default_status=AUTOMATIC,
    description="When customers, orders or returns change in Prima: reads what changed, recomputes the persons that it "
    "touches, and sends their differences.",
)
def prima_changes(context: dg.SensorEvaluationContext, project: ProjectResource) -> dg.SensorResult | dg.SkipReason:
    """Ask for the subjects in which Prima is ahead of the mirror."""
    now = datetime.now(UTC)
    asked: dict[str, list[str]] = json.loads(context.cursor or "{}")
    ahead: dict[str, str] = {}
    with project.open() as opened:
        for subject in SUBJECTS:
            landed = _landed_marks(context.instance, subject)
            there = opened.latest_marks(subject)
            if there != landed and any(mark and mark != landed.get(name) for name, mark in there.items()):
                ahead[subject] = json.dumps(there, sort_keys=True)
    due = {
        subject: marks
        for subject, marks in ahead.items()
        if subject not in asked
        or asked[subject][0] != marks
        or (now - datetime.fromisoformat(asked[subject][1])).total_seconds() > _RETRY_SECONDS
    }
    if not due:
        return dg.SkipReason("The mirror has what Prima has." if not ahead else "What is ahead was asked for already.")
    wanted = [f"prima/{subject}" for subject in due]
    wanted += [name for subject in due for name in DOWNSTREAM[subject]]
    request = dg.RunRequest(
        asset_selection=[dg.AssetKey(name.split("/")) for name in dict.fromkeys(wanted)],
        tags={"prima_emarsys/trigger": "prima_changes", "prima_emarsys/subjects": ",".join(sorted(due))},
    )
    asked = {subject: told for subject, told in asked.items() if subject in ahead}
    asked |= {subject: [marks, now.isoformat()] for subject, marks in due.items()}
    return dg.SensorResult(run_requests=[request], cursor=json.dumps(asked))


def _landed_marks(instance: dg.DagsterInstance, subject: str) -> dict[str, str]:
    """High-water marks by entity, as the last materialisation of the subject noted them."""
    event = instance.get_latest_materialization_event(dg.AssetKey(["prima", subject]))
    materialization = event.asset_materialization if event else None
    marks = materialization.metadata.get("marks") if materialization else None
    return dict(marks.value) if isinstance(marks, dg.JsonMetadataValue) and isinstance(marks.value, dict) else {}
