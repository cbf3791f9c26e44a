"""Jobs and schedules: the nightly truth, and the whole sync by hand."""

from __future__ import annotations

import os

import dagster as dg

_ASSETS_THAT_SWEEP = ("prima__customers", "prima__orders", "prima__returns")
_ASSETS_THAT_RUN_WHOLE = (
    "core__persons",
    "core__sales",
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
    description="Sweeps Prima for late commits and deletions, computes everything again, freezes the day's cut points, "
    "sends the differences and proves the result.",
)


def nightly_schedule(time_zone: str) -> dg.ScheduleDefinition:
    """At three in the morning, site time."""
    return dg.ScheduleDefinition(
        name="nightly",
        job=nightly_truth,
        cron_schedule="0 3 * * *",
        execution_timezone=time_zone,
        default_status=(
            dg.DefaultScheduleStatus.STOPPED if os.getenv("PRIMA_EMARSYS_MANUAL") else dg.DefaultScheduleStatus.RUNNING
        ),
    )
