"""What happens to an order in Prima is told by Emarsys once, to the right person, with what a mail needs."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import pytest
import yaml

from prima_emarsys.sandbox.emarsys.faults import Fault, Faults
from prima_emarsys.sandbox.emarsys.server import Mailing
from prima_emarsys.sandbox.world.store import open_world
from prima_emarsys.settings import DEFAULT_SITE
from prima_emarsys.steps import triggering
from prima_emarsys.sync.exceptions import open_exceptions
from prima_emarsys.sync.plan import LANE
from prima_emarsys_tests.defs.shop import Shop, orders_of, shop, small_world, watched

__all__ = ["shop", "small_world"]

CONFIRMED = "prima_order_confirmed"


def number(record: str) -> str:
    """The order number of `sales_order:company|number`."""
    return record.split("|")[1]


def test_a_first_look_at_years_of_orders_tells_nobody_anything(shop: Shop) -> None:
    assert shop.told() == []
    states = {state for kind in shop.project.outbox.states().values() for state in kind}
    assert states == {"withheld", "cancelled"}
    assert not shop.project.outbox.oldest_unsent()


def test_a_new_shoppers_order_makes_the_contact_and_then_tells_what_was_bought(shop: Shop) -> None:
    [record] = shop.happen("new-shopper-order")
    shop.tell()
    [mail] = shop.told()
    order = shop.order(record)
    person = f"P{order['company']}-{order['customer_code']}"
    assert (mail.event, mail.external_id) == (CONFIRMED, person)
    data = mail.data
    assert isinstance(data, dict)
    with open_world(shop.house.prima_url) as store, store.rows() as rows:
        lines = rows.find("sales_order_line", company=order["company"], order_number=order["order_number"])
        charges = rows.find("order_charge", company=order["company"], order_number=order["order_number"])
    total = sum(row["value_incl_vat"] for row in (*lines, *charges))
    assert (data["order_number"], data["currency"], data["order_value"]) == (number(record), "GBP", f"{total:.2f}")
    assert [(one["sku"].split("_")[0], one["quantity"], one["value"]) for one in data["lines"]] == [
        (line["product"], line["quantity"], f"{line['value_incl_vat']:.2f}") for line in lines
    ]
    assert all(re.fullmatch(r"\d+\.\d\d", one["price"]) for one in data["lines"])
    assert not data["is_cancelled"]
    held = shop.house.held()[person]
    assert held["last_name"]
    assert held["email"] == rows_email(shop, person)


def rows_email(shop: Shop, person: str) -> str:
    company, _, code = person.removeprefix("P").partition("-")
    with open_world(shop.house.prima_url) as store, store.rows() as rows:
        account = rows.one("customer", company=company, customer_code=code)
    assert account is not None
    return str(account["email"]).lower()


def test_every_step_of_an_orders_life_is_told(shop: Shop) -> None:
    shop.happen("order", "despatch", "part-despatch", "line-cancelled", "order-cancelled", "return-receipted")
    shop.tell()
    shop.happen("credit-finalised")
    shop.tell()
    events = [one.event.removeprefix("prima_") for one in shop.told()]
    assert events.pop() == "credit_note_finalised"
    assert {"order_confirmed", "order_despatched", "order_part_despatched", "return_receipted"} <= set(events)
    assert {"order_cancelled", "order_part_cancelled"} & set(events)
    assert len({one.trigger_id for one in shop.told()}) == len(shop.told())


def test_how_long_each_event_took_is_stored_in_its_parts(shop: Shop) -> None:
    shop.happen("order")
    shop.tell()
    [latency] = shop.project.outbox.latencies(datetime.now(UTC) - timedelta(minutes=1))
    assert latency.kind == "order-confirmed"
    assert 0 < latency.total < 30
    assert min(latency.source, latency.queue, latency.send) >= 0


def test_row_56_looking_again_and_from_two_processes_at_once_tells_each_fact_once(shop: Shop) -> None:
    records = [shop.happen("order", seed=seed)[0] for seed in range(4)]
    with shop.house.project() as other:

        def work(project: object) -> None:
            Shop(shop.house, project).tell()  # pyright: ignore[reportArgumentType]

        both = [Thread(target=work, args=[project]) for project in (shop.project, other)]
        for one in both:
            one.start()
        for one in both:
            one.join()
    shop.tell()
    assert sorted(orders_of(shop.told())) == sorted((CONFIRMED, number(record)) for record in records)


LOST = {
    "row 4: no reply": Fault(kind="drop", applied=True, path="event/*/trigger", calls=1),
    "row 11: an error after the work": Fault(kind="500", code=1003, applied=True, path="event/*/trigger", calls=1),
    "row 18: half a reply": Fault(kind="truncated", applied=True, path="event/*/trigger", calls=1),
    "not even arrived": Fault(kind="drop", path="event/*/trigger", calls=1),
}


def test_rows_4_11_and_18_whatever_becomes_of_a_reply_each_fact_is_told_once(shop: Shop) -> None:
    for seed, fault in enumerate(LOST.values()):
        shop.emarsys.faults = Faults(fault)
        [record] = shop.happen("order", seed=seed)
        shop.tell()
        told = [order for _, order in orders_of(shop.told())]
        assert told.count(number(record)) == 1
    assert len(shop.told()) == len(LOST)
    assert shop.emarsys.counters.triggers_repeated == 3


def test_row_52_a_row_that_commits_late_is_found_within_the_overlap(shop: Shop) -> None:
    shop.happen("order")
    shop.tell()
    [late] = shop.happen("new-shopper-order", seed=8, late=timedelta(minutes=10))
    with shop.house.project() as fresh:  # another process; one that stays looks so far back once a minute
        Shop(shop.house, fresh).tell()
    assert orders_of(shop.told())[1:] == [(CONFIRMED, number(late))]


def test_an_old_fact_that_is_seen_late_is_withheld(shop: Shop) -> None:
    before = shop.states("order-confirmed").get("withheld", 0)
    [record] = shop.happen("order")
    ordered_at = shop.order(record)["ordered_at"] - timedelta(days=3)
    shop.house.amend("sales_order", {"company": "1", "order_number": number(record)}, ordered_at=ordered_at)
    shop.tell()
    assert shop.told() == []
    assert shop.states("order-confirmed")["withheld"] == before + 1


def test_an_amended_order_is_confirmed_again_with_what_it_says_now(shop: Shop) -> None:
    [record] = shop.happen("order")
    shop.tell()
    find = {"company": "1", "order_number": number(record)}
    with open_world(shop.house.prima_url) as store, store.rows() as rows:
        line = rows.find("sales_order_line", **find)[0]
    shop.house.amend("sales_order_line", find | {"line_number": line["line_number"]}, quantity=line["quantity"] + 1)
    shop.tell()
    first, second = shop.told()
    assert [first.event, second.event] == [CONFIRMED, CONFIRMED]
    assert isinstance(first.data, dict)
    assert isinstance(second.data, dict)
    assert (first.data["is_amended"], second.data["is_amended"]) == (False, True)
    assert second.data["ordered_quantity"] == first.data["ordered_quantity"] + 1


def test_row_61_an_order_of_a_colleague_is_told_to_nobody_and_names_the_rule(shop: Shop) -> None:
    [record] = shop.happen("new-shopper-order")
    account = {"company": "1", "customer_code": shop.order(record)["customer_code"]}
    shop.house.amend("customer", account, account_type="STAFF")
    shop.tell()
    assert shop.told() == []
    assert shop.states("order-confirmed")["cancelled"] == 1
    assert shop.house.held() == {}


def test_row_57_a_credit_note_whose_order_prima_does_not_show_waits_for_it(shop: Shop) -> None:
    shop.happen("return-receipted")
    with open_world(shop.house.prima_url) as store, store.rows() as rows:
        [came] = rows.recent("customer_return", datetime(2000, 1, 1), datetime(2100, 1, 1), 1)  # noqa: DTZ001 (wall clock)
        order = rows.one("sales_order", company="1", order_number=came["order_number"])
        assert order is not None
        rows.remove("sales_order", order)
    shop.tell()
    assert not [one for one in shop.told() if one.event == "prima_return_receipted"]
    waiting = shop.project.outbox.unfinished()
    assert [(one.kind, one.owner) for one in waiting] == [("return-receipted", "finance")]
    with open_world(shop.house.prima_url) as store, store.rows() as rows:
        rows.write("sales_order", order)
    with shop.house.project() as fresh:
        Shop(shop.house, fresh).tell()
    assert (("prima_return_receipted", came["order_number"])) in orders_of(shop.told())


def test_a_name_that_emarsys_does_not_have_is_marketings_and_no_crash(
    small_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = yaml.safe_load(DEFAULT_SITE.read_text(encoding="utf-8"))
    site["emarsys"]["events"]["order-confirmed"]["name"] = "thank_you"
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(site), encoding="utf-8")
    monkeypatch.setattr(triggering, "LOOK_AGAIN_SECONDS", 0.0)
    with watched(small_world, tmp_path / "shop", PRIMA_EMARSYS_SITE=str(tmp_path / "site.yaml")) as shop:
        shop.happen("order", "despatch")
        shop.tell()
        assert [one.event for one in shop.told()] == ["prima_order_despatched"]
        found = {(one.kind, str(one.owner)) for one in open_exceptions(shop.project.ledger)}
        assert ("event-missing", "marketing") in found
        shop.emarsys.add_event("thank_you")
        shop.tell()
        assert [one.event for one in shop.told()] == ["prima_order_despatched", "thank_you"]
        assert not open_exceptions(shop.project.ledger)


def test_a_known_address_under_a_new_account_is_told_to_the_person_whom_emarsys_knows(shop: Shop) -> None:
    [record] = shop.happen("new-shopper-order")
    shop.tell()
    first = shop.order(record)
    with open_world(shop.house.prima_url) as store, store.rows() as rows:
        account = rows.one("customer", company="1", customer_code=first["customer_code"])
        assert account is not None
        again = account | {"customer_code": "0000999999", "changed_at": account["changed_at"] + timedelta(seconds=1)}
        rows.write("customer", again)
    [other] = shop.happen("order", seed=9)
    stamp = shop.order(other)["changed_at"]
    find = {"company": "1", "order_number": number(other)}
    shop.house.amend("sales_order", find, customer_code="0000999999", changed_at=stamp)
    shop.tell()
    assert [one.external_id for one in shop.told()] == [f"P1-{first['customer_code']}"] * 2


def test_a_buyer_met_by_an_event_is_the_same_person_and_contact_after_a_full_run(shop: Shop) -> None:
    """The relay's first contact and the run agree: same key, same bytes as if the run had come first."""
    [record] = shop.happen("new-shopper-order")
    shop.tell()
    person = f"P1-{shop.order(record)['customer_code']}"
    early = shop.house.held()[person]
    everything(shop)
    assert shop.house.held() == shop.house.desired()
    assert early.items() <= shop.house.held()[person].items()
    assert shop.project.ledger.counts(LANE).dirty == 0
    with shop.house.project() as project, project.warehouse() as warehouse:
        links = {
            row["account"]: row["person_key"] for row in warehouse.read(warehouse.table("core.persons")).to_pylist()
        }
    (shop.house.folder / "ledger.sqlite").rename(shop.house.folder / "ledger.before")
    (shop.house.folder / "warehouse.duckdb").unlink()
    with shop.house.project() as fresh:  # the same Prima, met by a full run alone
        for subject in ("customers", "orders", "returns"):
            fresh.read(subject)
        fresh.persons()
        with fresh.warehouse() as warehouse:
            alone = {
                row["account"]: row["person_key"] for row in warehouse.read(warehouse.table("core.persons")).to_pylist()
            }
    assert links == alone


