"""The contact fields of an account: found by their string ids, created where that is allowed, checked for an index.

Field numbers of custom fields differ from account to account, so they are resolved at start and never written down.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from prima_emarsys.emarsys.countries import COUNTRY_IDS, NAMES_WITHOUT_ID
from prima_emarsys.emarsys.outcome import NO_INDEX, Ambiguous, BatchRefused, NotAnswered, Stopped
from prima_emarsys.emarsys.redaction import RedactingFilter
from prima_emarsys.emarsys.transport import Reply, Transport

log = logging.getLogger(__name__)
log.addFilter(RedactingFilter())

COUNTRY = 14

CreatableType = Literal["shorttext", "longtext", "largetext", "date", "url", "numeric"]
"""The types that the API creates; choice fields are made in the user interface or by support."""


@dataclass(frozen=True)
class Field:
    """A contact field of the account."""

    id: int
    string_id: str
    name: str
    type: str


@dataclass(frozen=True)
class NewField:
    """How to create a field that the account lacks: the name that marketers see, and its type."""

    name: str
    type: CreatableType


class FieldsUnusable(Exception):
    """Fields are missing, of the wrong kind, or cannot be created. One sentence for each, with the way to mend it."""

    def __init__(self, faults: Mapping[str, str]) -> None:
        self.faults = faults
        super().__init__("\n".join(f"Field {string_id!r}: {fault}" for string_id, fault in faults.items()))


_WHY_NOT_CREATED = {
    "9001": "Emarsys does not accept its name or string id; choose others.",
    "9002": "its name is taken by another field; rename one of the two.",
    "9003": "its name or string id is reserved by Emarsys; choose another.",
    "9004": "no slot for a custom field is left; delete unused fields in Emarsys or ask its support for more slots.",
    "9005": "Emarsys says that name or type is missing.",
    "9006": "fields of its type cannot be created by the API; create it in Emarsys under Management, Field editor.",
}
"""Source: Emarsys docs: error registry, codes of field creation."""


class Fields:
    """The fields of one account. Raises NotAnswered where Emarsys gives no usable answer."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def all(self) -> dict[str, Field]:
        """All fields by string id."""
        fields = (
            Field(int(row["id"]), str(row["string_id"]), str(row["name"]), str(row["application_type"]))
            for row in _rows(self._transport.fetch("GET", "field"))
            if row.get("string_id")
        )
        return {field.string_id: field for field in fields}

    def resolve(self, string_ids: Iterable[str], create: Mapping[str, NewField] | None = None) -> dict[str, Field]:
        """The fields with these string ids, in their order; those in `create` are made if the account lacks them.

        A field in `create` that exists must be of the type given there. All faults are gathered before
        FieldsUnusable is raised; what could be created by then stays created, since a field is never in the way.
        """
        create = create or {}
        wanted = list(dict.fromkeys(string_ids))
        held = self.all()
        faults: dict[str, str] = {}
        for string_id in wanted:
            new = create.get(string_id)
            if string_id in held:
                if new is not None and held[string_id].type != new.type:
                    faults[string_id] = f"it is of type {held[string_id].type} in Emarsys, but must be {new.type}."
            elif new is None:
                faults[string_id] = (
                    "it does not exist in this account (was it deleted?). Create it in Emarsys under "
                    "Management, Field editor, with exactly this string id, or take it out of the mapping."
                )
            else:
                made = self._create(string_id, new)
                if isinstance(made, Field):
                    held[string_id] = made
                else:
                    faults[string_id] = made
        if faults:
            raise FieldsUnusable(faults)
        return {string_id: held[string_id] for string_id in wanted}

    def _create(self, string_id: str, new: NewField) -> Field | str:
        """The new field, or why there is none. Not repeated after doubt: the list then tells whether it was made."""
        body = orjson.dumps({"name": new.name, "application_type": new.type, "string_id": string_id})
        reply = self._transport.call("POST", "field", body=body)
        if isinstance(reply, Reply):
            log.info("Created the contact field %s", string_id)
            return Field(int(reply.data["id"]), string_id, new.name, new.type)
        if isinstance(reply, BatchRefused):
            if reply.code == "9002" and (made := self.all().get(string_id)):
                return made  # another process was faster
            why = _WHY_NOT_CREATED.get(reply.code, reply.text)
            return f"it could not be created: {why} (code {reply.code})"
        if isinstance(reply, Ambiguous) and (made := self.all().get(string_id)):
            return made
        raise NotAnswered(reply)

    def require_index(self, field: Field) -> None:
        """Make sure that contacts can be addressed by `field`. Raises FieldsUnusable if it has no index.

        Emarsys answers 2015 to a search by a field without one. Only its support can add it.
        """
        query = {"return": field.id, "limit": 1, "offset": 0, str(field.id): "prima-emarsys index probe"}
        reply = self._transport.call("GET", "contact/query/", query=query, reads=True)
        if isinstance(reply, Stopped) and reply.remedy == NO_INDEX:
            raise FieldsUnusable(
                {
                    field.string_id: "it has no index, so contacts cannot be addressed by it. Ask SAP Emarsys Support "
                    f"to index field {field.id} ({field.name}) of this account as a unique external id. Until then "
                    "nothing can be sent."
                }
            )
        if not isinstance(reply, Reply):
            raise NotAnswered(reply)

    def choices(self, field_id: int) -> dict[str, str]:
        """Choice id -> its words, of a single or multiple choice field."""
        rows = _rows(self._transport.fetch("GET", f"field/{field_id}/choice"))
        return {str(row["id"]): str(row["choice"]) for row in rows}

    def country_ids(self) -> dict[str, str]:
        """Country code (two letters) -> choice id of the country fields, as far as this account has them.

        The account's list shows names, so the documented ids are kept that it holds. If this API user may not read the
        list, all documented ids are taken as they are.
        """
        try:
            held = self.choices(COUNTRY)
        except NotAnswered as fault:
            if not isinstance(fault.outcome, Stopped):
                raise
            log.warning("The account's countries cannot be read, so the documented list is used: %s", fault)
            return dict(COUNTRY_IDS)
        by_name = {name.casefold(): choice for choice, name in held.items()}
        ids = {country: choice for country, choice in COUNTRY_IDS.items() if choice in held}
        for country, name in NAMES_WITHOUT_ID.items():
            if name.casefold() in by_name:
                ids[country] = by_name[name.casefold()]
        return ids


def _rows(data: Any) -> list[dict[str, Any]]:
    if isinstance(data, list):
        return data
    raise NotAnswered(Ambiguous("Emarsys answered something else than a list of fields"))
