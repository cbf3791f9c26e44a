"""Faults by switch: everything that was seen, or must be feared, between a reader and Prima's web service.

Wholly our invention: no Prima has such switches. A `Fault` says what happens and to which requests; what it does to an
answer is done here, what it does to a connection in `server`.
"""

from __future__ import annotations

import re
import zlib
from fnmatch import fnmatchcase
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from prima_emarsys.sandbox.prima.grammar import SAX_ERROR, refusal
from prima_emarsys.sandbox.prima.invented import in_code_page

Kind = Literal[
    "short",  # a tenth of the styles, and some rows that are in no full answer; every status is OK
    "wrong-company",  # the answer of another company
    "wrong-request",  # the answer names another RequestType
    "no-status",  # neither root nor data says how it went
    "refused",  # the request is answered as if it could not be parsed
    "unreadable",  # the envelope is whole, the XML inside breaks off
    "mojibake",  # UTF-8 was read as windows-1252 before it was encoded again
    "raw-bytes",  # bytes of windows-1252 in an envelope that declares UTF-8
    "control",  # a control character in a value
    "nil",  # no answer at all inside a sound envelope
    "disabled",  # the service is unavailable (10921)
    "html",  # Tomcat's error page
    "slow",  # the answer comes `seconds` late
    "drop",  # the connection is closed without a byte of reply
    "cut",  # the connection is closed in the middle of the reply
]


class Fault(BaseModel):
    """One fault. It strikes each of the next `calls` (None: all) whose RequestType fits the shell pattern `request`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    request: str = "*"
    calls: int | None = Field(default=None, ge=1)
    seconds: float = Field(default=2.0, ge=0)
    status: int = 503
    """HTTP status of the `html` page."""


class Faults:
    """The faults that are switched on. `Faults()` is none."""

    def __init__(self, *faults: Fault) -> None:
        self.active = faults
        self._struck = [0] * len(faults)

    def strike(self, request_type: str) -> Fault | None:
        """The fault that strikes this call, if any."""
        for place, fault in enumerate(self.active):
            if fnmatchcase(request_type, fault.request) and self._struck[place] != fault.calls:
                self._struck[place] += 1
                return fault
        return None


_ROW = re.compile(r"<sku [^>]*/>", re.IGNORECASE)
_WINDOWS = {
    byte: bytes([byte]).decode("windows-1252")
    for byte in range(0x80, 0xA0)
    if byte not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)
}


def spoil(fault: Fault | None, company: str, request_type: str, answer: str) -> str | None:
    """The answer as it goes out: with what its code page holds, and as a fault leaves it."""
    said = in_code_page(answer)
    match fault.kind if fault else None:
        case "short":
            return _ROW.sub(_shortened, said)
        case "wrong-request":
            return said.replace(f' RequestType="{request_type}"', ' RequestType="PriceEnquiry"', 1)
        case "no-status":
            return re.sub(r' RequestStatus="[^"]*"', "", said)
        case "refused":
            return refusal(company, request_type, SAX_ERROR)
        case "unreadable":
            return said[: len(said) * 2 // 3]
        case "mojibake":
            return answer.encode().decode("latin-1").translate(_WINDOWS)
        case "raw-bytes":
            return answer
        case "control":
            return re.sub(r'(Product|Surname)="', '\\1="\x07', said, count=1)
        case "nil":
            return None
        case _:
            return said


def _shortened(row: re.Match[str]) -> str:
    """Nothing of a SKU that is left out; of every twentieth that stays, a stranger with a day long past as well."""
    product = re.search(r'Product="([^"]*)"', row[0])
    code = product[1] if product else ""
    if zlib.crc32(code.encode()) % 10:
        return ""
    if zlib.crc32(row[0].encode()) % 20:
        return row[0]
    stranger = row[0].replace(f'Product="{code}"', f'Product="{code}-OLD"')
    return row[0] + re.sub(r'AvailableDate="[^"]*"', 'AvailableDate="16/01/2018"', stranger)
