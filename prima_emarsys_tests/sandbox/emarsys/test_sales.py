"""Sales files are accepted or refused at once, loaded later row by row, and never de-duplicated."""

from __future__ import annotations

import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest
import requests

from prima_emarsys.sandbox.emarsys.csv_file import Reject
from prima_emarsys.sandbox.emarsys.faults import Fault, Faults
from prima_emarsys.sandbox.emarsys.server import LocalEmarsys
from prima_emarsys_tests.sandbox.emarsys.conftest import PERSON_KEY, Api, upload, wait_until

HEADER = "order,customer,item,price,quantity,timestamp"
SALE = "1234,P1,SKU-1,10.00,2,2019-04-05T14:38:40Z"
REFUND = "1234,P1,SKU-1,-4.50,-1,2019-04-20T09:00:00Z"


def file(*rows: str, header: str = HEADER) -> str:
    return "\n".join([header, *rows]) + "\n"


def amounts(emarsys: LocalEmarsys) -> dict[str, str]:
    return {identifier: str(amount) for identifier, amount in emarsys.turnover().items()}


def invented(emarsys: LocalEmarsys) -> list[str]:
    return [identifier for buyer in emarsys.buyers() if buyer.contact is None for identifier in buyer.identifiers]


@pytest.mark.parametrize("packed", [False, True])
def test_an_accepted_file_is_answered_as_recorded_and_loaded_later(emarsys: LocalEmarsys, packed: bool) -> None:
    reply = upload(emarsys, file(SALE, REFUND), packed=packed)
    assert (reply.status_code, reply.text) == (200, "Upload accepted\n")
    assert reply.headers["Content-Type"].partition(";")[0] == "text/plain"
    assert reply.headers["Content-Length"] == "16"
    [waiting] = emarsys.load_reports()
    assert (waiting.status, waiting.rows, emarsys.sales()) == ("In Progress", 0, [])
    [report] = emarsys.load_sales()
    assert (report.status, report.rows, report.loaded, report.rejects) == ("Full", 2, 2, ())
    assert emarsys.load_sales() == []
    sale, refund = emarsys.sales()
    assert (sale.order, sale.item, sale.buyer, sale.quantity, sale.price) == ("1234", "SKU-1", "P1", 2, Decimal("10"))
    assert (refund.price, refund.at.isoformat()) == (Decimal("-4.5"), "2019-04-20T09:00:00+00:00")
    assert amounts(emarsys) == {"P1": "5.5000"}


def test_a_file_sent_twice_counts_twice(emarsys: LocalEmarsys) -> None:
    for _ in range(2):
        assert upload(emarsys, file(SALE)).status_code == 200
    emarsys.load_sales()
    assert amounts(emarsys) == {"P1": "20.0000"}
    assert [buyer.purchases for buyer in emarsys.buyers()] == [1]


def test_an_unknown_buyer_is_invented_and_joined_at_the_next_load_after_the_contact_exists(
    emarsys: LocalEmarsys, api: Api
) -> None:
    api.upsert({PERSON_KEY: "P2"})
    upload(emarsys, file(SALE, SALE.replace("P1", "P2")))
    emarsys.load_sales()
    assert invented(emarsys) == ["P1"]
    number = api.upsert({PERSON_KEY: "P1"})["ids"][0]
    assert invented(emarsys) == ["P1"]
    upload(emarsys, file(REFUND))
    emarsys.load_sales()
    assert invented(emarsys) == []
    [joined] = [buyer for buyer in emarsys.buyers() if buyer.contact == number]
    assert (joined.identifiers, str(joined.turnover), joined.purchases) == (("P1",), "5.5000", 1)


