"""What a call of Prima's web service can come to, other than an answer: passing, for good, or in part.

Prima tells errors in three places: in a SOAP fault, on the answer's root, on one of its `Data` elements; the last two
under HTTP 200. What is said there is read here; where to look, and in which order, belongs to `answer` and `line`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_MESSAGE = re.compile(r"\(E:(\d+)\)")
_TAIL = "DEV MODE Stack Trace"
_LONGEST = 200


@dataclass(frozen=True)
class Message:
    """One of Prima's messages: its number, if it has one, and its words."""

    code: int | None
    text: str

    def __str__(self) -> str:
        return f"(E:{self.code}) {self.text}" if self.code is not None else self.text


def messages(said: str) -> list[Message]:
    """The messages of an error text, the cause first. Lines of it have become blanks; stack traces are left out.

    >>> messages("(E:21) Exists  DEV MODE Stack Trace (Msg - E:Exist1): a.p (E:194) No lines")
    [Message(code=21, text='Exists'), Message(code=194, text='No lines')]
    """
    before, *numbered = _MESSAGE.split(said)
    found = [Message(None, text)] if (text := _words(before)) else []
    return found + [Message(int(code), _words(text)) for code, text in zip(numbered[::2], numbered[1::2], strict=True)]


def _words(text: str) -> str:
    return " ".join(text.partition(_TAIL)[0].split())[:_LONGEST]


class WebServiceError(Exception):
    """A call that came to no whole answer. The message says what, and what to do; no value of any row is in it."""


class Transient(WebServiceError):
    """It may pass by itself: the same request is sent again, a little later and by the next run."""


class Unavailable(Transient):
    """No answer: no connection, a broken one, a time-out, a service that is down."""


class Disbelieved(Transient):
    """An answer that cannot be one to what was asked: cut, empty, without a status, of another company or request."""


class Permanent(WebServiceError):
    """Repeating it cannot help."""


class Misconfigured(Permanent):
    """The service, its description or the way to it is not what the site file says. A person must look."""


class Refused(Permanent):
    """Prima, or its adapter, refuses this very request. `messages` are Prima's words, the cause first."""

    def __init__(self, what: str, said: Sequence[Message]) -> None:
        self.messages = list(said)
        words = str(self.messages[0]) if self.messages else "no reason is given"
        super().__init__(f"Prima refuses {what}: {words}")


class StillParked(Permanent):
    """The request was refused before and has not been sent again."""


class Partial(WebServiceError):
    """Some of what was asked for came, some did not. `page` holds what came, if it was rows; `missing` says what did
    not come."""

    def __init__(self, what: str, missing: Sequence[str], page: object = None) -> None:
        self.missing, self.page = list(missing), page
        super().__init__(f"{what} was answered in part only; missing: {', '.join(self.missing[:5])}")
