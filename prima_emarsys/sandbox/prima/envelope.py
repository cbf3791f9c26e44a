"""The SOAP 1.1 around the string: what OpenEdge's Web Services Adapter takes in, hands out, and says when it faults.

Three styles, of which a service has one: RPC/literal (children without a namespace), RPC/encoded (each with its
`xsi:type`), document/literal (wrapped; children in the service's namespace, and a `result` beside the output, since
there an ABL procedure's return value is always part of the reply). Faults travel with HTTP 500.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from xml.etree.ElementTree import Element, ParseError
from xml.sax.saxutils import escape

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from prima_emarsys.sandbox.prima.invented import ANSWER_PART

Style = Literal["rpc-literal", "rpc-encoded", "document-literal"]

NAMESPACE = "urn:omlink"
ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/"
ENCODING = "http://schemas.xmlsoap.org/soap/encoding/"
XSD = "http://www.w3.org/2001/XMLSchema"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
FAULT_DETAIL = "urn:soap-fault:details"

_DETECTED = "An error was detected while executing the Web Service request. (10893)"


class SoapFault(Exception):
    """What the adapter answers in place of the procedure. `code` is below `SOAP-ENV:`, such as `Client.SOAP-Method`."""

    def __init__(self, code: str, said: str) -> None:
        super().__init__(said)
        self.code = code


def unavailable(namespace: str) -> SoapFault:
    """The fault for a service that is disabled or was never there."""
    return SoapFault("Server", f"The {namespace} service is unavailable (10921)")


@dataclass(frozen=True)
class Invocation:
    """A procedure's name and its input by name of part; a nil part is empty."""

    operation: str
    parts: dict[str, str]


def read_invocation(body: bytes) -> Invocation:
    """Open an envelope. Raises `SoapFault`."""
    try:
        root = fromstring(body, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise SoapFault("Client.SOAP-Envelope", f"The SOAP envelope cannot be parsed: {error}") from None
    content = root.find(f"{{{ENVELOPE}}}Body")
    if root.tag != f"{{{ENVELOPE}}}Envelope" or content is None:
        raise SoapFault("Client.SOAP-Envelope", "The request is no SOAP 1.1 envelope with a body")
    if len(content) != 1:
        raise SoapFault("Client.SOAP-Body", "The SOAP body does not hold one element")
    namespace, operation = _name(content[0])
    if namespace != NAMESPACE:
        raise SoapFault("Client.SOAP-Method", f"The body's element is not of {NAMESPACE}")
    return Invocation(operation, {_name(part)[1]: part.text or "" for part in content[0]})


def _name(element: Element) -> tuple[str, str]:
    namespace, _, local = element.tag.rpartition("}")
    return namespace.removeprefix("{"), local


def reply(operation: str, answer: str | None, style: Style) -> str:
    """The envelope around an answer; None is ABL's unknown value."""
    told = ' xsi:nil="true"/>' if answer is None else f">{escape(answer)}</{ANSWER_PART}>"
    match style:
        case "rpc-literal":
            name, attributes, part = f"ns1:{operation}Response", f'xmlns:ns1="{NAMESPACE}"', f"<{ANSWER_PART}{told}"
        case "rpc-encoded":
            name = f"ns1:{operation}Response"
            attributes = f'xmlns:ns1="{NAMESPACE}" SOAP-ENV:encodingStyle="{ENCODING}"'
            part = f'<{ANSWER_PART} xsi:type="xsd:string"{told}'
        case "document-literal":
            name, attributes = f"{operation}Response", f'xmlns="{NAMESPACE}"'
            part = f'<result xsi:nil="true"/><{ANSWER_PART}{told}'
    return _enveloped(f"<{name} {attributes}>{part}</{name}>")


def fault(raised: SoapFault, request_id: str) -> str:
    """The envelope around a fault; `request_id` is what the server's operator would look for in the log."""
    return _enveloped(
        f"<SOAP-ENV:Fault><faultcode>SOAP-ENV:{raised.code}</faultcode><faultstring>{_DETECTED}</faultstring><detail>"
        f'<ns1:FaultDetail xmlns:ns1="{FAULT_DETAIL}"><errorMessage>{escape(str(raised))}</errorMessage>'
        f"<requestID>{request_id}</requestID></ns1:FaultDetail></detail></SOAP-ENV:Fault>"
    )


def _enveloped(content: str) -> str:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<SOAP-ENV:Envelope xmlns:SOAP-ENV="{ENVELOPE}" xmlns:xsd="{XSD}" '
        f'xmlns:xsi="{XSI}"><SOAP-ENV:Body>{content}</SOAP-ENV:Body></SOAP-ENV:Envelope>'
    )
