"""The sensor asks for what Prima is ahead with, once, and lets a change reach Emarsys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
import time_machine

from prima_emarsys.defs.prima import sensors
from prima_emarsys.defs.prima.sensors import DOWNSTREAM, SCHEDULED, prima_changes
from prima_emarsys.defs.resources import ProjectResource
from prima_emarsys.sandbox.world.store import open_world
from prima_emarsys_tests.defs.house import House, account_of, key, untouched

TAG = "prima_emarsys/subjects"


@pytest.fixture(autouse=True)
def _one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tick looks once instead of watching for seconds."""
    monkeypatch.setattr(sensors, "WATCH_SECONDS", 0.0)


class Daemon:
    """Evaluates the sensor as Dagster's daemon does: it keeps the cursor that the last tick left."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.cursor: str | None = None

    def tick(self, ahead: timedelta = timedelta(0)) -> list[dg.RunRequest]:
        """What the sensor asks for, `ahead` from now."""
        with time_machine.travel(datetime.now(UTC) + ahead):
            context = dg.build_sensor_context(
                instance=self.house.instance, cursor=self.cursor, resources={"project": ProjectResource()}
            )
            answer = prima_changes(context)
        if isinstance(answer, dg.SkipReason):
            return []
        assert isinstance(answer, dg.SensorResult)
        self.cursor = answer.cursor
        return list(answer.run_requests or [])

    def launch(self, request: dg.RunRequest, status: dg.DagsterRunStatus) -> dg.DagsterRun:
        """A run that was made of a request and stands at `status`."""
        from prima_emarsys.definitions import defs

        return self.house.instance.create_run_for_job(
            defs.resolve_job_def("sync"), tags=request.tags, status=status, asset_selection=None
        )


@pytest.fixture
def daemon(house: House) -> Daemon:
    """A daemon over a house that has landed everything just now, however long ago its copy was made."""
    for subject in DOWNSTREAM:
        event = house.instance.get_latest_materialization_event(key(f"prima/{subject}"))
        assert event is not None
        assert event.asset_materialization is not None
        house.instance.report_runless_asset_event(event.asset_materialization)
    return Daemon(house)


def assets(request: dg.RunRequest) -> set[str]:
    assert request.asset_selection is not None
    return {one.to_user_string() for one in request.asset_selection}


def cases(house: House, name: str) -> list[str]:
    with open_world(house.prima_url) as store:
        return store.cases()[name]


def rename_somebody(house: House, surname: str = "Changed") -> str:
    person = house.person()
    house.amend("customer", account_of(house.desired()[person]), surname=surname)
    return person


def test_only_the_changed_subjects_and_what_follows_them_are_asked_for(daemon: Daemon) -> None:
    rename_somebody(daemon.house)
    (request,) = daemon.tick()
    assert request.tags[TAG] == "customers"
    assert assets(request) == {"prima/customers", *DOWNSTREAM["customers"]}


def test_the_very_first_run_makes_the_forecasts_that_are_nightly_from_then_on(first_sync: Path, tmp_path: Path) -> None:
    """Else the first night would change every contact, and the volume guard hold them."""
    with untouched(first_sync, tmp_path / "house") as house:
        (request,) = Daemon(house).tick()
        assert assets(request) == {f"prima/{subject}" for subject in DOWNSTREAM} | {
            *DOWNSTREAM["customers"],
            "emarsys/predicted_value",
        }


def test_the_same_change_is_asked_for_once(daemon: Daemon) -> None:
    rename_somebody(daemon.house)
    assert len(daemon.tick()) == 1
    assert daemon.tick() == []
    assert daemon.tick(timedelta(seconds=30)) == []


def test_no_run_is_asked_for_while_one_waits_that_will_read_the_change(daemon: Daemon) -> None:
    rename_somebody(daemon.house)
    (request,) = daemon.tick()
    waiting = daemon.launch(request, dg.DagsterRunStatus.NOT_STARTED)
    assert daemon.tick(timedelta(minutes=2)) == []
    daemon.house.instance.report_run_canceled(waiting)
    assert len(daemon.tick(timedelta(minutes=2))) == 1


def test_a_row_stamped_in_the_future_does_not_ask_for_run_after_run(daemon: Daemon) -> None:
    """The world has one, an order; the change mark of a row that is not yet past must not count."""
    order = next(iter(cases(daemon.house, "stamp-in-the-future")))
    assert order.startswith("sales_order:")
    assert [daemon.tick(timedelta(seconds=seconds)) for seconds in (0, 5, 90)] == [[], [], []]


def test_a_newest_row_that_was_deleted_does_not_ask_for_run_after_run(daemon: Daemon) -> None:
    with open_world(daemon.house.prima_url) as store, store.rows() as rows:
        (newest,) = rows.recent("customer", datetime(2000, 1, 1), datetime(2100, 1, 1), 1)  # noqa: DTZ001 (wall clock)
        rows.remove("customer", newest)
    assert [daemon.tick(timedelta(seconds=seconds)) for seconds in (0, 90)] == [[], []]


def test_a_further_change_is_asked_for_at_once(daemon: Daemon) -> None:
    rename_somebody(daemon.house)
    assert len(daemon.tick()) == 1
    daemon.house.tick("order", seed=3)
    (request,) = daemon.tick()
    assert "prima/orders" in assets(request)


def test_a_request_that_came_to_nothing_is_repeated(daemon: Daemon) -> None:
    rename_somebody(daemon.house)
    (first,) = daemon.tick()
    daemon.house.instance.report_run_failed(daemon.launch(first, dg.DagsterRunStatus.STARTED))
    (again,) = daemon.tick(timedelta(seconds=61))
    assert assets(again) == assets(first)


def test_a_subject_is_read_again_after_five_minutes_although_its_marks_stand_still(daemon: Daemon) -> None:
    assert daemon.tick(timedelta(minutes=4)) == []
    (request,) = daemon.tick(timedelta(minutes=6))
    assert request.tags[TAG] == "customers,orders,returns"


def test_a_change_in_prima_reaches_emarsys_through_the_sensor(daemon: Daemon) -> None:
    person = rename_somebody(daemon.house)
    (request,) = daemon.tick()
    result = daemon.house.run(*sorted(assets(request)))
    assert result.success
    assert daemon.house.held()[person]["last_name"] == "Changed"
    assert daemon.house.emarsys.counters.contacts_accepted == 1
    assert daemon.tick() == []


def test_what_the_sensor_asks_for_is_what_the_graph_says() -> None:
    from prima_emarsys.definitions import defs

    graph = defs.resolve_asset_graph()
    for subject, names in DOWNSTREAM.items():
        following = dg.AssetSelection.assets(key(f"prima/{subject}")).downstream(include_self=False).resolve(graph)
        assert {one.to_user_string() for one in following} - set(SCHEDULED) == set(names)
