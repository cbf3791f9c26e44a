"""Real processes are killed and stopped while they seal and upload: nothing is doubled, nothing is lost."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from decimal import Decimal
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from prima_emarsys.sync.doctor import examine
from prima_emarsys.sync.exceptions import open_exceptions
from prima_emarsys.sync.failpoints import SALES_POINTS
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.sync.sales_files import UNKNOWN, SalesFiles
from prima_emarsys_tests.sync.conftest import HASH_KEY
from prima_emarsys_tests.sync.sales_worker import ORDERS, FolderEndpoint, run

D = Decimal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "remote"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Processes that are forked from one that has loaded the libraries: each begins at once, with nothing open."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["prima_emarsys_tests.sync.sales_worker"])
    return context


def settle(url: str, folder: Path) -> list[Decimal]:
    """A person says the truth of every file that a dead process left; returns what was at stake."""
    arrived = [path.read_bytes() for path in folder.glob("*.gz")]
    with Ledger.open(url, HASH_KEY, create=False) as ledger:
        files = SalesFiles(ledger)
        files.recover("http", repeatable=False)
        files.report()
        unknown = files.all(UNKNOWN)
        assert {case.record: case.money for case in open_exceptions(ledger)} == {f.name: f.value for f in unknown}
        for file in unknown:
            files.resolve(file.name, "arrived" if files.content(file.name) in arrived else "absent", "Ann", "looked")
        files.report()
    return [file.value for file in unknown]


def assert_books_tie(url: str, folder: Path, price: str) -> None:
    endpoint = FolderEndpoint(folder)
    assert endpoint.by_line() == {f"{order}|1|sale": D(price) for order in range(ORDERS)}
    assert len(set(endpoint.loaded)) == len(endpoint.loaded)
    with Ledger.open(url, HASH_KEY, create=False) as ledger:
        assert [check for check in examine(ledger) if not check.ok] == []


UNKNOWN_AFTER = {"before_send", "after_send", "before_accept"}
"""Killed here, one file is of unknown fate; anywhere else, none."""


@pytest.mark.parametrize("point", SALES_POINTS)
def test_rows_34_and_35_a_process_killed_at_any_point_doubles_nothing_and_loses_nothing(
    ledger_url: str, folder: Path, processes: ForkServerContext, point: str
) -> None:
    killed = processes.Process(target=run, args=(ledger_url, folder, "10.00"), kwargs={"failpoint": f"{point}:2"})
    killed.start()
    killed.join(120)
    assert killed.exitcode == -signal.SIGKILL
    assert settle(ledger_url, folder) == [D("20.00")] * (point in UNKNOWN_AFTER)
    run(ledger_url, folder, "10.00")
    assert_books_tie(ledger_url, folder, "10.00")


def test_row_38_killed_after_sending_and_the_source_back_at_the_old_value(
    ledger_url: str, folder: Path, processes: ForkServerContext
) -> None:
    run(ledger_url, folder, "10.00")
    killed = processes.Process(target=run, args=(ledger_url, folder, "7.00"), kwargs={"failpoint": "after_send"})
    killed.start()
    killed.join(120)
    run(ledger_url, folder, "10.00")
    assert settle(ledger_url, folder) == [D("-6.00")]
    run(ledger_url, folder, "10.00")
    assert_books_tie(ledger_url, folder, "10.00")


def test_row_37_a_process_stopped_past_its_lease_accepts_nothing(
    ledger_url: str, folder: Path, processes: ForkServerContext
) -> None:
    stopped = processes.Process(target=run, args=(ledger_url, folder, "10.00"), kwargs={"hangs": True})
    stopped.start()
    while not (folder / "sent").exists():
        time.sleep(0.01)
    assert stopped.pid is not None
    os.kill(stopped.pid, signal.SIGSTOP)
    assert settle(ledger_url, folder) == [D("20.00")]
    (folder / "go").touch()
    os.kill(stopped.pid, signal.SIGCONT)
    stopped.join(120)
    run(ledger_url, folder, "10.00")
    assert_books_tie(ledger_url, folder, "10.00")
