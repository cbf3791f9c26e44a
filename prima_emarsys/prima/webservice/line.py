"""One web service on the line: its description, one call at a time, bytes as they come.

The description (WSDL) says everything that is not in the site file: style, names of parts, SOAPAction, where to post.
zeep reads it, makes the envelope and posts it; the reply it would turn into a tree is taken from it raw. A tree of a
whole stock costs seventeen times its size in memory (26 MB of SOAP for 200,000 SKUs: 442 MB with lxml; zeep's tree and
string alone 73 MB), and without `huge_tree` libxml2 refuses a text of more than ten million bytes, less than 80,000
SKUs. So `huge_tree` stays off, and `envelope` reads the reply as a stream. Document types and entities are refused in
the description too, and it may fetch nothing further.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from xml.etree.ElementTree import ParseError

import requests
import urllib3
import zeep
import zeep.exceptions
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring
from pydantic import SecretStr
from zeep.proxy import OperationProxy
from zeep.wsdl.bindings.soap import Soap11Binding, SoapOperation
from zeep.wsdl.utils import etree_to_string

from prima_emarsys.addresses import is_loopback, secure
from prima_emarsys.prima.webservice.envelope import FaultRaised, NoXml
from prima_emarsys.prima.webservice.outcome import (
    Disbelieved,
    Message,
    Misconfigured,
    Refused,
    Unavailable,
    WebServiceError,
)
from prima_emarsys.prima.webservice.parked import one_at_a_time, request_key

T = TypeVar("T")

_CHUNK = 65_536
_SOAP = "http://schemas.xmlsoap.org/wsdl/soap/"
_ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/"
_ENCODING = "http://schemas.xmlsoap.org/soap/encoding/"
_XSD = "http://www.w3.org/2001/XMLSchema"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_WIRE_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)
_TUNNEL = (
    "Prima's own server speaks plain HTTP: reach it through a TLS proxy, or a tunnel that ends on this machine, and "
    "name that address as prima.webservice.url."
)


@dataclass(frozen=True)
class Access:
    """Where a web service is, and how to call it. Times are in seconds; see the site file for their meaning.

    `wsdl` is an address or the path of a file. `company_part` names the parameter that holds the company where its own
    name does not say so.
    """

    wsdl: str
    url: str | None = None
    entry_point: str = "wsomhandler"
    company_part: str | None = None
    user: str | None = None
    password: SecretStr | None = None
    connect_seconds: float = 10
    read_seconds: float = 600
    call_seconds: float = 1800


@dataclass(frozen=True)
class _Description:
    """What the WSDL says of our entry point."""

    operation: OperationProxy
    address: str
    request_part: str
    company_part: str | None
    answer_part: str


class Line:
    """Calls to one web service, one at a time among all threads and processes that share `folder`."""

    def __init__(self, access: Access, folder: Path) -> None:
        self._access = access
        self._lock = folder / f"webservice-{request_key(access.wsdl)}.lock"
        self._session = requests.Session()
        given = (access.user or "", access.password.get_secret_value()) if access.password else None
        # Without an auth of our own, requests would look for one in a netrc file.
        self._session.auth = given or _no_auth

    def key(self, company: str, document: str) -> str:
        """What a request is known by: it changes with the service, the entry point, the company or the document."""
        access = self._access
        return request_key(access.wsdl, access.url or "", access.entry_point, company, document)

    def call(self, what: str, company: str, document: str, read: Callable[[Iterator[bytes], str], T]) -> T:
        """Send a document and let `read` have the reply: its bytes as they come, and the name of the answer's part.

        Raises a `WebServiceError`: `Unavailable`, `Disbelieved`, `Refused` (by a SOAP fault) or `Misconfigured`, and
        whatever `read` raises.
        """
        with one_at_a_time(self._lock, self._access.call_seconds):
            until = time.monotonic() + self._access.call_seconds
            try:
                described = self._description
                parts = {described.request_part: document}
                if described.company_part:
                    parts[described.company_part] = company
                with closing(described.operation(**parts)) as reply:
                    _check_status(what, reply)
                    return _read(what, reply, read, _chunks(what, reply, until), described.answer_part)
            except FaultRaised as raised:
                raise _of_fault(what, raised) from None
            except Disbelieved as error:
                raise Disbelieved(f"{what}: {error}") from None
            except _WIRE_ERRORS as error:
                raise _of_wire(what, error) from None

    def close(self) -> None:
        """Give up the connections."""
        self._session.close()

    @cached_property
    def _description(self) -> _Description:
        content = self._load()
        try:
            bodies = fromstring(content, forbid_dtd=True).iter(f"{{{_SOAP}}}body")
            is_encoded = any(body.get("use") == "encoded" for body in bodies)
            settings = zeep.Settings(raw_response=True, forbid_dtd=True, forbid_external=True)  # pyright: ignore
            transport = _Transport(self._session, (self._access.connect_seconds, self._access.read_seconds))
            client = zeep.Client(BytesIO(content), transport=transport, settings=settings)  # pyright: ignore
        except (zeep.exceptions.Error, DefusedXmlException, ParseError, ValueError, LookupError) as error:
            raise Misconfigured(f"The WSDL cannot be used: {type(error).__name__}: {str(error)[:200]}") from None
        return self._find(client, is_encoded)

    def _load(self) -> bytes:
        where = self._access.wsdl
        if not where.startswith(("http:", "https:")):
            try:
                return Path(where).read_bytes()
            except OSError as error:
                raise Misconfigured(f"The WSDL {where!r} cannot be read ({error.strerror}).") from None
        address = self._secured(where, "prima.webservice.wsdl")
        timeout = (self._access.connect_seconds, self._access.read_seconds)
        with closing(self._session.get(address, timeout=timeout, allow_redirects=False)) as reply:
            if reply.status_code == 500:
                raise Unavailable("The web service does not describe itself (HTTP 500): it is disabled or unknown.")
            _check_status("The WSDL", reply)
            return reply.content

    def _secured(self, address: str, what: str) -> str:
        try:
            secured = secure(address, what)
        except ValueError as error:
            raise Misconfigured(f"{error}. {_TUNNEL}") from None
        # No proxy on the way to oneself; elsewhere proxies and a company's own authority come from the environment.
        self._session.trust_env = not is_loopback(urlsplit(secured).hostname or "")
        return secured

    def _find(self, client: zeep.Client, is_encoded: bool) -> _Description:
        entry_point = self._access.entry_point
        offered: set[str] = set()
        for service in client.wsdl.services.values():
            for port in service.ports.values():
                operations = port.binding.all()
                offered |= set(operations)
                if any(name.startswith("Connect_") for name in operations):
                    raise Misconfigured(
                        "The web service is session-managed (its WSDL has a Connect_ operation), which is not how "
                        "Prima's is deployed. Ask the host for the session-free service."
                    )
                if entry_point in operations and isinstance(port.binding, Soap11Binding):
                    address = self._access.url or port.binding_options["address"]
                    address = self._secured(address, "The web service's address")
                    proxy = client.create_service(port.binding.name.text, address)
                    if is_encoded:
                        client.set_ns_prefix("xsd", _XSD)
                        client.plugins.append(_Encoded(operations[entry_point]))
                    return self._described(proxy[entry_point], operations[entry_point], address)
        raise Misconfigured(
            f"The WSDL has no SOAP 1.1 operation {entry_point!r}; it has: {', '.join(sorted(offered)) or 'none'}."
        )

    def _described(self, proxy: OperationProxy, operation: SoapOperation, address: str) -> _Description:
        inputs, outputs = list(_types(operation.input)), list(_types(operation.output))
        company = None
        if self._access.entry_point != "wsomhandler":
            company = self._access.company_part or _only([name for name in inputs if "comp" in name.casefold()])
            if company not in inputs:
                raise Misconfigured(
                    f"Which parameter of {self._access.entry_point} holds the company cannot be told from the WSDL; "
                    f"name one as prima.webservice.company_part: {', '.join(inputs)}."
                )
        request = _only([name for name in inputs if name != company])
        # In document/literal an ABL procedure's return value always comes along, as `result`.
        answer = _only([name for name in outputs if name != "result"] or outputs)
        if request is None or answer is None:
            raise Misconfigured(
                f"{self._access.entry_point} should take one document and give one back; it takes "
                f"{', '.join(inputs) or 'nothing'} and gives {', '.join(outputs) or 'nothing'}."
            )
        return _Description(proxy, address, request, company, answer)


class _Transport(zeep.Transport):
    """Posts envelopes and hands out replies whose bodies nobody has read. Logs nothing: persons may be in them."""

    def __init__(self, session: requests.Session, timeout: tuple[float, float]) -> None:
        super().__init__(session=session)  # pyright: ignore[reportArgumentType]
        self._timeout = timeout

    def post_xml(self, address: str, envelope: Any, headers: dict[str, str]) -> requests.Response:
        return self.session.post(
            address, etree_to_string(envelope), headers=headers, timeout=self._timeout, stream=True,
            allow_redirects=False,
        )  # fmt: skip


class _Encoded(zeep.Plugin):
    """RPC/encoded says of each parameter what it is; zeep leaves that out."""

    def __init__(self, operation: SoapOperation) -> None:
        self._types = _types(operation.input)

    def egress(self, envelope: Any, http_headers: Any, operation: Any, binding_options: Any) -> Any:  # noqa: ARG002
        [wrapper] = envelope.find(f"{{{_ENVELOPE}}}Body")
        wrapper.set(f"{{{_ENVELOPE}}}encodingStyle", _ENCODING)
        for part in wrapper:
            part.set(f"{{{_XSI}}}type", f"xsd:{self._types[part.tag]}")
        return envelope, http_headers


def _types(message: Any) -> dict[str, str]:
    """Parameters of a message by name, with the local name of their XML Schema type."""
    return {name: element.type.qname.localname for name, element in message.body.type.elements}


def _only(names: list[str]) -> str | None:
    return names[0] if len(names) == 1 else None


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _read(
    what: str, reply: requests.Response, read: Callable[[Iterator[bytes], str], T], chunks: Iterator[bytes], part: str
) -> T:
    """What `read` makes of a reply, if its status says that there is an answer in it."""
    try:
        answer = read(chunks, part)
    except NoXml as error:
        if reply.status_code == 200:
            raise Disbelieved(f"the reply is no SOAP ({error}).") from None
        raise Unavailable(f"{what}: HTTP {reply.status_code} without a fault.") from None
    if reply.status_code != 200:
        raise Unavailable(f"{what}: HTTP {reply.status_code} with an answer in place of a fault.")
    return answer


def _chunks(what: str, reply: requests.Response, until: float) -> Iterator[bytes]:
    """The body as it comes. A time-out on a socket bounds each wait, not their sum, so the sum is bounded here."""
    while chunk := reply.raw.read1(_CHUNK, decode_content=True):
        if time.monotonic() > until:
            raise Unavailable(f"{what}: the answer was not whole in time.")
        yield chunk


def _check_status(what: str, reply: requests.Response) -> None:
    """Whether a reply's body is worth reading: an answer comes with 200, a SOAP fault with 500."""
    status = reply.status_code
    if status in (200, 500):
        return
    if status >= 500 or status in (408, 429):
        raise Unavailable(f"{what}: HTTP {status}.")
    if status in (401, 403, 407):
        raise Misconfigured(f"{what}: HTTP {status}. Check prima.webservice.user and password, and who may come in.")
    raise Misconfigured(f"{what}: HTTP {status}. Check the addresses of the web service; redirects are not followed.")


def _of_fault(what: str, raised: FaultRaised) -> WebServiceError:
    fault = raised.fault
    told = f"{fault.said} (SOAP fault {fault.code or 'without a code'}, request {fault.request_id or 'unnamed'})"
    if fault.passes:
        return Unavailable(f"{what}: {told}")
    return Refused(what, [Message(None, told)])


def _of_wire(what: str, error: Exception) -> WebServiceError:
    if isinstance(error, requests.exceptions.SSLError):
        return Misconfigured(f"{what}: the server's certificate does not prove that it is the server we mean.")
    if isinstance(error, (requests.Timeout, urllib3.exceptions.TimeoutError)):
        return Unavailable(f"{what}: no answer in time.")
    return Unavailable(f"{what}: the connection failed or broke off ({type(error).__name__}).")
