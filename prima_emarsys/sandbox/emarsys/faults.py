"""Faults by switch: everything that can go wrong between a client and Emarsys, on demand and repeatable.

Wholly our invention: Emarsys has no such switches. A `Fault` says what happens, to which calls, how often; `Faults` is
the set that is switched on, and draws from a seed, so that the same calls in the same order meet the same faults.
Faults of rows stick to the key value, so a row that was refused is refused again until the fault is off. What a fault
does to a connection is in `mischief`.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

RowKind = Literal["row-errors", "poison", "already-exists"]
Kind = Literal[
    "drop",  # the connection is closed without a byte of reply
    "cut",  # the connection is closed in the middle of the reply
    "reset",  # the connection is reset while the request's body is on its way; nothing is applied
    "429", "500", "502", "503",  # a reply with that status; 503 carries HTML
    "401",  # refused, and all tokens are revoked
    "redirect",  # 302 to another host
    "html", "truncated", "empty",  # HTTP 200 with a body that is no envelope
    "slow",  # the reply comes `seconds` late
    "drip",  # the reply comes one byte every `seconds`
    "zombie",  # no reply; the call is applied `seconds` after the client has gone
    "row-errors",  # a share of rows is refused inside an answered batch
    "poison",  # a batch that contains one of `keys` is refused as a whole, without naming the culprit
    "already-exists",  # a share of new keys is refused with 2009 though nothing exists; each only once
]  # fmt: skip


class Fault(BaseModel):
    """One fault and where it strikes.

    It strikes a `share` of the matching calls, or each of the next `calls` of them. `applied` says whether a call that
    gets a false reply, or none, was carried out before. `path` is a shell pattern on what follows `/api/vN/`, such as
    `contact*` or `event/*/trigger`. What is on another host at Emarsys is struck only by a pattern that begins with its
    name: `oauth2/token`, and `hapi/*/sales-data/api` or `hapi/*/catalog/api`. There, `keys` of a `poison` are order
    numbers or items, and other faults of rows pass by.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    share: float = Field(default=1.0, ge=0, le=1)
    calls: int | None = Field(default=None, ge=1)
    method: str = "*"
    path: str = "*"
    applied: bool = False
    seconds: float = Field(default=1.0, ge=0)
    code: int = 2007
    """Reply code: of the rows for `row-errors`, of the reply for `500` (2011 or 1003, for example) and `poison`."""
    rows: float = Field(default=0.01, ge=0, le=1)
    """Share of rows that are struck."""
    keys: frozenset[str] = frozenset()
    reset: Literal["good", "missing", "past", "far"] = "good"
    """What the reset header of a `429` says: in `seconds`, nothing, a minute ago, or the year 2099."""
    location: str = "http://127.0.0.2:9/elsewhere"

    def matches(self, method: str, path: str) -> bool:
        """Whether a call is one that this fault may strike."""
        host = path.partition("/")[0]
        if host in ("oauth2", "hapi") and not self.path.startswith(host):
            return False
        return fnmatchcase(method, self.method) and fnmatchcase(path, self.path)


NAMED: Mapping[str, Sequence[Fault]] = {
    "row-errors": [Fault(kind="row-errors", rows=0.01, code=2007)],
    "lost-replies": [Fault(kind="drop", applied=True, share=0.1)],
    "lost-requests": [Fault(kind="drop", share=0.1)],
    "rate-limit": [Fault(kind="429", share=0.2, seconds=2)],
    "server-errors": [
        Fault(kind="500", code=2011, share=0.05),
        Fault(kind="500", code=1003, share=0.05, applied=True),
        Fault(kind="502", share=0.05),
        Fault(kind="503", share=0.05),
    ],
    "slow": [Fault(kind="slow", share=0.2, seconds=2)],
    "garbage": [
        Fault(kind="html", share=0.05, applied=True),
        Fault(kind="truncated", share=0.05, applied=True),
        Fault(kind="empty", share=0.05, applied=True),
    ],
    "token-revoked": [Fault(kind="401", calls=1)],
    "sales-lost-replies": [Fault(kind="drop", applied=True, share=0.2, path="hapi/*/sales-data/api")],
    "sales-resets": [Fault(kind="reset", share=0.2, path="hapi/*/sales-data/api")],
    "race": [Fault(kind="already-exists", rows=0.05, method="PUT", path="contact")],
}
"""Sets that one word switches on, for demonstrations."""

ROW_KINDS = frozenset({"row-errors", "poison", "already-exists"})


class Faults:
    """The faults that are switched on. `Faults()` is none."""

    def __init__(self, *faults: Fault, seed: int = 0) -> None:
        self.seed = seed
        self.active = faults
        self._left = [fault.calls for fault in faults]
        self._dice = [random.Random(f"{seed}/{place}/{fault.kind}") for place, fault in enumerate(faults)]  # noqa: S311
        self._raced: set[str] = set()

    @classmethod
    def named(cls, *names: str, seed: int = 0) -> Faults:
        """The sets of these names together; `ValueError` names the known ones if one is unknown."""
        if unknown := [name for name in names if name not in NAMED]:
            raise ValueError(f"no faults are named {', '.join(unknown)}; known are {', '.join(NAMED)}")
        return cls(*(fault for name in names for fault in NAMED[name]), seed=seed)

    def strike(self, method: str, path: str) -> list[Fault]:
        """The faults that strike this call: at most one of the call as a whole, and any number of its rows."""
        struck: list[Fault] = []
        whole = False
        for place, fault in enumerate(self.active):
            if not fault.matches(method, path):
                continue
            left = self._left[place]
            # The die is cast for every matching call, so that one fault's luck does not change another's.
            hit = self._dice[place].random() < fault.share
            of_rows = fault.kind in ROW_KINDS
            if left == 0 or not hit or (whole and not of_rows):
                continue
            if left is not None:
                self._left[place] = left - 1
            struck.append(fault)
            whole = whole or not of_rows
        return struck

    def strikes_row(self, fault: Fault, key_value: str) -> bool:
        """Whether a row with this key value is among the share of rows that the fault strikes."""
        return zlib.crc32(f"{self.seed}/{fault.kind}/{key_value}".encode()) < fault.rows * 2**32

    def races(self, key_value: str) -> bool:
        """Whether the race for this key is still to be lost; it is lost once."""
        lost_before = key_value in self._raced
        self._raced.add(key_value)
        return not lost_before
