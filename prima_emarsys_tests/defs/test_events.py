"""`emarsys/events` in Dagster: the same work as the relay's, with counts and checks, and a sensor as its safety net."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import time_machine

from prima_emarsys.defs.emarsys import sensors
from prima_emarsys.defs.emarsys.sensors import order_events
from prima_emarsys.defs.resources import ProjectResource
from prima_emarsys.sync import lanes
from prima_emarsys.sync.outbox import lane_of
from prima_emarsys_tests.defs.house import checks, failures, metadata
from prima_emarsys_tests.defs.shop import Shop, shop, small_world

__all__ = ["shop", "small_world"]

EVENTS = "emarsys/events"


@pytest.fixture(autouse=True)
def _short_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensors, "WATCH_SECONDS", 0.2)
    monkeypatch.setattr(sensors, "RELAY", timedelta(seconds=0.3))
    monkeypatch.setattr(sensors, "_LOOK_SECONDS", 0.1)


def test_a_run_tells_what_happened_and_says_so_in_numbers(shop: Shop) -> None:
    shop.happen("order", "despatch", "new-shopper-order")
    result = shop.house.run(EVENTS)
    assert result.success, failures(result)
    told = shop.told()
    assert len(told) == 3
    found = metadata(result, EVENTS)
    assert (found["sent"], found["accepted"], found["refused"], found["unknown"]) == (3, 3, 0, 0)
    assert found["first contacts"] == 3
    assert found["accepted within (s, p95)"] > 0
    assert set(checks(result).values()) == {True}
    assert len(checks(result)) == 4
    assert metadata(shop.house.run(EVENTS), EVENTS)["sent"] == 0


def test_the_check_goes_red_when_an_event_has_waited_for_two_minutes(shop: Shop) -> None:
    lane = lane_of("order-confirmed")
    ledger = shop.project.ledger
    shop.happen("order")
    lanes.take(ledger, lane, timedelta(0))
    lanes.pause(ledger, lane, ledger.clock() + timedelta(minutes=10))
    assert checks(shop.house.run(EVENTS))[f"{EVENTS}:no_event_waits_long"]
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=3)):
        assert not checks(shop.house.run(EVENTS))[f"{EVENTS}:no_event_waits_long"]
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=11)):
        late = checks(shop.house.run(EVENTS))
    assert late[f"{EVENTS}:no_event_waits_long"]
    assert not late[f"{EVENTS}:told_in_time"]
    assert [one.event for one in shop.told()] == ["prima_order_confirmed"]


class Daemon:
    """Evaluates the sensor as Dagster's daemon does."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.cursor: str | None = None

    def asks(self, ahead: timedelta = timedelta(0)) -> bool:
        with time_machine.travel(datetime.now(UTC) + ahead):
            context = dg.build_sensor_context(
                instance=self.shop.house.instance, cursor=self.cursor, resources={"project": ProjectResource()}
            )
            answer = order_events(context)
        if isinstance(answer, dg.SkipReason):
            return False
        assert isinstance(answer, dg.SensorResult)
        self.cursor = answer.cursor
        return bool(answer.run_requests)


def test_the_sensor_asks_for_a_run_only_when_nobody_else_tells(shop: Shop) -> None:
    daemon = Daemon(shop)
    assert not daemon.asks()
    shop.happen("order")
    shop.tell()  # as a relay does
    assert not daemon.asks()
    shop.happen("despatch")
    assert daemon.asks()
    assert not daemon.asks()  # the run is on its way
    assert daemon.asks(timedelta(seconds=61))  # it came to nothing
    assert shop.house.run(EVENTS).success
    assert not daemon.asks()
    assert [one.event for one in shop.told()] == ["prima_order_confirmed", "prima_order_despatched"]


def test_the_sensor_notices_what_was_written_down_and_never_sent(shop: Shop) -> None:
    shop.happen("order")
    shop.collect()  # and then the relay died
    assert Daemon(shop).asks(timedelta(seconds=1))
