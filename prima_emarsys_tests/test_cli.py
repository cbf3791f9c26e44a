"""The command line as an operator meets it: tables, exit codes, and errors that say what to do."""

from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from prima_emarsys.cli import main
from prima_emarsys.emarsys.events import Events
from prima_emarsys.prima.webservice import ParkedRequest
from prima_emarsys.sandbox.emarsys.faults import Fault, Faults
from prima_emarsys.sandbox.emarsys.server import LocalEmarsys
from prima_emarsys.settings import DEFAULT_SITE
from prima_emarsys.sync import lanes
from prima_emarsys.sync.exceptions import open_exceptions
from prima_emarsys.sync.plan import LANE
from prima_emarsys_tests.defs.house import House, account_of, first_sync, house
from prima_emarsys_tests.defs.shop import Shop, shop, small_world

__all__ = ["first_sync", "house", "shop", "small_world"]

BY = ["--by", "Ann", "--note", "looked at it"]


@pytest.fixture(autouse=True)
def _a_wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prima_emarsys.cli.console.width", 250)


def run(*words: str) -> Result:
    """One command. What ends it must be an exit code, never an exception with its traceback."""
    result = CliRunner().invoke(main, list(words))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    assert "Traceback" not in result.output
    return result


def rename(house: House, surname: str = "Canaryman") -> str:
    """A person whose new surname is composed and not sent yet."""
    person = house.person()
    house.amend("customer", account_of(house.desired()[person]), surname=surname)
    with house.project() as project:
        project.read("customers")
        project.persons()
        project.compose()
    return person


# -- looking ---------------------------------------------------------------------------------------------------------


def test_a_plan_says_who_would_change_and_how_masked_unless_asked_and_sends_nothing(house: House) -> None:
    person = rename(house)
    old = house.held()[person]["last_name"]
    masked = run("plan", "contacts")
    assert masked.exit_code == 0
    (line,) = [line for line in masked.output.splitlines() if person in line]
    assert line.split() == [person, "last_name", f"{old[0]}…({len(old)})", "C…(9)"]
    assert "Canaryman" not in masked.output
    assert old not in masked.output
    (shown,) = [line for line in run("plan", "contacts", "--show-personal").output.splitlines() if person in line]
    assert shown.split() == [person, "last_name", old, "Canaryman"]
    assert not house.emarsys.counters.calls["contact.update"]


@pytest.mark.usefixtures("house")
def test_exceptions_are_listed_by_owner_with_what_to_do() -> None:
    everything = run("exceptions")
    assert everything.exit_code == 0
    assert "merge-loop" in everything.output
    assert "Undo one of the merges in Prima." in everything.output
    finance = run("exceptions", "--owner", "finance")
    assert "refund-above-sale" in finance.output
    assert "merge-loop" not in finance.output


def test_the_doctor_finds_nothing_wrong_after_a_sync_and_says_when_something_is(house: House) -> None:
    well = run("doctor")
    assert well.exit_code == 0, well.output
    assert "WRONG" not in well.output
    with house.project() as project:
        lanes.stop(project.ledger, LANE, "HTTP 401", "Check the credentials.")
    ill = run("doctor")
    assert ill.exit_code == 1
    assert "HTTP 401. Check the credentials." in ill.output


def test_the_proof_ends_with_nought_only_if_both_sides_agree(house: House) -> None:
    assert run("prove").exit_code == 0
    house.emarsys.forget_contacts()
    differing = run("prove")
    assert differing.exit_code == 1
    assert str(len(house.desired())) in differing.output


@pytest.mark.usefixtures("house")
def test_retention_says_for_each_table_what_it_deleted() -> None:
    result = run("retention")
    assert result.exit_code == 0
    assert "delivery_call" in result.output


# -- deciding --------------------------------------------------------------------------------------------------------


def test_a_stopped_lane_is_resumed_by_name_and_the_act_is_on_record(house: House) -> None:
    with house.project() as project:
        lanes.stop(project.ledger, LANE, "HTTP 401", "Check the credentials.")
    assert run("resume", "contacts", *BY).exit_code == 0
    with house.project() as project:
        assert lanes.find(project.ledger, LANE).stopped_at is None
        rows = project.ledger.read(lambda c: c.execute(sa.text("SELECT who, what, detail FROM audit")).all())
    assert ("Ann", "resume", "looked at it") in [tuple(row) for row in rows]


