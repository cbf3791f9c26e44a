"""The contact calls: upsert, read back, page through all, find duplicates by e-mail.

Contacts come in as finished JSON and go out as they are: which fields a contact has is decided by the rules. The key
of every call is a field that we chose (our person key), so that an e-mail address is a value like any other.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from prima_emarsys.emarsys.batch import masked, read_batch, verdict
from prima_emarsys.emarsys.outcome import (
    Ambiguous,
    Answered,
    BatchRefused,
    Later,
    NotAnswered,
    Outcome,
    Stopped,
    TooLarge,
)
from prima_emarsys.emarsys.redaction import redact
from prima_emarsys.emarsys.transport import Reply, Transport

EMAIL = 3
MAX_RECORDS = 1000
MAX_BYTES = 8_000_000
"""The vendor's 8 MB for a contact update, read as the smaller of its two meanings."""

_PATIENCE = 300.0  # seconds that a walk over all contacts may wait for one page

Value = str | list[str] | None


@dataclass(frozen=True)
class Found:
    """What Emarsys holds of the keys that were asked for; every key is in exactly one of the three.

    `contacts`: key value -> field id as text -> value; None where the field is empty, a list for a multiple choice.
    """

    contacts: Mapping[str, Mapping[str, Value]]
    missing: frozenset[str]
    duplicated: frozenset[str]


