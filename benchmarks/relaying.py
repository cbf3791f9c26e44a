"""How long order events take from their commit in Prima until Emarsys has accepted them: by the relay, by the sensor.

`prima-emarsys relay` (or `dagster dev` with the sensor `order_events` alone) runs as an operator starts it, on a small
world of its own, with the local Emarsys beside it.
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

from benchmarks.latency import dagster
from benchmarks.sizes import KEPT
from prima_emarsys.demo import sandbox
from prima_emarsys.sandbox.emarsys.server import LocalEmarsys
from prima_emarsys.sandbox.world import build, tick

CUSTOMERS = 2_000
EVENTS, EVENTS_BY_NET = 40, 15
KINDS = ("order", "new-account-order", "new-shopper-order")
"""Of private shoppers with an e-mail address: what happens to others may be told to nobody, by a rule."""
EVENT_SECONDS = 30.0
_START_SECONDS = 45.0


def measure() -> list[float | None]:
    """Seconds from commit to acceptance of each event through the relay; None for one not accepted in time."""
    with _shop("relay") as (folder, url, emarsys, environment), _relay(folder, environment):
        return _told(url, emarsys, EVENTS, pause=1.0)


def measure_net() -> list[float | None]:
    """The same through Dagster's sensor and a run, without a relay, and with nothing else that runs by itself."""
    with _shop("net") as (folder, url, emarsys, environment):
        manual = {**environment, "PRIMA_EMARSYS_MANUAL": "1"}
        with dagster(folder, manual):
            command = [str(Path(sys.executable).with_name("dagster")), "sensor", "start", "-w", "workspace.yaml"]
            subprocess.run(  # noqa: S603 (the installed dagster command)
                [*command, "order_events"],
                env={**os.environ, **manual, "DAGSTER_HOME": str(folder / "dagster")},
                stdout=subprocess.DEVNULL,
                check=True,
            )
            return _told(url, emarsys, EVENTS_BY_NET, pause=6.0)


@contextmanager
def _shop(name: str) -> Iterator[tuple[Path, str, LocalEmarsys, dict[str, str]]]:
    folder = KEPT.absolute() / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    url = f"sqlite:///{folder / 'prima.sqlite'}"
    build(url, customers=CUSTOMERS, now=datetime.now(UTC))
    with sandbox(folder) as (emarsys, environment):
        yield folder, url, emarsys, environment


def _told(url: str, emarsys: LocalEmarsys, events: int, pause: float) -> list[float | None]:
    """Let things happen one at a time, at any moment between two looks."""
    chance = Random(1)  # noqa: S311 (no secret)
    # All is up when something was told; what happened before the first look is not.
    while _one(url, emarsys, KINDS[0], int(time.time()), _START_SECONDS) is None:
        pass
    found = []
    for number in range(events):
        time.sleep(chance.uniform(0.2, 0.2 + pause))
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
    print(json.dumps({"relay": measure(), "net": measure_net()}))
