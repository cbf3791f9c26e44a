"""The JSON objects that a lane sends: their canonical form, and what a newer one takes over from an unsettled one.

Which values a record has is the plan's affair; nothing here reads the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

OPT_IN = "31"
OPTED_OUT = {2, "2"}


def canonical(values: Mapping[str, Any]) -> bytes:
    """`values` as JSON that is equal whenever the values are equal: sorted keys, no spaces, UTF-8."""
    return orjson.dumps(values, option=orjson.OPT_SORT_KEYS)


def carry_over(earlier: bytes, newer: bytes, *, may_have_reached: bool) -> bytes:
    """`newer`, and what the unacknowledged payload `earlier` still owes Emarsys.

    A value that `earlier` was to clear is still to be cleared. A value that it was to set is cleared if it may have
    reached Emarsys and `newer` does not speak of it; else it is left alone, for clearing a value that we never set
    would wipe somebody else's.

    Opt-in is different: a withdrawal that was not acknowledged is carried as it is, and never becomes empty, since an
    empty opt-in would raise consent from "no" to "unknown".
    """
    old, new = orjson.loads(earlier), orjson.loads(newer)
    owed: dict[str, Any] = {
        field: None
        for field, value in old.items()
        if field not in new and field != OPT_IN and (value is None or may_have_reached)
    }
    if OPT_IN not in new and old.get(OPT_IN) in OPTED_OUT:
        owed[OPT_IN] = old[OPT_IN]
    return orjson.dumps(new | owed) if owed else newer
