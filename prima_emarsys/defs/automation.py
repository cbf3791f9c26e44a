"""Jobs and schedules: the whole sync by hand, sales data every few minutes, and the nightly truth."""

import os
from datetime import UTC, datetime, timedelta

import dagster as dg

from prima_emarsys.defs.emarsys.sales import LEFT

_ASSETS_THAT_SWEEP = ("prima__customers", "prima__orders", "prima__returns", "prima__products", "prima__stock")
_ASSETS_THAT_RUN_WHOLE = (
    "core__persons",
    "core__sales",
    "core__availability",
    "emarsys__rfm_clv",
    "emarsys__contacts",
    "emarsys__sales_data",
)

WHOLE = {
    "ops": {
        **{name: {"config": {"sweep": True}} for name in _ASSETS_THAT_SWEEP},
        **{name: {"config": {"whole": True}} for name in _ASSETS_THAT_RUN_WHOLE},
    }
}
"""Run config of the nightly truth: everything is read again and computed again. Only differences are sent."""

sync = dg.define_asset_job(
    "sync",
    dg.AssetSelection.all(),
    description="Reads what changed in Prima, sends what differs to Emarsys, and proves that both sides agree.",
)

nightly_truth = dg.define_asset_job(
    "nightly_truth",
    dg.AssetSelection.all(),
    config=WHOLE,
    description="Sweeps Prima for late commits and deletions, computes everything again, freezes the day's cut points "
    "and the week's model of repeat purchases, sends the differences and proves the result.",
)


AUTOMATIC = dg.DefaultScheduleStatus.STOPPED if os.getenv("PRIMA_EMARSYS_MANUAL") else dg.DefaultScheduleStatus.RUNNING
_SALES_DATA = dg.AssetKey(["emarsys", "sales_data"])
_BEFORE_SALES_DATA = (dg.AssetKey(["core", "sales"]), dg.AssetKey(["emarsys", "contacts"]))
_LOOKED_AT_AGAIN = timedelta(hours=1)
"""A person may have settled a file or released the lane meanwhile."""


def nightly_schedule(time_zone: str) -> dg.ScheduleDefinition:
    """At three in the morning, site time."""
    return dg.ScheduleDefinition(
        name="nightly",
        job=nightly_truth,
        cron_schedule="0 3 * * *",
        execution_timezone=time_zone,
        default_status=AUTOMATIC,
    )


@dg.schedule(
    name="sales_data",
    target=[_SALES_DATA, dg.AssetKey(["proof", "exceptions"])],
    cron_schedule="*/5 * * * *",
    default_status=AUTOMATIC,
    description="Every five minutes: puts the sales of the meantime into one file, and counts what waits for whom. "
    "Emarsys loads files minutes later anyway, and so no contact waits for the upload of somebody else's order.",
)
def sales_data_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for a run where sales or contacts are newer than the last one, or where that one left rows behind."""
    newest = [context.instance.get_latest_materialization_event(key) for key in _BEFORE_SALES_DATA]
    before = [event.timestamp for event in newest if event is not None]
    if len(before) < len(newest):
        return dg.SkipReason("There are no sales or no contacts yet.")
    last = context.instance.get_latest_materialization_event(_SALES_DATA)
    if last is not None and last.asset_materialization is not None:
        left = last.asset_materialization.metadata.get(LEFT)
        waits = left is not None and left.value != 0
        recent = datetime.now(UTC) - datetime.fromtimestamp(last.timestamp, UTC) < _LOOKED_AT_AGAIN
        if recent and not waits and max(before) < last.timestamp:
            return dg.SkipReason("Nothing came after the last run.")
    return dg.RunRequest()
