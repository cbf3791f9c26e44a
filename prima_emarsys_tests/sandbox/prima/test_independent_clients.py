"""Clients that others wrote for any SOAP service work against the local Prima: zeep in all styles, and PHP's."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import zeep
from defusedxml.ElementTree import fromstring

from prima_emarsys.sandbox.prima.envelope import Style
from prima_emarsys.sandbox.prima.faults import Fault, Faults
from prima_emarsys.sandbox.prima.server import LocalPrima
from prima_emarsys_tests.sandbox.prima.conftest import everything, request

STYLES: list[Style] = ["rpc-literal", "rpc-encoded", "document-literal"]
LITTLE = everything(first="300", last="302")
PHP = Path(__file__).with_name("client.php")


@pytest.mark.parametrize("style", STYLES)
def test_zeep_reads_the_description_and_calls_both_entry_points(world: str, style: Style) -> None:
    with LocalPrima(world, style=style) as prima:
        client = zeep.Client(prima.wsdl)
        answers = [
            client.service.wsomhandler(iplcRequest=LITTLE),
            client.service.comwsomhandler(ipcCompany="2", iplcRequest=LITTLE),
        ]
        if style == "document-literal":
            answers = [answer.oplcResponse for answer in answers]
        roots = [fromstring(answer) for answer in answers]
        assert [(root.get("Company"), root.get("RequestStatus")) for root in roots] == [("1", "OK"), ("2", "OK")]
        assert all(len(root[0]) for root in roots)

        prima.faults = Faults(Fault(kind="disabled"))
        with pytest.raises(zeep.exceptions.Fault) as caught:
            client.service.wsomhandler(iplcRequest=LITTLE)
        assert caught.value.code == "SOAP-ENV:Server"
        assert caught.value.detail[0].findtext("errorMessage") == "The urn:omlink service is unavailable (10921)"


@pytest.mark.php
@pytest.mark.parametrize("style", STYLES)
def test_phps_soapclient_calls_both_entry_points_and_sees_faults(world: str, style: Style) -> None:
    with LocalPrima(world, style=style) as prima:
        prima.faults = Faults(Fault(kind="disabled", request="OrderStatus"))
        asked = {"simple": LITTLE, "company": LITTLE, "refused": request("OrderStatus", '<Data OrderNumber="1"/>')}
        ended = subprocess.run(
            ["php", str(PHP), prima.wsdl, style],  # noqa: S607 (wherever the system has it)
            input=json.dumps(asked), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert ended.returncode == 0, ended.stderr + ended.stdout
    told = json.loads(ended.stdout)
    roots = [fromstring(told[name]) for name in ("simple", "company")]
    assert [(root.get("Company"), root.get("RequestStatus")) for root in roots] == [("1", "OK"), ("2", "OK")]
    assert told["functions"] == 2
    assert told["fault"] == ["SOAP-ENV:Server", "The urn:omlink service is unavailable (10921)"]
