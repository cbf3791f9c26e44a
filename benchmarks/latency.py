"""How long an order takes from its commit in Prima until Emarsys has acknowledged the person's contact.

`dagster dev` runs on a small world of its own with its sensor on, as `make dev` starts it; nothing is called by hand.
Orders are committed one at a time; the ledger is asked again and again whether it has acknowledged the person since.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.sizes import KEPT
from prima_emarsys.demo import sandbox
from prima_emarsys.sandbox.world import build, tick

CUSTOMERS = 2_000
ORDERS = 12
FIRST_SYNC_SECONDS = 240.0
ORDER_SECONDS = 90.0
_POLL_SECONDS = 0.1
_HELD = (
    "SELECT r.acked_at FROM sync_record r JOIN person_link l ON l.person_key = r.key WHERE r.lane = 'contacts' "
    "AND l.company = ? AND l.customer_code = ? AND r.acked_at IS NOT NULL AND r.filtered_rule IS NULL "
    "AND r.payload IS NULL"
)
"""Whether Emarsys holds the contact of an account as it should be; some accounts have no contact, by rule."""


def measure() -> list[float | None]:
    """Seconds from commit to acknowledgement of each order; None for one that was not acknowledged in time."""
    folder = KEPT.absolute() / "latency"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    url = f"sqlite:///{folder / 'prima.sqlite'}"
    build(url, customers=CUSTOMERS, now=datetime.now(UTC))
    with sandbox(folder) as (_, environment), dagster(folder, environment):
        ledger = folder / "ledger.sqlite"
        _wait_for_first_sync(ledger)
        placed = (_place_order(url, folder, number) for number in itertools.count())
        held = ((committed, account) for committed, account in placed if _ask(ledger, _HELD, account))
        return [_seconds_until_acknowledged(ledger, *one) for one in itertools.islice(held, ORDERS)]


@contextmanager
def dagster(folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """`dagster dev` in a process group of its own, which ends with the block. Its home is `dagster` in the folder."""
    (folder / "dagster").mkdir()
    shutil.copy("dagster.yaml", folder / "dagster" / "dagster.yaml")
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("dagster")), "dev", "-w", "workspace.yaml", "-h", "127.0.0.1"]
    with (folder / "dagster.log").open("w") as log:
        process = subprocess.Popen(  # noqa: S603 (the installed dagster command)
            [*command, "-p", str(port)],
            # As a user has it, who lets Python keep its bytecode.
            env={
                **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
                **environment,
                "DAGSTER_HOME": str(folder / "dagster"),
            },
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _wait_for_first_sync(ledger: Path) -> None:
    """Until the ledger holds contacts and none of them waits."""
    until = time.monotonic() + FIRST_SYNC_SECONDS
    while time.monotonic() < until:
        if ledger.exists():
            [(known, waiting)] = _ask(
                ledger,
                "SELECT count(acked_at), count(payload) FROM sync_record WHERE lane = 'contacts' "
                "AND filtered_rule IS NULL AND quarantine_code IS NULL",
            )
            if known and not waiting:
                return
        time.sleep(1)
    raise TimeoutError(f"the sensor brought about no first sync within {FIRST_SYNC_SECONDS:.0f} s; see dagster.log")


def _place_order(url: str, folder: Path, seed: int) -> tuple[datetime, tuple[str, str]]:
    """When an order was committed, and the account that placed it: company and customer code."""
    [fact] = tick(url, now=datetime.now(UTC), changes=1, seed=seed, kinds=["order"])
    committed = datetime.now(UTC)
    company, order = fact.key.split(":", 1)[1].split("|")
    with closing(sqlite3.connect(folder / "prima.sqlite")) as prima:
        [(code,)] = prima.execute(
            "SELECT customer_code FROM sales_order WHERE company = ? AND order_number = ?", (company, order)
        ).fetchall()
    return committed, (company, code)


def _seconds_until_acknowledged(ledger: Path, committed: datetime, account: tuple[str, str]) -> float | None:
    while (passed := (datetime.now(UTC) - committed).total_seconds()) < ORDER_SECONDS:
        # The ledger writes moments as naive UTC text.
        if _ask(ledger, f"{_HELD} AND r.acked_at > ?", (*account, committed.replace(tzinfo=None).isoformat(" "))):
            return passed
        time.sleep(_POLL_SECONDS)
    return None


def _ask(ledger: Path, question: str, values: tuple[str, ...] = ()) -> list[tuple]:
    """Ask the ledger as somebody who cannot write it; an empty answer while it is being made."""
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True, timeout=30)) as connection:
        try:
            return connection.execute(question, values).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return [(0, 0)]
            raise


if __name__ == "__main__":
    print(json.dumps(measure()))
