"""What became of one call to Emarsys, in the six ways that matter to whoever sent it.

The types, and the pure table that turns (HTTP status, reply code) into one of them. No network, no clock.
Emarsys repeats a reply code under several statuses with several meanings, so neither is enough alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Refusal:
    """One record refused inside an answered batch. `code` is Emarsys's, as text; the record's value is masked."""

    code: str
    text: str


@dataclass(frozen=True)
class Answered:
    """The call was processed: every key that is not in `refused` was accepted."""

    refused: Mapping[str, Refusal]


@dataclass(frozen=True)
class Later:
    """Certainly not applied: send the same again, not before `wait` seconds have passed.

    `counts_as_failure` is False for a used-up rate limit, which is no fault of the endpoint or of the records.
    """

    reason: str
    wait: float
    counts_as_failure: bool


@dataclass(frozen=True)
class Ambiguous:
    """May have been applied: the reply was lost, late, or could not be read."""

    reason: str


@dataclass(frozen=True)
class Stopped:
    """Nothing more can go this way until a person has done what `remedy` says."""

    reason: str
    remedy: str


@dataclass(frozen=True)
class TooLarge:
    """Too many records or too many bytes: split, and send the parts."""

    reason: str


@dataclass(frozen=True)
class BatchRefused:
    """The whole batch was refused and no culprit named: halve it until the culprit stands alone."""

    code: str
    text: str


Failure = Later | Ambiguous | Stopped | TooLarge | BatchRefused
Outcome = Answered | Failure


class NotAnswered(Exception):
    """A question to Emarsys (fields, settings, a proof's page) that got no usable answer; `outcome` says why."""

    def __init__(self, outcome: Failure) -> None:
        self.outcome = outcome
        super().__init__(explain(outcome))


def explain(outcome: Failure) -> str:
    """One sentence for a log or a person."""
    match outcome:
        case Stopped(reason, remedy):
            return f"{reason}. {remedy}"
        case BatchRefused(code, text):
            return f"Emarsys refused the request with code {code}: {text}"
        case _:
            return outcome.reason


@dataclass(frozen=True)
class _Report:
    """What a row of the table may use to build its outcome."""

    code: str
    words: str
    reason: str
    wait: float


_Row = Callable[[_Report], Outcome]

_CHECK_ADDRESS = "Check the address of the Emarsys account in the settings."
NO_INDEX = (
    "The key field has no index. Ask SAP Emarsys Support to index it as a unique external id; "
    "name the account and the field."
)
"""The remedy of reply code 2015."""

_OUR_FAULT = "The request itself is malformed: report this to the engineers of this project."


def _processed(_: _Report) -> Outcome:
    return Answered({})


def _again(report: _Report) -> Outcome:
    return Later(report.reason, max(report.wait, 1.0), counts_as_failure=True)


def _pace(report: _Report) -> Outcome:
    return Later(report.reason, report.wait, counts_as_failure=False)


def _doubt(report: _Report) -> Outcome:
    return Ambiguous(report.reason)


def _split(report: _Report) -> Outcome:
    return TooLarge(report.reason)


def _refuse(report: _Report) -> Outcome:
    return BatchRefused(report.code, report.words)


def _stop(remedy: str) -> _Row:
    return lambda report: Stopped(report.reason, remedy)


def _race_or(row: _Row) -> _Row:
    """Two writers of one new key meet: Emarsys says "already exists" although it created nothing. Sent again, it works.

    The vendor lists the sentence under 2009 and, in an older table, under 2006 too.
    """
    return lambda report: (_again if "already exists" in report.words else row)(report)


_ANY = None
_TABLE: dict[tuple[int, int | None], _Row] = {
    (200, 0): _processed,
    (200, _ANY): _refuse,  # any other code: the status lies, the code counts
    (202, 10001): _again,  # a segment is still being evaluated
    (400, _ANY): _refuse,  # one of the records, or nobody knows: the culprit must be found
    (400, 1): _stop(_OUR_FAULT),  # no such action in the path
    (400, 1000): _split,  # more than 1,000 records
    (400, 1001): _stop(_OUR_FAULT),
    (400, 1006): _stop(_OUR_FAULT),
    (400, 1007): _stop(_OUR_FAULT),
    (400, 1009): _stop(_OUR_FAULT),  # wrong HTTP method
    (400, 2001): _again,  # "failed to load fields, try again later"
    (400, 2002): _split,  # too many external ids
    (400, 2003): _stop(_OUR_FAULT),  # an array was expected
    (400, 2004): _stop("The key field does not exist in this account, or may not be a key: check its string id."),
    (400, 2006): _race_or(_stop("A field is missing in this account (was it deleted?): restore it or unmap it.")),
    (400, 2009): _race_or(_refuse),
    (400, 2014): _stop(_OUR_FAULT),
    (400, 2015): _stop(NO_INDEX),
    (400, 2016): _stop(_OUR_FAULT),
    (400, 10001): _stop(_OUR_FAULT),  # a parameter is missing or of the wrong kind
    (400, 15002): _split,
    (401, _ANY): _stop("Check the API user's credentials in the settings and under Security Settings in Emarsys."),
    (403, _ANY): _stop("Switch this endpoint on for the API user under Security Settings in Emarsys."),
    (404, _ANY): _stop(_CHECK_ADDRESS),
    (404, 2008): _refuse,  # no such contact
    (408, _ANY): _doubt,
    (412, _ANY): _stop("The feature is not part of this Emarsys account: ask the vendor, or switch it off here."),
    (413, _ANY): _split,
    (422, _ANY): _refuse,
    (423, _ANY): _again,
    (429, _ANY): _pace,
    (500, _ANY): _doubt,  # 1, 1003, 2011, 7003, 9002, 15006: its database failed, perhaps half-way
    (500, 3002): _stop(_OUR_FAULT),  # listed as a server error, yet never heals
    (500, 6010): _stop("The feature is not part of this Emarsys account: ask the vendor, or switch it off here."),
    (500, 6058): _stop(_OUR_FAULT),  # listed as a server error, yet never heals
    (501, _ANY): _stop(_OUR_FAULT),
    (502, _ANY): _doubt,
    (503, _ANY): _again,  # overloaded: not taken in
    (504, _ANY): _doubt,
}


def classify(status: int, code: int | None, words: str = "", *, wait: float = 0.0, request_id: str = "") -> Outcome:
    """The outcome of a reply with this HTTP status and reply code (None: the body held no readable envelope).

    `words` is Emarsys's text, already masked; `wait` is how long to keep away (seconds) if that is the answer.
    `Answered` says only that the call was processed: which records were refused stands in the reply's data.

    Source: Emarsys docs: error registry for HTTP 200, 400, 401 and 500, and the notes on rate limits.
    """
    named = f", reply code {code}" if code is not None else ""
    said = f": {words}" if words else ""
    seen = f" (request {request_id})" if request_id else ""
    report = _Report(str(status if code is None else code), words, f"HTTP {status}{named}{said}{seen}", wait)
    return _row(status, code)(report)


def _row(status: int, code: int | None) -> _Row:
    if 200 <= status < 300 and code is None:
        return _doubt  # HTML, half a JSON text or nothing at all under a success status
    if 300 <= status < 400:
        return _stop(f"Redirects are not followed, so that no credentials reach another host. {_CHECK_ADDRESS}")
    if status == 200 and code != 0 and (400, code) in _TABLE:
        return _TABLE[400, code]
    row = _TABLE.get((status, code)) or _TABLE.get((status, _ANY))
    if row is None:
        row = _doubt if status < 300 or status >= 500 else _stop(_CHECK_ADDRESS)
    return row
