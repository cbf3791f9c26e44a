"""Whatever stands in the books and whatever happens on the way: the causes add up to the difference, to the penny.

Books at random tie to each other in every way, or to nothing; periods close and open again; files are taken, refused
or lost; and at times Prima has gone on since the lines were made. Emarsys must then hold what counts as accepted.
"""

from __future__ import annotations

import os
import tempfile
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from prima_emarsys.proof.sales import CAUSES, PROVED
from prima_emarsys.rules.reconciliation import UNEXPLAINED
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.warehouse import open_warehouse
from prima_emarsys_tests.proof.firm import Firm
from prima_emarsys_tests.steps.small_prima import SmallPrima
from prima_emarsys_tests.sync.conftest import HASH_KEY, MovedClock
from prima_emarsys_tests.sync.shop import accept, busy, lose, refuse

HISTORIES = int(os.environ.get("PRIMA_EMARSYS_TEST_HISTORIES", "40")) // 20
_MONTHS = [date(2024 + month // 12, month % 12 + 1, 1) for month in range(8, 36)]

Sums = dict[tuple[Any, ...], tuple[Decimal, Decimal]]

nights = st.fixed_dictionaries(
    {
        "closed": st.integers(0, len(_MONTHS)),
        "changes": st.integers(5, 25),
        "strangers": st.integers(2, 4),
        "script": st.lists(st.sampled_from([accept, accept, refuse, lose, busy]), min_size=3, max_size=3),
        "rows_per_file": st.sampled_from([3, 1_000]),
        "since": st.sampled_from([0, 5]),
    }
)


def close(firm: Firm, number: int) -> None:
    """So many months are closed."""
    for place, (first, after) in enumerate(pairwise(_MONTHS)):
        firm.period(f"{first:%Y-%m}", first, after - timedelta(days=1), "closed" if place < number else "open")


def differences(firm: Firm, clock: str) -> Sums:
    """Place → difference in the order's and in the account's currency, where there is one."""
    rows = firm.warehouse.read(firm.warehouse.table(PROVED)).to_pylist()
    found = {
        _place(row, row["day"]): (row["value_difference"], row["difference"]) for row in rows if row["clock"] == clock
    }
    return {place: sums for place, sums in found.items() if any(sums)}


def causes(firm: Firm, clock: str) -> Sums:
    """Place → sums of the causes."""
    found: Sums = {}
    for row in firm.warehouse.read(firm.warehouse.table(CAUSES)).to_pylist():
        assert row["cause"] != UNEXPLAINED
        place = _place(row, row[f"{clock}_on"])
        value, amount = found.get(place, (Decimal(0), Decimal(0)))
        found[place] = (value + row["value"], amount + row["amount"])
    return {place: sums for place, sums in found.items() if any(sums)}


def _place(row: dict[str, Any], day: date | None) -> tuple[Any, ...]:
    return day, row["company"], row["channel"], row["currency"]


@settings(
    max_examples=HISTORIES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
@given(seed=st.integers(0, 1_000_000), history=st.lists(nights, min_size=2, max_size=2))
def test_the_causes_add_up_to_the_difference_day_by_day_on_both_clocks(
    seed: int, history: list[dict[str, Any]]
) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        open_warehouse("duckdb://") as warehouse,
        Ledger.open(f"sqlite:///{Path(folder) / 'l.db'}", HASH_KEY, clock=MovedClock()) as ledger,
    ):
        firm = Firm(warehouse, ledger, SmallPrima(seed))
        for night in history:
            close(firm, night["closed"])
            firm.prima.happen(night["changes"])
            firm.compute()
            persons = sorted({row["person_key"] for row in warehouse.read(warehouse.table("core.persons")).to_pylist()})
            firm.know(*(person for place, person in enumerate(persons) if place % night["strangers"]))
            firm.endpoint.script = list(night["script"])
            firm.send(rows_per_file=night["rows_per_file"], ignore_below=1_000_000)
            firm.prima.happen(night["since"])
            firm.prima.land(warehouse)
            proof = firm.prove()
            assert proof.holds
            for clock in ("ordered", "posted"):
                assert differences(firm, clock) == causes(firm, clock)
            assert proof.totals["accepted"] == firm.endpoint.turnover()
