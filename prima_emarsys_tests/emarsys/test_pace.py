"""The pace on a clock that the test turns."""

from __future__ import annotations

import pytest

from prima_emarsys.emarsys.pace import Pace

SERVER = 1_700_000_000.0


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def headers(remaining: int = 900, reset: float | None = None, limit: int = 1000) -> dict[str, str]:
    fields = {"X-Ratelimit-Limit": str(limit), "X-Ratelimit-Remaining": str(remaining)}
    return fields if reset is None else fields | {"X-Ratelimit-Reset": str(int(reset))}


def test_after_a_refusal_nobody_calls_before_the_reset(clock: Clock) -> None:
    """Fault 9."""
    pace = Pace(clock)
    assert pace.learn(429, headers(0, SERVER + 20), SERVER) == 20
    assert pace.wait() == 20
    clock.now += 19.9
    assert pace.wait() > 0
    clock.now += 0.2
    assert pace.wait() == 0


@pytest.mark.parametrize("reset", [None, SERVER - 3600, SERVER], ids=["none", "past", "now"])
def test_a_refusal_without_a_usable_reset_backs_off_by_itself(clock: Clock, reset: float | None) -> None:
    """Fault 10."""
    pace = Pace(clock)
    for refusal in range(1, 20):
        assert 1 <= pace.learn(429, headers(0, reset), SERVER) <= min(300, max(1, 2**refusal))


def test_a_reset_in_the_year_2099_does_not_park_anybody(clock: Clock) -> None:
    """Fault 10."""
    pace = Pace(clock)
    assert pace.learn(429, headers(0, 4_070_908_800), SERVER) == 120


def test_bulk_keeps_away_when_a_fifth_of_the_calls_is_left_whoever_made_the_others(clock: Clock) -> None:
    pace = Pace(clock)
    assert pace.learn(200, headers(200, SERVER + 30), SERVER) == 0
    assert pace.learn(200, headers(199, SERVER + 30), SERVER) == 30
    assert pace.wait() == 30
    assert pace.wait(urgent=True) == 0
    assert pace.learn(200, headers(1, SERVER + 30), SERVER, urgent=True) == 0


def taken(pace: Pace, clock: Clock, *, urgent: bool) -> int:
    """Calls made until one would have to wait."""
    number = 0
    while pace.wait(urgent=urgent) == 0:
        number += 1
        clock.now += 0.5
    return number


def test_row_49_bulk_takes_no_more_than_four_fifths_of_the_limit_and_what_cannot_wait_the_rest(clock: Clock) -> None:
    pace = Pace(clock)
    pace.learn(200, headers(50, limit=50), SERVER)
    assert taken(pace, clock, urgent=False) == 40
    assert taken(pace, clock, urgent=True) == 10
    assert pace.wait() == pytest.approx(40 - 5)
    clock.now += 35 + 5
    assert pace.wait() == 0


def test_headers_that_are_no_numbers_are_passed_over(clock: Clock) -> None:
    pace = Pace(clock)
    odd = {"X-Ratelimit-Limit": "many", "X-Ratelimit-Remaining": "", "X-Ratelimit-Reset": "-1"}
    assert pace.learn(200, odd, SERVER) == 0
    assert pace.wait() == 0


def test_one_api_user_has_one_pace_in_the_process() -> None:
    assert Pace.of("host one") is Pace.of("host one")
    assert Pace.of("host one") is not Pace.of("host two")
