"""The world that is measured, and the project on it. Here belongs what stands between two runs; nothing is timed here.

The world is built once a size and kept; so is what the first sync made of it, for everything else begins there.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from prima_emarsys.project import Project
from prima_emarsys.sandbox.emarsys.settings import Settings as EmarsysSettings
from prima_emarsys.settings import load_settings

KEPT = Path(".local/bench")
KEPT_FILES = ("warehouse.duckdb", "ledger.sqlite", "emarsys")
"""What the first sync leaves behind."""
EMARSYS = EmarsysSettings()


@dataclass(frozen=True)
class World:
    """One size of world and its folder. `customers` are accounts; lines are about ten times as many."""

    customers: int

    @property
    def folder(self) -> Path:
        """Where the world and what the first sync made of it are kept."""
        return KEPT.absolute() / str(self.customers)

    @property
    def prima_url(self) -> str:
        """SQLAlchemy URL of the made-up Prima."""
        return f"sqlite:///{self.folder / 'prima.sqlite'}"

    @property
    def first_sync(self) -> Path:
        """Figures of the first sync, written when it is complete."""
        return self.folder / "first_sync.json"

    @property
    def warehouse(self) -> Path:
        """The warehouse as the first sync left it."""
        return self.folder / "warehouse.duckdb"

    def build(self) -> None:
        """Build the world unless it stands. It trades up to the day of the build."""
        done = self.folder / "built"
        if done.exists():
            return
        from prima_emarsys.sandbox.world import build

        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        build(self.prima_url, customers=self.customers, seed=1, now=datetime.now(UTC) - timedelta(minutes=5))
        done.touch()

    def forget_first_sync(self) -> None:
        """Remove what an earlier first sync, perhaps one that did not end, has left behind."""
        self.first_sync.unlink(missing_ok=True)
        for name in KEPT_FILES:
            path = self.folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    @property
    def as_of(self) -> date:
        """The site's day of the first sync; all other works count for it."""
        return date.fromisoformat(json.loads(self.first_sync.read_text())["figures"]["as_of"])


def project(world: World, home: Path, emarsys_url: str = "http://127.0.0.1:9") -> Project:
    """The project on this world, its stores in `home`, pointed at a local Emarsys (default: none is there)."""
    return Project(
        load_settings(
            {
                "PRIMA_URL": world.prima_url,
                "PRIMA_EMARSYS_HOME": str(home),
                "PRIMA_EMARSYS_HASH_KEY": "for measurements only, no secret",
                "EMARSYS_URL": emarsys_url,
                "EMARSYS_TOKEN_URL": f"{emarsys_url}/oauth2/token",
                "EMARSYS_CLIENT_ID": EMARSYS.client_id,
                "EMARSYS_CLIENT_SECRET": EMARSYS.client_secret,
            }
        )
    )


@contextmanager
def scratch(world: World, *kept: str) -> Iterator[Path]:
    """A folder for one measurement, with copies of these files of the world's; removed afterwards."""
    folder = world.folder / "scratch"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        for name in kept:
            source = world.folder / name
            if source.is_dir():
                shutil.copytree(source, folder / name)
            else:
                shutil.copy(source, folder / name)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def emarsys(folder: Path) -> Iterator[str]:
    """A local Emarsys in a process of its own, its rate limit out of the way. Yields its address."""
    command = [sys.executable, "-m", "benchmarks.emarsys_process", str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603 (ours)
    if process.stdin is None or process.stdout is None:
        raise AssertionError("the process was started with pipes")
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(timeout=60)
