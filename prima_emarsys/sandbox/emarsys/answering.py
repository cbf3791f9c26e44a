"""Answering one request on its connection: as it should be, or as a fault has it.

What the APIs share. Who may call, and what a call does, is settled by the API before (`Prepared`); what each fault is
stands in `faults`, how it is done to rows, replies and connections in `mischief`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from prima_emarsys.sandbox.emarsys.account import Account
from prima_emarsys.sandbox.emarsys.faults import ROW_KINDS, Fault
from prima_emarsys.sandbox.emarsys.mischief import (
    TRANSPORT,
    break_connection,
    false_reply,
    gone,
    reset_connection,
)
from prima_emarsys.sandbox.emarsys.replies import Refusal, Reply


@dataclass
class Prepared:
    """How a request will be answered: by a reply that is settled already, or by applying the call, faults included."""

    apply: Callable[[bytes], Reply]
    """Carries the call out, given the request's body, and words the reply."""
    faults: list[Fault] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)


class Faulty:
    """What the APIs share: sending a reply as it should be, or as a fault has it."""

    def __init__(self, account: Account) -> None:
        self.account = account

    def word(self, refusal: Refusal) -> Reply:
        """How this API tells a refusal; the core API's envelope unless it has a way of its own."""
        return refusal.reply()

    async def answer(self, prepared: Prepared, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body and carry out what is prepared on the connection."""
        fault = next((fault for fault in prepared.faults if fault.kind not in ROW_KINDS), None)
        if fault is not None:
            self.account.counters.faults[fault.kind] += 1
            if fault.kind == "reset":
                await reset_connection(scope, receive)
                return
        apply = partial(prepared.apply, await Request(scope, receive).body())
        if fault is None:
            await self._send(apply(), prepared, scope, receive, send)
            return
        match fault.kind:
            case "drop":
                if fault.applied:
                    apply()
                await break_connection(scope, receive)
            case "zombie":
                await gone(receive)
                await asyncio.sleep(fault.seconds)
                apply()
            case "slow":
                reply = apply()
                await asyncio.sleep(fault.seconds)
                await self._send(reply, prepared, scope, receive, send)
            case "cut":
                reply = apply()
                await self._begin(reply, prepared, send)
                await send(_piece(reply.body[: len(reply.body) // 2]))
                await break_connection(scope, receive)
            case "drip":
                reply = apply()
                await self._begin(reply, prepared, send)
                for place in range(len(reply.body)):
                    await send(_piece(reply.body[place : place + 1]))
                    await asyncio.sleep(fault.seconds)
                    if scope["extensions"][TRANSPORT].is_closing():
                        return
                await send({"type": "http.response.body"})
            case _:
                reply = false_reply(fault, apply, self.word, self.account.gate.revoke_tokens)
                await self._send(reply, prepared, scope, receive, send)

    async def _send(self, reply: Reply, prepared: Prepared, scope: Scope, receive: Receive, send: Send) -> None:
        self.account.counters.statuses[str(reply.status)] += 1
        self.account.counters.throttled += reply.status == 429
        await Response(reply.body, reply.status, self._headers(reply, prepared))(scope, receive, send)

    async def _begin(self, reply: Reply, prepared: Prepared, send: Send) -> None:
        length = {"content-length": str(len(reply.body))}
        start = Response(status_code=reply.status, headers=self._headers(reply, prepared) | length)
        await send({"type": "http.response.start", "status": reply.status, "headers": start.raw_headers})

    def _headers(self, reply: Reply, prepared: Prepared) -> dict[str, str]:
        headers = prepared.headers | {"Content-Type": reply.content_type} | dict(reply.headers)
        return {name: value for name, value in headers.items() if value}


def _piece(body: bytes) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": True}
