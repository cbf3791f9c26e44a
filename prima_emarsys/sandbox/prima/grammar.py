"""The XML inside the SOAP string: requests read as a stream, answers written byte by byte as Prima writes them.

What is known: a request is `<Request RequestType="…"><Data …>…</Data></Request>`; an answer has a declaration with a
blank before `?>`, a line break, then `<Result …>` without white space, attributes in alphabetical order, an empty text
where there is no value. Prima reads by SAX, so it knows the RequestType of a request that breaks off further on. Its
error texts hold several lines in one attribute, as they are, not as character references.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from xml.parsers import expat

DECLARATION = '<?xml version="1.0" encoding="ISO-8859-1" ?>\n'
SAX_ERROR = (
    "The XML may be Invalid or may contain invalid characters. "
    "SAX parser error: SAX-PARSE-NEXT, Unexpected error. (14586)"
)
_STACK = "lib/errlog.p (Line 118) imp/procorders.p (Line 2207) sop/wsomhandler.p (Line 341)"


class Unreadable(Exception):
    """A request that is no XML. `request_type` is what had been read of it, or empty."""

    def __init__(self, request_type: str) -> None:
        super().__init__(SAX_ERROR)
        self.request_type = request_type


@dataclass
class Element:
    """One element of a request. Names of attributes are compared without case."""

    name: str
    attributes: dict[str, str]
    children: list[Element] = field(default_factory=list)

    def get(self, name: str) -> str:
        """An attribute's text; empty if it is not there, which means the same."""
        return self.attributes.get(name.casefold(), "")

    def all(self, name: str) -> list[Element]:
        """Children of a name, compared without case."""
        return [child for child in self.children if child.name.casefold() == name.casefold()]


def read_request(text: str) -> Element:
    """The request's root. Raises `Unreadable`."""
    top = Element("", {})
    open_elements = [top]

    def start(name: str, attributes: dict[str, str]) -> None:
        element = Element(name, {key.casefold(): value for key, value in attributes.items()})
        open_elements[-1].children.append(element)
        open_elements.append(element)

    def no_doctype(*_: object) -> None:
        raise Unreadable("")

    # What comes is text already: the encoding that it declares is not believed.
    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: open_elements.pop()
    parser.StartDoctypeDeclHandler = no_doctype
    try:
        parser.Parse(text.encode("utf-8", "surrogatepass"), True)
    except expat.ExpatError:
        raise Unreadable(top.children[0].get("RequestType") if top.children else "") from None
    return top.children[0]


def element(name: str, attributes: Mapping[str, str], *children: str) -> str:
    """An element as Prima writes it."""
    written = "".join(f' {key}="{_escaped(attributes[key])}"' for key in sorted(attributes))
    inner = "".join(children)
    return f"<{name}{written}>{inner}</{name}>" if inner else f"<{name}{written}/>"


def answer(company: str, request_type: str, *children: str, **attributes: str) -> str:
    """A whole answer. `attributes` are more of the root's: `RequestStatus`, `Error`."""
    root = {"Company": company, "RequestType": request_type, **attributes}
    return DECLARATION + element("Result", root, *children)


def refusal(company: str, request_type: str, error: str) -> str:
    """The answer to a request that cannot be dealt with at all."""
    told = element("RequestError", {"Error": error})
    return answer(company, request_type, told, Error=error, RequestStatus="ERROR")


def message(code: int, key: str, text: str) -> str:
    """One line of an error's text, with the tail that a server in development mode adds."""
    return f"(E:{code}) {text}  DEV MODE Stack Trace (Msg - E:{key}): {_STACK}"


def messages(lines: Iterable[str]) -> str:
    """Several messages in one attribute, one a line."""
    return "\n".join(lines)


def day(value: date | None) -> str:
    """`dd/mm/yyyy`, or empty."""
    return f"{value:%d/%m/%Y}" if value else ""


def plain(value: object) -> str:
    """Any value of the world as an attribute: Yes and No, days first, a dot in numbers, empty for none."""
    match value:
        case None:
            return ""
        case bool():
            return "Yes" if value else "No"
        case datetime():
            return f"{value:%d/%m/%Y %H:%M:%S}"
        case date():
            return day(value)
        case _:
            return str(value)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
