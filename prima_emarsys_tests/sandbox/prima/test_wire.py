"""What HTTP and SOAP promise around the string: addresses, the WSDL, styles and faults."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from contextlib import closing

import pytest
import requests
from defusedxml.ElementTree import fromstring

from prima_emarsys.sandbox.prima.envelope import Style
from prima_emarsys.sandbox.prima.server import LocalPrima
from prima_emarsys_tests.sandbox.prima.conftest import call, everything, post

BODY = "{http://schemas.xmlsoap.org/soap/envelope/}Body"
WSDL = "{http://schemas.xmlsoap.org/wsdl/}"
SOAP = "{http://schemas.xmlsoap.org/wsdl/soap/}"


def test_the_list_of_services_is_a_page_that_leads_to_the_wsdl(prima: LocalPrima) -> None:
    page = requests.get(f"{prima.url}/wsdl", timeout=5)
    assert page.headers["Content-Type"].startswith("text/html")
    assert f'href="{prima.wsdl}"' in page.text


def test_the_wsdl_has_openedges_shape(prima: LocalPrima) -> None:
    root = fromstring(requests.get(prima.wsdl, timeout=5).content)
    messages = {one.get("name"): one for one in root.iter(f"{WSDL}message")}
    assert set(messages) == {
        "FaultDetailMessage",
        "omlink_wsomhandler",
        "omlink_wsomhandlerResponse",
        "omlink_comwsomhandler",
        "omlink_comwsomhandlerResponse",
    }
    assert [part.attrib for part in messages["omlink_wsomhandlerResponse"]] == [
        {"name": "oplcResponse", "type": "xsd:string"}
    ]
    [port_type] = root.iter(f"{WSDL}portType")
    assert port_type.get("name") == "omlinkObj"
    assert [operation.get("parameterOrder") for operation in port_type] == [
        "iplcRequest oplcResponse",
        "ipcCompany iplcRequest oplcResponse",
    ]
    assert {fault.get("message") for fault in port_type.iter(f"{WSDL}fault")} == {"tns:FaultDetailMessage"}
    [binding] = root.iter(f"{SOAP}binding")
    assert binding.get("style") == "rpc"
    [address] = root.iter(f"{SOAP}address")
    assert address.get("location") == prima.url


@pytest.mark.parametrize(
    ("style", "beginning"),
    [
        ("rpc-literal", '<ns1:wsomhandlerResponse xmlns:ns1="urn:omlink"><oplcResponse>&lt;?xml'),
        (
            "rpc-encoded",
            '<ns1:wsomhandlerResponse xmlns:ns1="urn:omlink" SOAP-ENV:encodingStyle='
            '"http://schemas.xmlsoap.org/soap/encoding/"><oplcResponse xsi:type="xsd:string">&lt;?xml',
        ),
        (
            "document-literal",
            '<wsomhandlerResponse xmlns="urn:omlink"><result xsi:nil="true"/><oplcResponse>&lt;?xml',
        ),
    ],
)
def test_each_style_answers_in_its_own_way(world: str, style: Style, beginning: str) -> None:
    with LocalPrima(world, style=style) as prima:
        body = call(everything(first="300", last="301"))
        if style == "document-literal":
            body = body.replace("<iplcRequest>", '<iplcRequest xmlns="urn:omlink">')
        reply = post(prima, body)
    assert (reply.status_code, reply.headers["Content-Type"]) == (200, "text/xml; charset=utf-8")
    assert f"<SOAP-ENV:Body>{beginning}" in reply.text


BOMB = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;">]>'
FAULTS = {
    "no XML": ("<oops", "Client.SOAP-Envelope"),
    "no envelope": ("<a/>", "Client.SOAP-Envelope"),
    "a document type": (BOMB + call(everything()), "Client.SOAP-Envelope"),
    "an empty body": (call("").replace("<o:", "<!-- ").replace("</o:wsomhandler>", " -->"), "Client.SOAP-Body"),
    "an unknown method": (call("").replace("o:wsomhandler", "o:wsother"), "Client.SOAP-Method"),
    "another namespace": (call("").replace("urn:omlink", "urn:other"), "Client.SOAP-Method"),
    "a missing parameter": (call("").replace("iplcRequest", "request"), "Client.SOAP-Parameter"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_what_is_wrong_with_the_envelope_is_a_fault_of_the_client_with_http_500(prima: LocalPrima, case: str) -> None:
    body, code = FAULTS[case]
    reply = post(prima, body)
    assert reply.status_code == 500
    fault = fromstring(reply.content).find(BODY)[0]  # type: ignore[index]
    assert fault.findtext("faultcode") == f"SOAP-ENV:{code}"
    assert "(10893)" in fault.findtext("faultstring", "")
    [detail] = fault.find("detail")  # type: ignore[misc]
    assert detail.tag == "{urn:soap-fault:details}FaultDetail"
    assert detail.findtext("errorMessage")
    assert detail.findtext("requestID", "").rpartition("#")[2] == "1"


def test_a_service_that_was_never_there_is_unavailable(prima: LocalPrima) -> None:
    reply = requests.get(f"{prima.url}/wsdl?targetURI=urn:other", timeout=5)
    assert reply.status_code == 500
    assert "<faultcode>SOAP-ENV:Server</faultcode>" in reply.text
    assert "The urn:other service is unavailable (10921)" in reply.text


@pytest.mark.parametrize("path", ["/", "/wsasandbox", "/sandbox/other"])
def test_elsewhere_is_tomcats_page(prima: LocalPrima, path: str) -> None:
    root = prima.url.removesuffix("/wsasandbox/wsasandbox")
    for method in ("GET", "POST", "PUT", "DELETE"):
        reply = requests.request(method, root + path, timeout=5)
        assert (reply.status_code, "Apache Tomcat" in reply.text) == (404, True)


def test_a_page_in_somebodys_browser_cannot_come_in_under_another_name(prima: LocalPrima) -> None:
    for method, address in (("GET", prima.wsdl), ("POST", prima.url)):
        assert requests.request(method, address, headers={"Host": "evil.example"}, timeout=5).status_code == 403


def test_it_can_be_served_on_a_port_of_choice_and_again_after_it_ended(world: str) -> None:
    with LocalPrima(world) as first:
        port = int(first.url.split(":")[2].split("/")[0])
    with LocalPrima(world, port=port) as second:
        assert second.url == first.url
        assert post(second, call(everything(first="300", last="301"))).status_code == 200


def test_a_database_without_a_world_is_refused() -> None:
    with pytest.raises(LookupError, match="holds no world"), LocalPrima("sqlite:////dev/null"):
        pass


def test_the_command_serves_a_world_until_it_is_told_to_end(world: str) -> None:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "prima_emarsys.cli", "sandbox", "prima", "--port", str(port), "--url", world]
    served = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert served.stdout is not None
        address = f"http://127.0.0.1:{port}/wsasandbox/wsasandbox/wsdl?targetURI=urn:omlink"
        assert address in served.stdout.readline()
        assert requests.get(address, timeout=10).status_code == 200
        served.send_signal(signal.SIGINT)
        assert served.wait(timeout=20) == 0
    finally:
        served.kill()
        served.communicate()