def test_turnover_follows_a_contact_whose_key_changes_and_goes_with_one_that_is_deleted(
    emarsys: LocalEmarsys, api: Api
) -> None:
    number = api.upsert({PERSON_KEY: "P1"}, {PERSON_KEY: "P2"})["ids"][0]
    upload(emarsys, file(SALE, SALE.replace("P1", "P2")))
    emarsys.load_sales()
    api.data("PUT", "contact", {"key_id": "id", "contacts": [{"id": str(number), PERSON_KEY: "P9"}]})
    upload(emarsys, file(SALE.replace("P1", "P9").replace("1234", "1235")))
    emarsys.load_sales()
    [buyer] = [buyer for buyer in emarsys.buyers() if buyer.contact == number]
    assert (buyer.identifiers, str(buyer.turnover), buyer.purchases) == (("P1", "P9"), "20.0000", 2)
    api.data("POST", "contact/delete", {"key_id": PERSON_KEY, PERSON_KEY: ["P2"]})
    assert set(amounts(emarsys)) == {"P1", "P9"}
    assert {sale.buyer for sale in emarsys.sales()} == {"P1", "P9"}


def test_an_order_of_nought_is_no_purchase(emarsys: LocalEmarsys) -> None:
    free = "77,P1,GIFT,0,1,2019-04-05"
    undone = ["78,P1,SKU-1,10.00,1,2019-04-05", "78,P1,SKU-1,-10.00,-1,2019-04-06"]
    upload(emarsys, file(SALE, free, *undone))
    emarsys.load_sales()
    assert [(str(buyer.turnover), buyer.purchases) for buyer in emarsys.buyers()] == [("10.0000", 1)]


def test_ten_times_ten_pence_is_one_pound(emarsys: LocalEmarsys) -> None:
    upload(emarsys, file(*[f"{number},P1,SKU-1,0.10,1,2019-04-05" for number in range(10)]))
    emarsys.load_sales()
    assert emarsys.turnover() == {"P1": Decimal("1")}


def test_the_customer_column_holds_the_agreed_field(emarsys: LocalEmarsys) -> None:
    emarsys.add_field("erp_id", indexed=True)
    emarsys.settings.customer_field = "erp_id"
    [number] = emarsys.seed([{"erp_id": "E1", "email": "a@example.com"}])
    upload(emarsys, file(SALE.replace("P1", "E1")))
    emarsys.load_sales()
    assert [buyer.contact for buyer in emarsys.buyers()] == [number]


def test_an_account_may_know_its_buyers_by_email(emarsys: LocalEmarsys) -> None:
    [number] = emarsys.seed([{"email": "x@y.com"}])
    # The recorded request body of 2019.
    upload(emarsys, file("1234,x@y.com,SKU,10.00,2,2019-04-05T14:38:40Z", header=HEADER.replace("customer", "email")))
    emarsys.load_sales()
    assert [(buyer.contact, buyer.identifiers) for buyer in emarsys.buyers()] == [(number, ("x@y.com",))]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1,P1,SKU,10,1", "5 values for 6 columns"),
        ("1,,SKU,10,1,2019-04-05", "customer is empty"),
        (",P1,SKU,10,1,2019-04-05", "order is empty"),
        ("1,P1,,10,1,2019-04-05", "item is empty"),
        ('1,P1,SKU,"1,000.00",1,2019-04-05', "price is no number with a decimal point"),
        ('1,P1,SKU,"10,5",1,2019-04-05', "price is no number with a decimal point"),
        ("1,P1,SKU,NaN,1,2019-04-05", "price is no number with a decimal point"),
        ("1,P1,SKU,1e3,1,2019-04-05", "price is no number with a decimal point"),
        ("1,P1,SKU,10,,2019-04-05", "quantity is no number with a decimal point"),
        ("1,P1,SKU,10,1,05/04/2019", "timestamp is no ISO 8601 time"),
        ("1,P1,SKU,10,1,2019-02-31", "timestamp is no ISO 8601 time"),
        ('1,P1,"SKU\nsplit",10,1,2019-04-05', "a line break inside a value"),
        ('1,P1,"a "quoted" word",10,1,2019-04-05', "not readable as CSV: ',' expected after '\"'"),
    ],
)
def test_a_bad_row_is_rejected_with_its_reason_and_the_others_are_loaded(
    emarsys: LocalEmarsys, row: str, reason: str
) -> None:
    assert upload(emarsys, file(SALE, row, REFUND)).status_code == 200
    [report] = emarsys.load_sales()
    assert (report.status, report.rows, report.rejects) == ("Partial", 3, (Reject(3, reason),))
    assert amounts(emarsys) == {"P1": "5.5000"}


