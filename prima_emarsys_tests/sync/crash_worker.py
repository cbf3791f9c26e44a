"""A process of its own for tests that kill or stop it: it stages and delivers into a remote kept in files.

python -m prima_emarsys_tests.sync.crash_worker LEDGER_URL REMOTE_FOLDER VALUE [hangs]
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from prima_emarsys.emarsys.outcome import Answered, Outcome
from prima_emarsys.sync import ledger as ledger_module
from prima_emarsys.sync.deliver import Policy, deliver
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys_tests.sync.conftest import HASH_KEY
from prima_emarsys_tests.sync.remote import people

LANE = "contacts"
NUMBER = 40
QUICK = Policy(batch=10, parallel=1, lease=1.0, lane_lease=0.6, grace=0.1)


class FileRemote:
    """A remote that outlives its clients, one file a contact."""

    def __init__(self, folder: Path, *, hangs: bool = False) -> None:
        self.folder = folder
        self.hangs = hangs

    def send(self, batch: Mapping[str, bytes]) -> Outcome:
        for key, payload in batch.items():
            part = self.folder / f"{key}.part"
            part.write_bytes(payload)
            part.rename(self.folder / f"{key}.json")
        if self.hangs:
            self.hangs = False
            print("sent", flush=True)
            while not (self.folder / "go").exists():  # until the test lets it go on
                time.sleep(0.01)
        return Answered({})

    def read_back(self, keys: Sequence[str], payloads: Mapping[str, bytes]) -> Mapping[str, bool]:
        held = self.contacts()
        return {key: held.get(key) == orjson.loads(payloads[key]) for key in keys}

    def contacts(self) -> dict[str, Any]:
        return {path.stem: json.loads(path.read_bytes()) for path in self.folder.glob("*.json")}


def main(url: str, folder: str, value: str, hangs: str = "") -> None:
    """Stage everybody with `value`, in pages of ten, and deliver; if it `hangs`, the first call waits for file `go`."""
    ledger_module.STAGE_PAGE = 10
    with Ledger.open(url, HASH_KEY) as ledger:
        ledger.stage(LANE, people(NUMBER, value), "m1")
        remote = FileRemote(Path(folder), hangs=bool(hangs))
        done = deliver(ledger, LANE, remote, QUICK)
        while done.held_by and not hangs:
            time.sleep(0.1)
            done = deliver(ledger, LANE, remote, QUICK)
        print(json.dumps({"acknowledged": done.tally.acknowledged, "lost": done.tally.lost}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
