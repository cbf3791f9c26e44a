"""The field endpoints: list, create and delete contact fields, and list the choices of choice fields.

Index and choices of a custom field are the work of Emarsys support; here they are set through `/sandbox/fields`.
Names are given in English whatever language is asked for.
"""

from __future__ import annotations

import re
from typing import Any

from prima_emarsys.sandbox.emarsys.account import Call
from prima_emarsys.sandbox.emarsys.replies import Refusal
from prima_emarsys.sandbox.emarsys.values import CREATABLE_TYPES, ContactField

# Words that mean something else in a contact's record. Which names are reserved is not published: our choice.
_RESERVED = frozenset({"id", "uid", "eid", "key_id", "source_id", "contact_list_id", "contacts"})
_STRING_ID = re.compile(r"[A-Za-z0-9_]{1,255}")


def list_fields(call: Call) -> list[dict[str, Any]]:
    """`GET field`: every field of the account."""
    return [
        {"id": one.id, "name": one.name, "application_type": one.application_type, "string_id": one.string_id}
        for one in call.account.store.fields.values()
    ]


def create_field(call: Call) -> dict[str, int]:
    """`POST field`: one custom field of a simple type. Without `string_id` it is made from the name."""
    name, application_type = call.body.get("name"), call.body.get("application_type")
    if not name or not application_type:
        raise Refusal(400, 9005, "name and application_type are required")
    string_id = call.body.get("string_id") or re.sub(r"[^a-z0-9]+", "_", str(name).lower()).strip("_")
    if not isinstance(name, str) or not _STRING_ID.fullmatch(str(string_id)):
        raise Refusal(400, 9001, "Invalid name or string_id")
    if string_id in _RESERVED or name in _RESERVED:
        raise Refusal(400, 9003, "The name or string_id is reserved")
    if application_type not in CREATABLE_TYPES:
        raise Refusal(400, 9006, f"Fields of type {application_type} cannot be created via the API")
    store = call.account.store
    if any(one.string_id == string_id or one.name == name for one in store.fields.values()):
        raise Refusal(400, 9002, "The name or string_id is already in use")
    if sum(one.custom for one in store.fields.values()) >= call.account.settings.field_slots:
        raise Refusal(400, 9004, "No more field slots available")
    return {"id": store.add_field(ContactField(0, name, string_id, application_type)).id}


def delete_field(call: Call) -> str:
    """`DELETE field/{id}`: a custom field of a simple type, with all its values."""
    one = _field(call, call.path_number)
    if not one.custom:
        raise Refusal(400, 263, "System fields cannot be deleted")
    if one.application_type not in CREATABLE_TYPES:
        raise Refusal(400, 9006, f"Fields of type {one.application_type} cannot be deleted via the API")
    call.account.store.delete_field(one.id)
    return ""


def list_choices(call: Call) -> list[dict[str, Any]]:
    """`GET field/{id}/choice`: the choices of one field."""
    return _choices(_field(call, call.path_number))


def list_choices_of_several(call: Call) -> dict[str, list[dict[str, Any]]]:
    """`GET field/choices?fields=5,46`: the choices of several fields, by field number."""
    numbers = [part for part in call.query.get("fields", "").split(",") if part.isdigit()]
    return {number: _choices(_field(call, int(number))) for number in numbers}


def _choices(one: ContactField) -> list[dict[str, Any]]:
    return [{"id": choice, "choice": label, "bit_position": None} for choice, label in one.choices.items()]


def _field(call: Call, number: int) -> ContactField:
    if number not in call.account.store.fields:
        raise Refusal(404, 1007, f"No such field: {number}.")
    return call.account.store.fields[number]
