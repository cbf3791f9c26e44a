"""The reply to a processed batch: who was refused in it, and whether everybody is accounted for.

Contacts and events are answered in one form. Nothing here sends.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from prima_emarsys.emarsys.outcome import Ambiguous, Answered, BatchRefused, Outcome, Refusal, Stopped, classify
from prima_emarsys.emarsys.redaction import redact
from prima_emarsys.emarsys.transport import Reply
from prima_emarsys.finding import mask


def read_batch(reply: Reply, records: Mapping[str, bytes]) -> Outcome:
    """Answered, with who was refused; or what the reply means if it cannot be split into records.

    `errors` is absent, `[]`, or an object by key value and then code. `ids` mixes text (updated) and integers
    (created) in an order that means nothing once records were refused: it is only counted.
    """
    data = reply.data if isinstance(reply.data, dict) else {}
    errors, ids = data.get("errors") or {}, data.get("ids")
    if not isinstance(errors, dict) or not isinstance(ids, list):
        return _unaccounted(reply, len(records), len(records))
    refused: dict[str, Refusal] = {}
    for key, faults in errors.items():
        if not isinstance(faults, dict) or not faults:
            return _unaccounted(reply, len(records), len(records))
        code, text = str(next(iter(faults))), "; ".join(str(fault) for fault in faults.values())
        judged = verdict(Refusal(code, redact(text)))
        if isinstance(judged, Stopped):
            return judged  # the key field or a field is missing in the account: no record can go
        if key not in records:
            # Some errors stand under an empty or a made-up key. Alone in its call, a record must be the one meant.
            if len(records) > 1:
                return BatchRefused(code, redact(text))
            (key,) = records
        refused[key] = Refusal(code, masked(text, key, records[key]))
    missing = len(records) - len(refused) - len(ids)
    return _unaccounted(reply, missing, len(records)) if missing else Answered(refused)


def _unaccounted(reply: Reply, missing: int, sent: int) -> Ambiguous:
    return Ambiguous(
        f"Emarsys answered, but {abs(missing)} of {sent} records are neither accepted nor refused "
        f"(request {reply.request_id or 'unnamed'})"
    )


def verdict(refusal: Refusal) -> Outcome:
    """What a record's own refusal, inside an answered batch, means for the batch and for its lane."""
    if not refusal.code.isdecimal():
        return BatchRefused(refusal.code, refusal.text)
    return classify(200, int(refusal.code), refusal.text)


def masked(text: str, key: str, record: bytes) -> str:
    """Emarsys's words without the record's values, which it likes to quote."""
    try:
        fields = orjson.loads(record)
    except orjson.JSONDecodeError:
        fields = {}
    values = {str(value) for value in fields.values() if isinstance(value, str)} | {key}
    for value in sorted(values, key=len, reverse=True):
        if len(value) > 2:
            text = text.replace(value, mask(value))
    return redact(text)
