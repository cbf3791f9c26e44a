"""The contact endpoints: create, update, getdata, query, checkids, delete, merge.

Each function takes a `Call` and returns the reply's `data`, or raises a `Refusal`. Rows refused inside a batch are
data. E-mail addresses and other key values are compared exactly (our choice: no source says that case is ignored).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from prima_emarsys.sandbox.emarsys.account import Account, Call, RowFault
from prima_emarsys.sandbox.emarsys.replies import Refusal
from prima_emarsys.sandbox.emarsys.store import Key, Store, Values, contact_uid
from prima_emarsys.sandbox.emarsys.system_fields import EMAIL, REGISTRATION_DATE
from prima_emarsys.sandbox.emarsys.values import Check, InvalidValue, Stored, compile_check

MOST_ROWS = 1000
MOST_QUERIED = 10_000

Errors = dict[str, dict[str, str]]
"""Refused rows: key value → code → text."""
Mode = Literal["create", "update", "upsert"]

_CONTROL_KEYS = frozenset({"key_id", "source_id", "contact_list_id", "contacts", "create_if_not_exists", "field_id"})


def create(call: Call) -> dict[str, Any]:
    """`POST contact`: one contact or a batch of up to 1000; who exists already is refused with 2009."""
    key = call.key("key_id", EMAIL)
    if not isinstance(key, int):
        raise Refusal(400, 2004, "Cannot use a contact identifier as a key on contact creation.")
    return _write(call, key, "create")


def update(call: Call) -> dict[str, Any]:
    """`PUT contact`: change one contact or up to 1000; with `create_if_not_exists` make those that are missing.

    Fields that are not sent stay as they are; `""` and `null` clear a field.
    """
    mode = "upsert" if call.query.get("create_if_not_exists") == "1" else "update"
    try:
        key = call.key("key_id", EMAIL)
    except Refusal as refusal:
        if refusal.code != 2004 or "contacts" not in call.body:
            raise
        return {"ids": [], "errors": {"<NO_KEY_ID>": {"2004": refusal.text}}}
    return _write(call, key, mode)


def _write(call: Call, key: Key, mode: Mode) -> dict[str, Any]:
    account, body = call.account, call.body
    if contact_list := body.get("contact_list_id"):
        raise Refusal(account.settings.unknown_list_status, 2020, f"Invalid contact list id: {contact_list}")
    single = "contacts" not in body
    rows = [{name: value for name, value in body.items() if name not in _CONTROL_KEYS}] if single else body["contacts"]
    if not isinstance(rows, list):
        raise Refusal(400, 2003, "Invalid data format. Array expected")
    if len(rows) > MOST_ROWS:
        raise Refusal(400, 1000, "The request exceeded the maximum batch size of 1,000")

    written = write_rows(account, key, rows, mode, call.row_fault)
    counters = account.counters
    counters.contacts_created += written.created
    counters.contacts_updated += written.updated
    if single:
        for codes in written.errors.values():
            for code, text in codes.items():
                raise Refusal(400, int(code), text)
        return {"id": written.ids[0]}
    counters.rows_refused.update(written.refused)
    return {"ids": written.ids} | ({"errors": written.errors} if written.errors else {})


@dataclass
class Written:
    """What became of a batch. `ids` holds numbers for created contacts and texts for updated ones, as Emarsys does."""

    ids: list[int | str] = field(default_factory=list)
    errors: Errors = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    """Rows by the code they were refused with; `errors` collapses rows of one key, this does not."""
    created: int = 0
    updated: int = 0

    def refuse(self, key_value: str, code: int, text: str) -> None:
        self.errors.setdefault(key_value, {})[str(code)] = text
        self.refused[str(code)] += 1


def write_rows(
    account: Account, key: Key, rows: Sequence[Any], mode: Mode, row_fault: RowFault | None = None
) -> Written:
    """Judge and store the rows of one call, in one transaction."""
    store, first_wins = account.store, account.settings.repeated_key == "first-wins"
    written = Written()
    valid = _valid_rows(account, key, rows, written)
    today: Values = {str(REGISTRATION_DATE): time.strftime("%Y-%m-%d", time.gmtime())}
    with store.transaction():
        found = store.find(key, [key_value for key_value, _ in valid])
        before: dict[int, Values] = {}
        added: dict[int, Values] = {}
        changed: dict[int, Values] = {}
        seen: set[str] = set()
        for key_value, values in valid:
            there = found.get(key_value)
            if row_fault is not None and (fault := row_fault(key_value, there is not None)):
                written.refuse(key_value, *fault)
            elif there is None:
                if mode == "update":
                    written.refuse(key_value, 2008, f"No contact found with the external id: {key} - {key_value}")
                    continue
                number = store.next_contact()
                new = _filled(values) | today
                added[number] = new
                found[key_value] = [(number, new)]
                written.ids.append(number)
                written.created += 1
            elif mode == "create":
                written.refuse(key_value, 2009, f"Contact with the external id already exists: {key}")
            elif len(there) > 1:
                written.refuse(key_value, 2010, f"More contacts found with the external id: {key} - {key_value}")
            else:
                number, old = there[0]
                written.ids.append(str(number))
                written.updated += 1
                if first_wins and key_value in seen:
                    continue
                new = _filled(old | values)
                if number in added:
                    added[number] = new
                else:
                    before.setdefault(number, old)
                    changed[number] = new
                found[key_value] = [(number, new)]
            seen.add(key_value)
        store.add(added.items())
        store.replace(changed.items())
        _rekey(store, before, changed, added)
    return written


def _filled(values: Values) -> Values:
    return values if all(values.values()) else {name: value for name, value in values.items() if value}


def _rekey(store: Store, before: dict[int, Values], changed: dict[int, Values], added: dict[int, Values]) -> None:
    gone: list[tuple[int, Stored, int]] = []
    come: list[tuple[int, Stored, int]] = []
    for key, name in store.indexed_fields():
        come += [(key, values[name], number) for number, values in added.items() if name in values]
        for number, values in changed.items():
            old, new = before[number].get(name), values.get(name)
            if old != new:
                if old is not None:
                    gone.append((key, old, number))
                if new is not None:
                    come.append((key, new, number))
    store.rekey(gone, come)


Checks = dict[str, Check] | tuple[int, str]
"""How to check rows with one set of fields: the check of each, or the refusal that all of them get."""

# Below this many rows of one shape, checking them one by one is quicker than by columns.
_FEW = 8


def _valid_rows(account: Account, key: Key, rows: Sequence[Any], written: Written) -> list[tuple[str, Values]]:
    """Key value and stored values of each row that fits its fields, in order; the others are refused in `written`."""
    key_name = str(key)
    by_shape: dict[tuple[str, ...], list[int]] = {}
    for place, row in enumerate(rows):
        if isinstance(row, dict):
            by_shape.setdefault(tuple(row), []).append(place)
        else:
            written.refuse("", 2003, "Invalid data format. Array expected")
    valid: list[tuple[str, Values] | None] = [None] * len(rows)
    compiled: dict[str, Check] = {}
    for shape, places in by_shape.items():
        checks = _checks(account, key_name, shape, compiled)
        if len(places) >= _FEW and isinstance(checks, dict) and isinstance(key, int) and key_name in checks:
            columns = dict(zip(shape, zip(*(rows[place].values() for place in places), strict=True), strict=True))
            if all(columns[key_name]) and all(check.column(columns[name]) for name, check in checks.items()):
                for place, key_value in zip(places, columns[key_name], strict=True):
                    valid[place] = key_value, rows[place]
                continue
        for place in places:
            valid[place] = _valid_row(account, key, rows[place], checks, written)
    return [row for row in valid if row is not None]


def _checks(account: Account, key_name: str, shape: Iterable[str], compiled: dict[str, Check]) -> Checks:
    checks: dict[str, Check] = {}
    for name in shape:
        if name in ("id", "uid"):
            if name != key_name:
                return 2007, "Cannot set id or uid on contact creation"
            checks[name] = Check(str, lambda _: False)
            continue
        one = account.store.fields.get(int(name)) if name.isascii() and name.isdigit() else None
        if one is None or name != str(one.id):
            return 2006, f"Invalid field id: {name}"
        if one.read_only:
            # That these fields cannot be set is documented; with which code is our choice.
            return 2007, f"Invalid field id: {name}"
        if name not in compiled:
            compiled[name] = compile_check(one, account.settings.over_long_text)
        checks[name] = compiled[name]
    return checks


def _valid_row(
    account: Account, key: Key, row: dict[str, Any], checks: Checks, written: Written
) -> tuple[str, Values] | None:
    key_name, raw_key = str(key), row.get(str(key))
    if raw_key is None or raw_key == "":
        written.refuse("", 2005, f"No value provided for key field: {key}")
        return None
    if isinstance(raw_key, list | dict | bool):
        written.refuse("", 2005, "Invalid key field value: Scalar expected")
        return None
    if isinstance(checks, tuple):
        written.refuse(str(raw_key), *checks)
        return None
    values: Values = {}
    invalid = None
    for name, check in checks.items():
        try:
            values[name] = check.one(row[name])
        except InvalidValue as error:
            invalid = invalid or error
    if invalid is not None:
        written.refuse(str(raw_key), 2007, str(invalid))
        if account.settings.invalid_row == "reject" or key_name not in values:
            return None
    key_value = values[key_name] if isinstance(key, int) else values.pop(key_name)
    return str(key_value), values


def getdata(call: Call) -> dict[str, Any]:
    """`POST contact/getdata`: named fields of up to 1000 contacts; `result` is `false` where none was found."""
    store, raw_key, key_values = call.account.store, call.body.get("keyId", "id"), call.body.get("keyValues")
    if key_values is None:
        raise Refusal(400, 10001, "Missing parameter: keyValues")
    if not isinstance(key_values, list):
        raise Refusal(400, 10001, "keyValues must be an array")
    if len(key_values) > MOST_ROWS:
        raise Refusal(400, 10001, "Max. number of contacts: 1000")
    if raw_key not in ("id", "uid") and not str(raw_key).isdigit():
        raise Refusal(400, 10001, "Key ID must be an integer.")
    fields = call.body.get("fields", [])
    if not isinstance(fields, list):
        raise Refusal(400, 10001, "Fields must be an array")
    names = [str(name) for name in fields if name not in ("id", "uid")]
    for name in names:
        _known_field(store, name)
    if not names and call.account.settings.getdata_without_fields == "all":
        names = [str(number) for number in store.fields]

    key, wanted = call.key("keyId", "id"), [str(value) for value in key_values]
    found = store.find(key, wanted)
    result, errors = [], []
    for value in wanted:
        match found.get(value, []):
            case [(number, values)]:
                contact: dict[str, Any] = {"id": str(number), "uid": contact_uid(number)}
                contact.update((name, values.get(name)) for name in names)
                result.append(contact)
            case []:
                text = f"No contact found with the external id: {key}"
                errors.append({"key": value, "errorCode": 2008, "errorMsg": text})
            case _:
                text = f"More contacts found with the external id: {key}"
                errors.append({"key": value, "errorCode": 2010, "errorMsg": text})
    return {"errors": errors, "result": result or False}


def query(call: Call) -> dict[str, Any]:
    """`GET contact/query`: one field of up to 10 000 contacts, in order of number, filtered by at most one field."""
    store, asked = call.account.store, call.query
    if not asked.get("return"):
        raise Refusal(400, 2014, "No field specified to return")
    returned = _known_field(store, asked["return"])
    limit = asked.get("limit", str(MOST_QUERIED))
    if not limit.isdigit() or not 1 <= int(limit) <= MOST_QUERIED:
        raise Refusal(400, 2016, "Invalid limit")
    offset = asked.get("offset", "0")
    if not offset.isdigit():
        raise Refusal(400, 10001, "Invalid data format for offset. Integer expected")
    filtered = None
    for name, value in asked.items():
        if name.isdigit():
            number = _known_field(store, name)
            if not store.fields[number].indexed:
                raise Refusal(400, 2015, "No index on column")
            filtered = number, value
    rows = store.page(returned, int(limit), int(offset), filtered, asked.get("excludeempty") == "true")
    return {"errors": [], "result": [{"id": str(number), str(returned): value} for number, value in rows]}


def find_one(call: Call) -> dict[str, Any]:
    """`GET contact/?3=ann@example.com`: the number of the one contact with that value (an old form)."""
    for name, value in call.query.items():
        if name.isdigit():
            key = Call(call.account, {"key_id": name}, {}).key("key_id", EMAIL)
            return {"id": str(_only(call.account.store, key, value, status=400)[0])}
    raise Refusal(400, 2005, f"No value provided for key field: {EMAIL}")


def checkids(call: Call) -> dict[str, Any]:
    """`POST contact/checkids`: the numbers behind up to 1000 key values; with `get_multiple_ids` every one of them."""
    key, external_ids = call.key("key_id", EMAIL), call.body.get("external_ids")
    if not isinstance(external_ids, list):
        raise Refusal(400, 2003, "Invalid data format. Array expected")
    if len(external_ids) > MOST_ROWS:
        raise Refusal(400, 2002, "The list of external ids exceeds the maximum size.")
    multiple = bool(call.body.get("get_multiple_ids"))
    wanted = [str(value) for value in external_ids]
    found = call.account.store.find(key, wanted)
    ids: dict[str, str | list[str]] = {}
    errors: Errors = {}
    for value in wanted:
        numbers = [str(number) for number, _ in found.get(value, [])]
        if not numbers:
            errors[value] = {"2008": f"No contact found with the external id: {key}"}
        elif multiple:
            ids[value] = numbers
        elif len(numbers) > 1:
            errors[value] = {"2010": f"More contacts found with the external id: {key}"}
        else:
            ids[value] = numbers[0]
    return {"ids": ids, "errors": errors or []}


def delete(call: Call) -> dict[str, Any]:
    """`POST contact/delete`: for good; a key value that several contacts share deletes none of them."""
    store, key = call.account.store, call.key("key_id", EMAIL)
    given = call.body.get(str(key))
    if given is None or given == "" or given == []:
        raise Refusal(400, 2005, f"No value provided for key field: {key}")
    if not isinstance(given, list):
        with store.transaction():
            store.delete([_only(store, key, str(given), status=404)[0]])
        return {}
    if len(given) > MOST_ROWS:
        raise Refusal(400, 1000, "The request exceeded the maximum batch size of 1,000")
    errors: Errors = {}
    with store.transaction():
        for value in dict.fromkeys(map(str, given)):
            try:
                store.delete([_only(store, key, value, status=404)[0]])
            except Refusal as refusal:
                errors[value] = {str(refusal.code): refusal.text}
    return {"errors": errors} if errors else {}


def merge(call: Call) -> str:
    """`POST contact/merge`, an older vendor route: `target` keeps its values, takes the source's where it has none.

    `merge_rules` of `overwrite` take the source's value for that field. How the real route fills gaps is not published:
    our choice. Only with `merge_enabled`.
    """
    if not call.account.settings.merge_enabled:
        raise Refusal(400, 1, "Action merge is invalid.")
    store, key, body = call.account.store, call.key("key_id", EMAIL), call.body
    with store.transaction():
        source, theirs = _only(store, key, str(body.get("source_key_value", "")), status=400)
        target, ours = _only(store, key, str(body.get("target_key_value", "")), status=400)
        if source == target:
            raise Refusal(400, 10001, "source_key_value and target_key_value name the same contact")
        rules = body.get("merge_rules") or {}
        kept = {name: value for name, value in ours.items() if rules.get(name) != "overwrite" or name not in theirs}
        identity: Values = {name: ours.get(name, "") for _, name in store.indexed_fields()}
        merged = _filled(theirs | kept | identity)
        store.replace([(target, merged)])
        _rekey(store, {target: ours}, {target: merged}, {})
        if body.get("delete_source"):
            store.delete([source])
    return ""


def _known_field(store: Store, name: str) -> int:
    if not (name.isascii() and name.isdigit() and int(name) in store.fields):
        raise Refusal(400, 2006, f"Invalid field id: {name}")
    return int(name)


def _only(store: Store, key: Key, value: str, status: int) -> tuple[int, Values]:
    """The one contact with this key value; a refusal with 2008 (under `status`) or 2010 otherwise."""
    match store.find(key, [value]).get(value, []):
        case [contact]:
            return contact
        case []:
            raise Refusal(status, 2008, f"No contact found with the external id: {key} - {value}")
        case _:
            raise Refusal(400, 2010, f"More contacts found with the external id: {key} - {value}")
