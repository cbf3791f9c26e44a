"""The gate before every asset that writes to Emarsys: a blocking check blocks only its own run, this blocks all."""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus as Status


def last_evaluation(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> tuple[bool, str] | None:
    """Whether the latest evaluation of a check passed, and the run that it was in; None if there was none."""
    # The history, since the latest record may be of a run that has only planned its evaluation.
    evaluated = instance.event_log_storage.get_asset_check_execution_history(
        key, limit=1, status={Status.SUCCEEDED, Status.FAILED}
    )
    return (evaluated[0].status is Status.SUCCEEDED, evaluated[0].run_id) if evaluated else None


def refuse_unless_passed(instance: dg.DagsterInstance, keys: Iterable[dg.AssetCheckKey]) -> None:
    """Raise `dagster.Failure` unless the latest evaluation of every check passed, in whichever run that was."""
    refusals = []
    for key in keys:
        check, asset = key.name, key.asset_key.to_user_string()
        match last_evaluation(instance, key):
            case None:
                refusals.append(f"the check `{check}` of {asset} was never evaluated: materialise {asset} first")
            case (False, run):
                refusals.append(f"the check `{check}` of {asset} failed in run {run[:8]}: see its page for what to do")
    if refusals:
        raise dg.Failure(
            "Nothing was sent to Emarsys, because the data upstream is not known to be good: "
            + "; ".join(refusals)
            + ".",
            allow_retries=False,
        )
