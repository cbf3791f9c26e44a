"""How long order events took from Prima's commit to Emarsys's acceptance, and in which part of the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prima_emarsys.sync.outbox import Latency

PARTS = ("source", "queue", "send", "total")


@dataclass(frozen=True)
class Spread:
    """Seconds: the median, the value that 95 % do not exceed, and the longest."""

    median: float
    p95: float
    most: float


def spread(values: Sequence[float]) -> Spread:
    """By nearest rank, so that each is a value that occurred. Raises ValueError without any.

    >>> spread([0.3, 0.1, 0.2])
    Spread(median=0.2, p95=0.3, most=0.3)
    """
    if not values:
        raise ValueError("nothing was measured")
    rising = sorted(values)
    median, p95 = (rising[-(-len(rising) * share // 100) - 1] for share in (50, 95))
    return Spread(median, p95, rising[-1])


def by_part(latencies: Sequence[Latency]) -> dict[str, Spread]:
    """Each part of the way (`PARTS`), and all of it; empty without events."""
    return {part: spread([getattr(one, part) for one in latencies]) for part in PARTS} if latencies else {}
