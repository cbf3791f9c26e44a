"""The job `sync`, run as Dagster runs it: Emarsys ends equal to the desired state, and every count adds up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import pytest

from prima_emarsys.defs.checks import checks_of
from prima_emarsys.defs.prima.sensors import SCHEDULED
from prima_emarsys.defs.showing import FLOW, MOST_ROWS
from prima_emarsys.sandbox.emarsys.faults import Fault, Faults
from prima_emarsys_tests.defs.house import (
    COMPUTING,
    STOCK,
    SWEEPING,
    House,
    account_of,
    checks,
    in_step,
    metadata,
)

ASSETS = {*SWEEPING, *COMPUTING, *STOCK, *SCHEDULED}
WARNINGS = {
    "prima/customers:quarantine",
    "prima/orders:quarantine",
    "prima/stock:quantities",
    "core/persons:identity_exceptions",
    "core/sales:sales_exceptions",
    "emarsys/contacts:contact_exceptions",
}
"""The world holds awkward records on purpose, so these say so."""
DERIVED = ("core.accounts", "core.persons", "core.sales", "emarsys.rfm_clv", "emarsys.contacts")


def assert_counts_add_up(result: dg.ExecuteInProcessResult) -> None:
    for subject in ("customers", "orders", "returns"):
        counts = metadata(result, f"prima/{subject}")
        assert counts["read"] == counts["changed"] + counts["unchanged"] + counts["quarantined"], subject
    persons = metadata(result, "core/persons")
    assert persons["read"] == persons["dagster/row_count"] + persons["excluded"]
    predicted = metadata(result, "emarsys/predicted_value")
    assert persons["persons"] == predicted["read"] == predicted["dagster/row_count"] + predicted["excluded"]
    contacts = metadata(result, "emarsys/contacts")
    assert persons["persons"] == contacts["read"] == contacts["dagster/row_count"] + contacts["excluded"]
    assert contacts["dagster/row_count"] == contacts["planned"] + contacts["unchanged"]
    assert contacts["sent"] == contacts["accepted"] + contacts["refused"] + contacts["unknown"]
    assert contacts["planned"] == contacts["sent"]
    for asset in ASSETS:
        assert all(number >= 0 for name, number in metadata(result, asset).items() if name in FLOW), asset


# -- a house in which nothing happens --------------------------------------------------------------------------------


@dataclass
class Seen:
    """What tests look at after one more sync."""

    house: House
    result: dg.ExecuteInProcessResult
    before: dict[str, dict[str, str]] = field(default_factory=dict)
    persons: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def resting(first_sync: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    with in_step(first_sync, tmp_path_factory.mktemp("resting") / "house") as house:
        before = house.held()
        yield Seen(house, house.run(), before)


def test_a_first_sync_leaves_emarsys_as_desired(resting: Seen) -> None:
    desired = resting.house.desired()
    assert len(desired) > 150
    assert resting.before == desired
    assert len(resting.house.emarsys.all_contacts()) == len(desired)
    assert sum("prima_expected_value_12m" in contact for contact in desired.values()) > 150


def test_a_second_sync_sends_nothing(resting: Seen) -> None:
    assert resting.result.success
    contacts = metadata(resting.result, "emarsys/contacts")
    assert (contacts["planned"], contacts["sent"], contacts["calls"]) == (0, 0, 0)
    assert contacts["unchanged"] == contacts["dagster/row_count"] == len(resting.before)
    assert_counts_add_up(resting.result)
    assert resting.house.emarsys.counters.calls["contact.update"] == 0
    assert resting.house.emarsys.counters.contacts_accepted == 0


def test_every_check_is_evaluated_and_only_the_awkward_records_warn(resting: Seen) -> None:
    evaluated = checks(resting.result)
    assert set(evaluated) == {f"{asset}:{spec.name}" for asset in ASSETS for spec in checks_of(asset)}
    assert {name for name, passed in evaluated.items() if not passed} == WARNINGS


def test_metadata_is_bounded_and_names_its_counts_in_the_order_of_the_flow(resting: Seen) -> None:
    for event in resting.result.get_asset_materialization_events():
        found = event.step_materialization_data.materialization.metadata
        for name, value in found.items():
            if isinstance(value.value, str):
                assert len(value.value.splitlines()) <= MOST_ROWS + 4, name
                assert len(value.value) < 20_000, name
        numbers = [name for name in found if name in FLOW]
        assert numbers == sorted(numbers, key=FLOW.index)


@pytest.mark.parametrize("surname", ["Null", "NA"])
def test_a_surname_that_looks_like_nothing_is_kept_as_text(resting: Seen, surname: str) -> None:
    assert surname in {contact.get("last_name") for contact in resting.before.values()}


def test_an_account_code_keeps_its_leading_zeros(resting: Seen) -> None:
    assert all(contact["prima_account"].startswith(("1-0", "2-0")) for contact in resting.before.values())


# -- a house in which things happened --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def moved(first_sync: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    with in_step(first_sync, tmp_path_factory.mktemp("moved") / "house") as house:
        before = house.held()
        persons = {
            "renamed": house.person(lambda contact: "phone" not in contact),
            "wants no calls": house.person(lambda contact: "phone" in contact),
        }
        house.write(persons["renamed"], phone="01234 567890", fax="01234 567891")
        house.write(persons["wants no calls"], fax="01234 567891")
        accepted = house.emarsys.counters.contacts_accepted
        house.tick(changes=25, seed=5)
        house.amend("customer", account_of(before[persons["renamed"]]), surname="Changed")
        house.amend("customer", account_of(before[persons["wants no calls"]]), phone=None)
        result = house.run(*SWEEPING, *COMPUTING)
        assert result.success
        house.emarsys.counters.contacts_updated -= accepted
        yield Seen(house, result, before, persons)


def test_what_changed_in_prima_is_sent_and_nothing_else(moved: Seen) -> None:
    after, desired = moved.house.held(), moved.house.desired()
    others = moved.persons["renamed"]
    assert {person: after[person] for person in desired if person != others} == {
        person: contact for person, contact in desired.items() if person != others
    }
    changed = {person for person in desired if moved.before.get(person) != desired[person]}
    assert moved.persons.keys()
    assert 2 < len(changed) < 60
    counts = metadata(moved.result, "emarsys/contacts")
    assert counts["planned"] == counts["accepted"] == len(changed)
    assert counts["calls"] == 1
    assert moved.house.emarsys.counters.contacts_accepted == len(changed)


def test_no_call_carries_consent(moved: Seen) -> None:
    contacts = moved.house.emarsys.all_contacts()
    assert contacts
    assert all(contact["optin"] is None for contact in contacts)


def test_a_value_that_prima_never_had_is_not_sent_as_empty(moved: Seen) -> None:
    held = moved.house.emarsys.contacts()[moved.persons["renamed"]]
    assert held["last_name"] == "Changed"
    assert held["phone"] == "01234 567890"


def test_a_phone_that_is_removed_in_prima_is_cleared_in_emarsys(moved: Seen) -> None:
    assert moved.before[moved.persons["wants no calls"]]["phone"]
    assert moved.house.emarsys.contacts()[moved.persons["wants no calls"]]["phone"] is None


def test_a_field_that_we_do_not_write_is_left_alone(moved: Seen) -> None:
    assert {moved.house.emarsys.contacts()[person]["fax"] for person in moved.persons.values()} == {"01234 567891"}


def test_an_increment_leaves_the_same_tables_as_computing_everything_again(
    moved: Seen,
) -> None:
    increment = {name: sorted(moved.house.table(name), key=repr) for name in DERIVED}
    assert len(increment["core.sales"]) > 1_000
    result = moved.house.run(*SWEEPING, *COMPUTING, sweep=True, whole=True)
    assert result.success
    assert metadata(result, "emarsys/contacts")["planned"] == 0
    for name in DERIVED:
        assert sorted(moved.house.table(name), key=repr) == increment[name], name


# -- one by one ------------------------------------------------------------------------------------------------------


def test_a_value_that_went_and_came_back_without_an_answer_ends_in_emarsys(house: House) -> None:
    """A to B, whose reply is lost, and back to A before anything else is sent."""
    person = house.person()
    desired = house.desired()[person]
    house.amend("customer", account_of(desired), surname="Between")
    house.emarsys.faults = Faults(Fault(kind="drop", method="PUT", path="contact", applied=True))
    with house.project() as project:
        project.read("customers")
        project.persons()
        project.compose()
        sent = project.send().delivered
        assert sent is not None
        assert sent.counts.in_doubt == 1
    assert house.emarsys.contacts()[person]["last_name"] == "Between"
    house.emarsys.faults = Faults()
    house.amend("customer", account_of(desired), surname=desired["last_name"])
    with house.project() as project:
        project.read("customers")
        project.persons()
        project.compose()
        project.send(settle_seconds=30)
    assert house.held()[person] == house.desired()[person] == desired
