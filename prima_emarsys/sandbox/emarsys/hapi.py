"""`/hapi/merchant/{merchantId}/…`, which is on a host of its own at Emarsys: sales data in CSV, plain text out.

The order is: the path (404), the method (405), the token (401), the merchant and permission (403), faults, the body
(415, 413, 400). Documented are the address, the headers, the reply to an accepted file, and that 400 refuses a file;
which other statuses there are, and every text but `Upload accepted`, is our choice.
"""

from __future__ import annotations

import asyncio
import hmac
import re

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from prima_emarsys.sandbox.emarsys import loads
from prima_emarsys.sandbox.emarsys.answering import Faulty, Prepared
from prima_emarsys.sandbox.emarsys.csv_file import RefusedFile, unpacked
from prima_emarsys.sandbox.emarsys.faults import Fault
from prima_emarsys.sandbox.emarsys.mischief import row_fault
from prima_emarsys.sandbox.emarsys.replies import Refusal, Reply

_PATH = re.compile(r"hapi/merchant/([0-9A-Fa-f]{16})/sales-data/api")
TEXT = "text/plain"


class Hapi(Faulty):
    """The uploads: authenticated by a token of their own, refused in plain text."""

    def word(self, refusal: Refusal) -> Reply:
        """A refusal as plain text."""
        return Reply(f"{refusal.text}\n".encode(), refusal.status, TEXT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, headers = scope["path"].strip("/"), Headers(scope=scope)
        try:
            self._admit(scope["method"], path, headers)
        except Refusal as refusal:
            reply = self.word(refusal)
            await self.answer(Prepared(lambda _: reply), scope, receive, send)
            return
        self.account.counters.calls["sales.upload"] += 1
        struck = self.account.faults.strike("POST", path)
        loop = asyncio.get_running_loop()

        def apply(body: bytes) -> Reply:
            try:
                self._upload(headers, body, struck)
            except Refusal as refusal:
                return self.word(refusal)
            if (delay := self.account.settings.sales_load_after) is not None:
                loop.call_later(delay, loads.load, self.account)
            return Reply(b"Upload accepted\n", content_type=TEXT)

        await self.answer(Prepared(apply, struck), scope, receive, send)

    def _admit(self, method: str, path: str, headers: Headers) -> None:
        settings, match = self.account.settings, _PATH.fullmatch(path)
        if not match:
            raise Refusal(404, 0, "Not found")
        if method != "POST":
            raise Refusal(405, 0, "Method not allowed")
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.encode(), settings.sales_token.encode()):
            raise Refusal(401, 0, "Unauthorized")
        if match[1].lower() != settings.merchant_id or "sales.upload" in settings.closed_endpoints:
            raise Refusal(403, 0, "Forbidden")

    def _upload(self, headers: Headers, body: bytes, struck: list[Fault]) -> None:
        settings = self.account.settings
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "text/csv":
            raise Refusal(415, 0, "Content type text/csv expected")
        packed = headers.get("content-encoding", "identity").lower()
        if packed not in ("gzip", "identity"):
            raise Refusal(415, 0, "Content encoding gzip or none expected")
        if len(body) > settings.sales_bytes:
            raise Refusal(settings.too_large_status, 0, "Request Entity Too Large")
        try:
            plain = unpacked(body) if packed == "gzip" else body
            loads.accept(self.account, "upload", plain, fault=row_fault(self.account, struck))
        except RefusedFile as refused:
            raise Refusal(400, 0, str(refused)) from None
