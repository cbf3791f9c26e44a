"""The fixtures of this room: the house, and a small firm on each engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.warehouse import open_warehouse
from prima_emarsys_tests.defs.house import first_sync, house
from prima_emarsys_tests.proof.firm import Firm
from prima_emarsys_tests.steps.small_prima import SmallPrima
from prima_emarsys_tests.sync.conftest import HASH_KEY, MovedClock

__all__ = ["first_sync", "house"]


@pytest.fixture
def firm_on(tmp_path: Path) -> Iterator[Callable[..., Firm]]:
    """`firm_on(url)` opens a firm on that warehouse (default: the embedded engine, in memory)."""
    with ExitStack() as stack:

        def open_firm(url: str = "duckdb://", prima: SmallPrima | None = None, **settings: Any) -> Firm:
            warehouse = stack.enter_context(open_warehouse(url))
            path = tmp_path / f"{id(warehouse)}.db"
            ledger = stack.enter_context(Ledger.open(f"sqlite:///{path}", HASH_KEY, clock=MovedClock()))
            return Firm(warehouse, ledger, prima, **settings)

        yield open_firm


@pytest.fixture(params=["duckdb", "postgres"])
def firm_of_either(request: pytest.FixtureRequest, firm_on: Callable[..., Firm]) -> Firm:
    """An empty firm, on each engine in turn."""
    return firm_on() if request.param == "duckdb" else firm_on(request.getfixturevalue("postgres_url"))


@pytest.fixture
def firm(firm_on: Callable[..., Firm]) -> Firm:
    """An empty firm on the embedded engine."""
    return firm_on()
