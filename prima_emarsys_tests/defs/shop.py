"""A shop whose orders Emarsys hears of: a house of which nothing was synced yet, after a first look for events.

Nothing here runs Dagster: events go from Prima into the outbox and on to the local Emarsys by the project's own two
functions, as the relay and the asset call them.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from prima_emarsys.project import Project
from prima_emarsys.sandbox.emarsys.server import Mailing
from prima_emarsys.sandbox.world import build
from prima_emarsys.sandbox.world.store import open_world
from prima_emarsys.steps.events import Collected
from prima_emarsys_tests.conftest import MadeOnce
from prima_emarsys_tests.defs.house import House, opened

CUSTOMERS = 300


class Shop:
    """A house and a project that watches it."""

    def __init__(self, house: House, project: Project) -> None:
        self.house, self.project = house, project
        self.emarsys = house.emarsys

    def happen(self, *kinds: str, seed: int = 5, **options: Any) -> list[str]:
        """One thing of each kind happens in Prima, in this order; the records that show it."""
        return [self.house.tick(kind, seed=seed, **options)[0].key for kind in kinds]

    def collect(self) -> Collected:
        """One look at Prima."""
        total = Collected()
        for one in self.project.collector.collect():
            total = one
        return total

    def tell(self) -> None:
        """Collect and send until nothing is due."""
        self.collect()
        self.project.drain_events(settle_seconds=10)

    def told(self) -> list[Mailing]:
        """Who was mailed what, oldest first."""
        return self.emarsys.mailings()

    def states(self, kind: str) -> dict[str, int]:
        """State → events of a kind."""
        return self.project.outbox.states().get(kind, {})

    def order(self, record: str) -> dict[str, Any]:
        """Prima's order of that number (`sales_order:company|number`)."""
        company, number = record.partition(":")[2].split("|")[:2]
        with open_world(self.house.prima_url) as store, store.rows() as rows:
            found = rows.one("sales_order", company=company, order_number=number)
        assert found is not None
        return found


def orders_of(mailings: Sequence[Mailing]) -> list[tuple[str, str]]:
    """(event, order number) of each mail."""
    return [(one.event, data["order_number"]) for one in mailings if isinstance(data := one.data, dict)]


@pytest.fixture(scope="session")
def small_world(made_once: MadeOnce) -> Path:
    """Folder with a made-up Prima, twenty minutes old, in which every private shopper may be mailed; to be copied.

    Whom a change concerns is drawn anew each second, so that else a test would now and then meet one who may not.
    """

    def make(folder: Path) -> None:
        made_at = datetime.now(UTC) - timedelta(minutes=20)
        build(f"sqlite:///{folder / 'prima.sqlite'}", customers=CUSTOMERS, now=made_at)
        with closing(sqlite3.connect(folder / "prima.sqlite")) as prima, prima:
            prima.execute(
                "UPDATE customer SET erased_at = NULL, email = customer_code || '.' || company || '@inbox.example' "
                "WHERE account_type = 'RETAIL'"
            )

    return made_once("small-world", make)


@contextmanager
def watched(small_world: Path, folder: Path, **changes: str) -> Iterator[Shop]:
    """A shop of this world at which the first look has been taken."""
    folder.mkdir()
    shutil.copy(small_world / "prima.sqlite", folder)
    with opened(folder, **changes) as house, house.project() as project:
        shop = Shop(house, project)
        shop.tell()
        yield shop


@pytest.fixture
def shop(small_world: Path, tmp_path: Path) -> Iterator[Shop]:
    """A shop of this test's own."""
    with watched(small_world, tmp_path / "shop") as found:
        yield found
