"""The launcher that forks runs from a process with the libraries loaded."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.launcher.base import LaunchRunContext, WorkerStatus
from dagster._core.storage.dagster_run import DagsterRun

from prima_emarsys.defs.warm import WarmRunLauncher

DAGSTER_YAML = """
telemetry: {enabled: false}
run_launcher: {module: prima_emarsys.defs.warm, class: WarmRunLauncher}
"""


@dg.op(config_schema=dg.Field(str, default_value=""))
def wait_for(context: dg.OpExecutionContext) -> None:
    """Ends when the file that is named exists; at once if none is named."""
    path = context.op_config
    while path and not Path(path).exists():
        time.sleep(0.05)


@dg.job(executor_def=dg.in_process_executor)
def waiting() -> None:
    """A run that lasts as long as a test wants."""
    wait_for()


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    home = tmp_path_factory.mktemp("dagster")
    (home / "dagster.yaml").write_text(DAGSTER_YAML)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def launched(instance: dg.DagsterInstance, until: Path | None = None) -> DagsterRun:
    origin = dg.reconstructable(waiting).get_python_origin()
    config = {"ops": {"wait_for": {"config": str(until or "")}}}
    run = instance.create_run_for_job(
        waiting, run_config=config, job_code_origin=origin, status=dg.DagsterRunStatus.STARTING
    )
    launcher(instance).launch_run(LaunchRunContext(run, None))
    return run


def launcher(instance: dg.DagsterInstance) -> WarmRunLauncher:
    assert isinstance(instance.run_launcher, WarmRunLauncher)
    return instance.run_launcher


def status(instance: dg.DagsterInstance, run: DagsterRun) -> dg.DagsterRunStatus:
    found = instance.get_run_by_id(run.run_id)
    assert found
    return found.status


def eventually(happens: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


def process_of(instance: dg.DagsterInstance, run: DagsterRun) -> int:
    return int((Path(instance.root_directory) / "running" / run.run_id).read_text())


def started(instance: dg.DagsterInstance, run: DagsterRun) -> None:
    eventually(lambda: status(instance, run) is dg.DagsterRunStatus.STARTED)


def test_a_run_is_executed_and_leaves_nothing_behind(instance: dg.DagsterInstance):
    run = launched(instance)
    eventually(lambda: status(instance, run) is dg.DagsterRunStatus.SUCCESS)
    eventually(lambda: not (Path(instance.root_directory) / "running" / run.run_id).exists())


def test_a_running_run_is_known_to_live_and_one_that_was_killed_is_known_to_be_gone(
    instance: dg.DagsterInstance, tmp_path: Path
):
    run = launched(instance, tmp_path / "never")
    started(instance, run)
    assert launcher(instance).check_run_worker_health(run).status is WorkerStatus.RUNNING
    os.kill(process_of(instance, run), signal.SIGKILL)
    eventually(lambda: launcher(instance).check_run_worker_health(run).status is WorkerStatus.FAILED)


def test_a_run_can_be_ended_from_another_process(instance: dg.DagsterInstance, tmp_path: Path):
    run = launched(instance, tmp_path / "never")
    started(instance, run)
    with dg.DagsterInstance.from_config(str(instance.root_directory)) as other:
        assert launcher(other).terminate(run.run_id)
        eventually(lambda: status(other, run) is dg.DagsterRunStatus.CANCELED)
        assert not launcher(other).terminate(run.run_id)


def test_runs_stand_on_their_own(instance: dg.DagsterInstance, tmp_path: Path):
    slow = launched(instance, tmp_path / "go")
    quick = launched(instance)
    eventually(lambda: status(instance, quick) is dg.DagsterRunStatus.SUCCESS)
    assert status(instance, slow) is not dg.DagsterRunStatus.SUCCESS
    (tmp_path / "go").touch()
    eventually(lambda: status(instance, slow) is dg.DagsterRunStatus.SUCCESS)


def test_a_nursery_that_died_is_replaced(instance: dg.DagsterInstance):
    nursery = launcher(instance)._nursery
    assert nursery
    nursery.kill()
    nursery.wait()
    run = launched(instance)
    eventually(lambda: status(instance, run) is dg.DagsterRunStatus.SUCCESS)
