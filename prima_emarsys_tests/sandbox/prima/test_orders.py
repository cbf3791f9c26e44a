"""Orders by web service: new accounts, refusals at the order's own level, and stock that follows."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from xml.etree.ElementTree import Element

import pytest
from defusedxml.ElementTree import fromstring

from prima_emarsys.sandbox.prima.server import LocalPrima
from prima_emarsys.sandbox.world import tick
from prima_emarsys_tests.sandbox.prima.conftest import Query, ask, asked, request

SHOPPER = 'CustomerForename="Zoe" CustomerSurname="Attwater" CustomerEmail="zoe@pigeon.example" PostCode="QA1 1AB"'


def line(sku: dict[str, str], number: int = 1, quantity: int = 2, **changes: str) -> str:
    named = {"Product": sku["product"], "MtrxCode1": sku["matrix_1"], "MtrxCode2": sku["matrix_2"]}
    written = {**named, "Price": "150.00", "OrderLine": str(number), "Quantity": str(quantity), **changes}
    attributes = " ".join(f'{name}="{value}"' for name, value in written.items())
    return f"<OrderLineData {attributes}/>"


def order(number: str, *lines: str, customer: str = "", more: str = SHOPPER) -> str:
    return (
        f'<Data UniqueId="U{number}" TPGUID="" OrderNumber="{number}" Customer="{customer}" CustomerRef="R" {more}>'
        f'<OrderHeaderData SourceMedia="EMAIL"/>{"".join(lines)}'
        '<OrderChargeData Charge="RM48" ChargeValue="4.95"/><OrderPaymentData PayMethod="CSH" ExchCreditNo=""/></Data>'
    )


@pytest.fixture
def sku(sql: Query) -> dict[str, str]:
    """A SKU that is well in stock."""
    [found] = sql(
        "SELECT * FROM stock WHERE company = '1' AND warehouse = 'MAIN' AND physical - allocated - held > 20 "
        "ORDER BY product LIMIT 1"
    )
    return found


def units(prima: LocalPrima, sku: dict[str, str]) -> int:
    codes = f'Product="{sku["product"]}" MtrxCode1="{sku["matrix_1"]}" MtrxCode2="{sku["matrix_2"]}"'
    [[found]] = asked(prima, request("MultiAvailableToSell", f"<Data><sku {codes}/></Data>"))
    return int(found.get("AvailableQuantity", ""))


def place(prima: LocalPrima, *orders: str, company: str | None = None) -> Element:
    return asked(prima, request("MultiNewOrder", *orders), company)


def test_an_order_without_an_account_opens_a_new_one_each_time_for_the_same_shopper(
    prima: LocalPrima, sql: Query, sku: dict[str, str]
) -> None:
    root = place(prima, order("201100", line(sku)), order("201101", line(sku)))
    assert "RequestStatus" not in root.attrib
    codes = [data.get("CustomerCode", "") for data in root]
    assert [data.get("RequestStatus") for data in root] == ["OK", "OK"]
    assert len(set(codes)) == 2
    assert all(len(code) == 10 and code.startswith("0") for code in codes)
    accounts = sql("SELECT * FROM customer WHERE email = 'zoe@pigeon.example' ORDER BY customer_code")
    assert [account["customer_code"] for account in accounts] == sorted(codes)
    [address] = sql("SELECT postcode FROM customer_address WHERE customer_code = :code", code=codes[0])
    assert address["postcode"] == "QA1 1AB"


def test_an_accepted_order_is_answered_and_kept_as_it_was_sent(
    prima: LocalPrima, sql: Query, sku: dict[str, str]
) -> None:
    answer = ask(prima, request("MultiNewOrder", order("201200", line(sku))))
    [kept] = sql("SELECT * FROM sales_order WHERE order_number = '201200'")
    assert answer == (
        '<?xml version="1.0" encoding="ISO-8859-1" ?>\n<Result Company="1" RequestType="MultiNewOrder">'
        f'<Data CustRef="R" CustomerCode="{kept["customer_code"]}" OrderNumber="201200" RequestStatus="OK" TPGUID="" '
        'UniqueID="U201200"/></Result>'
    )
    assert (kept["status"], kept["source_media"], kept["currency"]) == ("Confirmed", "EMAIL", "GBP")
    [written] = sql("SELECT * FROM sales_order_line WHERE order_number = '201200'")
    assert (written["quantity"], written["value_incl_vat"]) == (2, "150.0000")
    [charge] = sql("SELECT * FROM order_charge WHERE order_number = '201200'")
    assert (charge["charge_code"], charge["value_incl_vat"]) == ("RM48", "4.9500")


def test_a_named_account_is_used_and_an_unknown_one_refused(prima: LocalPrima, sql: Query, sku: dict[str, str]) -> None:
    [known] = sql("SELECT customer_code FROM customer WHERE company = '1' ORDER BY customer_code LIMIT 1")
    [data] = place(prima, order("201300", line(sku), customer=known["customer_code"]))
    assert data.get("CustomerCode") == known["customer_code"]
    [refused] = place(prima, order("201301", line(sku), customer="none"))
    assert refused.get("RequestStatus") == "ERROR"
    assert refused[0].get("Error", "").startswith("(E:9004)")


def test_a_number_that_exists_is_refused_with_e21_and_its_followers_line_by_line(
    prima: LocalPrima, sku: dict[str, str]
) -> None:
    place(prima, order("201400", line(sku)))
    text = ask(prima, request("MultiNewOrder", order("201400", line(sku))))
    error = text[text.index(' Error="') : text.index('" UniqueID="U201400"/></Data>')].removeprefix(' Error="')
    lines = error.split("\n")
    assert [one.split(" ")[0] for one in lines] == ["(E:21)", "(E:194)", "(E:194)", "(E:194)"]
    assert lines[0].startswith(
        "(E:21) Sales Order Header already exists with Order Number equal to 201400  "
        "DEV MODE Stack Trace (Msg - E:Exist1): "
    )
    [data] = fromstring(text)
    assert (data.get("CustomerCode"), data.get("RequestStatus")) == ("", "ERROR")


@pytest.mark.parametrize(
    ("changes", "more", "codes"),
    [
        ({"Product": "NONE"}, SHOPPER, ["(E:194)", "(E:194)"]),
        ({"MtrxCode2": "999"}, SHOPPER, ["(E:194)", "(E:194)"]),
        ({"Quantity": "0"}, SHOPPER, ["(E:194)", "(E:194)"]),
        ({}, SHOPPER + ' VatInclusive="No"', ["(E:548)"]),
    ],
    ids=["no such style", "no such size", "no quantity", "another VAT flag"],
)
def test_an_order_that_cannot_be_taken_is_refused_and_leaves_nothing(
    prima: LocalPrima, sql: Query, sku: dict[str, str], changes: dict[str, str], more: str, codes: list[str]
) -> None:
    before = sql("SELECT count(*) AS n FROM customer")
    text = ask(prima, request("MultiNewOrder", order("201500", line(sku, **changes), more=more)))
    error = text.split(' Error="')[1]
    assert [one.split(" ")[0] for one in error.split("\n")] == codes
    assert sql("SELECT 1 FROM sales_order WHERE order_number = '201500'") == []
    assert sql("SELECT count(*) AS n FROM customer") == before


def test_one_bad_order_does_not_stop_the_others(prima: LocalPrima, sku: dict[str, str]) -> None:
    root = place(prima, order("201600", line(sku, Product="NONE")), order("201601", line(sku)))
    assert [data.get("RequestStatus") for data in root] == ["ERROR", "OK"]


def test_a_single_order_has_a_status_at_its_root_too(prima: LocalPrima, sku: dict[str, str]) -> None:
    taken = asked(prima, request("NewOrder", order("201700", line(sku))))
    refused = asked(prima, request("NewOrder", order("201700", line(sku))))
    assert [root.get("RequestStatus") for root in (taken, refused)] == ["OK", "ERROR"]


def test_an_order_of_another_company_is_that_companys(prima: LocalPrima, sql: Query) -> None:
    [sku] = sql("SELECT * FROM stock WHERE warehouse = 'DUB' ORDER BY product LIMIT 1")
    [data] = place(prima, order("201800", line(sku)), company="2")
    [account] = sql("SELECT * FROM customer WHERE customer_code = :code", code=data.get("CustomerCode"))
    [written] = sql("SELECT * FROM sales_order_line WHERE order_number = '201800'")
    assert (account["company"], written["company"], written["warehouse"]) == ("2", "2", "DUB")
    assert asked(prima, request("OrderStatus", '<Data OrderNumber="201800"/>')).get("RequestStatus") == "ERROR"


def test_the_status_of_an_order_is_told_in_primas_words(prima: LocalPrima, sql: Query) -> None:
    for word in ("Cancelled", "Part Despatched", "Despatched"):
        [found] = sql("SELECT order_number FROM sales_order WHERE company = '1' AND status = :word LIMIT 1", word=word)
        number = found["order_number"]
        assert ask(prima, request("OrderStatus", f'<Data OrderNumber="{number}"/>')) == (
            '<?xml version="1.0" encoding="ISO-8859-1" ?>\n<Result Company="1" RequestStatus="OK" '
            f'RequestType="OrderStatus"><Data OrderNumber="{number}" OrderStatus="{word}"/></Result>'
        )
    assert asked(prima, request("OrderStatus", '<Data OrderNumber="0"/>')).get("RequestStatus") == "ERROR"


def test_stock_falls_when_an_order_is_accepted_and_rises_on_cancellation_not_on_despatch(
    prima: LocalPrima, world: str, sku: dict[str, str]
) -> None:
    before = units(prima, sku)
    place(prima, order("201900", line(sku, quantity=3)))
    assert units(prima, sku) == before - 3
    place(prima, order("201900", line(sku, quantity=3)))
    assert units(prima, sku) == before - 3, "a refused order takes nothing"
    now = datetime.now(UTC)
    tick(world, now=now, changes=1, seed=1, kinds=["despatch"])
    assert units(prima, sku) == before - 3
    place(prima, order("201901", line(sku, quantity=4)))
    tick(world, now=now, changes=1, seed=1, kinds=["order-cancelled"])
    assert units(prima, sku) == before - 3


def test_no_two_orders_get_the_same_new_account_though_they_come_at_once_with_a_tick(
    prima: LocalPrima, world: str, sku: dict[str, str]
) -> None:
    found: list[str] = []

    def send(number: int) -> None:
        found.extend(data.get("CustomerCode", "") for data in place(prima, order(f"2021{number}", line(sku))))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    tick(world, now=datetime.now(UTC), changes=4, seed=3, kinds=["new-shopper-order"])
    for thread in threads:
        thread.join()
    assert len(set(found)) == len(found) == 6
