"""Opening SOAP: the text of one part of a reply, or the fault in its place, read as a stream.

Names are matched without their namespace, since the three styles differ in it. Document types are refused, and with
them every entity but XML's own five.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NoReturn
from xml.parsers import expat

from prima_emarsys.prima.webservice.outcome import Disbelieved


class NoXml(Exception):
    """The bytes are no XML, or hold what is refused."""


def guarded_parser() -> expat.XMLParserType:
    """An Expat parser that believes no declared encoding, and refuses document types."""
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.buffer_size = 65_536
    parser.StartDoctypeDeclHandler = _no_doctype
    return parser


def _no_doctype(*_: object) -> NoReturn:
    raise NoXml("it declares a document type")


def feed(parser: expat.XMLParserType, data: bytes, *, final: bool = False) -> None:
    """Parse a piece. Raises `NoXml`."""
    try:
        parser.Parse(data, final)
    except expat.ExpatError as error:
        raise NoXml(f"{expat.ErrorString(error.code)} at line {error.lineno}") from None


def local(name: str) -> str:
    """A name without its prefix."""
    return name.rpartition(":")[2]


@dataclass(frozen=True)
class Fault:
    """A SOAP 1.1 fault. `code` is without its prefix: `Client.SOAP-Method`, `Server`. `request_id` is for the host's
    operator."""

    code: str
    said: str
    request_id: str

    @property
    def passes(self) -> bool:
        """Whether the same request may be answered a little later."""
        return self.code.startswith("Server") and not self.code.startswith("Server.Application")


class FaultRaised(Exception):
    """The reply is a fault."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.said)
        self.fault = fault


class _Opening:
    """Follows the envelope: `Envelope/Body/*/part` is what we want, `Envelope/Body/Fault` what we may get."""

    def __init__(self, part: str) -> None:
        self.text: list[str] = []
        self.has_part = self.is_nil = False
        self.fault: dict[str, str] = {}
        self._part = part
        self._path: list[str] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._path.append(local(name))
        if len(self._path) == 4 and self._path[-1] == self._part and not self._in_fault:
            self.has_part = True
            self.is_nil = any(local(key) == "nil" and value in ("true", "1") for key, value in attributes.items())

    def end(self, _name: str) -> None:
        self._path.pop()

    def data(self, text: str) -> None:
        if self._in_fault:
            self.fault[self._path[-1]] = self.fault.get(self._path[-1], "") + text
        elif len(self._path) == 4 and self._path[-1] == self._part:
            self.text.append(text)

    @property
    def _in_fault(self) -> bool:
        return self._path[:3] == ["Envelope", "Body", "Fault"]


def opened(chunks: Iterable[bytes], part: str) -> Iterator[str]:
    """The text of a reply's part, piece by piece. What was handed out is only to be believed if the end is reached.

    Raises `FaultRaised`, `NoXml` (no SOAP, or cut off), or `Disbelieved` (SOAP without the part, or with a nil one).
    """
    opening = _Opening(part)
    parser = guarded_parser()
    parser.StartElementHandler = opening.start
    parser.EndElementHandler = opening.end
    parser.CharacterDataHandler = opening.data
    for chunk in chunks:
        feed(parser, chunk)
        if opening.text:
            yield "".join(opening.text)
            opening.text.clear()
    feed(parser, b"", final=True)
    if opening.fault:
        told = {name: " ".join(text.split()) for name, text in opening.fault.items()}
        said = told.get("errorMessage") or told.get("faultstring", "")
        raise FaultRaised(Fault(local(told.get("faultcode", "")), said, told.get("requestID", "")))
    if not opening.has_part:
        raise Disbelieved(f"The reply is no SOAP envelope with the part {part!r}.")
    if opening.is_nil:
        raise Disbelieved("The reply is empty (nil): Prima's procedure ended without an answer.")