def everything(shop: Shop) -> None:
    """A full sync of contacts, as the run's steps do it."""
    project = shop.project
    for subject in ("customers", "orders", "returns"):
        project.read(subject)
    project.persons()
    project.sales()
    project.attributes()
    project.predict()
    project.compose()
    assert not project.send(settle_seconds=20).held


def review_requests(mailings: list[Mailing]) -> set[str]:
    """Orders for which marketing's journey would ask for a review: it starts when an order has wholly left, waits a
    fortnight, and whoever meets one of the leaving events meanwhile, leaves it."""
    asked: set[str] = set()
    for event, order in orders_of(mailings):
        if event == "prima_order_despatched":
            asked.add(order)
        elif event in ("prima_order_cancelled", "prima_return_receipted", "prima_credit_note_finalised"):
            asked.discard(order)
    return asked


@pytest.mark.parametrize("at_once", [True, False], ids=["seen-together", "seen-one-by-one"])
def test_a_review_request_never_follows_a_returned_or_cancelled_order(shop: Shop, at_once: bool) -> None:
    """Seen together, the despatch is not told any more; seen one by one, the later event ends the journey.

    For whoever starts a journey from a segment instead, the payload and the contact say the same.
    """

    def until_told(event: str, *kinds: str) -> str:
        """Let this happen until it happens to somebody who may be mailed; the record of the last of it."""
        for seed in range(20):
            for kind in kinds:
                [record] = shop.happen(kind, seed=seed)
                if not at_once:
                    shop.tell()
            shop.tell()
            if event in [name for name, _ in orders_of(shop.told())]:
                return record
        raise AssertionError(f"{event} was never told")

    kept = until_told("prima_order_despatched", "despatch")
    returned = until_told("prima_return_receipted", "despatch", "return-receipted")
    until_told("prima_order_cancelled", "despatch", "order-cancelled")
    asked = review_requests(shop.told())
    with open_world(shop.house.prima_url) as store, store.rows() as rows:
        company, left, _ = kept.partition(":")[2].split("|")
        [despatched, *_] = rows.find("despatch", company=company, despatch_number=left)
        company, back, _ = returned.partition(":")[2].split("|")
        [came, *_] = rows.find("customer_return", company=company, return_number=back)
        for order in asked:
            header = rows.one("sales_order", company="1", order_number=order)
            assert header is not None
            assert header["status"] != "Cancelled"
            assert not rows.find("customer_return", company="1", order_number=order)
    assert despatched["order_number"] in asked
    assert came["order_number"] not in asked
    [mail] = [one for one in shop.told() if one.event == "prima_return_receipted"]
    assert isinstance(mail.data, dict)
    assert mail.data["returned_quantity"] >= 1
    everything(shop)
    assert shop.house.held()[mail.external_id]["prima_last_return_date"]