class Contacts:
    """The contacts of one account."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def upsert(self, key_field: int, contacts: Mapping[str, bytes]) -> Outcome:
        """Create or update up to 1,000 contacts in one call.

        `contacts`: key value -> the contact as one JSON object (UTF-8), field ids as its keys, the key field among
        them. Fields left out stay as they are; an empty string or null clears. Keys of the mapping being unique, a
        record of the reply is told apart by its key.

        Refusals for a race ("already exists", though nothing was created) are sent once more within this call.
        """
        outcome = self._put(key_field, contacts)
        if not isinstance(outcome, Answered):
            return outcome
        raced = [key for key, refusal in outcome.refused.items() if isinstance(verdict(refusal), Later)]
        if not raced:
            return outcome
        repeat = self._put(key_field, {key: contacts[key] for key in raced})
        if not isinstance(repeat, Answered):
            return repeat  # for all keys: to send those again that were accepted changes nothing
        refused = {key: refusal for key, refusal in outcome.refused.items() if key not in raced}
        return Answered(refused | dict(repeat.refused))

    def _put(self, key_field: int, contacts: Mapping[str, bytes]) -> Outcome:
        if not contacts:
            return Answered({})
        if len(contacts) > MAX_RECORDS:
            return TooLarge(f"{len(contacts)} contacts; a call takes {MAX_RECORDS}")
        records = list(contacts.values())  # JSON already: only joined, and copied only once
        records[0] = b'{"key_id":"%d","contacts":[%b' % (key_field, records[0])
        records[-1] += b"]}"
        body = b",".join(records)
        if len(body) > MAX_BYTES:
            return TooLarge(f"{len(body)} bytes; a call takes {MAX_BYTES}")
        reply = self._transport.call("PUT", "contact/", query={"create_if_not_exists": 1}, body=body)
        if isinstance(reply, Reply):
            return read_batch(reply, contacts)
        if isinstance(reply, BatchRefused) and len(contacts) == 1:
            ((key, contact),) = contacts.items()
            return BatchRefused(reply.code, masked(reply.text, key, contact))
        return reply

    def read(self, key_field: int, keys: Sequence[str], fields: Sequence[int]) -> Found | Later | Stopped | Ambiguous:
        """What Emarsys holds in `fields` for up to 1,000 `keys`. Reading changes nothing, so a lost reply is Later.

        Ambiguous: the call was answered, but not for every key.
        """
        if len(keys) > MAX_RECORDS:
            raise ValueError(f"{len(keys)} keys; a call takes {MAX_RECORDS}")
        wanted = set(keys)
        if not wanted:
            return Found({}, frozenset(), frozenset())
        columns = [str(field) for field in dict.fromkeys([key_field, *fields])]
        request = {"keyId": str(key_field), "keyValues": list(dict.fromkeys(keys)), "fields": columns}
        reply = self._transport.call("POST", "contact/getdata", body=orjson.dumps(request), reads=True)
        match reply:
            case Reply():
                return _found(reply, str(key_field), wanted, columns)
            case Later() | Stopped():
                return reply
            case BatchRefused(code, text):
                return Stopped(f"Reading contacts was refused with code {code}: {text}", _REPORT)
            case _:
                return Stopped(f"Reading contacts was refused: {reply.reason}", _REPORT)

    def query(self, key_field: int, fields: Sequence[int], page: int = 10_000) -> Iterator[Found]:
        """All contacts of the account that have a key, in parts of up to 1,000: the proof's view of Emarsys.

        Keys are listed in pages of at most 10,000 and then read, since the listing returns one field a call. A part's
        `missing` are contacts that went away between the two. Waits out the rate limit; raises NotAnswered when a page
        could not be had within five minutes. Contacts created or deleted meanwhile may move a page's border; ask again
        for a key that seems to be gone.
        """
        seen: set[str] = set()
        offset = 0
        while True:
            arguments = {"return": key_field, "limit": page, "offset": offset, "excludeempty": "true"}
            listed = self._listed(self._transport.fetch("GET", "contact/query/", query=arguments, patience=_PATIENCE))
            keys = [str(row[str(key_field)]) for row in listed if row.get(str(key_field)) not in (None, "")]
            for part in _parts(key for key in keys if key not in seen):
                yield self._read_patiently(key_field, part, fields)
            seen.update(keys)
            if len(listed) < page:
                return
            offset += len(listed)

    @staticmethod
    def _listed(data: Any) -> list[dict[str, Any]]:
        if isinstance(data, dict) and (isinstance(data.get("result"), list) or data.get("result") in (False, None)):
            return data.get("result") or []
        raise NotAnswered(Ambiguous("The list of contacts came back without a result"))

    def _read_patiently(self, key_field: int, keys: Sequence[str], fields: Sequence[int]) -> Found:
        until = time.monotonic() + _PATIENCE
        while True:
            outcome = self.read(key_field, keys, fields)
            if isinstance(outcome, Found):
                return outcome
            if not isinstance(outcome, Later) or time.monotonic() + outcome.wait > until:
                raise NotAnswered(outcome)
            time.sleep(outcome.wait)

    def ids_by_email(self, emails: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """E-mail address -> Emarsys's own ids of all contacts that have it; () if none. More than one is a duplicate.

        Raises NotAnswered.
        """
        ids: dict[str, tuple[str, ...]] = {}
        for part in _parts(emails):
            request = {"key_id": str(EMAIL), "external_ids": part, "get_multiple_ids": 1}
            data = self._transport.fetch("POST", "contact/checkids", body=orjson.dumps(request), patience=_PATIENCE)
            found = (data.get("ids") if isinstance(data, dict) else None) or {}
            for email in part:
                held = found.get(email, ())
                ids[email] = tuple(str(one) for one in (held if isinstance(held, list | tuple) else [held]))
        return ids


def _parts(keys: Iterable[str]) -> Iterator[list[str]]:
    """Distinct keys, as many at a time as a call takes."""
    distinct = list(dict.fromkeys(keys))
    return (distinct[start : start + MAX_RECORDS] for start in range(0, len(distinct), MAX_RECORDS))


_REPORT = "Report this to the engineers of this project."


def _found(reply: Reply, key_field: str, wanted: set[str], columns: Sequence[str]) -> Found | Stopped | Ambiguous:
    """Sort a getdata reply by key. Its `errors` is a list, its `result` False when nothing was found.

    Keys come back as we wrote them whatever their case: whether Emarsys keeps that of an e-mail is not documented.
    """
    ours = {key.casefold(): key for key in wanted} | {key: key for key in wanted}
    contacts: dict[str, Mapping[str, Value]] = {}
    without: dict[int, set[str]] = {2008: set(), 2010: set()}
    try:
        for row in reply.data["result"] or ():
            returned = str(row[key_field])
            key = ours.get(returned) or ours.get(returned.casefold())
            if key is not None:
                contacts[key] = {column: _value(row.get(column)) for column in columns}
        for error in reply.data.get("errors") or ():
            code, returned = int(error["errorCode"]), str(error["key"])
            if code not in without:
                words = redact(str(error.get("errorMsg", "")))
                return Stopped(f"Reading contacts was refused with code {code}: {words}", _REPORT)
            without[code].add(ours.get(returned) or ours.get(returned.casefold()) or returned)
    except (AttributeError, KeyError, TypeError, ValueError):
        return Ambiguous(f"Contacts came back in an unknown form (request {reply.request_id or 'unnamed'})")
    missing, duplicated = without[2008] & wanted, without[2010] & wanted
    left_out = len(wanted - contacts.keys() - missing - duplicated)
    if left_out:
        return Ambiguous(f"Emarsys answered for all but {left_out} of {len(wanted)} keys")
    return Found(contacts, frozenset(missing), frozenset(duplicated))


def _value(value: Any) -> Value:
    if value is None:
        return None
    return [str(one) for one in value] if isinstance(value, list) else str(value)
