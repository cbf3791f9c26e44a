"""The JSON objects that a lane sends: their canonical form, and what a newer one takes over from an unsettled one.

Which values a record has is the plan's affair; nothing here reads the ledger.
"""

# pyarrow.compute makes its functions while it is imported, where no type checker sees them.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

_ESCAPED = re.compile(rb'["\\\x00-\x1f]')
"""What JSON does not hold as it is."""

OPT_IN = "31"
OPTED_OUT = {2, "2"}


def canonical(values: Mapping[str, Any]) -> bytes:
    """`values` as JSON that is equal whenever the values are equal: sorted keys, no spaces, UTF-8."""
    return orjson.dumps(values, option=orjson.OPT_SORT_KEYS)


def json_objects(columns: Mapping[str, pa.ChunkedArray]) -> list[bytes]:
    """One JSON object a row from text columns by name, nulls left out: what `canonical` writes if the names are sorted.

    Put together a column at a time, which takes a fifth of what a dictionary for each row would.
    """
    members = [_member(name, column) for name, column in columns.items()]
    # Arrow drops a row that is null in every column, so each begins with an empty text.
    rows = pc.binary_join_element_wise("", *members, "", null_handling="skip")
    return [b"{%b}" % row[1:] for row in rows.cast(pa.binary()).to_pylist()]


def _member(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """`,"name":"text"` for each text; null stays null."""
    begin = f",{orjson.dumps(name).decode()}:"
    buffers = (chunk.buffers()[2] for chunk in column.chunks)
    if any(buffer is not None and _ESCAPED.search(memoryview(buffer)) for buffer in buffers):
        texts = [text if text is None else orjson.dumps(text).decode() for text in column.to_pylist()]
        return pc.binary_join_element_wise(begin, pa.chunked_array([pa.array(texts, pa.string())]), "")
    return pc.binary_join_element_wise(begin + '"', column, '"', "")


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
