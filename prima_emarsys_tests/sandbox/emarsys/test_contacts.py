"""Contacts are created, changed, found and deleted as Emarsys's documents and recorded replies have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prima_emarsys.sandbox.emarsys.server import LocalEmarsys
from prima_emarsys.sandbox.emarsys.settings import Settings
from prima_emarsys_tests.sandbox.emarsys.conftest import PERSON_KEY, Api


def test_numbers_come_back_as_integers_for_created_and_as_text_for_updated_contacts(api: Api) -> None:
    created = api.data("POST", "contact", {"key_id": "3", "3": "ann@example.com"})["id"]
    assert isinstance(created, int)
    assert api.data("PUT", "contact", {"key_id": "3", "3": "ann@example.com", "1": "Ann"}) == {"id": str(created)}
    both = api.upsert({"3": "ann@example.com"}, {"3": "bob@example.com"}, key="3")
    assert both["ids"][0] == str(created)
    assert isinstance(both["ids"][1], int)
    assert "errors" not in both


def test_creating_a_contact_that_exists_is_refused_with_2009(api: Api) -> None:
    api.upsert({"3": "ann@example.com"}, key="3")
    text = "Contact with the external id already exists: 3"
    assert api.refusal("POST", "contact", {"key_id": "3", "3": "ann@example.com"}) == (400, 2009, text)
    batch = api.data(
        "POST", "contact", {"key_id": "3", "contacts": [{"3": "ann@example.com"}, {"3": "bob@example.com"}]}
    )
    assert batch["errors"] == {"ann@example.com": {"2009": text}}
    assert [type(number) for number in batch["ids"]] == [int]


def test_an_internal_number_is_no_key_for_creation(api: Api) -> None:
    assert api.refusal("POST", "contact", {"key_id": "id", "id": "5"})[:2] == (400, 2004)
    errors = api.upsert({"3": "ann@example.com", "id": "5"}, key="3")["errors"]
    assert errors == {"ann@example.com": {"2007": "Cannot set id or uid on contact creation"}}


def test_updating_a_contact_that_does_not_exist_names_the_value(api: Api) -> None:
    text = "No contact found with the external id: 3 - ann@example.com"
    batch = api.data("PUT", "contact", {"key_id": "3", "contacts": [{"3": "ann@example.com"}]})
    assert batch == {"ids": [], "errors": {"ann@example.com": {"2008": text}}}
    assert api.refusal("PUT", "contact", {"key_id": "3", "3": "ann@example.com"}) == (400, 2008, text)


def test_rows_without_a_key_collapse_on_the_empty_key_and_are_all_counted(emarsys: LocalEmarsys, api: Api) -> None:
    reply = api.upsert({"1": "Ann"}, {"3": "", "1": "Bob"}, {"3": "cy@example.com"}, key="3")
    assert len(reply["ids"]) == 1
    assert reply["errors"] == {"": {"2005": "No value provided for key field: 3"}}
    assert emarsys.counters.rows_refused == {"2005": 2}


def test_an_unknown_key_field_is_answered_under_200_for_a_batch(api: Api) -> None:
    reply = api.upsert({"3": "ann@example.com"}, key="100")
    assert reply == {"ids": [], "errors": {"<NO_KEY_ID>": {"2004": "Invalid key field id: 100"}}}
    assert api.refusal("PUT", "contact", {"key_id": "100", "100": "x"}) == (400, 2004, "Invalid key field id: 100")


def test_a_key_field_without_an_index_is_refused_with_2015(tmp_path: Path) -> None:
    with LocalEmarsys(tmp_path, person_key="unindexed") as emarsys:
        api = Api(emarsys)
        body = {"key_id": PERSON_KEY, "contacts": [{PERSON_KEY: "P1"}]}
        assert api.refusal("PUT", "contact/?create_if_not_exists=1", body) == (400, 2015, "No index on column")
        api.upsert({"3": "ann@example.com", PERSON_KEY: "P1"}, key="3")
        emarsys.change_field("prima_person_key", indexed=True)
        api.upsert({PERSON_KEY: "P1", "1": "Ann"})
        assert emarsys.contacts()["P1"]["first_name"] == "Ann"
        assert emarsys.contacts()["P1"]["email"] == "ann@example.com"


def test_an_account_without_the_custom_field_refuses_it_as_a_key(tmp_path: Path) -> None:
    with LocalEmarsys(tmp_path, person_key="absent") as emarsys:
        assert list(Api(emarsys).upsert({"3": "x"}, key=PERSON_KEY)["errors"]) == ["<NO_KEY_ID>"]


def test_what_is_not_sent_stays_and_what_is_sent_empty_is_cleared(emarsys: LocalEmarsys, api: Api) -> None:
    api.upsert({PERSON_KEY: "P1", "1": "Ann", "2": "Lee", "11": "York", "31": 1})
    api.upsert({PERSON_KEY: "P1", "2": "", "11": None})
    contact = emarsys.contacts()["P1"]
    names = ("first_name", "last_name", "city", "optin")
    assert [contact[name] for name in names] == ["Ann", None, None, "1"]


def test_several_contacts_behind_one_key_refuse_every_change_with_2010(emarsys: LocalEmarsys, api: Api) -> None:
    emarsys.seed([{"email": "ann@example.com", "first_name": "Ann"}, {"email": "ann@example.com"}])
    text = "More contacts found with the external id: 3 - ann@example.com"
    assert api.upsert({"3": "ann@example.com"}, key="3") == {"ids": [], "errors": {"ann@example.com": {"2010": text}}}
    assert api.refusal("POST", "contact/delete", {"key_id": "3", "3": "ann@example.com"})[:2] == (400, 2010)
    found = api.data("POST", "contact/getdata", {"keyId": "3", "keyValues": ["ann@example.com"], "fields": ["1"]})
    assert found["errors"][0]["errorCode"] == 2010
    body = {"key_id": "3", "external_ids": ["ann@example.com"], "get_multiple_ids": 1}
    assert len(api.data("POST", "contact/checkids", body)["ids"]["ann@example.com"]) == 2


def test_a_change_by_another_key_can_make_doubles_and_can_move_a_key_value(emarsys: LocalEmarsys, api: Api) -> None:
    api.upsert({PERSON_KEY: "P1", "3": "old@example.com"}, {PERSON_KEY: "P2", "3": "two@example.com"})
    api.upsert({PERSON_KEY: "P1", "3": "two@example.com"})
    assert list(api.upsert({"3": "two@example.com", "1": "Who"}, key="3")["errors"]["two@example.com"]) == ["2010"]
    api.upsert({PERSON_KEY: "P2", "3": "three@example.com"})
    api.upsert({"3": "three@example.com", "1": "Two"}, key="3")
    assert emarsys.contacts()["P2"]["first_name"] == "Two"
    ids = api.data("POST", "contact/checkids", {"key_id": "3", "external_ids": ["old@example.com"]})
    assert ids == {
        "ids": {},
        "errors": {"old@example.com": {"2008": "No contact found with the external id: 3"}},
    }


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("4", "31.12.1980", "Invalid date format for field id: 4"),
        ("4", "1981-02-29", "Invalid date format for field id: 4"),
        ("5", "3", "Invalid choice id for field id: 5"),
        ("14", "999", "Invalid choice id for field id: 14"),
        ("31", "yes", "Invalid choice id for field id: 31"),
        ("1", ["Ann"], "Invalid data format for field ID: 1. Scalar expected."),
        ("1", "x" * 61, "Invalid data format for field id: 1"),
        ("10", "x" * 256, "Invalid data format for field id: 10"),
        ("32", "1", "Invalid field id: 32"),
        ("48", "2020-01-01", "Invalid field id: 48"),
    ],
)
@pytest.mark.parametrize("companions", [0, 20])
def test_a_value_that_does_not_fit_refuses_its_row_with_2007(
    emarsys: LocalEmarsys, api: Api, field: str, value: Any, text: str, companions: int
) -> None:
    """The companions have the same fields, so that the check by columns is tried as well as that by rows."""
    fitting: dict[str, Any] = {"4": "1980-02-03", "5": "2", "14": "184", "31": "1", "1": "Ann", "10": "1 Road"}
    rows = [{PERSON_KEY: f"P{number}"} | fitting for number in range(companions)]
    reply = api.upsert(*rows, {PERSON_KEY: "bad"} | fitting | {field: value})
    assert reply["errors"] == {"bad": {"2007": text}}
    assert len(reply["ids"]) == len(emarsys.all_contacts()) == companions


def test_an_unknown_field_refuses_its_row_with_2006(api: Api) -> None:
    reply = api.upsert({PERSON_KEY: "P1", "9999": "x"}, {PERSON_KEY: "P2", "name": "x"}, {PERSON_KEY: "P3"})
    assert reply["errors"] == {
        "P1": {"2006": "Invalid field id: 9999"},
        "P2": {"2006": "Invalid field id: name"},
    }
    assert len(reply["ids"]) == 1


@pytest.mark.parametrize(
    ("application_type", "good", "bad"),
    [
        ("numeric", ["0", "-12.50", 7, "9" * 24], ["007", "1,5", "9" * 25, "NaN", "1e3"]),
        ("date", ["2020-02-29", "2020-02-29 23:59", "2020-02-29 23:59:59"], ["2020-2-9", "2020-02-29T10:00:00"]),
        ("largetext", ["x" * 10_000], [True, {}]),
        ("multichoice", [["1", "2"], ["2"]], [[], ["3"], "1"]),
    ],
)
def test_each_type_of_field_takes_its_own_values(
    emarsys: LocalEmarsys, api: Api, application_type: Any, good: list[Any], bad: list[Any]
) -> None:
    number = str(emarsys.add_field("probe", application_type, choices={"1": "One", "2": "Two"}).id)
    for place, value in enumerate(good):
        assert "errors" not in api.upsert({PERSON_KEY: f"P{place}", number: value}), value
        expected = value if isinstance(value, list) else str(value)
        assert emarsys.contacts()[f"P{place}"]["probe"] == expected
    for value in bad:
        assert list(api.upsert({PERSON_KEY: "bad", number: value})["errors"]["bad"]) == ["2007"], value


def test_an_empty_multiple_choice_has_words_of_its_own(emarsys: LocalEmarsys, api: Api) -> None:
    number = emarsys.add_field("topics", "multichoice", choices={"1": "One"}).id
    errors = api.upsert({PERSON_KEY: "P1", str(number): []})["errors"]
    assert errors == {"P1": {"2007": f"No choice provided for field id: {number}"}}


@pytest.mark.parametrize(("setting", "expected"), [("last-wins", ("Second", "Lee")), ("first-wins", ("First", "Lee"))])
def test_two_rows_of_one_key_are_treated_as_the_setting_says(
    tmp_path: Path, setting: Any, expected: tuple[str, str]
) -> None:
    with LocalEmarsys(tmp_path, Settings(repeated_key=setting)) as emarsys:
        reply = Api(emarsys).upsert({PERSON_KEY: "P1", "1": "First", "2": "Lee"}, {PERSON_KEY: "P1", "1": "Second"})
        assert [str(number) for number in reply["ids"]] == ["100000001", "100000001"]
        contact = emarsys.contacts()["P1"]
        assert (contact["first_name"], contact["last_name"]) == expected


def test_the_rest_of_a_refused_row_and_over_long_text_are_treated_as_the_settings_say(
    emarsys: LocalEmarsys, api: Api
) -> None:
    emarsys.settings.invalid_row = "store-valid-fields"
    reply = api.upsert({PERSON_KEY: "P1", "1": "Ann", "5": "9"})
    assert list(reply["errors"]) == ["P1"]
    assert emarsys.contacts()["P1"]["first_name"] == "Ann"
    emarsys.settings.over_long_text = "truncate"
    api.upsert({PERSON_KEY: "P1", "1": "x" * 70})
    assert emarsys.contacts()["P1"]["first_name"] == "x" * 60


def test_getdata_lists_errors_as_objects_and_tells_unset_from_empty_lists(api: Api) -> None:
    api.upsert({PERSON_KEY: "P1", "1": "Ann", "3": "ann@example.com"})
    body = {"keyId": "3", "keyValues": ["ann@example.com", "nobody@example.com"], "fields": ["1", "2", "0"]}
    found = api.data("POST", "contact/getdata", body)
    [contact] = found["result"]
    assert contact == {"id": "100000001", "uid": contact["uid"], "1": "Ann", "2": None, "0": None}
    text = "No contact found with the external id: 3"
    assert found["errors"] == [{"key": "nobody@example.com", "errorCode": 2008, "errorMsg": text}]
    by_uid = api.data("POST", "contact/getdata", {"keyId": "uid", "keyValues": [contact["uid"]], "fields": ["1"]})
    assert by_uid["result"] == [{"id": "100000001", "uid": contact["uid"], "1": "Ann"}]


def test_getdata_that_finds_nobody_says_false(api: Api) -> None:
    found = api.data("POST", "contact/getdata", {"keyId": "3", "keyValues": ["x"], "fields": ["1"]})
    assert found["result"] is False


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ({"keyId": "3"}, 10001, "Missing parameter: keyValues"),
        ({"keyId": "3", "keyValues": "x"}, 10001, "keyValues must be an array"),
        ({"keyId": "3", "keyValues": [], "fields": "1"}, 10001, "Fields must be an array"),
        ({"keyId": "email", "keyValues": []}, 10001, "Key ID must be an integer."),
        ({"keyId": "3", "keyValues": [], "fields": ["9999"]}, 2006, "Invalid field id: 9999"),
    ],
)
def test_getdata_names_the_parameter_at_fault(api: Api, body: dict[str, Any], code: int, text: str) -> None:
    assert api.refusal("POST", "contact/getdata", body) == (400, code, text)


def test_query_pages_through_all_contacts_and_filters_by_an_indexed_field(api: Api) -> None:
    api.upsert(*({PERSON_KEY: f"P{number:02}", "1": "Ann" if number % 2 else ""} for number in range(25)))
    pages = [
        api.data("GET", f"contact/query/?return={PERSON_KEY}&limit=10&offset={offset}")["result"]
        for offset in (0, 10, 20, 30)
    ]
    assert [len(page) for page in pages] == [10, 10, 5, 0]
    assert [row[PERSON_KEY] for page in pages for row in page] == [f"P{number:02}" for number in range(25)]
    one = api.data("GET", f"contact/query/?return=1&{PERSON_KEY}=P03")["result"]
    assert one == [{"id": "100000004", "1": "Ann"}]
    assert len(api.data("GET", "contact/query/?return=1&excludeempty=true")["result"]) == 12
    assert len(api.data("GET", "contact/query/?return=1&3=")["result"]) == 25


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ("", 2014),
        ("return=1&limit=0", 2016),
        ("return=1&limit=10001", 2016),
        ("return=1&2=Lee", 2015),
        ("return=9999", 2006),
    ],
)
def test_query_refuses_what_it_cannot_answer(api: Api, asked: str, code: int) -> None:
    assert api.refusal("GET", f"contact/query/?{asked}")[:2] == (400, code)


def test_the_old_form_of_finding_one_contact_still_answers(api: Api) -> None:
    api.upsert({"3": "ann@example.com"}, key="3")
    assert api.data("GET", "contact/?3=ann@example.com") == {"id": "100000001"}


def test_deleting_is_for_good_and_names_who_was_not_there(emarsys: LocalEmarsys, api: Api) -> None:
    api.upsert({PERSON_KEY: "P1"}, {PERSON_KEY: "P2"}, {PERSON_KEY: "P3"})
    assert api.data("POST", "contact/delete", {"key_id": PERSON_KEY, PERSON_KEY: "P1"}) == {}
    assert api.refusal("POST", "contact/delete", {"key_id": PERSON_KEY, PERSON_KEY: "P1"})[:2] == (404, 2008)
    batch = api.data("POST", "contact/delete", {"key_id": PERSON_KEY, PERSON_KEY: ["P2", "P1"]})
    assert list(batch["errors"]) == ["P1"]
    assert list(emarsys.contacts()) == ["P3"]
    assert api.data("GET", "settings")["totalContacts"] == "1"
    assert api.upsert({PERSON_KEY: "P1"})["ids"] == [100_000_004]


def test_merge_is_off_by_default_and_fills_gaps_when_it_is_on(emarsys: LocalEmarsys, api: Api) -> None:
    api.upsert(
        {"3": "old@example.com", "1": "Ann", "2": "Old", "11": "York"}, {"3": "new@example.com", "2": "New"}, key="3"
    )
    body = {
        "key_id": "3", "source_key_value": "old@example.com", "target_key_value": "new@example.com",
        "merge_rules": {"11": "overwrite"}, "delete_source": True,
    }  # fmt: skip
    assert api.refusal("POST", "contact/merge", body)[:2] == (400, 1)
    emarsys.settings.merge_enabled = True
    api.data("POST", "contact/merge", body)
    [contact] = emarsys.all_contacts()
    names = ("email", "first_name", "last_name", "city")
    assert [contact[name] for name in names] == ["new@example.com", "Ann", "New", "York"]


def test_an_unknown_contact_list_is_refused(emarsys: LocalEmarsys, api: Api) -> None:
    body = {"key_id": "3", "contact_list_id": 77, "contacts": [{"3": "ann@example.com"}]}
    assert api.refusal("PUT", "contact", body) == (400, 2020, "Invalid contact list id: 77")
    emarsys.settings.unknown_list_status = 200
    assert api.send("PUT", "contact", body).status_code == 200


def test_rows_of_many_shapes_keep_their_order(api: Api) -> None:
    rows = [
        {PERSON_KEY: f"P{number}"} | ({"1": "Ann"} if number % 3 else {}) | ({"2": "Lee"} if number % 2 else {})
        for number in range(100)
    ]
    ids = api.upsert(*rows)["ids"]
    assert ids == sorted(ids)
    assert len(set(ids)) == 100
