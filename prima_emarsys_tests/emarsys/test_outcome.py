"""The table of replies, row by row. Numbers in ids are those of the fault matrix."""

from __future__ import annotations

import pytest

from prima_emarsys.emarsys.outcome import (
    Ambiguous,
    Answered,
    BatchRefused,
    Later,
    Stopped,
    TooLarge,
    classify,
    explain,
)

ROWS = [
    (200, 0, "OK", Answered),
    (200, None, "", Ambiguous),  # 18
    (200, 2004, "Invalid key field id: 100", Stopped),  # 16: the status lies, the code counts
    (200, 2010, "More contacts found", BatchRefused),
    (200, 1000, "maximum batch size", TooLarge),
    (200, 77777, "never heard of", BatchRefused),
    (202, 10001, "The segment is currently evaluated.", Later),
    (202, None, "", Ambiguous),
    (204, None, "", Ambiguous),
    (301, None, "", Stopped),  # 28
    (302, None, "", Stopped),
    (307, 0, "OK", Stopped),
    (308, None, "", Stopped),
    (400, None, "", BatchRefused),  # 21
    (400, 1, "Action x is invalid.", Stopped),
    (400, 1000, "The request exceeded the maximum batch size of 1,000", TooLarge),  # 20
    (400, 1001, "", Stopped),
    (400, 1006, "", Stopped),
    (400, 1007, "", Stopped),
    (400, 1008, "Invalid value for field", BatchRefused),
    (400, 1009, "Invalid HTTP method.", Stopped),
    (400, 1010, "Invalid request payload.", BatchRefused),
    (400, 2001, "Failed to load fields, try again later", Later),
    (400, 2002, "The list of external ids exceeds the maximum size.", TooLarge),
    (400, 2003, "Invalid data format. Array expected", Stopped),
    (400, 2004, "Invalid key field id: 4427", Stopped),
    (400, 2005, "No value provided for key field: 4427", BatchRefused),
    (400, 2006, "Invalid field id: 4427", Stopped),  # 27
    (400, 2006, "Contact with the external id already exists: 4427", Later),  # 22
    (400, 2007, "Invalid date format for field id: 4", BatchRefused),
    (400, 2008, "No contact found with the external id: 3", BatchRefused),
    (400, 2009, "Contact with the external id already exists: 4427", Later),  # 22
    (400, 2010, "More contacts found with the external id: 3", BatchRefused),
    (400, 2014, "", Stopped),
    (400, 2015, "No index on column", Stopped),
    (400, 2016, "", Stopped),
    (400, 9004, "no more slots", BatchRefused),
    (400, 10001, "Missing parameter: keyValues", Stopped),
    (400, 15002, "Maximum number of records is 1000.", TooLarge),
    (401, 1, "Unauthorized", Stopped),  # 14
    (401, None, "", Stopped),
    (403, None, "", Stopped),  # 15
    (404, None, "", Stopped),
    (404, 3006, "no such list", Stopped),
    (404, 2008, "No contact found", BatchRefused),
    (405, None, "", Stopped),
    (408, None, "", Ambiguous),
    (410, None, "", Stopped),  # 31
    (412, 8029, "", Stopped),
    (413, None, "", TooLarge),  # 20
    (418, None, "", Stopped),
    (422, None, "", BatchRefused),
    (423, 6028, "Cannot run filters that often", Later),
    (429, None, "", Later),  # 10
    (429, 7003, "Too many requests", Later),
    (429, 15011, "Too many requests.", Later),
    (500, None, "", Ambiguous),
    (500, 1, "database", Ambiguous),
    (500, 1003, "internal", Ambiguous),  # 11
    (500, 2011, "database", Ambiguous),
    (500, 3002, "", Stopped),
    (500, 6010, "feature missing", Stopped),  # 12
    (500, 6058, "", Stopped),
    (500, 15006, "", Ambiguous),
    (501, None, "This feature has not been implemented yet.", Stopped),
    (502, None, "", Ambiguous),  # 13
    (503, None, "", Later),  # 11
    (504, None, "", Ambiguous),
    (599, None, "", Ambiguous),
]


@pytest.mark.parametrize(("status", "code", "words", "kind"), ROWS)
def test_a_reply_means_what_the_documents_say(status: int, code: int | None, words: str, kind: type) -> None:
    assert type(classify(status, code, words)) is kind


def test_only_a_used_up_rate_limit_is_no_failure_of_the_endpoint() -> None:
    later = {row[:3]: classify(*row[:3]) for row in ROWS if row[3] is Later}
    innocent = {
        row[0] for row, outcome in later.items() if isinstance(outcome, Later) and not outcome.counts_as_failure
    }
    assert innocent == {429}


def test_no_status_and_no_code_is_ever_taken_for_success_but_200_with_0() -> None:
    for status in range(200, 600):
        for code in (None, 0, 1, 2010, 77777):
            if (status, code) != (200, 0):
                assert not isinstance(classify(status, code), Answered), (status, code)


def test_a_stop_names_what_was_seen_and_what_to_do() -> None:
    stopped = classify(403, None, "Forbidden", request_id="req-7")
    assert isinstance(stopped, Stopped)
    assert stopped.reason == "HTTP 403: Forbidden (request req-7)"
    assert "Security Settings" in explain(stopped)


def test_a_whole_refusal_keeps_emarsys_code_and_words() -> None:
    assert classify(400, 2007, "Invalid date format") == BatchRefused("2007", "Invalid date format")
