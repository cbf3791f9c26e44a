"""Fields by their string ids, their creation, the index of the key field, choices and countries; account settings."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from prima_emarsys.emarsys.account import AccountSettings, read_settings
from prima_emarsys.emarsys.countries import COUNTRY_IDS
from prima_emarsys.emarsys.fields import Field, Fields, FieldsUnusable, NewField
from prima_emarsys.emarsys.outcome import NotAnswered
from prima_emarsys_tests.emarsys.conftest import by_oauth
from prima_emarsys_tests.emarsys.scripted import Scripted, ok, raw, refusal, reply

HELD = [
    {"id": 1, "name": "First Name", "application_type": "shorttext", "string_id": "first_name"},
    {"id": "4427", "name": "Person", "application_type": "shorttext", "string_id": "prima_person_key"},
    {"id": 9, "name": "Old", "application_type": "shorttext"},
]
LAST_ORDER = {"last_order_date": NewField("Last order date", "date")}
KEY = Field(4427, "prima_person_key", "Person", "shorttext")


def test_fields_are_found_by_string_id_and_given_in_the_order_asked_for() -> None:
    with Scripted([ok(HELD)]) as server:
        fields = Fields(by_oauth(server)).resolve(["prima_person_key", "first_name"])
    assert list(fields.values()) == [KEY, Field(1, "first_name", "First Name", "shorttext")]


def test_a_missing_field_is_created_where_that_is_allowed() -> None:
    with Scripted([ok(HELD), ok({"id": 5001})]) as server:
        fields = Fields(by_oauth(server)).resolve(["first_name", "last_order_date"], create=LAST_ORDER)
    assert fields["last_order_date"] == Field(5001, "last_order_date", "Last order date", "date")
    assert orjson.loads(server.calls[1].body) == {
        "name": "Last order date",
        "application_type": "date",
        "string_id": "last_order_date",
    }


def test_all_missing_fields_are_named_at_once_before_anything_is_sent() -> None:
    """Fault 27."""
    with Scripted([ok(HELD)]) as server, pytest.raises(FieldsUnusable) as raised:
        Fields(by_oauth(server)).resolve(["first_name", "loyalty_tier", "size"])
    assert set(raised.value.faults) == {"loyalty_tier", "size"}
    assert "'loyalty_tier': it does not exist" in str(raised.value)


def test_a_field_of_another_type_is_not_taken() -> None:
    with Scripted([ok(HELD)]) as server, pytest.raises(FieldsUnusable, match="of type shorttext .* must be numeric"):
        Fields(by_oauth(server)).resolve(["first_name"], create={"first_name": NewField("First", "numeric")})


@pytest.mark.parametrize(
    ("code", "words"), [(9001, "name"), (9003, "reserved"), (9004, "no slot"), (9006, "cannot be created by the API")]
)
def test_a_field_that_cannot_be_created_says_why_and_what_to_do(code: int, words: str) -> None:
    with Scripted([ok(HELD), refusal(400, code)]) as server, pytest.raises(FieldsUnusable, match=words):
        Fields(by_oauth(server)).resolve(["last_order_date"], create=LAST_ORDER)


@pytest.mark.parametrize(
    "step", [refusal(400, 9002, "taken"), raw(b"")], ids=["another was faster", "the reply was lost"]
)
def test_a_field_that_turns_out_to_exist_is_taken(step: Any) -> None:
    made = {"id": 5001, "name": "Last order date", "application_type": "date", "string_id": "last_order_date"}
    with Scripted([ok(HELD), step, ok([*HELD, made])]) as server:
        fields = Fields(by_oauth(server)).resolve(["last_order_date"], create=LAST_ORDER)
    assert fields["last_order_date"].id == 5001
    assert len([call for call in server.calls if call.method == "POST"]) == 1


def test_a_key_field_without_an_index_says_what_to_ask_of_support() -> None:
    with Scripted([refusal(400, 2015, "No index on column")]) as server:
        with pytest.raises(FieldsUnusable, match="Ask SAP Emarsys Support to index field 4427"):
            Fields(by_oauth(server)).require_index(KEY)
        assert "4427=" in server.calls[0].target


def test_a_key_field_with_an_index_is_fine() -> None:
    with Scripted([ok({"errors": [], "result": False})]) as server:
        Fields(by_oauth(server)).require_index(KEY)


def test_choices_are_read_as_text() -> None:
    rows = [{"id": 1, "choice": "Male", "bit_position": None}, {"id": "2", "choice": "Female"}]
    with Scripted([ok(rows)]) as server:
        assert Fields(by_oauth(server)).choices(5) == {"1": "Male", "2": "Female"}


def test_countries_are_those_that_the_account_has() -> None:
    rows = [
        {"id": "184", "choice": "United Kingdom"},
        {"id": "61", "choice": "France"},
        {"id": "300", "choice": "Jersey"},
        {"id": "301", "choice": "Atlantis"},
    ]
    with Scripted([ok(rows)]) as server:
        assert Fields(by_oauth(server)).country_ids() == {"GB": "184", "FR": "61", "JE": "300"}


def test_countries_that_may_not_be_read_are_the_documented_ones(caplog: pytest.LogCaptureFixture) -> None:
    with Scripted([reply(b"", 403)]) as server:
        assert Fields(by_oauth(server)).country_ids() == COUNTRY_IDS
    assert "documented list" in caplog.text


def test_the_documented_countries_are_whole() -> None:
    assert len(set(COUNTRY_IDS.values())) == 204
    assert (COUNTRY_IDS["GB"], COUNTRY_IDS["IE"], COUNTRY_IDS["DE"], COUNTRY_IDS["XK"]) == ("184", "81", "65", "259")


def test_an_overloaded_account_is_no_missing_field() -> None:
    with Scripted([reply(b"", 503)]) as server, pytest.raises(NotAnswered):
        Fields(by_oauth(server)).resolve(["first_name"])


def test_the_accounts_settings_prove_the_credentials() -> None:
    data = {"environment": "suite5.emarsys.net", "timezone": "Europe/London", "name": "shop", "totalContacts": "1234"}
    with Scripted([ok(data)]) as server:
        settings = read_settings(by_oauth(server))
    assert settings == AccountSettings("shop", "suite5.emarsys.net", "Europe/London", "", 1234)


def test_settings_of_another_shape_are_refused() -> None:
    with Scripted([ok([])]) as server, pytest.raises(NotAnswered, match="settings"):
        read_settings(by_oauth(server))
