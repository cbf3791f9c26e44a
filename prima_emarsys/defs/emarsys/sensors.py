"""The safety net under the relay: asks for a run of `emarsys/events` when nobody else tells what happened."""

import json
import time
from datetime import UTC, datetime, timedelta

import dagster as dg

from prima_emarsys.defs.emarsys.events import EVENTS
from prima_emarsys.defs.prima.sensors import AUTOMATIC
from prima_emarsys.defs.resources import ProjectResource
from prima_emarsys.project import Project

WATCH_SECONDS = 4.0
"""How long one tick watches: Dagster looks at sensors every five seconds at best."""
RELAY = timedelta(seconds=2)
"""What a running relay needs; what has waited for longer is not left to it."""
_LOOK_SECONDS = 0.5
_RETRY = timedelta(minutes=1)
"""A request that came to nothing is repeated after this, such as one that met a stopped lane."""
_TAG = "prima_emarsys/events"


@dg.sensor(
    name="order_events",
    target=[EVENTS],
    minimum_interval_seconds=1,
    default_status=AUTOMATIC,
    description="When something happened to an order and no relay has told it within two seconds: tells it by a run.",
)
def order_events(context: dg.SensorEvaluationContext, project: ProjectResource) -> dg.SensorResult | dg.SkipReason:
    """Ask for a run if what happened still waits, and none of ours is on its way."""
    under_way = [
        dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
    ]  # fmt: skip
    if context.instance.get_runs(dg.RunsFilter(tags={_TAG: "yes"}, statuses=under_way), limit=1):
        return dg.SkipReason("A run that tells what happened is on its way.")
    with project.open() as opened:
        if not opened.event_kinds:
            return dg.SkipReason("The site file switches no event on.")
        if not _left_undone(opened):
            return dg.SkipReason("All that happened has been told.")
        marks = opened.event_marks()
    asked = json.loads(context.cursor or '{"marks": null}')
    now = datetime.now(UTC)
    if asked["marks"] == marks and now - datetime.fromisoformat(asked["at"]) < _RETRY:
        return dg.SkipReason("A run has just tried, and nothing happened since.")
    cursor = json.dumps({"marks": marks, "at": now.isoformat()})
    return dg.SensorResult(run_requests=[dg.RunRequest(tags={_TAG: "yes"})], cursor=cursor)


def _left_undone(opened: Project) -> bool:
    """Watch for a while; whether something waits that a relay would have written down or sent by now."""
    ahead: dict[str, tuple[str, float]] = {}
    began = time.monotonic()
    while (now := time.monotonic()) - began < WATCH_SECONDS + RELAY.total_seconds():
        if opened.outbox.due(RELAY) or opened.outbox.buyers(1, RELAY):
            return True
        written = opened.outbox.marks()
        seen = {name: ahead.get(name, (mark, now)) for name, mark in opened.event_marks().items()}
        ahead = {name: one for name, one in seen.items() if written.get(name, "") < one[0]}
        if any(now - since >= RELAY.total_seconds() for _, since in ahead.values()):
            return True
        if not ahead and now - began >= WATCH_SECONDS:
            return False
        time.sleep(_LOOK_SECONDS)
    return False
