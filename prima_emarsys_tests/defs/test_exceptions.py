"""`proof/exceptions`: what waits for whom, and the owner's check that turns red when it waits too long."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from prima_emarsys.finding import Owner
from prima_emarsys.settings import DEFAULT_SITE
from prima_emarsys.sync.exceptions import mark, open_exceptions
from prima_emarsys.sync.schema import exception
from prima_emarsys_tests.defs.house import House, checks, metadata

ASSET = "proof/exceptions"


def owners_checks(house: House) -> dict[str, bool]:
    result = house.run(ASSET)
    assert result.success
    return {name.partition(":")[2]: passed for name, passed in checks(result).items()}


def lines(text: str) -> list[list[str]]:
    """Cells of a Markdown table, without its head."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]


def age(house: House, owner: Owner, by: timedelta) -> None:
    """Let an owner's exceptions be older than they are."""
    with house.project() as project:
        seen = project.ledger.clock() - by
        mine = sa.update(exception).where(exception.c.owner == owner.value).values(first_seen=seen)
        project.ledger.write(lambda connection: connection.execute(mine))


def test_all_that_waits_is_counted_once_by_owner_and_age(house: House) -> None:
    result = house.run(ASSET)
    shown = metadata(result, ASSET)
    with house.project() as project:
        cases = open_exceptions(project.ledger)
    assert cases
    assert shown["dagster/row_count"] == len(cases)
    by_owner = {row[0]: [int(cell) for cell in row[1:8]] for row in lines(shown["by owner"])}
    assert set(by_owner) == set(Owner)
    assert sum(sum(numbers[:3]) for numbers in by_owner.values()) == len(cases)
    for errors, warnings, _accepted, *ages in by_owner.values():
        assert errors + warnings == sum(ages)
    assert sum(int(row[2]) for row in lines(shown["by kind"])) == len(cases)


def test_an_owners_check_turns_red_when_an_error_waits_too_long_and_green_when_it_is_accepted(house: House) -> None:
    assert set(owners_checks(house).values()) == {True}
    age(house, Owner.FINANCE, timedelta(hours=49))
    assert [owner for owner, passed in owners_checks(house).items() if not passed] == ["finance"]
    with house.project() as project:
        for case in open_exceptions(project.ledger, Owner.FINANCE):
            mark(project.ledger, case.id, "accepted", "Fay", "agreed")
    assert set(owners_checks(house).values()) == {True}


def test_the_site_says_how_long_is_too_long(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(DEFAULT_SITE.read_text() + "overdue_hours: {finance: 100}\n")
    monkeypatch.setenv("PRIMA_EMARSYS_SITE", str(site))
    age(house, Owner.FINANCE, timedelta(hours=49))
    assert owners_checks(house)["finance"]
    age(house, Owner.FINANCE, timedelta(hours=101))
    assert not owners_checks(house)["finance"]
