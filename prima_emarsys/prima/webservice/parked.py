"""What Prima refused for good is not asked again until it changes or somebody releases it.

A request that a client sent again every run for a week, and that Prima refused each time, is on record. A request is
known by a hash of everything that makes it: address, entry point, company, document. So it changes when any of them
does, and nothing of what it held is kept.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from prima_emarsys.finding import Finding
from prima_emarsys.prima.webservice.outcome import Unavailable

_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class ParkedRequest:
    """One refused request: its key, what it was (`OrderStatus of company 1`), why, and since when (ISO, UTC)."""

    key: str
    what: str
    reason: str
    since: str

    @property
    def finding(self) -> Finding:
        """The exception that its owner reads."""
        return Finding("request-parked", f"webservice|{self.key}", f"{self.what}: {self.reason}")


class ParkedRequests(Protocol):
    """A memory of refused requests."""

    def find(self, key: str) -> ParkedRequest | None:
        """The request, if it is parked."""
        ...

    def park(self, request: ParkedRequest) -> None:
        """Remember it."""
        ...


def request_key(*parts: str) -> str:
    """A short, stable name of a request."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def now() -> str:
    """This moment, as `since` is written."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class ParkedFile:
    """The memory in one small JSON file, shared by all processes."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def all(self) -> list[ParkedRequest]:
        """Every parked request, oldest first."""
        return list(self._read().values())

    def find(self, key: str) -> ParkedRequest | None:
        """See `ParkedRequests`."""
        return self._read().get(key)

    def park(self, request: ParkedRequest) -> None:
        """See `ParkedRequests`."""
        with self._held():
            self._write(self._read() | {request.key: request})

    def release(self, key: str) -> bool:
        """Let a request be sent again. False if none of that key is parked."""
        with self._held():
            parked = self._read()
            released = parked.pop(key, None)
            self._write(parked)
        return released is not None

    def _read(self) -> dict[str, ParkedRequest]:
        if not self._path.exists():
            return {}
        return {one["key"]: ParkedRequest(**one) for one in json.loads(self._path.read_text("utf-8"))}

    def _write(self, parked: dict[str, ParkedRequest]) -> None:
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps([asdict(one) for one in parked.values()], indent=1), "utf-8")
        os.replace(fresh, self._path)

    def _held(self) -> AbstractContextManager[None]:
        return one_at_a_time(self._path.with_suffix(".lock"), 30)


@contextmanager
def one_at_a_time(path: Path, patience: float) -> Iterator[None]:
    """Hold a lock that threads and processes of this machine share. Raises `Unavailable` after `patience` seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + patience
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise Unavailable(f"Another call has been under way for {patience:.0f} seconds.") from None
                time.sleep(_LOOK_SECONDS)
        yield
