"""Spreads by nearest rank."""

from __future__ import annotations

import pytest

from prima_emarsys.proof.latency import Spread, by_part, spread
from prima_emarsys.sync.outbox import Latency


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0], Spread(3.0, 3.0, 3.0)),
        ([2.0, 1.0], Spread(1.0, 2.0, 2.0)),
        ([float(n) for n in range(1, 101)], Spread(50.0, 95.0, 100.0)),
    ],
)
def test_each_figure_is_one_that_occurred(values: list[float], expected: Spread) -> None:
    assert spread(values) == expected


def test_the_whole_way_is_the_sum_of_its_parts() -> None:
    assert by_part([]) == {}
    found = by_part([Latency("1", "order-confirmed", source=1.0, queue=0.5, send=0.25)])
    assert {part: one.median for part, one in found.items()} == {
        "source": 1.0, "queue": 0.5, "send": 0.25, "total": 1.75,
    }  # fmt: skip
