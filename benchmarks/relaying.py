"""How long order events take from their commit in Prima until Emarsys has accepted them, through the relay.

`prima-emarsys relay` runs as an operator starts it, on a small world of its own, with the local Emarsys beside it.
Things happen in Prima one at a time; when Emarsys accepted each is read from its own log. No contact was synced
before, so nearly every event needs its buyer's first contact on the way: the slow case.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from benchmarks.sizes import KEPT
from prima_emarsys.demo import sandbox
from prima_emarsys.sandbox.emarsys.server import LocalEmarsys
from prima_emarsys.sandbox.world import build, tick

CUSTOMERS = 2_000
EVENTS = 60
KINDS = ("order", "new-account-order", "new-shopper-order", "despatch", "return-receipted", "credit-finalised")
EVENT_SECONDS = 30.0
_START_SECONDS = 60.0


def measure() -> list[float | None]:
    """Seconds from commit to acceptance of each event; None for one that was not accepted in time."""
    folder = KEPT.absolute() / "relay"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    url = f"sqlite:///{folder / 'prima.sqlite'}"
    build(url, customers=CUSTOMERS, now=datetime.now(UTC))
    chance = Random(1)  # noqa: S311 (no secret)
    with sandbox(folder) as (emarsys, environment), _relay(folder, environment):
        _one(url, emarsys, "order", 0, _START_SECONDS)  # the relay is up when it has told the first
        found = []
        for number in range(1, EVENTS + 1):
            time.sleep(chance.uniform(0.2, 1.2))  # at any moment between two looks
            found.append(_one(url, emarsys, KINDS[number % len(KINDS)], number, EVENT_SECONDS))
        return found


@contextmanager
def _relay(folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    with (folder / "relay.log").open("w") as log:
        process = subprocess.Popen(  # noqa: S603 (our own command)
            [sys.executable, "-m", "prima_emarsys.cli", "relay"],
            env=os.environ | environment, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def _one(url: str, emarsys: LocalEmarsys, kind: str, number: int, seconds: float) -> float | None:
    """Let one thing happen; the seconds until the mail that tells of it."""
    before = {one.trigger_id for one in emarsys.mailings()}
    tick(url, now=datetime.now(UTC), changes=1, seed=number, kinds=[kind])
    committed = datetime.now(UTC)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for mail in emarsys.mailings():
            if mail.trigger_id not in before:
                return (datetime.fromisoformat(mail.at) - committed).total_seconds()
        time.sleep(0.05)
    return None


if __name__ == "__main__":
    print(json.dumps(measure()))
