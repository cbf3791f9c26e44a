"""Builds one deterministic world: the tables of a made-up footwear retailer's Prima, from a seed and a size.

Accounts are made in stretches, each from its own random stream, so a world of any size is made in little memory and the
same arguments always give the same tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta

import numpy as np

from prima_emarsys.contract import TABLES
from prima_emarsys.sandbox.world.catalogue import WAREHOUSES, catalogue_tables, make_catalogue, stock_table
from prima_emarsys.sandbox.world.clock import local
from prima_emarsys.sandbox.world.columns import wall_seconds
from prima_emarsys.sandbox.world.flavour import FlavourName
from prima_emarsys.sandbox.world.moves import Moves
from prima_emarsys.sandbox.world.nasty import BURST, make_cases
from prima_emarsys.sandbox.world.orders import LINES_PER_ORDER, Numbers, make_orders
from prima_emarsys.sandbox.world.people import (
    ACCOUNT_TYPES,
    COMPANIES,
    FIRST_CODE,
    RETAIL,
    SAMPLE,
    STAFF,
    TRADE,
    TRANSFER,
    People,
    Stretch,
    make_people,
)
from prima_emarsys.sandbox.world.store import FLAVOURS, Store

STRETCH = 50_000
"""Accounts made at a time."""
FEWEST = 300
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

    `customers` counts accounts (the cases add two); `lines_per_customer` is about the mean number of order lines an
    account. `now` is aware; the world trades for three years up to it. The same arguments give the same tables. Raises
    `ValueError` for a world that is too small, a naive `now`, or a database that is not empty.
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
        first_people: People | None = None
        with store.loading() as loader:
            for entity, table in catalogue_tables(catalogue, np.random.default_rng([seed, 2]), wall).items():
                loader.load(entity, table)
            for first in range(0, customers, STRETCH):
                rng = np.random.default_rng([seed, 3, first])
                stretch = Stretch(first, min(STRETCH, customers - first), customers, wall_seconds(wall))
                people = make_people(rng, stretch, lines_per_customer / LINES_PER_ORDER)
                orders = make_orders(rng, people, catalogue, numbers, stretch.now)
                if first_people is None:
                    first_people = people
                    loader.load_training(people.tables | orders.tables)
                open_units += orders.open_units
                for entity, table in (people.tables | orders.tables).items():
                    loader.load(entity, table)
                tell("accounts and their orders", 0.75 * (first + stretch.size) / customers)
            stock = stock_table(catalogue, np.random.default_rng([seed, 4]), wall, open_units)
            loader.load("stock", stock)
        tell("indexes", 0.75)
        store.index()
        if first_people is None:
            raise AssertionError("a world has at least one stretch")
        with store.rows() as single:
            settings = {f"next_{name}": value for name, value in asdict(numbers).items()}
            settings |= {"flavour": flavour, "seed": seed, "customers": customers}
            single.note(**settings, next_account=FIRST_CODE + customers, built_at=now.isoformat())
            if customers >= 2_000:
                single.stamp_first("sales_order_line", BURST, wall - timedelta(days=30))
        with store.rows() as single:
            moves = Moves(single, np.random.default_rng([seed, 5]), wall, store.settings())
            handful = max(2, round(3 * (customers / 2_000) ** 0.25))
            cases = make_cases(moves, _plain_accounts(first_people), handful=handful, now=wall)
            single.note_cases(cases | _natural_cases(first_people))
            moves.save()
            rows = {entity: single.count(entity) for entity in TABLES}
        tell("done", 1.0)
        return WorldSummary(flavour, seed, now, rows, store.cases())
    finally:
        store.close()


def _plain_accounts(people: People) -> Iterator[str]:
    """Codes of private shoppers with one account and an e-mail, in pounds."""
    alone = people.accounts_of_person[people.person] == 1
    plain = (people.kind == RETAIL) & (people.company == 0) & (people.currency == 0) & alone & people.emailed
    return (people.code[int(account)].as_py() for account in np.flatnonzero(plain))


def _natural_cases(people: People) -> dict[str, list[str]]:
    """Samples of what the world is full of anyway."""

    def records(accounts: np.ndarray, limit: int = 12) -> list[str]:
        company = np.array(COMPANIES)[people.company]
        return [f"customer:{company[account]}|{people.code[int(account)].as_py()}" for account in accounts[:limit]]

    crowded = (people.accounts_of_person[people.person] > 1) & people.emailed & (people.kind == RETAIL)
    offices = (people.kind == TRADE) & (people.addresses >= 5)
    internal = {
        f"internal-{ACCOUNT_TYPES[kind].lower()}": records(np.flatnonzero(people.kind == kind))
        for kind in (STAFF, SAMPLE, TRANSFER)
    }
    return internal | {
        "several-accounts-per-email": records(np.flatnonzero(crowded), 40),
        "business-with-many-addresses": records(np.flatnonzero(offices)),
    }
