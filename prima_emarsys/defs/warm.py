"""Runs that start at once: each is forked from a process that has loaded the libraries already.

Dagster's default launcher starts a fresh interpreter for every run, and importing the libraries takes longer than
computing the persons whom an order touches. Here the daemon keeps one small process, the nursery, which has imported
them and nothing else; a run is a fork of it. Our own code is imported by the run itself, from the disk as it is then.

This is a setting (`run_launcher` in `dagster.yaml`) for one machine; a cluster takes Dagster's own launchers instead.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Self

from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, RunLauncher, WorkerStatus
from dagster._core.storage.dagster_run import DagsterRun
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import ConfigurableClass, serialize_value
from dagster._serdes.config_class import ConfigurableClassData

_LIBRARIES = (
    "dagster._cli.api", "dagster._core.execution.api", "dagster_postgres", "duckdb", "ibis.backends.duckdb",
    "numpy", "orjson", "pandas", "pandera.pandas", "psycopg", "pyarrow.compute", "requests",
    "sqlalchemy.dialects.sqlite", "sqlalchemy.dialects.postgresql", "alembic.command", "stamina", "email_validator",
    "yaml", "pydantic",
)  # fmt: skip
"""What every run needs and what takes long to import. Imported, never used: a fork must not inherit running threads."""


class WarmRunLauncher(RunLauncher, ConfigurableClass):
    """Launches each run as a fork of the nursery, on this machine.

    While a run is alive its process holds a lock on a file named after the run, below `running` in the instance's
    folder, in which its process id stands; so any process of this machine can tell whether it lives, and end it.
    """

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        self._inst_data = inst_data
        self._nursery: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        super().__init__()

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """What `dagster.yaml` says."""
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Nothing to configure."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:  # noqa: ARG003
        """As `dagster.yaml` asks for it."""
        return cls(inst_data)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Have the run forked. Its process reports from then on."""
        origin = context.job_code_origin
        if origin is None:
            raise ValueError(f"run {context.dagster_run.run_id} does not say which code it is of")
        arguments = ExecuteRunArgs(origin, context.dagster_run.run_id, self._instance.get_ref())
        order = f"{self._alive(context.dagster_run.run_id)}\t{serialize_value(arguments)}\n"
        with self._lock:
            try:
                self._order(order)
            except BrokenPipeError:  # the nursery has died; another takes its place
                self._nursery = None
                self._order(order)

    def _order(self, order: str) -> None:
        if self._nursery is None:
            command = [sys.executable, "-m", __spec__.name]
            self._nursery = subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: S603 (ours)
        if self._nursery.stdin is None:
            raise AssertionError("the nursery was started with a pipe")
        self._nursery.stdin.write(order.encode())
        self._nursery.stdin.flush()

    def terminate(self, run_id: str) -> bool:
        """Ask the run's process to end itself; False if it has ended."""
        run = self._instance.get_run_by_id(run_id)
        process = _holder(self._alive(run_id))
        if run is None or run.is_finished or process is None:
            return False
        self._instance.report_run_canceling(run)
        os.kill(process, signal.SIGTERM)
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        """So that Dagster's run monitoring notices a run that was killed."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether the run's process is alive."""
        if _holder(self._alive(run.run_id)) is not None:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, "its process is gone")

    def dispose(self) -> None:
        """Close the nursery; runs that it has forked go on."""
        with self._lock:
            if self._nursery is not None and self._nursery.stdin is not None:
                self._nursery.stdin.close()
                self._nursery.wait()
                self._nursery = None

    def _alive(self, run_id: str) -> Path:
        folder = Path(self._instance.root_directory) / "running"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / run_id


def _holder(alive: Path) -> int | None:
    """Process id of the run that holds the file's lock, or None."""
    try:
        with alive.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read())
    except FileNotFoundError:
        return None
    return None


def nursery() -> None:
    """Import the libraries, then fork a run for every line of standard input, until it is closed."""
    for name in _LIBRARIES:
        import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the runs
    for line in sys.stdin.buffer:
        if os.fork() == 0:
            _run(*line.decode().rstrip("\n").split("\t", 1))


def _run(alive: str, arguments: str) -> None:
    """The forked process: execute the run, and end."""
    from dagster._cli.api import api_cli

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
    status = 1
    try:
        with Path(alive).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(str(os.getpid()))
            file.flush()
            api_cli.main(["execute_run", arguments], standalone_mode=False)
            Path(alive).unlink()
        status = 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    nursery()