def test_a_file_without_a_good_row_has_failed(emarsys: LocalEmarsys) -> None:
    upload(emarsys, file("1,P1,SKU,ten,1,2019-04-05"))
    assert [report.status for report in emarsys.load_sales()] == ["Failed"]


@pytest.mark.parametrize(
    ("at", "read"),
    [
        ("2019-04-05", "2019-04-05T00:00:00+00:00"),
        ("2019-04-05T14:38:40+02:00", "2019-04-05T12:38:40+00:00"),
        ("2019-04-05T14:38:40.5Z", "2019-04-05T14:38:40.500000+00:00"),
        ("2019-04-05T14:38:40", "2019-04-05T14:38:40+00:00"),
    ],
)
def test_times_are_read_in_utc(emarsys: LocalEmarsys, at: str, read: str) -> None:
    upload(emarsys, file(f"1,P1,SKU,10,1,{at}"))
    emarsys.load_sales()
    assert [sale.at.isoformat() for sale in emarsys.sales()] == [read]


def test_custom_columns_are_typed_by_prefix_and_others_get_one(emarsys: LocalEmarsys) -> None:
    header = f"{HEADER},s_channel,i_line,f_net,t_sent,Price,note"
    good = f'{SALE},"say ""hi"", twice",1,8.33,2019-04-06,9.99,web'
    upload(emarsys, file(good, f"{SALE},web,one,8.33,,9.99,", f"{SALE},,,,,,", header=header))
    [report] = emarsys.load_sales()
    assert report.rejects == (Reject(3, "i_line is no integer"),)
    first, empty = emarsys.sales()
    assert first.custom == {
        "s_channel": 'say "hi", twice', "i_line": "1", "f_net": "8.33", "t_sent": "2019-04-06T00:00:00.000000+00:00",
        "f_Price": "9.99", "s_note": "web",
    }  # fmt: skip
    assert empty.custom == {}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "The file has no header"),
        ("test\n1\n", "Missing column: item, price, order, timestamp"),
        (file(), "The file has no rows"),
        (file(SALE, header=HEADER.replace("price", "Price")), "Missing column: price"),
        (file(SALE, header=HEADER.replace("customer", "person")), "Exactly one of customer and email is required"),
        (file(f"{SALE},a@b.c", header=f"{HEADER},email"), "Exactly one of customer and email is required"),
        (file(f"{SALE},1", header=f"{HEADER},item"), "Doubled column: item"),
        (file(SALE.replace("SKU", "SKÜ")).encode("latin-1"), "The file is not UTF-8"),
    ],
)
def test_a_broken_file_is_refused_as_a_whole(emarsys: LocalEmarsys, content: str | bytes, reason: str) -> None:
    reply = upload(emarsys, content)
    assert (reply.status_code, reply.text) == (400, f"{reason}\n")
    assert reply.headers["Content-Type"].partition(";")[0] == "text/plain"
    assert emarsys.load_reports() == []


@pytest.mark.parametrize(
    "header",
    ["order,item,customer,price,quantity,timestamp", f"{HEADER},s_channel", "order,customer,item,price,timestamp"],
)
def test_a_header_other_than_the_first_is_refused(emarsys: LocalEmarsys, header: str) -> None:
    row = ",".join(["1"] * len(header.split(",")))
    assert upload(emarsys, file(SALE)).status_code == 200
    reply = upload(emarsys, file(row, header=header))
    assert (reply.status_code, reply.text) == (400, "The header differs from that of the first upload\n")
    assert upload(emarsys, file(REFUND)).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": ""}, 401),
        ({"Authorization": "bearer wrong"}, 401),
        ({"Authorization": "Basic c2FuZGJveDpzYWxlcw=="}, 401),
        ({"Authorization": "Bearer sandbox-sales-token"}, 200),
        ({"Content_Type": "application/json"}, 415),
        ({"Content_Type": "text/csv; charset=utf-8"}, 200),
        ({"Content_Encoding": "br"}, 415),
        ({"Content_Encoding": "gzip"}, 400),
    ],
)
def test_token_and_headers_are_checked(emarsys: LocalEmarsys, headers: dict[str, str], status: int) -> None:
    assert upload(emarsys, file(SALE), **headers).status_code == status
    assert len(emarsys.load_reports()) == (status == 200)


