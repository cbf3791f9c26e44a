"""The proof of sales, by example: two clocks, and one cause for each piece of a difference."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from prima_emarsys.emarsys.outcome import Refusal
from prima_emarsys.proof.sales import SalesProof
from prima_emarsys.rules.reconciliation import UNKNOWN
from prima_emarsys.sync.exceptions import open_exceptions
from prima_emarsys.sync.plan import LANE as CONTACTS
from prima_emarsys.sync.sales_files import SalesFiles
from prima_emarsys.sync.sales_plan import LINES
from prima_emarsys_tests.proof.firm import Firm
from prima_emarsys_tests.sync.remote import want
from prima_emarsys_tests.sync.shop import accept, accept_silently, refuse

D = Decimal
MARCH, APRIL, MAY = date(2026, 3, 10), date(2026, 4, 10), date(2026, 5, 10)


def totals(proof: SalesProof) -> tuple[Decimal, ...]:
    """orders, refunds, returns waiting, net, desired, accepted, difference."""
    return tuple(proof.totals.values())


def refuse_contact(firm: Firm, person: str) -> None:
    """Emarsys refuses the contact, and it waits for a person."""
    firm.ledger.stage(CONTACTS, [want(person, _1="Ann")], "m1")
    claim = firm.ledger.claim(CONTACTS)
    assert claim is not None
    firm.ledger.acknowledge(claim, [], {person: Refusal("2008", "no")})


def trouble(firm: Firm) -> SalesProof:
    """Every cause at once: each order has one."""
    for code in "ABCE":
        firm.customer(code)
    firm.customer("S")
    firm.customer("M", "mail@old.example")
    firm.prima.put("customer_merge", {"customer_code": "M", "merged_into_code": "S"})
    firm.customer("STAFF", account_type="STAFF")
    firm.customer("MUTE")
    firm.kept_out = {"P1-MUTE": "no-email:missing"}
    firm.prima.put("company", {"company": "2", "base_currency": "EUR"})
    firm.customer("E", company="2")
    # Sent, in this order: the oldest first, each in a file of its own.
    firm.order("accepted", "10.00", on=date(2026, 3, 1))
    firm.order("refused", "20.00", on=date(2026, 3, 2))
    firm.order("unknown", "30.00", on=date(2026, 3, 3))
    firm.order("sealed", "40.00", on=date(2026, 3, 4))
    firm.order("rounded", "1.01", "1.01", "1.01", on=date(2026, 3, 5), currency="EUR", exchange_rate="0.865")
    firm.order("above", "5.00", on=date(2026, 3, 6))
    firm.credit("K1", "above", "6.00", date(2026, 3, 7))
    firm.order("returned", "50.00", "7.00", on=date(2026, 3, 8))
    firm.prima.put(
        "customer_return", {"return_number": "R1", "order_number": "returned", "receipted_at": date(2026, 4, 2)}
    )
    # Not sent.
    firm.order("stranger", "60.00", customer_code="B")
    firm.order("no-contact", "70.00", customer_code="C")
    firm.order("merged", "80.00", customer_code="M")
    firm.order("staff", "90.00", customer_code="STAFF")
    firm.order("sample", "100.00", order_type="SAMPLE")
    firm.order("held", "110.00", status="held")
    firm.order("voucher", "120.00", line={"product": "VOUCHER"})
    firm.order("mute", "130.00", customer_code="MUTE")
    firm.order("unrated", "140.00", currency="EUR")
    firm.order("abroad", "150.00", customer_code="E", company="2", currency="EUR")
    firm.order("nobody", "160.00", customer_code="gone")
    firm.prima.put("sales_order_line", {"order_number": "headless", "value": "170.00"})
    firm.credit("K2", "elsewhere", "180.00", date(2026, 4, 3))
    firm.credit("K3", "accepted", "1.00", None)
    firm.compute()
    firm.know("P1-A")
    refuse_contact(firm, "P1-C")
    firm.endpoint.script = [accept, refuse, accept_silently]
    firm.send(rows_per_file=1)
    return firm.prove()


def test_every_cause_by_name_and_record_and_they_add_up(firm_of_either: Firm) -> None:
    firm = firm_of_either
    proof = trouble(firm)
    files = {file.rows and file.value: file.name for file in SalesFiles(firm.ledger).all()}
    assert firm.causes() == sorted(
        [
            ("not yet due", "a return waits for its credit note", "1|R1", D("-50.00")),
            ("not yet due", files[D("40.00")], "1-sealed|1|sale", D("40.00")),
            *(("not yet due", files[D("2.61")], f"1-rounded|{n}|sale", D("0.87")) for n in "123"),
            ("not yet due", files[D("5.00")], "1-above|1|sale", D("5.00")),
            ("not yet due", files[D("57.00")], "1-returned|1|sale", D("50.00")),
            ("not yet due", files[D("57.00")], "1-returned|2|sale", D("7.00")),
            ("waiting for its contact", "", "1-stranger|1|sale", D("60.00")),
            ("merged", "", "1-merged|1|sale", D("80.00")),
            ("quarantined", "its contact was refused", "1-no-contact|1|sale", D("70.00")),
            ("quarantined", "refunded above its sale", "1|K1|1|credit", D("-6.00")),
            ("quarantined", "order-unknown", "1|K2|1|credit", D("-180.00")),
            ("quarantined", "credit-undated", "1|K3|1|credit", D("-1.00")),
            ("quarantined", "account-unknown", "1-nobody|1|sale", D("160.00")),
            ("quarantined", "its order cannot be read", "1-headless", D("0.00")),
            ("refused", files[D("20.00")], "1-refused|1|sale", D("20.00")),
            ("unknown", files[D("30.00")], "1-unknown|1|sale", D("30.00")),
            ("excluded", "internal:staff", "1-staff|1|sale", D("90.00")),
            ("excluded", "order-type", "1-sample|1|sale", D("100.00")),
            ("excluded", "order-held", "1-held|1|sale", D("110.00")),
            ("excluded", "not-merchandise", "1-voucher|1|sale", D("120.00")),
            ("excluded", "no-email:missing", "1-mute|1|sale", D("130.00")),
            ("currency", "missing-rate", "1-unrated|1|sale", D("0.00")),
            ("currency", "foreign-currency", "2-abroad|1|sale", D("0.00")),
            ("rounding", "", "1-rounded", D("0.01")),
        ],
        key=repr,
    )
    assert proof.holds
    assert proof.totals["accepted"] == D("10.00")
    assert proof.totals["difference"] == proof.totals["net"] - D("10.00") == sum(c.amount for c in proof.causes)
    # What has no rate counts in its own currency.
    in_euros = {c.detail: c.value for c in proof.causes if c.currency == "EUR"}
    assert (in_euros["missing-rate"], in_euros["foreign-currency"]) == (D("140.00"), D("150.00"))
    assert proof.amount_of(UNKNOWN) == D("30.00")
    # What has no date is on no day, and finance hears of it.
    assert firm.days("posted")[None] == D("-1.00")
    [undated] = [case for case in open_exceptions(firm.ledger) if case.kind == "credit-undated"]
    assert (str(undated.owner), undated.record, undated.money) == ("finance", "credit|1|K3", D("1.00"))


def test_a_line_that_got_lost_or_doubled_on_the_way_has_no_cause_and_turns_the_proof_red(firm: Firm) -> None:
    firm.customer("A")
    firm.order("100", "10.00", "7.00")
    firm.order("200", "4.00")
    firm.compute()
    firm.know("P1-A")
    firm.send()
    assert firm.prove().holds
    lines = firm.warehouse.read(firm.warehouse.table(LINES))
    keys = lines["line_key"].to_pylist()
    firm.warehouse.write(LINES, lines.filter(pc.field("line_key") != "1-100|2|sale"))
    proof = firm.prove()
    assert not proof.holds
    assert "7.00 has no cause" in proof.sentence
    [lost] = [finding for finding in proof.findings if finding.kind == "sales-unexplained"]
    assert (lost.record, lost.money, lost.owned_by.value) == ("order|1-100", D("7.00"), "data")
    doubled = lines.slice(keys.index("1-200|1|sale"), 1)
    firm.warehouse.write(LINES, pa.concat_tables([lines, doubled]))
    proof = firm.prove()
    assert not proof.holds
    assert [one.amount for one in proof.unexplained] == [D("-4.00")]
    firm.warehouse.write(LINES, lines)
    assert firm.prove().holds


def test_a_person_who_finds_the_file_settles_the_difference(firm: Firm) -> None:
    firm.customer("A")
    firm.order("100", "10.00")
    firm.order("200", "4.00", on=date(2026, 3, 2))
    firm.compute()
    firm.know("P1-A")
    firm.endpoint.script = [accept_silently]
    firm.send()
    assert totals(firm.prove())[-3:] == (D("14.00"), D("0.00"), D("14.00"))
    (file,) = SalesFiles(firm.ledger).all()
    assert {cause[0] for cause in firm.causes()} == {"unknown"}
    SalesFiles(firm.ledger).resolve(file.name, "arrived", "Ann", "saw it")
    assert totals(firm.prove())[-3:] == (D("14.00"), D("14.00"), D("0.00"))
    assert firm.causes() == []


def test_a_refund_in_another_month_counts_in_its_own_month_for_finance_and_in_the_orders_month_for_marketing(
    firm_of_either: Firm,
) -> None:
    firm = firm_of_either
    firm.customer("A")
    firm.order("100", "100.00", on=MARCH)
    firm.credit("K", "100", "40.00", MAY)
    firm.compute()
    firm.know("P1-A")
    firm.send()
    proof = firm.prove()
    assert totals(proof) == tuple(map(D, ("100.00", "-40.00", "0.00", "60.00", "60.00", "60.00", "0.00")))
    assert (firm.on("ordered", MARCH).net, firm.on("ordered", MAY).net) == (D("60.00"), D("0"))
    assert (firm.on("posted", MARCH).net, firm.on("posted", MAY).net) == (D("100.00"), D("-40.00"))
    assert firm.on("posted", MAY).accepted == D("-40.00")
    assert (firm.days("ordered"), firm.days("posted"), firm.causes()) == ({}, {}, [])


def test_exchanges_goodwill_charges_cancellations_and_other_currencies_tie(firm_of_either: Firm) -> None:
    firm = firm_of_either
    firm.customer("A")
    # A pair of boots is exchanged: credited, and the credit pays for the next order.
    firm.order("100", "80.00", on=MARCH)
    firm.credit("K1", "100", "80.00", APRIL, credit_type="exchange")
    firm.order("101", "85.00", on=APRIL, exchange_credit_number="K1")
    # Money back for no goods.
    firm.credit("K2", "101", "5.00", MAY, goods=False, credit_type="goodwill")
    firm.credit("K3", None, "3.00", MAY, goods=False, credit_type="goodwill")
    # A third of a line is cancelled, and a whole order with its carriage.
    firm.order("102", "100.00", on=MARCH, line={"quantity": 3, "quantity_cancelled": 1, "cancelled_at": APRIL})
    firm.order("103", "20.00", on=MARCH, status="cancelled", cancelled_at=APRIL)
    firm.prima.put("order_charge", {"order_number": "103", "value": "4.95"})
    # An order in euros, and its refund at another rate.
    firm.order("104", "50.00", on=MARCH, currency="EUR", exchange_rate="0.86")
    firm.credit("K4", "104", "50.00", APRIL, currency="EUR", exchange_rate="0.88")
    firm.compute()
    firm.know("P1-A")
    firm.send()
    proof = firm.prove()
    assert firm.causes() == []
    assert proof.totals["orders"] == D("80.00") + D("85.00") + D("100.00") + D("24.95") + D("43.00")
    assert proof.totals["refunds"] == -(D("80.00") + D("8.00") + D("33.33") + D("24.95") + D("44.00"))
    assert proof.totals["difference"] == 0
    assert firm.on("posted", APRIL).net == D("85.00") - D("80.00") - D("33.33") - D("24.95") - D("44.00")
    assert firm.on("ordered", MARCH, currency="EUR").net == D("-1.00")
