"""`/hapi/merchant/{merchantId}/…`, which is on a host of its own at Emarsys: sales data and catalogue in CSV, text out.

The order is: the path (404), the method (405), the token (401), the merchant and permission (403), faults, the body
(415, 413, 400). Known for sales data are the address, the headers, the reply to an accepted file, and that 400 refuses
a file; which other statuses there are, and every text but `Upload accepted`, is our choice. Pushing the catalogue is
seen in a vendor's module only, which tells the address and the headers; that the rest is alike, and that a pushed
catalogue is taken in at once, is our choice.
"""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from prima_emarsys.sandbox.emarsys import loads
from prima_emarsys.sandbox.emarsys.account import Account, RowFault
from prima_emarsys.sandbox.emarsys.answering import Faulty, Prepared
from prima_emarsys.sandbox.emarsys.csv_file import RefusedFile, unpacked
from prima_emarsys.sandbox.emarsys.faults import Fault
from prima_emarsys.sandbox.emarsys.mischief import row_fault, strike_rows
from prima_emarsys.sandbox.emarsys.replies import Refusal, Reply

_PATH = re.compile(r"hapi/merchant/([0-9A-Fa-f]{16})/(sales-data|catalog)/api")
TEXT = "text/plain"


def _take_sales(account: Account, body: bytes, fault: RowFault | None) -> None:
    loads.accept(account, "upload", body, fault=fault)
    if (delay := account.settings.sales_load_after) is not None:
        asyncio.get_running_loop().call_later(delay, loads.load, account)


def _take_catalogue(account: Account, body: bytes, fault: RowFault | None) -> None:
    if fault:
        strike_rows(body, "item", fault)
    account.catalogue.take("push", body, account.settings)


@dataclass(frozen=True)
class _Upload:
    """One kind of file: its name for permissions and counters, the settings that guard it, and what takes it in."""

    name: str
    token: str
    most_bytes: str
    take: Callable[[Account, bytes, RowFault | None], None]


_UPLOADS = {
    "sales-data": _Upload("sales.upload", "sales_token", "sales_bytes", _take_sales),
    "catalog": _Upload("catalogue.upload", "catalogue_token", "catalogue_bytes", _take_catalogue),
}


class Hapi(Faulty):
    """The uploads: authenticated by a token of their own, refused in plain text."""

    def word(self, refusal: Refusal) -> Reply:
        """A refusal as plain text."""
        return Reply(f"{refusal.text}\n".encode(), refusal.status, TEXT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, headers = scope["path"].strip("/"), Headers(scope=scope)
        try:
            upload = self._admit(scope["method"], path, headers)
        except Refusal as refusal:
            reply = self.word(refusal)
            await self.answer(Prepared(lambda _: reply), scope, receive, send)
            return
        self.account.counters.calls[upload.name] += 1
        struck = self.account.faults.strike("POST", path)

        def apply(body: bytes) -> Reply:
            try:
                self._take(upload, headers, body, struck)
            except Refusal as refusal:
                return self.word(refusal)
            return Reply(b"Upload accepted\n", content_type=TEXT)

        await self.answer(Prepared(apply, struck), scope, receive, send)

    def _admit(self, method: str, path: str, headers: Headers) -> _Upload:
        settings, match = self.account.settings, _PATH.fullmatch(path)
        if not match:
            raise Refusal(404, 0, "Not found")
        if method != "POST":
            raise Refusal(405, 0, "Method not allowed")
        upload = _UPLOADS[match[2]]
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(
            token.encode(), getattr(settings, upload.token).encode()
        ):
            raise Refusal(401, 0, "Unauthorized")
        if match[1].lower() != settings.merchant_id or upload.name in settings.closed_endpoints:
            raise Refusal(403, 0, "Forbidden")
        return upload

    def _take(self, upload: _Upload, headers: Headers, body: bytes, struck: list[Fault]) -> None:
        settings = self.account.settings
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "text/csv":
            raise Refusal(415, 0, "Content type text/csv expected")
        packed = headers.get("content-encoding", "identity").lower()
        if packed not in ("gzip", "identity"):
            raise Refusal(415, 0, "Content encoding gzip or none expected")
        if len(body) > getattr(settings, upload.most_bytes):
            raise Refusal(settings.too_large_status, 0, "Request Entity Too Large")
        try:
            plain = unpacked(body) if packed == "gzip" else body
            upload.take(self.account, plain, row_fault(self.account, struck))
        except RefusedFile as refused:
            raise Refusal(400, 0, str(refused)) from None
