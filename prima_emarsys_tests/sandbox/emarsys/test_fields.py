"""Fields are listed, created and deleted, and their choices listed, as Emarsys does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prima_emarsys.sandbox.emarsys.server import LocalEmarsys
from prima_emarsys.sandbox.emarsys.settings import Settings
from prima_emarsys_tests.sandbox.emarsys.conftest import PERSON_KEY, Api


def test_an_account_has_the_system_fields_and_the_person_key(api: Api) -> None:
    listed = {one["string_id"]: one for one in api.data("GET", "field/translate/en")}
    assert (listed["email"]["id"], listed["email"]["application_type"]) == (3, "longtext")
    assert (listed["optin"]["id"], listed["country"]["id"], listed["salutation"]["id"]) == (31, 14, 46)
    person_key = listed["prima_person_key"]
    assert (person_key["id"], person_key["application_type"]) == (int(PERSON_KEY), "shorttext")
    assert listed == {one["string_id"]: one for one in api.data("GET", "field")}


def test_choices_are_listed_for_one_field_and_for_several(api: Api) -> None:
    genders = api.data("GET", "field/5/choice")
    assert [(one["id"], one["choice"]) for one in genders] == [("1", "Male"), ("2", "Female")]
    assert genders == api.data("GET", "field/5/choice/translate/en")
    countries = {one["choice"]: one["id"] for one in api.data("GET", "field/14/choice")}
    assert (countries["GB"], countries["IE"], countries["DE"], countries["US"]) == ("184", "81", "65", "185")
    assert len(countries) == 204
    assert list(api.data("GET", "field/choices?fields=5,46&language=en")) == ["5", "46"]


def test_a_custom_field_can_be_created_used_and_deleted(emarsys: LocalEmarsys, api: Api) -> None:
    created = api.data("POST", "field", {"name": "Last order", "application_type": "date", "string_id": "last_order"})
    number = created["id"]
    api.upsert({PERSON_KEY: "P1", str(number): "2026-01-31"})
    assert emarsys.contacts()["P1"]["last_order"] == "2026-01-31"
    assert api.data("DELETE", f"field/{number}") == ""
    assert list(api.upsert({PERSON_KEY: "P1", str(number): "2026-01-31"})["errors"]["P1"]) == ["2006"]
    assert api.data("POST", "field", {"name": "Other", "application_type": "date"})["id"] > number


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"name": "x"}, 9005),
        ({"name": "x", "application_type": "date", "string_id": "with space"}, 9001),
        ({"name": "Mail", "application_type": "shorttext", "string_id": "email"}, 9002),
        ({"name": "uid", "application_type": "shorttext"}, 9003),
        ({"name": "x", "application_type": "singlechoice"}, 9006),
    ],
)
def test_a_field_that_cannot_be_created_says_why(api: Api, body: dict[str, Any], code: int) -> None:
    assert api.refusal("POST", "field", body)[:2] == (400, code)


def test_custom_fields_end_with_the_slots(tmp_path: Path) -> None:
    with LocalEmarsys(tmp_path, Settings(field_slots=2)) as emarsys:
        api = Api(emarsys)
        api.data("POST", "field", {"name": "one", "application_type": "date"})
        assert api.refusal("POST", "field", {"name": "two", "application_type": "date"})[:2] == (400, 9004)


def test_system_fields_and_unknown_fields_cannot_be_deleted(api: Api) -> None:
    assert api.refusal("DELETE", "field/3")[:2] == (400, 263)
    assert api.refusal("DELETE", "field/9999")[0] == 404