def test_a_held_plan_goes_after_its_release_and_not_before(house: House, tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(DEFAULT_SITE.read_text() + "  volume: {updates_share: 0.001, ignore_below: 10}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRIMA_EMARSYS_SITE", str(site))
        person = rename(house)
        nothing = run("release", "contacts", *BY)
        assert nothing.exit_code == 1
        assert "No plan is held" in nothing.output
        with house.project() as project:
            assert project.send().held
            assert [case.kind for case in open_exceptions(project.ledger, "marketing")].count("plan-held") == 1
        assert run("release", "contacts", *BY).exit_code == 0
        with house.project() as project:
            assert project.send().held is None
    assert house.held()[person]["last_name"] == "Canaryman"


def test_refused_contacts_are_sent_again_after_their_release(house: House) -> None:
    person = rename(house)
    house.emarsys.faults = Faults(Fault(kind="row-errors", rows=1.0))
    with house.project() as project:
        sent = project.send().delivered
        assert sent is not None
        assert sent.counts.quarantined == 1
    assert person in run("exceptions").output
    house.emarsys.faults = Faults()
    released = run("release", "contacts", "--refused", *BY)
    assert "1 contacts will be sent again" in released.output
    with house.project() as project:
        project.send()
    assert house.held()[person]["last_name"] == "Canaryman"
    assert person not in run("exceptions").output


def number_of(record: str) -> str:
    """Number of the open exception about a record, as the list shows it."""
    (line,) = [line for line in run("exceptions", "--limit", "1000").output.splitlines() if record in line]
    return line.split()[0]


def test_one_refused_contact_is_retried_at_once_and_its_exception_closes(house: House) -> None:
    person = rename(house)
    house.emarsys.faults = Faults(Fault(kind="row-errors", rows=1.0))
    with house.project() as project:
        project.send()
    number = number_of(person)
    again = run("exceptions", "retry", number, *BY)
    assert again.exit_code == 1
    assert "Refused again" in again.output
    house.emarsys.faults = Faults()
    assert "is resolved" in run("exceptions", "retry", number, *BY).output
    assert house.held()[person]["last_name"] == "Canaryman"
    shown = run("exceptions", "show", number).output
    assert "resolved" in shown
    assert "handbook/data.md#contact-refused" in shown


@pytest.mark.usefixtures("house")
def test_an_exception_is_assigned_acknowledged_accepted_and_resolved_by_name_and_all_is_on_record() -> None:
    number = run("exceptions", "--owner", "finance", "--limit", "1").output.splitlines()[-2].split()[0]
    assert run("exceptions", "assign", number, "customer-service", *BY).exit_code == 0
    assert number in run("exceptions", "--owner", "customer-service", "--limit", "1000").output
    for act in ("acknowledge", "accept", "resolve"):
        assert run("exceptions", act, number, *BY).exit_code == 0
    assert "There is no open exception" in run("exceptions", "accept", number, *BY).output
    shown = run("exceptions", "show", number).output
    assert [f"exception-{state}" in shown for state in ("assign", "acknowledged", "accepted", "resolved")] == [True] * 4
    assert "exception-assign" in run("audit").output
    assert run("audit", "verify").exit_code == 0
    merged = run("exceptions", "--owner", "customer-service", "--limit", "1").output.splitlines()[-2].split()[0]
    refused = run("exceptions", "retry", merged, *BY)
    assert "is not sent from here" in refused.output


def test_exceptions_go_to_a_spreadsheet(house: House, tmp_path: Path) -> None:
    file = tmp_path / "exceptions.csv"
    assert run("exceptions", "export", "--to", str(file)).exit_code == 0
    rows = list(csv.DictReader(file.open(encoding="utf-8-sig")))
    with house.project() as project:
        cases = open_exceptions(project.ledger)
    assert [(row["number"], row["kind"], row["record"]) for row in rows] == [
        (str(case.id), case.kind, case.record) for case in cases
    ]
    assert sum(Decimal(row["money"] or 0) for row in rows) == sum(case.money or 0 for case in cases)


def test_a_parked_request_of_the_web_service_is_listed_and_released_by_name_on_record(house: House) -> None:
    with house.project() as project:
        project.parked_requests.park(ParkedRequest("abc", "OrderList of company 1", "(E:1) no", "2026-10-05"))
    listed = run("parked-requests")
    assert "OrderList of company 1" in listed.output
    assert run("release-request", "other", *BY).exit_code == 1
    assert run("release-request", "abc", *BY).exit_code == 0
    assert "OrderList" not in run("parked-requests").output
    with house.project() as project:
        rows = project.ledger.read(lambda c: c.execute(sa.text("SELECT who, what, subject FROM audit")).all())
        assert ("Ann", "release-request", "abc") in [tuple(row) for row in rows]


# -- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["PRIMA_EMARSYS_HASH_KEY", "EMARSYS_CLIENT_SECRET"])
@pytest.mark.usefixtures("house")
def test_a_missing_variable_is_named_with_both_ways_to_set_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv(f"{name}_FILE", raising=False)
    result = run("prove")
    assert result.exit_code == 1
    assert f"{name} is not set. Set it, or {name}_FILE" in result.output


def test_a_wrong_site_file_is_named_with_line_and_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site.yaml"
    site.write_text("site: broken\ntime_zone: Europe/Londn\n")
    monkeypatch.setenv("PRIMA_EMARSYS_SITE", str(site))
    result = run("exceptions")
    assert result.exit_code == 1
    assert f"{site}:2: time_zone: 'Europe/Londn' is no time zone; use a name such as Europe/London" in result.output


def test_an_attribute_that_does_not_exist_is_named_with_those_that_do(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(DEFAULT_SITE.read_text() + "  fields: {shoe_size: prima_shoe_size}\n")
    monkeypatch.setenv("PRIMA_EMARSYS_SITE", str(site))
    result = run("plan", "contacts")
    assert result.exit_code == 1
    assert "emarsys.fields: no attribute shoe_size; there are account, accounts," in result.output
    assert not house.emarsys.counters.calls


def test_wrong_credentials_say_what_to_do_and_show_no_secret(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMARSYS_CLIENT_SECRET", "canary-of-a-secret")
    result = run("prove")
    assert result.exit_code == 1
    assert "Check client_id, client_secret and token_url in the settings." in result.output
    assert "canary-of-a-secret" not in result.output
    assert house.emarsys.client_secret not in result.output


def test_a_key_field_without_an_index_is_explained(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalEmarsys(tmp_path / "other", person_key="unindexed") as emarsys:
        monkeypatch.setenv("EMARSYS_URL", emarsys.url)
        monkeypatch.setenv("EMARSYS_TOKEN_URL", emarsys.token_url)
        result = run("prove")
    assert result.exit_code == 1
    assert "has no index" in result.output
    assert "Ask SAP Emarsys Support" in result.output
    assert house.emarsys.counters.calls == {}


@pytest.mark.usefixtures("house")
def test_a_ledger_of_another_hash_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRIMA_EMARSYS_HASH_KEY", "another key, of more than 16 bytes")
    result = run("exceptions")
    assert result.exit_code == 1
    assert "another hash key" in result.output
    assert "another key, of more" not in result.output


def test_a_damaged_ledger_is_refused_and_not_replaced(house: House) -> None:
    ledger = house.folder / "ledger.sqlite"
    ledger.write_bytes(b"this is no database" * 1_000)
    result = run("doctor")
    assert result.exit_code == 1
    assert "restore it from a backup" in result.output
    assert ledger.read_bytes().startswith(b"this is no database")


# -- sales data ------------------------------------------------------------------------------------------------------


def test_a_file_of_unknown_fate_is_listed_reported_and_settled_by_a_named_person(house: House, tmp_path: Path) -> None:
    house.emarsys.faults = Faults(Fault(kind="drop", applied=True, path="hapi/*/sales-data/api"))
    house.tick("order", changes=6, seed=3)
    with house.project() as project:
        project.read("customers")
        project.read("orders")
        project.persons()
        project.sales()
        project.attributes()
        project.compose()
        project.send()
        project.sales_lines()
        planned = run("plan", "sales")
        assert planned.exit_code == 0
        assert "First" in planned.output
        assert project.send_sales().uploaded is not None
    listed = run("sales", "files", "--state", "unknown")
    (line,) = [line for line in listed.output.splitlines() if "sales-2" in line]
    name = line.split()[0]
    assert name in run("exceptions", "--owner", "marketing").output
    reported = run("report", "sales", "--folder", str(tmp_path / "reports"))
    assert reported.exit_code == 0
    assert "every penny of it has its cause" in reported.output
    page = (tmp_path / "reports" / "sales.html").read_text(encoding="utf-8")
    assert f">unknown</td><td>{name}</td>" in page
    assert run("sales", "resolve", name, *BY).exit_code == 2
    settled = run("sales", "resolve", name, "--arrived", *BY)
    assert settled.exit_code == 0
    assert f"{name} (" in settled.output
    assert "counts as accepted" in settled.output
    assert name not in run("exceptions", "--owner", "marketing").output
    again = run("sales", "resolve", name, "--absent", *BY)
    assert again.exit_code == 1
    assert f"{name} is accepted; only unknown or refused files can be decided so" in again.output
    assert run("sales", "release", name, *BY).exit_code == 1
    run("report", "sales", "--folder", str(tmp_path / "reports"))
    assert name not in (tmp_path / "reports" / "sales.html").read_text(encoding="utf-8")
    _sign_a_period()


def _sign_a_period() -> None:
    listed = run("periods")
    company, period, *_ = listed.output.splitlines()[-2].split()
    signed = run("periods", "sign", company, period, *BY)
    assert signed.exit_code == 0
    assert signed.output.count("Signed.") == 2
    assert "Ann" in run("periods").output.splitlines()[-2]
    again = run("periods", "sign", company, period, *BY)
    assert again.exit_code == 1
    assert "was signed by Ann already" in again.output
    assert "is not closed" in run("periods", "sign", company, "1999-01", *BY).output


def test_finance_accepts_a_refund_above_its_sale_and_it_is_sent(house: House) -> None:
    with house.project() as project:
        cases = [case for case in open_exceptions(project.ledger, "finance") if case.kind == "refund-above-sale"]
        waiting = {row["order_id"] for row in house.table("emarsys.sales_waiting")}
        assert waiting
        for case in cases:
            assert run("exceptions", "accept", str(case.id), *BY).exit_code == 0
        sent = project.send_sales()
        assert sent.rows_sealed == len(waiting)
        assert sent.disputed == 0
    assert run("exceptions", "accept", "999999", *BY).exit_code == 1


# -- order events ----------------------------------------------------------------------------------------------------


def test_events_are_listed_with_what_became_of_them_and_decided_upon_by_name(shop: Shop) -> None:
    shop.happen("order")
    shop.tell()
    listed = run("events", "list", "--state", "sent")
    assert listed.exit_code == 0
    assert "order-confirmed" in listed.output
    assert "Seconds from Prima's commit" in listed.output
    [withheld, *_] = shop.project.outbox.ended("withheld", 1)
    assert withheld.event_id in run("events", "list", "--state", "withheld", "--limit", "1").output
    assert "0 events go" in run("events", "release", "--event", withheld.event_id, *BY).output
    assert "1 events are dropped" in run("events", "drop", "--event", withheld.event_id, *BY).output
    assert withheld.event_id in run("events", "list", "--state", "cancelled", "--limit", "1").output
    assert run("events", "release", *BY).exit_code == 2


def test_an_event_that_waits_for_a_person_is_listed_with_its_owner_and_goes_when_released(shop: Shop) -> None:
    event = Events(shop.project.emarsys).ids()["prima_order_confirmed"]
    shop.emarsys.connect_event(event, connected=False)
    shop.happen("order")
    shop.tell()
    listed = run("events", "list").output
    assert "marketing" in listed
    assert "5005" in listed
    shop.emarsys.connect_event(event, connected=True)
    assert "1 events go" in run("events", "release", "--kind", "order-confirmed", *BY).output
    shop.tell()
    assert [one.event for one in shop.told()] == ["prima_order_confirmed"]