def test_core_credentials_and_other_merchants_are_not_let_in(emarsys: LocalEmarsys, api: Api) -> None:
    token = str(api.session.headers["Authorization"])
    assert upload(emarsys, file(SALE), Authorization=token).status_code == 401
    own = f"bearer {emarsys.sales_token}"
    url = f"{emarsys.sales_url}/hapi/merchant"
    for path, status in [("0" * 16, 403), ("nobody", 404)]:
        reply = requests.post(f"{url}/{path}/sales-data/api", headers={"Authorization": own}, timeout=10)
        assert reply.status_code == status
    wrong = requests.get(f"{url}/{emarsys.merchant_id}/sales-data/api", headers={"Authorization": own}, timeout=10)
    assert wrong.status_code == 405
    emarsys.settings.closed_endpoints = frozenset({"sales.upload"})
    assert upload(emarsys, file(SALE)).status_code == 403
    emarsys.settings.closed_endpoints = frozenset()
    emarsys.settings.sales_bytes = 20
    assert upload(emarsys, file(SALE)).status_code == 413


def test_a_file_may_be_loaded_by_itself_after_a_while(emarsys: LocalEmarsys) -> None:
    emarsys.settings.sales_load_after = 0.05
    upload(emarsys, file(SALE))
    assert emarsys.sales() == []
    wait_until(emarsys.sales)
    assert [report.status for report in emarsys.load_reports()] == ["Full"]


def test_two_that_load_at_once_load_each_file_once(emarsys: LocalEmarsys) -> None:
    for number in range(8):
        upload(emarsys, file(*[SALE.replace("1234", str(number))] * 500))
    with ThreadPoolExecutor(4) as threads:
        reports = [report for found in threads.map(lambda _: emarsys.load_sales(), range(4)) for report in found]
    assert sorted(report.number for report in reports) == list(range(1, 9))
    assert len(emarsys.sales()) == 8 * 500


def test_a_restart_keeps_what_waits_what_was_loaded_and_the_header(tmp_path: Path) -> None:
    with LocalEmarsys(tmp_path) as emarsys:
        upload(emarsys, file(SALE))
        emarsys.load_sales()
        upload(emarsys, file(REFUND))
        before = emarsys.load_reports()
    with LocalEmarsys(tmp_path) as emarsys:
        assert emarsys.load_reports() == before
        assert (
            upload(emarsys, file("1,P1,SKU,10,2019-04-05", header=HEADER.replace("quantity,", ""))).status_code == 400
        )
        emarsys.load_sales()
        assert amounts(emarsys) == {"P1": "5.5000"}


def test_the_admin_paths_load_and_show_sales(emarsys: LocalEmarsys) -> None:
    url = f"{emarsys.url}/sandbox"
    upload(emarsys, file(SALE, "1,P1,SKU,ten,1,2019-04-05"))
    [loaded] = requests.post(f"{url}/sales/loads", timeout=10).json()
    assert loaded["status"] == "Partial"
    assert loaded["rejects"] == [{"line": 3, "reason": "price is no number with a decimal point"}]
    assert requests.get(f"{url}/sales/loads", timeout=10).json() == [loaded]
    [buyer] = requests.get(f"{url}/sales/buyers", timeout=10).json()
    assert buyer == {"contact": None, "identifiers": ["P1"], "turnover": "10.0000", "purchases": 1}
    assert [row["price"] for row in requests.get(f"{url}/sales/rows", timeout=10).json()] == ["10.0000"]
    assert "sales_token" not in requests.get(f"{url}/settings", timeout=10).json()


# Faults


def fault(**about: object) -> Faults:
    return Faults(Fault.model_validate({"path": "hapi/*/sales-data/api", "calls": 1} | about))


