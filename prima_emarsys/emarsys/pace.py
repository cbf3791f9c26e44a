"""How fast one process may call Emarsys: the rate headers of its replies, and a ceiling of our own.

Emarsys allows each API user a number of requests a minute (1,000 by its documents, fewer under load), tells on every
reply how many are left and when the window ends, and gives no `Retry-After`.

Bulk work leaves a fifth of them to what cannot wait (order events and the contacts that they need): it makes no more
than four fifths of the calls itself, and keeps away when the replies say that fewer than a fifth are left, whichever
process took the others.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

_WINDOW = 60.0
_BULK = 0.8  # of the limit: the rest is for what cannot wait, and for whoever else uses the same API user
_FARTHEST_RESET = 120.0  # a reset farther away than this is a clock's fault and must not park us
_LONGEST_BACKOFF = 300.0


class Pace:
    """One pace for all threads that use one API user. Times are seconds of `clock` (monotonic)."""

    _of_users: dict[str, Pace] = {}
    _of_users_lock = threading.Lock()

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._limit = 1000
        self._calls: deque[float] = deque()
        self._closed_until = {"bulk": 0.0, "urgent": 0.0}
        self._refusals = 0

    @classmethod
    def of(cls, user: str) -> Pace:
        """The pace that this process keeps for one API user."""
        with cls._of_users_lock:
            return cls._of_users.setdefault(user, cls())

    def wait(self, *, urgent: bool = False) -> float:
        """Seconds until a call may start; 0.0 says that it may start now, and counts it."""
        share, kind = (1.0, "urgent") if urgent else (_BULK, "bulk")
        with self._lock:
            now = self._clock()
            while self._calls and self._calls[0] <= now - _WINDOW:
                self._calls.popleft()
            if now < self._closed_until[kind]:
                return self._closed_until[kind] - now
            if len(self._calls) >= max(1, int(share * self._limit)):
                return self._calls[0] + _WINDOW - now
            self._calls.append(now)
            return 0.0

    def learn(self, status: int, headers: Mapping[str, str], server_time: float, *, urgent: bool = False) -> float:
        """Take in a reply's rate headers; the seconds for which such a call is to keep away, 0.0 if none.

        `server_time` is the server's own Unix time: its reset is compared with its clock, not with ours.
        """
        limit = _number(headers.get("X-Ratelimit-Limit"))
        remaining = _number(headers.get("X-Ratelimit-Remaining"))
        reset = _number(headers.get("X-Ratelimit-Reset"))
        until_reset = 0.0 if reset is None else min(max(0.0, reset - server_time), _FARTHEST_RESET)
        with self._lock:
            if limit:
                self._limit = limit
            away = {"bulk": 0.0, "urgent": 0.0}
            if status == 429:
                self._refusals += 1
                away = dict.fromkeys(away, until_reset or self._backoff())
            else:
                self._refusals = 0
                if remaining is not None and remaining < (1 - _BULK) * self._limit:
                    away["bulk"] = until_reset
            for kind, seconds in away.items():
                if seconds:
                    self._closed_until[kind] = max(self._closed_until[kind], self._clock() + seconds)
            return away["urgent" if urgent else "bulk"]

    def _backoff(self) -> float:
        """Exponential with full jitter, for a refusal that does not say how long."""
        return max(1.0, random.uniform(0.0, min(_LONGEST_BACKOFF, 2.0**self._refusals)))  # noqa: S311 (no secret)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.strip().isdecimal() else None
