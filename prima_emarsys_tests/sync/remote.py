"""A stand-in for Emarsys that merges fields as Emarsys does, and fails as a test tells it to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from prima_emarsys.emarsys.outcome import Ambiguous, Answered, Outcome
from prima_emarsys.sync.ledger import Desired
from prima_emarsys.sync.payload import canonical

Script = Callable[["Remote", Mapping[str, bytes]], Outcome]


class Remote:
    """Contacts by key; `script` is used up call by call, then every call succeeds."""

    def __init__(self, *script: Script) -> None:
        self.contacts: dict[str, dict[str, Any]] = {}
        self.calls: list[list[str]] = []
        self.script = list(script)
        self._lock = threading.Lock()

    def send(self, batch: Mapping[str, bytes]) -> Outcome:
        with self._lock:
            self.calls.append(list(batch))
            step = self.script.pop(0) if self.script else answer
        return step(self, batch)

    def apply(self, batch: Mapping[str, bytes]) -> None:
        """Omitted fields are left alone; null clears."""
        with self._lock:
            for key, payload in batch.items():
                merged = self.contacts.get(key, {}) | orjson.loads(payload)
                self.contacts[key] = {name: value for name, value in merged.items() if value is not None}

    def read_back(self, keys: Sequence[str], payloads: Mapping[str, bytes]) -> Mapping[str, bool]:
        held = {key: self.contacts.get(key, {}) for key in keys}
        return {
            key: all(held[key].get(name) == value for name, value in orjson.loads(payloads[key]).items())
            for key in keys
        }

    @property
    def sent(self) -> int:
        """Records sent in all calls."""
        return sum(map(len, self.calls))


def answer(remote: Remote, batch: Mapping[str, bytes]) -> Outcome:
    """Applied, and answered."""
    remote.apply(batch)
    return Answered({})


def applied_but_lost(remote: Remote, batch: Mapping[str, bytes]) -> Outcome:
    """Applied, and the reply lost."""
    remote.apply(batch)
    return Ambiguous("the reply was lost")


def lost(_remote: Remote, _batch: Mapping[str, bytes]) -> Outcome:
    """Never arrived, which the sender cannot know."""
    return Ambiguous("the call timed out")


def always(outcome: Outcome) -> Script:
    """Not applied, answered with `outcome`."""
    return lambda _remote, _batch: outcome


def want(key: str, /, **fields: Any) -> Desired:
    """A desired contact; `_1="Ann"` is field 1. A field that is None is to be cleared and is no desired value."""
    values = {name.lstrip("_"): value for name, value in fields.items()}
    held = {name: value for name, value in values.items() if value is not None}
    return Desired(key, canonical(held), canonical(values))


def people(number: int, value: str = "Ann") -> list[Desired]:
    """`number` desired contacts, p0000 and on."""
    return [want(f"p{place:04d}", _1=value) for place in range(number)]
