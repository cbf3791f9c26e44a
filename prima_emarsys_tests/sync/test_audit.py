"""The audit log: what people decided stays as it was written (row 99 of the fault matrix)."""

from __future__ import annotations

import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prima_emarsys.sync.audit import entries, first_fault, head, write_audit
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.sync.schema import audit
from prima_emarsys_tests.sync.conftest import MovedClock


def decide(ledger: Ledger, clock: MovedClock, *notes: str) -> None:
    for note in notes:
        ledger.write(lambda connection, note=note: write_audit(connection, ledger, "ann", "release", "contacts", note))
        clock.sleep(1)


def fault(ledger: Ledger) -> str | None:
    return ledger.read(lambda connection: first_fault(connection, ledger))


def run(ledger: Ledger, *statements: sa.Executable) -> None:
    ledger.write(lambda connection: [connection.execute(one) for one in statements])


def test_entries_are_kept_in_their_order_and_the_newest_is_the_head(ledger: Ledger, clock: MovedClock) -> None:
    assert (fault(ledger), head(ledger), entries(ledger, 10)) == (None, "", [])
    decide(ledger, clock, "one", "two", "three")
    assert fault(ledger) is None
    assert [entry.detail for entry in entries(ledger, 2)] == ["two", "three"]
    assert entries(ledger, 1)[0].mac == head(ledger)


def test_an_entry_that_was_altered_is_named(ledger: Ledger, clock: MovedClock) -> None:
    """Row 99."""
    decide(ledger, clock, "one", "two", "three")
    second = entries(ledger, 10)[1]
    run(ledger, sa.update(audit).where(audit.c.id == second.id).values(who="bob"))
    assert fault(ledger) == f"entry {second.id} was changed"


def test_an_entry_that_was_taken_out_is_missed(ledger: Ledger, clock: MovedClock) -> None:
    """Row 99."""
    decide(ledger, clock, "one", "two", "three", "four")
    first, second, third, fourth = entries(ledger, 10)
    run(ledger, sa.delete(audit).where(audit.c.id == fourth.id))
    assert fault(ledger) == f"entries after {third.id} are gone"
    run(ledger, sa.delete(audit).where(audit.c.id == second.id))
    assert (fault(ledger) or "").startswith(f"entry {third.id} does not follow entry {first.id}")


def test_an_entry_that_was_put_in_without_the_key_shows(ledger: Ledger, clock: MovedClock) -> None:
    decide(ledger, clock, "one")
    forged = {"at": clock(), "who": "bob", "what": "release", "subject": "contacts", "detail": "", "mac": "made up"}
    run(ledger, sa.insert(audit).values(forged | {"previous": head(ledger)}))
    assert (fault(ledger) or "").endswith("was changed")


def test_what_retention_takes_from_the_old_end_breaks_nothing(ledger: Ledger, clock: MovedClock) -> None:
    decide(ledger, clock, "one", "two", "three")
    run(ledger, sa.delete(audit).where(audit.c.id == entries(ledger, 10)[0].id))
    assert fault(ledger) is None


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), max_size=4))
def test_whatever_is_written_is_whole_afterwards(ledger: Ledger, clock: MovedClock, texts: list[str]) -> None:
    decide(ledger, clock, *texts)
    assert fault(ledger) is None
