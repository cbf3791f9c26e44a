"""Keeps secrets and personal data out of logs and messages.

Live secrets by registry, then whatever looks like an e-mail address. It rewrites text; it decides nothing else.
"""

from __future__ import annotations

import logging
import re
from urllib.parse import quote

from prima_emarsys.finding import mask

_EMAIL = re.compile(r"[^\s@\"'<>()\[\]{},;:=&?/\\]+(?:@|%40)[^\s@\"'<>()\[\]{},;:=&?/\\]+")
_SHORTEST_SECRET = 4  # a shorter one would blank out ordinary words

_live: set[str] = set()


def remember(secret: str) -> None:
    """From now on `secret` (also in its URL-quoted form) is replaced wherever `redact` is applied."""
    _live.update(form for form in (secret, quote(secret, safe="")) if len(form) >= _SHORTEST_SECRET)


def forget(secret: str) -> None:
    """`secret` is no longer live: an access token that has been replaced."""
    _live.difference_update((secret, quote(secret, safe="")))


def redact(text: str) -> str:
    """`text` without live secrets, and with e-mail addresses masked to their first character and length.

    >>> redact("No contact found with the external id: 3 - ann@example.com")
    'No contact found with the external id: 3 - a…(15)'
    """
    for secret in sorted(_live, key=len, reverse=True):
        text = text.replace(secret, "[secret]")
    return _EMAIL.sub(lambda found: mask(found.group()), text)


class RedactingFilter(logging.Filter):
    """Redacts a log record's message, traceback and stack.

    A logger's filters see only what is logged on that very logger: put one on every *handler* that leaves the process.
    """

    _formatter = logging.Formatter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record in place; it always passes."""
        record.msg, record.args = redact(record.getMessage()), ()
        if record.exc_info and not record.exc_text:
            record.exc_text = self._formatter.formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = redact(record.exc_text)
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        return True
