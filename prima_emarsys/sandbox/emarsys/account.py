"""One account of the local Emarsys while it runs: what every endpoint is given to do its work.

The account ties the stored state to the settings, counters and faults of this run; `Call` is one authenticated request
as an endpoint sees it. Sockets, headers and the order of checks are in `app`; what endpoints do is in their modules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from prima_emarsys.sandbox.emarsys.auth import Gate
from prima_emarsys.sandbox.emarsys.catalogue import Catalogue
from prima_emarsys.sandbox.emarsys.counters import Counters
from prima_emarsys.sandbox.emarsys.faults import Faults
from prima_emarsys.sandbox.emarsys.limits import RateLimit
from prima_emarsys.sandbox.emarsys.replies import Refusal
from prima_emarsys.sandbox.emarsys.sales import SalesBook
from prima_emarsys.sandbox.emarsys.settings import Settings
from prima_emarsys.sandbox.emarsys.store import Key, Store

RowFault = Callable[[str, bool], tuple[int, str] | None]
"""(key value, whether a contact has it) → code and text to refuse the row with, or `None`."""


@dataclass
class Account:
    """State, settings, faults and counters of a running account. Faults and counters may be exchanged while it runs."""

    store: Store
    settings: Settings = field(default_factory=Settings)
    faults: Faults = field(default_factory=Faults)
    counters: Counters = field(default_factory=Counters)
    gate: Gate = field(default_factory=Gate)
    rate_limit: RateLimit = field(default_factory=RateLimit)
    sales: SalesBook = field(init=False)
    catalogue: Catalogue = field(init=False)

    def __post_init__(self) -> None:
        self.sales = SalesBook(self.store)
        self.catalogue = Catalogue(self.store)


@dataclass(slots=True)
class Call:
    """One request that may be processed. `body` is the parsed JSON (`{}` where the method carries none)."""

    account: Account
    body: dict[str, Any]
    query: dict[str, str]
    number: int | None = None
    """The number in the path, for paths that have one."""
    row_fault: RowFault | None = None

    @property
    def path_number(self) -> int:
        """The number in the path, where the route has one."""
        if self.number is None:
            raise RuntimeError("this endpoint's path has no number")
        return self.number

    def key(self, name: str, default: Key) -> Key:
        """The key that the body names under `name`: `id`, `uid` or an indexed field.

        Raises a refusal with 2004 for an unknown field, and with 2015 for one that Emarsys support has not indexed.
        """
        raw = self.body.get(name)
        if raw is None or raw == "":
            return default
        if raw == "id" or raw == "uid":
            return raw
        store = self.account.store
        number = int(raw) if isinstance(raw, int | str) and str(raw).isascii() and str(raw).isdigit() else -1
        if number not in store.fields:
            raise Refusal(400, 2004, f"Invalid key field id: {raw}")
        if not store.fields[number].indexed:
            raise Refusal(400, 2015, "No index on column")
        return number
