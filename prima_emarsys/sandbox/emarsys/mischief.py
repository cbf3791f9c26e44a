"""What a fault of `faults` does to one call: to its rows, to its reply, to its connection. Wholly our invention.

The connection itself is reached through the ASGI extension that `server` adds, since plain ASGI cannot break one.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from starlette.types import Receive, Scope

from prima_emarsys.sandbox.emarsys.account import Account, RowFault
from prima_emarsys.sandbox.emarsys.csv_file import CsvFile
from prima_emarsys.sandbox.emarsys.faults import ROW_KINDS, Fault
from prima_emarsys.sandbox.emarsys.replies import Refusal, Reply, unauthorised

TRANSPORT = "prima_emarsys.transport"
"""Name of the ASGI extension that holds the connection's asyncio transport."""

HTML = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>"

Apply = Callable[[], Reply]
"""Carries the call out and words the true reply."""
Word = Callable[[Refusal], Reply]
"""How an API tells a refusal."""


def row_fault(account: Account, struck: Sequence[Fault]) -> RowFault | None:
    """The refusals that the struck faults deal out to single rows, or `None` if there are none.

    A row that `poison` names raises a refusal of the whole batch; nothing of it is stored.
    """
    faults = [fault for fault in struck if fault.kind in ROW_KINDS]
    if not faults:
        return None

    def refuse(key_value: str, exists: bool) -> tuple[int, str] | None:
        for fault in faults:
            refusal = None
            match fault.kind:
                case "poison" if key_value in fault.keys:
                    account.counters.faults[fault.kind] += 1
                    raise Refusal(400, fault.code, "Invalid parameters")
                case "row-errors" if account.faults.strikes_row(fault, key_value):
                    refusal = fault.code, "The sandbox refuses this row"
                case "already-exists" if not exists and account.faults.strikes_row(fault, key_value):
                    if account.faults.races(key_value):
                        refusal = 2009, "Contact with the external id already exists"
            if refusal:
                account.counters.faults[fault.kind] += 1
                return refusal
        return None

    return refuse


def strike_rows(body: bytes, column: str, fault: RowFault) -> None:
    """Let a fault of rows look at each row of a file, which it knows by `column`; it raises for one that it poisons."""
    file = CsvFile(body)
    place = file.columns.index(column) if column in file.columns else None
    for _, values in file:
        if place is not None and isinstance(values, list):
            fault(values[place], True)


def false_reply(fault: Fault, apply: Apply, word: Word, revoke_tokens: Callable[[], None]) -> Reply:
    """The complete but false reply of a fault that needs no grip on the connection, as the API would `word` it."""
    true = apply() if fault.applied else None
    match fault.kind:
        case "429":
            throttled = Refusal(429, 7003, "Too many requests for this account and resource within the last minute.")
            resets = {"good": time.time() + fault.seconds, "past": time.time() - 60, "far": 4_070_908_800}
            # An empty value takes the header off.
            reset = str(int(resets[fault.reset])) if fault.reset in resets else ""
            return replace(word(throttled), headers={"X-Ratelimit-Remaining": "0", "X-Ratelimit-Reset": reset})
        case "500":
            return word(Refusal(500, fault.code, "Internal error"))
        case "502":
            return Reply(b"", 502)
        case "503":
            return Reply(HTML.format("Service Unavailable").encode(), 503)
        case "401":
            revoke_tokens()
            return word(unauthorised())
        case "redirect":
            return Reply(b"", 302, headers={"Location": fault.location})
        case "html":
            return Reply(HTML.format("Scheduled maintenance").encode())
        case "truncated":
            body = (true or word(Refusal(200, 0, "OK"))).body
            return Reply(body[: len(body) // 2])
        case "empty":
            return Reply(b"")
    raise ValueError(f"{fault.kind} is no fault of the reply")


async def break_connection(scope: Scope, receive: Receive) -> None:
    """Close the connection, after what was written to it, and let the server notice it."""
    transport: asyncio.Transport = scope["extensions"][TRANSPORT]
    transport.close()
    await gone(receive)


async def reset_connection(scope: Scope, receive: Receive) -> None:
    """Read a piece of the request's body and end the connection by a TCP reset, which reaches a client that writes."""
    await receive()
    transport: asyncio.Transport = scope["extensions"][TRANSPORT]
    # Zero seconds to linger: closing sends a reset at once, whatever is still in the buffers.
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def gone(receive: Receive) -> None:
    """Wait until the connection is closed."""
    while (await receive())["type"] != "http.disconnect":
        continue
