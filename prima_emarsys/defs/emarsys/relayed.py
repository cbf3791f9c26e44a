"""What the relay did, in Dagster: materialisations of `emarsys/events` and evaluations of its checks, without a run."""

from __future__ import annotations

import time

import dagster as dg

from prima_emarsys.defs.emarsys.events import EVENTS, told
from prima_emarsys.project import Project
from prima_emarsys.steps.events import Collected
from prima_emarsys.sync.drain import Drained

SILENT_SECONDS = 3600.0
"""A relay with nothing to say says so once an hour: Dagster keeps every report for ever."""


class Reports:
    """Reports to one Dagster instance whenever something was done, or a check's outcome is another than before."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance
        self._outcomes: dict[str, bool] = {}
        self._at = float("-inf")

    def __call__(self, project: Project, collected: Collected, drained: Drained) -> None:
        """See `relay.Report`."""
        metadata, results = told(project, collected, drained)
        outcomes = {result.check_name: result.passed for result in results}
        did_something = collected.new or collected.resolved or drained.tally.calls or drained.ended
        if not did_something and outcomes == self._outcomes and time.monotonic() - self._at < SILENT_SECONDS:
            return
        self._instance.report_runless_asset_event(
            dg.AssetMaterialization(EVENTS, metadata=metadata | {"told by": "the relay"})
        )
        for result in results:
            self._instance.report_runless_asset_event(
                dg.AssetCheckEvaluation(
                    asset_key=EVENTS,
                    check_name=result.check_name,
                    passed=result.passed,
                    severity=result.severity,
                    metadata=result.metadata,
                )
            )
        self._outcomes, self._at = outcomes, time.monotonic()


def reports() -> Reports:
    """Reports to the instance of DAGSTER_HOME. Raises `dagster.DagsterHomeNotSetError` if there is none."""
    return Reports(dg.DagsterInstance.get())
