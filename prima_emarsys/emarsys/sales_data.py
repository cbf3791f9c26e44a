"""Sales data on the wire: the CSV, and the two ways by which a file of it reaches Emarsys.

Both ways take the same bytes and answer with an outcome. What goes into a file, and what becomes of one whose outcome
is not known, is decided elsewhere (`sync/sales_plan.py`, `sync/sales_files.py`).

Source: Emarsys docs: sales data import (file rules, upload API), and the vendor's own shop module for refunds.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, ClassVar

import requests
from pydantic import SecretStr
from requests.auth import AuthBase

from prima_emarsys.addresses import secure
from prima_emarsys.emarsys.exchange import HttpReply, Line, Lost, NotSent, Untrusted
from prima_emarsys.emarsys.folder import Folder, carried
from prima_emarsys.emarsys.outcome import Ambiguous, Answered, Later, Outcome, Stopped, classify
from prima_emarsys.emarsys.redaction import redact, remember

HEADER = (
    "order", "customer", "item", "price", "quantity", "timestamp", "s_company", "s_channel", "s_kind", "s_line",
    "f_gross", "f_net", "f_discount", "s_currency", "f_order_value",
)  # fmt: skip
"""Names and order of the columns, for ever: Emarsys refuses a file whose header differs from the first one's."""

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")
_LONGEST_WORDS = 300
_PAUSE = 30.0
_LONGEST_PAUSE = 120.0


def encode(lines: Iterable[Mapping[str, Any]], *, offset: bool = False) -> bytes:
    """Lines (columns of `sync.sales_files`) as CSV: UTF-8, a header, dot decimals, no line break inside a value.

    Timestamps are UTC: `2026-04-05T14:38:40Z`, or `…+00:00` with `offset`, as batch loads want them.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(
        (
            _clean(one["order_id"]),
            one["customer"],
            _clean(one["item"]),
            format(one["price"], "f"),
            one["quantity"],
            _moment(one["happened_at"], offset=offset),
            one["company"],
            _clean(one["channel"]),
            one["kind"],
            f"{one['line_key']}/{one['version']}",
            format(one["gross"], "f"),
            format(one["net"], "f"),
            format(one["discount"], "f"),
            one["currency"],
            format(one["order_value"], "f"),
        )
        for one in lines
    )
    return text.getvalue().encode()


def _clean(text: str) -> str:
    return _UNPRINTABLE.sub(" ", text)


def _moment(moment: datetime, *, offset: bool) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S") + ("+00:00" if offset else "Z")


class HttpUpload:
    """Uploads to one source of sales data, which is additive: the same file twice counts twice. Or of a catalogue,
    which each file replaces."""

    name: ClassVar[str] = "http"
    repeatable: ClassVar[bool] = False

    def __init__(
        self,
        url: str,
        token: SecretStr,
        *,
        deadline: float,
        what: str = "Sales data",
        setting: str = "emarsys.sales",
    ) -> None:
        """Raises ValueError for an address that is not https and not on this machine.

        `what` and `setting` are how outcomes name the files, and where the site file speaks of them.
        """
        self._url = secure(url, f"the address for {what.lower()}")
        self._what, self._setting = what, setting
        self._auth = _Bearer(token)
        self._deadline = deadline
        self._line = Line(threads=1)

    def send(self, name: str, content: bytes) -> Outcome:  # noqa: ARG002 (the endpoint knows no names)
        """Upload a file (CSV by gzip) once. `Answered` says that it was taken in: its rows are loaded later."""
        headers = {"Accept": "text/plain", "Content-Type": "text/csv", "Content-Encoding": "gzip"}
        try:
            reply = self._line.exchange(
                "POST", self._url, auth=self._auth, seconds=self._deadline, body=content, headers=headers
            )
        except Untrusted as fault:
            remedy = f"Check {self._setting}.url, and the certificate authorities here."
            return Stopped(f"{self._what}: {fault}", remedy)
        except NotSent as fault:
            return Later(f"{self._what}: {fault}", 1.0, counts_as_failure=True)
        except Lost as fault:
            return Ambiguous(f"{self._what}: {fault}")
        return self._read(reply)

    def _read(self, reply: HttpReply) -> Outcome:
        words = redact(reply.body.decode(errors="replace").strip())[:_LONGEST_WORDS]
        if reply.status == 200 and words.lower().startswith("upload accepted"):
            return Answered({})
        outcome = classify(reply.status, None, words, wait=_pause(reply.headers))
        if not isinstance(outcome, Stopped):
            return outcome
        # The remedies of that table are for the Core API.
        source = f"the API upload details of the {self._what.lower()} source in Emarsys"
        return replace(outcome, remedy=f"Check {self._setting}.url and its token against {source}.")


def _pause(headers: Mapping[str, str]) -> float:
    """Seconds to keep away after a 429; what the server says, within reason."""
    said = headers.get("Retry-After", "")
    return min(max(float(said), 1.0), _LONGEST_PAUSE) if said.isdecimal() else _PAUSE


class _Bearer(AuthBase):
    def __init__(self, token: SecretStr) -> None:
        self._token = token
        remember(token.get_secret_value())

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"bearer {self._token.get_secret_value()}"
        return request


class BatchFiles:
    """Writes files for batch loads into a folder. Whole orders: each replaces the last image of its order."""

    name: ClassVar[str] = "files"
    repeatable: ClassVar[bool] = True

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def send(self, name: str, content: bytes) -> Outcome:
        """Write a file (given as CSV by gzip) under its name, whole or not at all; over one of that name."""
        return carried(lambda: self._folder.put(name, gzip.decompress(content)), "Sales data", "emarsys.sales")
