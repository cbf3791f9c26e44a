"""The nightly truth: a sweep finds what an increment cannot see, and one that looks wrong takes nothing out."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg
import pytest
import sqlalchemy as sa

from prima_emarsys.defs.automation import WHOLE
from prima_emarsys.defs.checks import blocking_checks
from prima_emarsys.defs.gate import refuse_unless_passed
from prima_emarsys.defs.prima.sensors import SCHEDULED
from prima_emarsys_tests.defs.house import (
    COMPUTING,
    STOCK,
    SWEEPING,
    House,
    account_of,
    checks,
    materialised,
    metadata,
)


def test_the_schedule_starts_a_job_that_sweeps_and_computes_everything() -> None:
    from prima_emarsys.definitions import defs

    schedule = defs.resolve_schedule_def("nightly")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 3 * * *", "Europe/London")
    assert schedule.job_name == "nightly_truth"
    always_whole = {"emarsys/catalogue"}
    assert {name.replace("__", "/") for name in WHOLE["ops"]} == {*SWEEPING, *COMPUTING, *STOCK} - always_whole
    job = defs.resolve_job_def("nightly_truth")
    assert set(job.graph.node_dict) == {
        *WHOLE["ops"],
        "emarsys__catalogue",
        *(name.replace("/", "__") for name in SCHEDULED),
    }


def test_what_vanished_or_was_committed_late_is_found_by_the_night_and_not_before(house: House) -> None:
    person = house.person()
    before = house.desired()
    gone = house.tick(changes=0, deletes=True, seed=11)
    late = house.tick("new-shopper-order", late=timedelta(hours=5), seed=12)
    vanished = {fact.kind: fact.key for fact in gone}
    assert len(late) == 1

    by_day = house.run(*SWEEPING)
    assert [metadata(by_day, asset)["gone"] for asset in SWEEPING] == [0, 0, 0]

    house.amend("customer", account_of(before[person]), surname="Changed")
    by_night = house.run(job="nightly_truth")
    assert by_night.success
    assert metadata(by_night, "prima/customers")["gone"] == 1
    assert metadata(by_night, "prima/orders")["gone"] == 1
    assert all(metadata(by_night, asset)["swept"] for asset in SWEEPING)
    assert all(metadata(by_night, asset)["whole"] for asset in COMPUTING)
    after = house.desired()
    assert len(after.keys() - before.keys()) == 1  # the shopper whose order came late
    account = vanished["customer-deleted"].removeprefix("customer:").replace("|", "-")
    assert account not in {contact["prima_account"] for contact in after.values()}
    assert {one: house.held()[one] for one in after} == after
    assert checks(by_night)["proof/contacts:emarsys_equals_desired"] is True


def test_a_read_that_is_far_too_short_takes_nothing_out_and_turns_red(house: House) -> None:
    mirrored = len(house.table("mirror.customer"))
    engine = sa.create_engine(house.prima_url)
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM customer WHERE company = '1'"))
    engine.dispose()
    result = house.run("prima/customers", "core/persons", "emarsys/contacts", sweep=True)
    assert not result.success
    assert materialised(result) == ["prima/customers"]
    assert checks(result)["prima/customers:complete"] is False
    assert metadata(result, "prima/customers")["gone"] == 0
    assert sum(not row["gone"] for row in house.table("mirror.customer")) == mirrored
    assert checks(house.run("prima/customers"))["prima/customers:complete"] is False, "an increment has not read it all"
    with pytest.raises(dg.Failure, match="`complete` of prima/customers failed"):
        refuse_unless_passed(house.instance, blocking_checks(["prima/customers"]))
