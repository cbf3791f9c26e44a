"""What the local Emarsys answers: the envelope, and the refusals that stop a whole call.

Errors of single rows inside an accepted batch are data of the reply, not refusals; they are made where the rows are
handled. Nothing here knows about sockets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

JSON_TYPE = "text/html; charset=utf-8"
"""Recorded replies of Emarsys carry their JSON under this content type."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP reply, complete and ready to be sent."""

    body: bytes
    status: int = 200
    content_type: str = JSON_TYPE
    headers: Mapping[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """The whole call is refused with an HTTP status, a reply code and a text."""

    def __init__(self, status: int, code: int, text: str) -> None:
        super().__init__(status, code, text)
        self.status = status
        self.code = code
        self.text = text

    def reply(self) -> Reply:
        """The refusal as the envelope with empty `data`."""
        return envelope("", self.code, self.text, self.status)


def envelope(data: Any, code: int = 0, text: str = "OK", status: int = 200) -> Reply:
    """`{"replyCode", "replyText", "data"}`, the form of every reply of the core API."""
    return Reply(orjson.dumps({"replyCode": code, "replyText": text, "data": data}), status)


def unauthorised(text: str = "Unauthorized") -> Refusal:
    """401 with reply code 1; `text` tells a wrong clock from wrong credentials."""
    return Refusal(401, 1, text)
