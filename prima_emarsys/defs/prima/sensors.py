"""Watches Prima's change marks and asks for the changed assets and what depends on them.

Level-triggered: each tick compares what Prima has with what was last landed, so that a missed tick, a failed run or a
doubled request changes nothing but the time at which the mirror catches up.
"""

import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import dagster as dg

from prima_emarsys.defs.prima.assets import SUBJECTS
from prima_emarsys.defs.resources import ProjectResource
from prima_emarsys.prima.sql import Mark
from prima_emarsys.project import Project

DOWNSTREAM = {
    "customers": ["core/persons", "core/sales", "emarsys/rfm_clv", "emarsys/contacts"],
    "orders": ["core/sales", "emarsys/rfm_clv", "emarsys/contacts"],
    "returns": ["core/sales", "emarsys/rfm_clv", "emarsys/contacts"],
}
"""What follows each subject, what has a schedule or sensor of its own aside (`SCHEDULED`); a test compares it with the
graph."""

STOCK_DOWNSTREAM = {"stock": ["core/availability", "emarsys/catalogue"], "products": ["emarsys/catalogue"]}
"""The same of what has a sensor of its own."""

SCHEDULED = (
    "emarsys/predicted_value", "emarsys/sales_data", "emarsys/events",
    "proof/contacts", "proof/sales", "proof/exceptions",
)  # fmt: skip
_FIRST = "emarsys/predicted_value"
"""Asked for once, with the very first contacts: else the first night would change them all."""

AUTOMATIC = dg.DefaultSensorStatus.STOPPED if os.getenv("PRIMA_EMARSYS_MANUAL") else dg.DefaultSensorStatus.RUNNING
_WATCHED = dict.fromkeys(
    [*(f"prima/{subject}" for subject in SUBJECTS), *(n for s in SUBJECTS for n in DOWNSTREAM[s]), _FIRST]
)
_WATCHED_STOCK = dict.fromkeys(
    [*(f"prima/{subject}" for subject in STOCK_DOWNSTREAM), *(n for names in STOCK_DOWNSTREAM.values() for n in names)]
)
_RETRY_SECONDS = 60
"""A request that came to nothing is repeated after this."""
_REREAD_SECONDS = 300
"""A subject is read again after this even if its marks stand still: rows may commit late with an older stamp."""
WATCH_SECONDS = 4.0
"""How long one tick watches."""
_LOOK_SECONDS = 0.5
_TAG = "prima_emarsys/subjects"


@dg.sensor(
    name="prima_changes",
    target=[dg.AssetKey(name.split("/")) for name in _WATCHED],
    minimum_interval_seconds=1,
    default_status=AUTOMATIC,
    description="When customers, orders or returns change in Prima: reads what changed, recomputes the persons that it "
    "touches, and sends their differences.",
)
def prima_changes(context: dg.SensorEvaluationContext, project: ProjectResource) -> dg.SensorResult | dg.SkipReason:
    """Ask for the subjects in which Prima is ahead of the mirror, unless a run that will read them waits already."""
    never_forecast = context.instance.get_latest_materialization_event(dg.AssetKey(_FIRST.split("/"))) is None
    with project.open() as opened:
        return _ask(context, opened, DOWNSTREAM, _REREAD_SECONDS, [_FIRST] if never_forecast else [])


@dg.sensor(
    name="prima_stock",
    target=[dg.AssetKey(name.split("/")) for name in _WATCHED_STOCK],
    minimum_interval_seconds=60,  # every order moves stock, and Emarsys pulls the catalogue far less often
    default_status=AUTOMATIC,
    description="When stock or products change in Prima, or stock has not been looked at for as long as the site file "
    "says: takes a snapshot and follows the SKUs that moved. Orders and contacts are no part of it.",
)
def prima_stock(context: dg.SensorEvaluationContext, project: ProjectResource) -> dg.SensorResult | dg.SkipReason:
    """The same for stock and products, in runs of their own."""
    with project.open() as opened:
        return _ask(context, opened, STOCK_DOWNSTREAM, opened.site.stock.reread_seconds, [])


def _ask(
    context: dg.SensorEvaluationContext,
    project: Project,
    downstream: Mapping[str, Sequence[str]],
    reread_seconds: float,
    besides: Sequence[str],
) -> dg.SensorResult | dg.SkipReason:
    """One run for all subjects that are due, with what follows them and what is asked for `besides`."""
    asked: dict[str, list[str]] = json.loads(context.cursor or "{}")
    until = time.monotonic() + WATCH_SECONDS
    # Dagster looks at sensors every five seconds at best, so a tick goes on watching for most of them.
    while not (due := _due(context.instance, project, downstream, reread_seconds, asked)) and time.monotonic() < until:
        time.sleep(_LOOK_SECONDS)
    if not due:
        return dg.SkipReason("The mirror has what Prima has, or a run that reads the rest is on its way.")
    wanted = [f"prima/{subject}" for subject in due]
    wanted += [name for subject in due for name in downstream[subject]]
    request = dg.RunRequest(
        asset_selection=[dg.AssetKey(name.split("/")) for name in dict.fromkeys([*wanted, *besides])],
        tags={_TAG: ",".join(sorted(due))},
    )
    asked |= {subject: [marks, datetime.now(UTC).isoformat()] for subject, marks in due.items()}
    return dg.SensorResult(run_requests=[request], cursor=json.dumps(asked))


def _due(
    instance: dg.DagsterInstance,
    project: Project,
    subjects: Iterable[str],
    reread_seconds: float,
    asked: Mapping[str, Sequence[str]],
) -> dict[str, str]:
    """Subject → its marks in Prima, of those to ask for now. `asked`: subject → the marks asked for last, and when."""
    now = datetime.now(UTC)
    present = str(Mark(now))
    queued = _queued_subjects(instance)
    due: dict[str, str] = {}
    for subject in subjects:
        landed, landed_at = _landed(instance, subject)
        there = project.latest_marks(subject)
        marks = json.dumps(there, sort_keys=True)
        # A mark that is not yet past stands for a row stamped in the future: it says nothing, and would always.
        ahead = any(landed.get(name, "") < mark < present for name, mark in there.items())
        stale = (now - landed_at).total_seconds() > reread_seconds
        told = asked.get(subject)
        waited = told is None or (now - datetime.fromisoformat(told[1])).total_seconds() > _RETRY_SECONDS
        if (ahead or stale) and subject not in queued and (waited or (told is not None and told[0] != marks)):
            due[subject] = marks
    return due


def _queued_subjects(instance: dg.DagsterInstance) -> set[str]:
    """Subjects of runs that have not begun: they will read whatever is there when they do."""
    waiting = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING]
    runs = instance.get_runs(dg.RunsFilter(statuses=waiting), limit=50)
    return {subject for run in runs for subject in run.tags.get(_TAG, "").split(",")}


def _landed(instance: dg.DagsterInstance, subject: str) -> tuple[dict[str, str], datetime]:
    """High-water marks by entity, and when they were noted, from the last materialisation of the subject."""
    event = instance.get_latest_materialization_event(dg.AssetKey(["prima", subject]))
    materialization = event.asset_materialization if event else None
    if event is None or materialization is None:
        return {}, datetime.fromtimestamp(0, UTC)
    marks = materialization.metadata.get("marks")
    known = marks.value if isinstance(marks, dg.JsonMetadataValue) else None
    return dict(known) if isinstance(known, dict) else {}, datetime.fromtimestamp(event.timestamp, UTC)
