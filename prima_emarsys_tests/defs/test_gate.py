"""Nothing is sent on data that is not known to be good, in whichever run the last word about it was said."""

from __future__ import annotations

from pathlib import Path

import duckdb

from prima_emarsys.defs.checks import blocking_checks
from prima_emarsys.defs.emarsys.assets import UPSTREAM
from prima_emarsys_tests.defs.house import (
    House,
    account_of,
    checks,
    failures,
    materialised,
    metadata,
    untouched,
)

_SPOILT = "SELECT min(order_number) FROM mirror.sales_order WHERE company = '1'"


def spoil_the_mirror(house: House) -> None:
    """One order stands in the mirror twice, which no later read of that order can mend."""
    with duckdb.connect(str(house.folder / "warehouse.duckdb")) as warehouse:
        one = f"company = '1' AND order_number = ({_SPOILT})"
        warehouse.execute(f"INSERT INTO mirror.sales_order SELECT * FROM mirror.sales_order WHERE {one}")  # noqa: S608


def mend_the_mirror(house: House) -> None:
    """It stands there no more; the next sweep reads it again."""
    with duckdb.connect(str(house.folder / "warehouse.duckdb")) as warehouse:
        warehouse.execute(f"DELETE FROM mirror.sales_order WHERE order_number = ({_SPOILT})")  # noqa: S608


def test_a_failed_blocking_check_keeps_all_later_runs_from_sending_until_it_passes(house: House) -> None:
    person = house.person()
    house.amend("customer", account_of(house.desired()[person]), surname="Changed")
    spoil_the_mirror(house)

    watched = ("prima/customers", "prima/orders", "core/persons", "core/sales", "emarsys/rfm_clv")
    spoilt = house.run(*watched, sweep=True)
    assert not spoilt.success
    assert checks(spoilt)["prima/orders:contract"] is False
    # It stops what follows in its own run, and only that.
    assert sorted(materialised(spoilt)) == ["core/persons", "prima/customers", "prima/orders"]

    refused = house.run("emarsys/contacts")
    assert not refused.success
    assert materialised(refused) == []
    (words,) = failures(refused).values()
    assert "Nothing was sent to Emarsys" in words
    assert f"the check `contract` of prima/orders failed in run {spoilt.run_id[:8]}" in words
    assert house.emarsys.counters.calls["contact.update"] == 0

    # An increment knows only its own rows: what was red stays red until the whole is asked and found good.
    increment = house.run("prima/orders")
    assert checks(increment)["prima/orders:contract"] is False

    mend_the_mirror(house)
    mended = house.run("prima/orders", sweep=True)
    assert mended.success
    assert checks(mended)["prima/orders:contract"] is True

    sent = house.run("emarsys/contacts")
    assert sent.success
    assert metadata(sent, "emarsys/contacts")["accepted"] == 1
    assert house.held()[person]["last_name"] == "Changed"


def test_data_that_was_never_checked_is_not_sent(first_sync: Path, tmp_path: Path) -> None:
    with untouched(first_sync, tmp_path / "house") as house:
        refused = house.run("emarsys/contacts")
        assert not refused.success
        (words,) = failures(refused).values()
        for check in blocking_checks(UPSTREAM):
            asset = check.asset_key.to_user_string()
            assert f"the check `{check.name}` of {asset} was never evaluated: materialise {asset} first" in words
        assert not house.emarsys.counters.calls
        assert not (house.folder / "warehouse.duckdb").exists()


def test_a_red_check_that_only_warns_does_not_keep_anything_from_being_sent(house: House) -> None:
    person = house.person()
    house.amend("customer", account_of(house.desired()[person]), surname="Changed")
    result = house.run("prima/customers", "core/persons", "emarsys/contacts")
    assert result.success
    assert checks(result)["prima/customers:quarantine"] is False
    assert house.held()[person]["last_name"] == "Changed"