def test_a_lost_reply_may_have_been_accepted_or_not(emarsys: LocalEmarsys) -> None:
    for applied in (True, False):
        emarsys.faults = fault(kind="drop", applied=applied)
        with pytest.raises(requests.ConnectionError):
            upload(emarsys, file(SALE))
    assert len(emarsys.load_reports()) == 1
    assert emarsys.counters.faults == {"drop": 2}


def test_a_reset_strikes_while_the_body_is_on_its_way(emarsys: LocalEmarsys) -> None:
    emarsys.faults = fault(kind="reset")
    with pytest.raises(requests.ConnectionError, match="reset|Broken pipe|aborted"):
        upload(emarsys, file(*[SALE] * 200_000))
    assert emarsys.load_reports() == []
    assert upload(emarsys, file(SALE)).status_code == 200


def test_a_file_that_contains_a_poisoned_order_is_refused_each_time_and_others_pass(emarsys: LocalEmarsys) -> None:
    emarsys.faults = Faults(Fault(kind="poison", keys=frozenset({"1234"}), path="hapi/*/sales-data/api"))
    for _ in range(2):
        reply = upload(emarsys, file(SALE.replace("1234", "1"), SALE), packed=True)
        assert (reply.status_code, reply.text) == (400, "Invalid parameters\n")
    assert upload(emarsys, file(SALE.replace("1234", "1"))).status_code == 200
    emarsys.load_sales()
    assert [sale.order for sale in emarsys.sales()] == ["1"]


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize(
    ("kind", "status", "text"),
    [
        ("429", 429, "Too many requests for this account and resource within the last minute.\n"),
        ("500", 500, "Internal error\n"),
        ("502", 502, ""),
        ("401", 401, "Unauthorized\n"),
        ("empty", 200, ""),
    ],
)
def test_a_false_status_comes_in_plain_text(
    emarsys: LocalEmarsys, kind: str, status: int, text: str, applied: bool
) -> None:
    emarsys.faults = fault(kind=kind, applied=applied)
    reply = upload(emarsys, file(SALE))
    assert (reply.status_code, reply.text) == (status, text)
    assert len(emarsys.load_reports()) == int(applied)


def test_html_may_stand_where_the_reply_should(emarsys: LocalEmarsys) -> None:
    emarsys.faults = fault(kind="html", applied=True)
    assert upload(emarsys, file(SALE)).text.startswith("<!DOCTYPE html>")


def test_a_slow_and_a_dripping_reply_come_late(emarsys: LocalEmarsys) -> None:
    for about in ({"kind": "slow", "seconds": 0.2}, {"kind": "drip", "seconds": 0.02}):
        emarsys.faults = fault(**about)
        began = time.monotonic()
        assert upload(emarsys, file(SALE)).text == "Upload accepted\n"
        assert time.monotonic() - began >= 0.2


def test_faults_of_other_calls_leave_the_upload_alone(emarsys: LocalEmarsys, api: Api) -> None:
    emarsys.faults = Faults(Fault(kind="502"))
    assert upload(emarsys, file(SALE)).status_code == 200
    assert api.send("GET", "settings").status_code == 502
    emarsys.faults = fault(kind="502")
    assert api.send("GET", "settings").status_code == 200


def test_while_emarsys_is_down_connections_are_refused(emarsys: LocalEmarsys, api: Api) -> None:
    with emarsys.down(), pytest.raises(requests.ConnectionError, match="refused"):
        upload(emarsys, file(SALE))
    assert upload(emarsys, file(SALE)).status_code == 200
    assert api.send("GET", "settings").status_code == 200


def test_amounts_lie_in_the_store_as_whole_numbers(tmp_path: Path) -> None:
    with LocalEmarsys(tmp_path) as emarsys:
        upload(emarsys, file(SALE.replace("10.00", "0.0001")))
        emarsys.load_sales()
        assert emarsys.turnover() == {"P1": Decimal("0.0001")}
    with sqlite3.connect(tmp_path / "emarsys.sqlite") as store:
        assert store.execute("SELECT price, typeof(price) FROM sales_row").fetchall() == [(1, "integer")]
