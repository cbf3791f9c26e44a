"""What a refusal code means for a record: who owns it, under which kind it is listed, whether a repeat cures it.

Codes are Emarsys reply codes, and three of our own for records that we set aside ourselves. The kinds themselves are
in `prima_emarsys.finding`.
"""

from __future__ import annotations

from dataclasses import dataclass

from prima_emarsys.finding import KINDS, Owner

POISON = "poison"
DIFFERS = "differs"
TOO_LARGE = "too-large"

POISON_LOSSES = 3
"""After so many lost leases a record is sent alone; if that ends the process too, it is set aside."""

DISPUTES = 3
"""How often an answer that cannot stand (a race, a read-back that differs) is tried again, first time included."""


@dataclass(frozen=True)
class Treatment:
    """How a refused record is treated."""

    kind: str
    repeats: bool = False
    """The refusal is known to vanish on a repeat; only the third one counts."""

    @property
    def owner(self) -> Owner:
        """Who must act."""
        return KINDS[self.kind].owner


_TREATMENTS = {
    # Emarsys docs: two near-simultaneous upserts of one new key may answer "already exists" and create nothing.
    "2009": Treatment("contact-refused", repeats=True),
    # "More contacts found with the external id": only marketing can merge them, in Emarsys.
    "2010": Treatment("duplicate-in-emarsys"),
    POISON: Treatment("contact-poison"),
    DIFFERS: Treatment("contact-differs"),
}


def treatment(code: str) -> Treatment:
    """The treatment of a refusal `code`; a code that nobody listed belongs to the owners of the data."""
    return _TREATMENTS.get(code, Treatment("contact-refused"))
