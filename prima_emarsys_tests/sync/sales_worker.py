"""What a process of its own does in tests that kill or stop it: it plans, seals and uploads into a folder."""

from __future__ import annotations

import importlib
import os
import time
from pathlib import Path

from prima_emarsys.emarsys.outcome import Answered, Outcome
from prima_emarsys.sync import failpoints
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.warehouse import open_warehouse
from prima_emarsys_tests.sync.conftest import HASH_KEY
from prima_emarsys_tests.sync.shop import Endpoint, Shop, a_line

ORDERS = 4


class FolderEndpoint(Endpoint):
    """An endpoint that outlives its clients: each upload is a file of its own, and all of them count."""

    def __init__(self, folder: Path, *, hangs: bool = False) -> None:
        super().__init__()
        self.folder, self.hangs = folder, hangs
        for path in sorted(folder.glob("*.gz")):
            self.load(path.read_bytes())

    def send(self, name: str, content: bytes) -> Outcome:  # noqa: ARG002
        number = len(list(self.folder.glob("*.gz")))
        part = self.folder / "part"
        part.write_bytes(content)
        part.rename(self.folder / f"{number:04}.gz")
        if self.hangs:
            self.hangs = False
            (self.folder / "sent").touch()
            while not (self.folder / "go").exists():  # until the test lets it go on
                time.sleep(0.01)
        self.load(content)
        return Answered({})


def run(url: str, folder: Path, price: str, *, failpoint: str = "", hangs: bool = False) -> FolderEndpoint:
    """One run: all orders at this price, two a file. Armed with a failpoint, its process ends there."""
    os.environ["PRIMA_EMARSYS_FAILPOINT"] = failpoint
    importlib.reload(failpoints)
    endpoint = FolderEndpoint(folder, hangs=hangs)
    warehouse = folder.parent / "warehouse.duckdb"
    with Ledger.open(url, HASH_KEY) as ledger, open_warehouse(f"duckdb:///{warehouse}") as opened:
        shop = Shop(opened, ledger, rows_per_file=2, files_per_minute=600, call_deadline_seconds=0.5)
        shop.want(*(a_line(f"{order}|1|sale", price) for order in range(ORDERS)))
        while shop.send(endpoint).held_by:
            time.sleep(0.1)
    return endpoint
