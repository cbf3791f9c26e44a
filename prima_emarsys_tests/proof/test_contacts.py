"""The proof finds what Emarsys holds otherwise, says so without showing it, and lets the next run mend it."""

from __future__ import annotations

from prima_emarsys.proof.contacts import ContactsProof
from prima_emarsys.sandbox.emarsys.faults import Fault, Faults
from prima_emarsys.sync.exceptions import open_exceptions
from prima_emarsys_tests.defs.house import House, account_of


def prove(house: House) -> ContactsProof:
    with house.project() as project:
        return project.prove()


def send(house: House) -> int:
    """Sends what is due; how many contacts Emarsys accepted."""
    with house.project() as project:
        delivered = project.send(settle_seconds=30).delivered
        assert delivered is not None
        assert delivered.settled
        return delivered.tally.acknowledged


def differences(house: House) -> list[tuple[str, str]]:
    """Record and detail of the open exceptions of the proof."""
    with house.project() as project:
        return [(one.record, one.detail) for one in open_exceptions(project.ledger) if one.scope == "proof/contacts"]


def assert_sums(proof: ContactsProof) -> None:
    assert proof.desired == proof.equal + proof.differing + proof.missing + proof.waiting


def test_both_sides_in_step_prove_equal_and_leave_no_exception(house: House) -> None:
    proof = prove(house)
    assert proof.holds
    assert_sums(proof)
    assert (proof.equal, proof.held, proof.unexpected) == (proof.desired, proof.desired, 0)
    assert differences(house) == []
    assert send(house) == 0


def test_a_value_changed_behind_our_back_is_found_shown_masked_and_mended(house: House) -> None:
    person = house.person()
    ours = house.desired()[person]["last_name"]
    house.write(person, last_name="Canaryman", prima_orders="77")
    proof = prove(house)
    assert not proof.holds
    assert_sums(proof)
    assert (proof.differing, proof.by_field) == (1, {"last_name": 1, "orders": 1})
    (record, detail) = differences(house)[0]
    assert record == f"person|{person}"
    assert f"last_name: Prima says {ours[0]}…({len(ours)}), Emarsys holds C…(9)" in detail
    assert f"orders: Prima says {house.desired()[person]['prima_orders']}, Emarsys holds 77" in detail
    assert "Canaryman" not in detail
    assert send(house) == 1
    assert house.held() == house.desired()
    assert prove(house).holds
    assert differences(house) == []


def test_a_value_emptied_behind_our_back_is_found_and_mended(house: House) -> None:
    person = house.person(lambda contact: "phone" in contact)
    house.write(person, phone="")
    assert prove(house).by_field == {"phone": 1}
    assert send(house) == 1
    assert house.held()[person] == house.desired()[person]


def test_contacts_that_were_deleted_in_emarsys_are_created_again(house: House) -> None:
    desired = house.desired()
    house.emarsys.forget_contacts()
    proof = prove(house)
    assert_sums(proof)
    assert (proof.missing, proof.equal, proof.held) == (len(desired), 0, 0)
    assert send(house) == len(desired)
    assert house.held() == desired
    assert prove(house).holds


def test_what_others_write_in_a_field_that_we_never_set_is_theirs(house: House) -> None:
    person = house.person(lambda contact: "phone" not in contact)
    house.write(person, phone="01234 567890")
    assert prove(house).holds
    assert send(house) == 0
    assert house.emarsys.contacts()[person]["phone"] == "01234 567890"


def test_a_contact_with_a_key_of_ours_that_nobody_desires_is_unexpected(house: House) -> None:
    house.emarsys.seed([{"prima_person_key": "P1-9999999999", "email": "nobody@example.com"}])
    proof = prove(house)
    assert_sums(proof)
    assert (proof.unexpected, proof.explained, proof.holds) == (1, 0, False)


def test_a_person_who_is_no_longer_sent_is_explained_and_listed_and_stays_in_emarsys(house: House) -> None:
    person = house.person()
    house.amend("customer", account_of(house.desired()[person]), account_type="STAFF", channel="STAFF")
    with house.project() as project:
        project.read("customers")
        project.persons()
        project.attributes()
        project.compose()
    assert person not in house.desired()
    assert send(house) == 0
    proof = prove(house)
    assert (proof.unexpected, proof.explained, proof.holds) == (1, 1, True)
    assert person in house.emarsys.contacts()
    with house.project() as project:
        (case,) = [one for one in open_exceptions(project.ledger) if one.kind == "no-longer-sent"]
    assert case.record == f"person|{person}"


def test_a_contact_that_waits_is_neither_equal_nor_different(house: House) -> None:
    person = house.person()
    house.amend("customer", account_of(house.desired()[person]), surname="Changed")
    house.emarsys.faults = Faults(Fault(kind="row-errors", rows=1.0))
    with house.project() as project:
        project.read("customers")
        project.persons()
        project.compose()
        project.send()
    house.emarsys.faults = Faults()
    proof = prove(house)
    assert_sums(proof)
    assert (proof.waiting, proof.differing, proof.holds) == (1, 0, False)
