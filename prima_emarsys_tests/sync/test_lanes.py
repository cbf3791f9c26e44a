"""The breaker opens when an endpoint is dead, and only then."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from prima_emarsys.sync.lanes import Breaker

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)


def after(calls: str, breaker: Breaker = Breaker(), now: datetime = NOW) -> Breaker:  # noqa: B008 (frozen)
    for call in calls:
        breaker = breaker.after(answered=call == ".", now=now)
    return breaker


@pytest.mark.parametrize(
    ("calls", "opens"),
    [
        ("xxxx", False),
        ("xxxxx", True),
        ("xxxx.xxxx", False),
        (".x" * 10, False),
        ("xx.xx.xx.xx.xx.x", True),
        ("." * 100 + "xxxx", False),
    ],
)
def test_it_opens_after_five_in_a_row_or_more_than_half_of_twenty(calls: str, opens: bool) -> None:
    assert (after(calls).open_until is not None) is opens


def test_it_doubles_from_one_minute_to_fifteen() -> None:
    breaker, now, seconds = after("xxxxx"), NOW, []
    for _ in range(6):
        seconds.append(breaker.open_seconds)
        assert breaker.open_until is not None
        now = breaker.open_until
        breaker = breaker.after(answered=False, now=now)
    assert seconds == [60, 120, 240, 480, 900, 900]


def test_an_answer_to_the_probe_closes_it() -> None:
    assert after(".", after("xxxxx"), NOW + timedelta(seconds=60)) == Breaker()


def test_a_straggler_that_was_sent_before_it_opened_changes_nothing() -> None:
    opened = after("xxxxx")
    assert after(".", opened, NOW + timedelta(seconds=1)).open_until == opened.open_until
    assert after("x", opened, NOW + timedelta(seconds=1)).open_until == opened.open_until


def test_answers_leave_no_trace() -> None:
    assert after("." * 30) == Breaker()
    assert after("x" + "." * 20) == Breaker()
