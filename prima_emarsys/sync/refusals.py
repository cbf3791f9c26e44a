"""What a refusal code means for a record: who owns it, under which kind it is listed, whether a repeat cures it.

Codes are Emarsys reply codes, and a few of our own for what we set aside ourselves. The kinds themselves are in
`prima_emarsys.finding`.
"""

from __future__ import annotations

from dataclasses import dataclass

from prima_emarsys.finding import KINDS, Owner

POISON = "poison"
DIFFERS = "differs"
TOO_LARGE = "too-large"

NO_SUCH_CONTACT = "2008"
NO_OPT_IN = "no-opt-in"
EVENT_MISSING = "event-missing"
UNKNOWN_EVENT = "5001"
NO_PROGRAM = "5005"
MANY_AMENDED = "many-amended"
"""Of order events: the contact is not there; it wants no marketing; no event of that name, or of that id, exists in
Emarsys; no program listens to it; far more orders than usual were amended at once."""

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
    of_all: bool = False
    """It is about what the call is for, not about a record in it, so that no culprit is looked for."""

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


_EVENT_TREATMENTS = {
    # Somebody deleted the contact in Emarsys; it is made again, and then the event goes.
    NO_SUCH_CONTACT: Treatment("event-refused", repeats=True),
    "2010": Treatment("duplicate-in-emarsys"),
    NO_PROGRAM: Treatment("event-not-connected", of_all=True),
    UNKNOWN_EVENT: Treatment("event-missing", of_all=True),
    EVENT_MISSING: Treatment("event-missing", of_all=True),
    MANY_AMENDED: Treatment("event-unusual", of_all=True),
    TOO_LARGE: Treatment("event-too-large"),
    POISON: Treatment("event-poison"),
}


def treatment(code: str) -> Treatment:
    """The treatment of a refusal `code`; a code that nobody listed belongs to the owners of the data."""
    return _TREATMENTS.get(code, Treatment("contact-refused"))


def event_treatment(code: str) -> Treatment:
    """The same for an order event."""
    return _EVENT_TREATMENTS.get(code, Treatment("event-refused"))


def is_of_all(code: str) -> bool:
    """Whether halving a batch that was refused with `code` would find nobody: every record of it is refused alike."""
    return event_treatment(code).of_all
