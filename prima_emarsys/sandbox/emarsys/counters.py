"""What has happened to the local Emarsys since it was started: numbers for tests, demonstrations and measurements.

They live in memory only and begin at nought with every start. Our invention; Emarsys shows nothing of the kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Counters:
    """Counts since the start or the last reset."""

    calls: Counter[str] = field(default_factory=Counter)
    """Calls that reached an endpoint, by its name, applied or not."""
    statuses: Counter[str] = field(default_factory=Counter)
    """Replies by HTTP status, as they were meant to arrive (a lost reply has none)."""
    faults: Counter[str] = field(default_factory=Counter)
    """Faults that fired, by kind: calls, and for faults of rows the rows."""
    rows_refused: Counter[str] = field(default_factory=Counter)
    """Rows refused inside an answered batch, by reply code."""
    contacts_created: int = 0
    contacts_updated: int = 0
    throttled: int = 0
    """429s, those of the rate limit and those of a fault."""
    triggers_fired: int = 0
    triggers_repeated: int = 0
    """Triggers absorbed because their `trigger_id` had been processed."""

    @property
    def contacts_accepted(self) -> int:
        """Rows that were stored, as a new contact or as a change."""
        return self.contacts_created + self.contacts_updated

    def as_dict(self) -> Mapping[str, object]:
        """Everything, ready for JSON."""
        return vars(self) | {"contacts_accepted": self.contacts_accepted}
