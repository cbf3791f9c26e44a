"""Builds one deterministic world: the tables of a made-up footwear retailer's Prima, from a seed and a size.

Accounts are made in stretches, each from its own random stream, so a world of any size is made in little memory and the
same arguments always give the same tables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np

from prima_emarsys.contract import ENTITIES
from prima_emarsys.sandbox.world.catalogue import WAREHOUSES, catalogue_tables, make_catalogue, stock_table
from prima_emarsys.sandbox.world.columns import wall_seconds
from prima_emarsys.sandbox.world.flavour import FlavourName
from prima_emarsys.sandbox.world.orders import LINES_PER_ORDER, Numbers, make_orders
from prima_emarsys.sandbox.world.people import Stretch, make_people
from prima_emarsys.sandbox.world.store import FLAVOURS, Store

ZONE = ZoneInfo("Europe/London")
"""The wall clock of this Prima; it writes naive local times."""
STRETCH = 50_000
"""Accounts made at a time."""
FEWEST = 200
"""Smaller worlds have no room for the cases."""

Progress = Callable[[str, float], None]
"""Told what is being done and which share of the world stands, 0 to 1."""


@dataclass(frozen=True)
class WorldSummary:
    """What stands in the database: rows by entity, and the records of each case made on purpose.

    A record is written `entity:company|code|…`, with the entity's key in the contract's order.
    """

    flavour: FlavourName
    seed: int
    now: datetime
    rows: dict[str, int]
    cases: dict[str, list[str]] = field(repr=False)


def local(moment: datetime) -> datetime:
    """An aware moment on the world's wall clock, naive, to the second."""
    if moment.tzinfo is None:
        raise ValueError(f"now = {moment.isoformat()} has no time zone; give an aware time such as UTC")
    return moment.astimezone(ZONE).replace(tzinfo=None, microsecond=0)


def build(
    url: str,
    *,
    customers: int = 2_000,
    seed: int = 1,
    now: datetime,
    lines_per_customer: float = 10,
    flavour: FlavourName = "contract",
    progress: Progress | None = None,
) -> WorldSummary:
    """Create the tables at `url` (SQLite file or PostgreSQL, empty) and fill them.

    `customers` counts accounts, `lines_per_customer` is the mean number of order lines an account, about. `now` is
    aware; the world trades for three years up to it. The same arguments give the same tables. Raises `ValueError` for
    a world that is too small, a naive `now`, or a database that is not empty.
    """
    if customers < FEWEST:
        raise ValueError(f"customers = {customers}: a world needs at least {FEWEST} accounts to hold its cases")
    tell = progress or (lambda _doing, _share: None)
    wall = local(now)
    store = Store(url, FLAVOURS[flavour])
    try:
        store.create()
        catalogue = make_catalogue(np.random.default_rng([seed, 1]), wall)
        numbers = Numbers()
        open_units = np.zeros((len(WAREHOUSES), catalogue.skus), dtype=np.int64)
        rows = dict.fromkeys(ENTITIES, 0)
        with store.loading() as loader:
            for entity, table in catalogue_tables(catalogue, np.random.default_rng([seed, 2]), wall).items():
                rows[entity] += loader.load(entity, table)
            for first in range(0, customers, STRETCH):
                rng = np.random.default_rng([seed, 3, first])
                stretch = Stretch(first, min(STRETCH, customers - first), customers, wall_seconds(wall))
                people = make_people(rng, stretch, lines_per_customer / LINES_PER_ORDER)
                orders = make_orders(rng, people, catalogue, numbers, stretch.now)
                open_units += orders.open_units
                for entity, table in (people.tables | orders.tables).items():
                    rows[entity] += loader.load(entity, table)
                tell("accounts and their orders", 0.75 * (first + stretch.size) / customers)
            stock = stock_table(catalogue, np.random.default_rng([seed, 4]), wall, open_units)
            rows["stock"] += loader.load("stock", stock)
        tell("indexes", 0.75)
        store.index()
        with store.rows() as single:
            single.note(flavour=flavour, seed=seed, customers=customers)
        tell("done", 1.0)
        return WorldSummary(flavour, seed, now, rows, store.cases())
    finally:
        store.close()
