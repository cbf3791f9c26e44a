"""Real processes are killed and stopped at every named point; afterwards nothing differs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from prima_emarsys.sync.deliver import deliver
from prima_emarsys.sync.failpoints import LANE_POINTS
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys_tests.sync.conftest import HASH_KEY
from prima_emarsys_tests.sync.crash_worker import LANE, NUMBER, QUICK, FileRemote
from prima_emarsys_tests.sync.remote import people

KILLED = -signal.SIGKILL


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "remote"
    folder.mkdir()
    return folder


def worker(url: str, folder: Path, value: str, failpoint: str = "", *, hangs: bool = False) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "prima_emarsys_tests.sync.crash_worker", url, str(folder), value]
    environment = os.environ | {"PRIMA_EMARSYS_FAILPOINT": failpoint}
    return subprocess.Popen(  # noqa: S603
        [*command, "hangs"] if hangs else command, env=environment, text=True, stdout=subprocess.PIPE
    )


def finish(process: subprocess.Popen[str]) -> int:
    process.communicate(timeout=60)
    return process.returncode


def here(url: str, folder: Path, value: str | None = None) -> None:
    """Stage (if a value is given) and deliver in this process, waiting for what a dead one left."""
    with Ledger.open(url, HASH_KEY) as ledger:
        if value is not None:
            ledger.stage(LANE, people(NUMBER, value), "m1")
        while deliver(ledger, LANE, FileRemote(folder), QUICK, until_settled_for=20).held_by:
            time.sleep(0.1)


def assert_equal(url: str, folder: Path, value: str) -> None:
    with Ledger.open(url, HASH_KEY, create=False) as ledger:
        counts = ledger.counts(LANE)
        assert counts.acknowledged == counts.total == NUMBER
    assert {contact["1"] for contact in FileRemote(folder).contacts().values()} == {value}


@pytest.mark.parametrize("point", LANE_POINTS)
def test_row_32_a_process_killed_at_any_point_leaves_nothing_that_differs(
    ledger_url: str, folder: Path, point: str
) -> None:
    here(ledger_url, folder, "Ann")
    assert finish(worker(ledger_url, folder, "Bea", f"{point}:1" if point == "after_stage" else f"{point}:2")) == KILLED
    here(ledger_url, folder, "Bea")
    assert_equal(ledger_url, folder, "Bea")


def test_row_38_killed_after_sending_and_the_source_back_at_the_old_value(ledger_url: str, folder: Path) -> None:
    here(ledger_url, folder, "Ann")
    assert finish(worker(ledger_url, folder, "Bea", "after_send")) == KILLED
    here(ledger_url, folder, "Ann")
    assert_equal(ledger_url, folder, "Ann")


def test_row_37_a_process_stopped_past_its_lease_acknowledges_nothing(ledger_url: str, folder: Path) -> None:
    stopped = worker(ledger_url, folder, "Ann", hangs=True)
    assert stopped.stdout is not None
    assert stopped.stdout.readline() == "sent\n"
    stopped.send_signal(signal.SIGSTOP)
    here(ledger_url, folder)
    assert_equal(ledger_url, folder, "Ann")
    (folder / "go").touch()
    stopped.send_signal(signal.SIGCONT)
    output, _ = stopped.communicate(timeout=60)
    assert json.loads(output) == {"acknowledged": 0, "lost": 10}
    assert_equal(ledger_url, folder, "Ann")


def test_a_ledger_that_was_killed_often_is_sound(tmp_path: Path, folder: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    for value, point in (("Ann", "mid_stage:3"), ("Bea", "before_ack_commit"), ("Cay", "after_claim")):
        assert finish(worker(url, folder, value, point)) == KILLED
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    engine.dispose()
