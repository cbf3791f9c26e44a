"""What a fault of `faults` does to one call: to its rows, to its reply, to its connection. Wholly our invention.

The connection itself is reached through the ASGI extension that `server` adds, since plain ASGI cannot break one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from starlette.types import Receive, Scope

from prima_emarsys.sandbox.emarsys.account import Account, RowFault
from prima_emarsys.sandbox.emarsys.faults import ROW_KINDS, Fault
from prima_emarsys.sandbox.emarsys.replies import Refusal, Reply, envelope, unauthorised

TRANSPORT = "prima_emarsys.transport"
"""Name of the ASGI extension that holds the connection's asyncio transport."""

HTML = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>"

Apply = Callable[[], Reply]
"""Carries the call out and words the true reply."""


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


def false_reply(fault: Fault, apply: Apply, revoke_tokens: Callable[[], None]) -> Reply:
    """The complete but false reply of a fault that needs no grip on the connection."""
    true = apply() if fault.applied else None
    match fault.kind:
        case "429":
            reply = envelope("", 7003, "Too many requests for this account and resource within the last minute.", 429)
            resets = {"good": time.time() + fault.seconds, "past": time.time() - 60, "far": 4_070_908_800}
            # An empty value takes the header off.
            reset = str(int(resets[fault.reset])) if fault.reset in resets else ""
            return replace(reply, headers={"X-Ratelimit-Remaining": "0", "X-Ratelimit-Reset": reset})
        case "500":
            return envelope("", fault.code, "Internal error", 500)
        case "502":
            return Reply(b"", 502)
        case "503":
            return Reply(HTML.format("Service Unavailable").encode(), 503)
        case "401":
            revoke_tokens()
            return unauthorised().reply()
        case "redirect":
            return Reply(b"", 302, headers={"Location": fault.location})
        case "html":
            return Reply(HTML.format("Scheduled maintenance").encode())
        case "truncated":
            body = (true or envelope({"ids": [], "errors": []})).body
            return Reply(body[: len(body) // 2])
        case "empty":
            return Reply(b"")
    raise ValueError(f"{fault.kind} is no fault of the reply")


async def break_connection(scope: Scope, receive: Receive) -> None:
    """Close the connection, after what was written to it, and let the server notice it."""
    transport: asyncio.Transport = scope["extensions"][TRANSPORT]
    transport.close()
    await gone(receive)


async def gone(receive: Receive) -> None:
    """Wait until the connection is closed."""
    while (await receive())["type"] != "http.disconnect":
        continue
