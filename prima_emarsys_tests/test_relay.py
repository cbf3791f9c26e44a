"""The relay: quick, safe beside others, killed at any moment without a loss, and ended cleanly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
import time_machine

from prima_emarsys.defs.checks import checks_of
from prima_emarsys.defs.emarsys.events import EVENTS
from prima_emarsys.defs.emarsys.relayed import Reports
from prima_emarsys.project import Project
from prima_emarsys.relay import Relay
from prima_emarsys.settings import load_settings
from prima_emarsys.sync.failpoints import COLLECTING_POINTS, LANE_POINTS
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.sync.schema import lane, outbox, sync_record
from prima_emarsys_tests.defs.house import failures, key
from prima_emarsys_tests.defs.shop import Shop, orders_of, shop, small_world, watched

__all__ = ["shop", "small_world"]

CONFIRMED = "prima_order_confirmed"
KILLED = -signal.SIGKILL


def relay_process(failpoint: str = "", **environment: str) -> subprocess.Popen[str]:
    """`prima-emarsys relay` as an operator starts it."""
    command = [sys.executable, "-m", "prima_emarsys.cli", "relay"]
    changes = environment | {"PRIMA_EMARSYS_FAILPOINT": failpoint}
    return subprocess.Popen(  # noqa: S603
        command, env=os.environ | changes, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def until(true: Callable[[], object], seconds: float = 60) -> bool:
    """Whether something becomes true in time."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def number(record: str) -> str:
    """The order number of `sales_order:company|number`."""
    return record.split("|")[1]


@contextmanager
def relays(count: int, report: Callable[..., None] = lambda *_: None) -> Iterator[None]:
    """So many relays, each in a thread with connections of its own."""
    over = threading.Event()
    threads = [
        threading.Thread(target=Relay(lambda: Project(load_settings()), report).run, args=[over]) for _ in range(count)
    ]
    for one in threads:
        one.start()
    try:
        yield
    finally:
        over.set()
        for one in threads:
            one.join(30)
    assert not any(one.is_alive() for one in threads)


def happens(shop: Shop, kind: str, seed: int) -> str:
    """As `Shop.happen`, but in a process of its own, as Prima is: relays that are threads of this one read the same
    SQLite file by two libraries, whose locks end with any of a process's closings."""
    code = (
        "import sys; from datetime import UTC, datetime; from prima_emarsys.sandbox.world import tick;"
        "url, kind, seed = sys.argv[1:];"
        "[fact] = tick(url, now=datetime.now(UTC), changes=1, seed=int(seed), kinds=[kind]); print(fact.key)"
    )
    command = [sys.executable, "-c", code, shop.house.prima_url, kind, str(seed)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_it_tells_at_once_shows_in_dagster_and_ends_when_it_is_asked_to(shop: Shop) -> None:
    instance = shop.house.instance
    process = relay_process(DAGSTER_HOME=str(shop.house.folder / "dagster"))
    try:
        records = shop.happen("new-shopper-order", "order")
        assert until(lambda: len(shop.told()) == 2)
        [again] = shop.happen("order", seed=11)
        assert until(lambda: len(shop.told()) == 3, seconds=10)
    finally:
        process.send_signal(signal.SIGTERM)
        said, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "The relay has ended." in said
    assert {order for _, order in orders_of(shop.told())} == {number(record) for record in (*records, again)}
    event = instance.get_latest_materialization_event(key("emarsys/events"))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.run_id == ""
    assert event.asset_materialization.metadata["told by"].value == "the relay"
    for spec in checks_of("emarsys/events"):
        assert instance.get_latest_asset_check_evaluation_record(spec.key) is not None


def test_row_36_two_relays_and_runs_at_once_tell_each_fact_once(shop: Shop) -> None:
    records = []
    with relays(2):
        for seed in range(4):
            records.append(happens(shop, "new-shopper-order", seed))
            result = shop.house.run("emarsys/events")
            assert result.success, failures(result)
        assert until(lambda: len(shop.told()) == len(records))
        time.sleep(1)
    assert sorted(orders_of(shop.told())) == sorted((CONFIRMED, number(record)) for record in records)
    persons = [f"P1-{shop.order(record)['customer_code']}" for record in records]
    assert sorted(shop.house.held()) == sorted(persons)
    assert shop.emarsys.counters.triggers_repeated == 0


def test_it_outlives_a_prima_that_is_away_for_a_while(shop: Shop) -> None:
    prima, elsewhere = shop.house.folder / "prima.sqlite", shop.house.folder / "elsewhere.sqlite"
    with relays(1):
        shop.happen("order")
        assert until(lambda: len(shop.told()) == 1)
        shop.happen("despatch")
        prima.rename(elsewhere)
        prima.write_bytes(b"")
        time.sleep(1)
        elsewhere.replace(prima)
        shop.happen("order", seed=12)
        assert until(lambda: len(shop.told()) == 3)


def test_a_quiet_relay_reports_to_dagster_once_and_again_when_a_check_turns(shop: Shop) -> None:
    def reported() -> int:
        return len(shop.house.instance.fetch_materializations(EVENTS, limit=100).records)

    report = Reports(shop.house.instance)
    nothing = (shop.project, shop.collect(), shop.project.drain_events())
    report(*nothing)
    report(*nothing)
    assert reported() == 1
    shop.happen("order")
    collected = shop.collect()
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=3)):
        report(*nothing)
        report(*nothing)
        assert reported() == 2
    report(shop.project, collected, shop.project.drain_events())
    assert reported() == 3


# -- killed ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def kept_shop(
    request: pytest.FixtureRequest, small_world: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """One shop for all kills, with its ledger on either database."""
    ledger: dict[str, str] = {}
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres_server")
        admin = sa.create_engine(server, isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.exec_driver_sql("CREATE DATABASE killed_relay")
        admin.dispose()
        url = sa.make_url(server).set(database="killed_relay")
        ledger["PRIMA_EMARSYS_LEDGER"] = url.render_as_string(hide_password=False)
    with watched(small_world, tmp_path_factory.mktemp("killed") / "shop", **ledger) as found:
        yield found


def let_leases_end(ledger: Ledger) -> None:
    """As if minutes had passed since a process died."""

    def work(connection: sa.Connection) -> None:
        for table, column in ((lane, "dispatcher_until"), (outbox, "lease_until"), (sync_record, "lease_until")):
            held = table.c[column].is_not(None)
            connection.execute(sa.update(table).where(held).values({column: ledger.clock() - timedelta(seconds=1)}))

    ledger.write(work)


# The lane's points are passed by the buyers' contacts first (row 32), and then by the events.
POINTS = (*COLLECTING_POINTS, "mid_stage", "after_stage", *(f"{point}:2" for point in LANE_POINTS[2:]))


@pytest.mark.parametrize("point", POINTS)
def test_row_33_a_relay_killed_at_any_point_tells_each_fact_once_and_loses_none(kept_shop: Shop, point: str) -> None:
    shop, before = kept_shop, len(kept_shop.told())
    records = shop.happen("new-shopper-order", "new-shopper-order", seed=len(point) + before)
    killed = relay_process(point)
    _, errors = killed.communicate(timeout=120)
    assert killed.returncode == KILLED, errors
    with shop.house.project() as other:
        let_leases_end(other.ledger)
        Shop(shop.house, other).tell()
        assert not other.outbox.unfinished()
    told = shop.told()[before:]
    assert sorted(orders_of(told)) == sorted((CONFIRMED, number(record)) for record in records)
    assert {one.external_id for one in told} <= set(shop.house.held())
