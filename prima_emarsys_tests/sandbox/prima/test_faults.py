"""Each switch does what it says, to the requests that it names, as often as it says."""

from __future__ import annotations

import time
from xml.etree import ElementTree

import pytest
import requests

from prima_emarsys.sandbox.prima.faults import Fault, Faults
from prima_emarsys.sandbox.prima.server import LocalPrima
from prima_emarsys_tests.sandbox.prima.conftest import ask, asked, call, everything, post, request


def test_a_short_answer_is_ok_and_holds_a_tenth_of_the_styles_and_strangers_with_old_dates(prima: LocalPrima) -> None:
    [whole] = asked(prima, everything())
    prima.faults = Faults(Fault(kind="short"))
    root = asked(prima, everything())
    [short] = root
    assert root.get("RequestStatus") == "OK"
    assert 0.02 * len(whole) < len(short) < 0.25 * len(whole)
    known = {ElementTree.tostring(sku) for sku in whole}
    strangers = [sku for sku in short if ElementTree.tostring(sku) not in known]
    assert {sku.get("AvailableDate") for sku in strangers} == {"16/01/2018"}


def test_another_companys_answer_is_whole_and_says_whose_it_is(prima: LocalPrima) -> None:
    other = ask(prima, everything(), company="2")
    prima.faults = Faults(Fault(kind="wrong-company"))
    assert ask(prima, everything()) == other


def test_names_and_statuses_can_be_wrong_or_missing(prima: LocalPrima) -> None:
    little = everything(first="300", last="301")
    prima.faults = Faults(Fault(kind="wrong-request"))
    assert asked(prima, little).get("RequestType") == "PriceEnquiry"
    prima.faults = Faults(Fault(kind="no-status"))
    assert "RequestStatus" not in ask(prima, little)
    prima.faults = Faults(Fault(kind="refused"))
    assert asked(prima, little).get("Error", "").endswith("(14586)")


def test_text_can_be_spoilt_in_four_ways(prima: LocalPrima) -> None:
    customers = call(request("InventedCustomers", "<Data/>"))
    sound = post(prima, customers).text
    assert "Müller" in sound
    assert "O?Brien" in sound, "the declared ISO-8859-1 has no curly quote"
    assert "Fair\x07weather" in sound, "a text field of Prima's may hold what XML may not"
    prima.faults = Faults(Fault(kind="mojibake"))
    spoilt = post(prima, customers).text
    assert "MÃ¼ller" in spoilt
    assert "Oâ€™Brien" in spoilt
    prima.faults = Faults(Fault(kind="raw-bytes"))
    assert b"O\x92Brien" in post(prima, customers).content
    prima.faults = Faults(Fault(kind="control"))
    assert b'Product="\x07' in post(prima, call(everything(first="300", last="301"))).content.replace(b"&quot;", b'"')
    prima.faults = Faults(Fault(kind="unreadable"))
    with pytest.raises(ElementTree.ParseError):
        asked(prima, everything(first="300", last="301"))


def test_nothing_can_come_in_a_sound_envelope(prima: LocalPrima) -> None:
    prima.faults = Faults(Fault(kind="nil"))
    reply = post(prima, call(everything()))
    assert (reply.status_code, '<oplcResponse xsi:nil="true"/>' in reply.text) == (200, True)


def test_the_service_can_be_disabled_or_hidden_behind_tomcats_page(prima: LocalPrima) -> None:
    prima.faults = Faults(Fault(kind="disabled"))
    reply = post(prima, call(everything()))
    assert (reply.status_code, "The urn:omlink service is unavailable (10921)" in reply.text) == (500, True)
    prima.faults = Faults(Fault(kind="html", status=404))
    reply = post(prima, call(everything()))
    assert (reply.status_code, reply.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert "HTTP Status 404" in reply.text


@pytest.mark.parametrize("kind", ["drop", "cut"])
def test_the_connection_can_break_before_or_in_the_reply(prima: LocalPrima, kind: str) -> None:
    prima.faults = Faults(Fault.model_validate({"kind": kind, "calls": 1}))
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        post(prima, call(everything()))
    assert post(prima, call(everything(first="300", last="301"))).status_code == 200


def test_an_answer_can_be_late_and_only_for_some_requests(prima: LocalPrima) -> None:
    prima.faults = Faults(Fault(kind="slow", seconds=0.6, request="Multi*"))
    began = time.monotonic()
    asked(prima, everything(first="300", last="301"))
    quick = time.monotonic() - began
    asked(prima, request("MultiAvailableToSell", "<Data/>"))
    assert time.monotonic() - began - quick > 0.6


def test_faults_are_switched_from_outside_too(prima: LocalPrima) -> None:
    address = prima.url.replace("/wsasandbox/wsasandbox", "/sandbox/faults")
    shown = requests.put(address, json=[{"kind": "nil", "calls": 2}], timeout=5).json()
    assert [(fault["kind"], fault["calls"]) for fault in shown] == [("nil", 2)]
    assert "xsi:nil" in post(prima, call(everything())).text
    assert requests.get(address, timeout=5).json() == shown
    assert requests.delete(address, timeout=5).json() == []
    wrong = requests.put(address, json=[{"kind": "earthquake"}], timeout=5)
    assert (wrong.status_code, "earthquake" in wrong.text) == (400, True)
    assert "xsi:nil" not in post(prima, call(everything(first="300", last="301"))).text


def test_calls_are_remembered_as_they_came_in(prima: LocalPrima) -> None:
    body = call(everything(first="300", last="301"), company="2")
    post(prima, body)
    [remembered] = prima.calls
    assert (remembered.operation, remembered.company, remembered.request_type) == (
        "comwsomhandler",
        "2",
        "ProductAvailableToSell",
    )
    assert remembered.envelope == body.encode()
