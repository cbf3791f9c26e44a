"""Whatever happens in whatever order, the remote ends equal to what was desired.

Hypothesis plays the source, the network, the clock and the crashes. Two mistakes were found by such histories and by no
crash soak: a ledger that keeps the acknowledged hash during a claim, and generators that never go back to an old value.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from prima_emarsys.emarsys.outcome import Refusal
from prima_emarsys.sync.deliver import Policy, deliver
from prima_emarsys.sync.ledger import Claim, Desired, Ledger
from prima_emarsys.sync.payload import canonical
from prima_emarsys.sync.schema import metadata
from prima_emarsys_tests.sync.conftest import HASH_KEY, MovedClock
from prima_emarsys_tests.sync.remote import Remote

LANE = "contacts"
KEYS = ["p1", "p2", "p3"]
CALL = timedelta(seconds=60)
"""The longest that a call can still be applied after it was sent; lease and grace are twice as long."""

HISTORIES = int(os.environ.get("PRIMA_EMARSYS_TEST_HISTORIES", "40"))
"""A soak plays more."""

# Few values, so that a field often goes back to an earlier one; None: the person has no such value.
VALUES = st.fixed_dictionaries({name: st.sampled_from([None, "a", "b"]) for name in ("1", "11")})


class History(RuleBasedStateMachine):
    """The source and the plan on one side, a remote with late and lost calls on the other."""

    opened: Ledger

    @initialize()
    def begin(self) -> None:
        self.clock = MovedClock()
        self.ledger = self.opened
        self.ledger.clock = self.clock
        self.ledger.write(lambda c: [c.execute(sa.delete(table)) for table in reversed(metadata.sorted_tables)])
        self.remote = Remote()
        self.desired: dict[str, dict[str, Any]] = {}
        self.excluded: set[str] = set()
        self.known: dict[str, dict[str, Any]] = {}
        self.claims: list[Claim] = []
        self.answers: list[Claim] = []
        self.late: list[tuple[datetime, Mapping[str, bytes]]] = []

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.everything_comes_right()

    # -- the source and the plan -----------------------------------------------------------------------------------

    @rule(key=st.sampled_from(KEYS), values=VALUES)
    def edit(self, key: str, values: dict[str, Any]) -> None:
        self.desired[key] = {name: value for name, value in values.items() if value is not None}
        self.excluded.discard(key)
        self.plan()

    @rule(key=st.sampled_from(KEYS))
    def become_internal(self, key: str) -> None:
        self.note_what_settled()
        self.excluded.add(key)
        self.ledger.filter(LANE, {key: "staff"})

    @rule()
    def plan(self) -> None:
        """What differs from what is known to be there, and what is not settled: as the product's plan does."""
        self.note_what_settled()
        unsettled = set(self.ledger.unsettled(LANE))
        filtered = self.ledger.filtered(LANE)
        records = []
        for key, values in self.desired.items():
            if key in self.excluded:
                continue
            if values != self.known.get(key) or key in unsettled or key in filtered:
                cleared = dict.fromkeys(self.known.get(key, {}).keys() - values.keys())
                records.append(Desired(key, canonical(values), canonical(values | cleared)))
        self.ledger.stage(LANE, records, "m1")

    def note_what_settled(self) -> None:
        for key in self.ledger.settled(LANE):
            self.known[key] = self.desired[key]

    # -- the network -----------------------------------------------------------------------------------------------

    @rule(limit=st.sampled_from([1, 2, 1_000]))
    def claim(self, limit: int) -> None:
        claim = self.ledger.claim(LANE, limit)
        if claim is not None:
            self.claims.append(claim)

    @precondition(lambda self: self.claims)
    @rule()
    def call_is_applied_and_answered(self) -> None:
        claim = self.claims.pop(0)
        self.remote.apply(claim.records)
        self.answers.append(claim)

    @precondition(lambda self: self.claims)
    @rule()
    def reply_is_lost(self) -> None:
        claim = self.claims.pop(0)
        self.remote.apply(claim.records)
        self.ledger.doubt(claim, CALL * 2)

    @precondition(lambda self: self.claims)
    @rule()
    def call_is_applied_late(self) -> None:
        claim = self.claims.pop(0)
        self.late.append((self.clock() + CALL, claim.records))
        self.ledger.doubt(claim, CALL * 2)

    @precondition(lambda self: self.claims)
    @rule(counts=st.booleans())
    def call_is_turned_away(self, counts: bool) -> None:
        self.ledger.defer(self.claims.pop(0), self.clock() + timedelta(seconds=1), counts_attempt=counts)

    @precondition(lambda self: self.claims)
    @rule()
    def one_record_is_refused(self) -> None:
        claim = self.claims.pop(0)
        culprit = next(iter(claim.records))
        others = claim.part(key for key in claim.records if key != culprit)
        self.remote.apply(others.records)
        self.acknowledge(claim, {culprit: Refusal("2007", "not valid")})

    @precondition(lambda self: self.claims)
    @rule(sent=st.booleans(), late=st.booleans())
    def process_dies(self, sent: bool, late: bool) -> None:
        claim = self.claims.pop(0)
        if late:
            self.late.append((self.clock() + CALL, claim.records))
        elif sent:
            self.remote.apply(claim.records)

    @precondition(lambda self: self.answers)
    @rule()
    def answer_is_written_down(self) -> None:
        self.acknowledge(self.answers.pop(0), {})

    def acknowledge(self, claim: Claim, refused: Mapping[str, Refusal]) -> None:
        """As the delivery does: what was in doubt counts only if a read-back agrees."""
        accepted = [key for key in claim.records if key not in refused]
        held = self.remote.read_back(accepted, claim.records)
        agreed = [key for key in accepted if key not in claim.doubtful or held[key]]
        self.ledger.acknowledge(claim, agreed, refused)
        differing = claim.part(key for key in accepted if key not in agreed)
        if differing.records:
            self.ledger.doubt(differing, CALL * 2, differs=True)

    # -- time, and people ------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1, 61, 121]))
    def time_passes(self, seconds: int) -> None:
        self.clock.sleep(seconds)
        for moment, records in [one for one in self.late if one[0] <= self.clock()]:
            self.remote.apply(records)
            self.late.remove((moment, records))
        self.ledger.expire_leases(LANE)

    @rule()
    def everybody_is_released(self) -> None:
        self.ledger.release(LANE, None, "ann", "corrected")

    # -- what must hold --------------------------------------------------------------------------------------------

    @invariant()
    def every_record_is_in_one_place(self) -> None:
        if hasattr(self, "ledger"):
            assert self.ledger.counts(LANE).total == len(self.desired.keys() | self.excluded)

    @invariant()
    def what_is_settled_is_what_emarsys_holds(self) -> None:
        if hasattr(self, "ledger") and not self.late:
            for key in self.ledger.settled(LANE):
                assert self.remote.contacts.get(key, {}) == self.desired[key]

    def everything_comes_right(self) -> None:
        self.excluded.clear()
        for _ in range(10):
            self.time_passes(121)
            self.everybody_is_released()
            self.plan()
            done = deliver(self.ledger, LANE, self.remote, Policy(parallel=1, grace=120), sleep=self.clock.sleep)
            if done.settled:
                break
        assert list(self.ledger.unsettled(LANE)) == []
        assert {key: self.remote.contacts.get(key, {}) for key in self.desired} == self.desired
        for claim in [*self.claims, *self.answers]:
            assert self.ledger.acknowledge(claim, claim.records, {}).acknowledged == 0


def play(url: str, histories: int) -> None:
    """Play so many histories on one ledger, which is emptied before each."""
    with Ledger.open(url, HASH_KEY) as opened:
        history = type("HistoryHere", (History,), {"opened": opened})
        run_state_machine_as_test(
            history,
            settings=settings(
                max_examples=histories,
                stateful_step_count=25,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=[HealthCheck.too_slow],
            ),
        )


def test_every_history_ends_equal_on_sqlite(tmp_path: Path) -> None:
    # In memory-backed storage where there is one: what is played here is the order of things, not the disk.
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else tmp_path))  # noqa: S108
    try:
        play(f"sqlite:///{folder / 'ledger.db'}", HISTORIES)
    finally:
        shutil.rmtree(folder)


def test_every_history_ends_equal_on_postgresql(postgres_url: str) -> None:
    play(postgres_url, HISTORIES // 3)


@pytest.mark.parametrize("earlier", [{"1": "a", "11": None}, {"1": None}, {"31": 2}, {"31": 1}, {}])
@pytest.mark.parametrize("newer", [{"1": "b"}, {"1": "b", "11": "c", "31": 2}, {"1": None}])
@pytest.mark.parametrize("reached", [True, False])
def test_a_carried_payload_speaks_of_all_that_is_owed_and_never_raises_consent(
    earlier: dict[str, Any], newer: dict[str, Any], reached: bool
) -> None:
    from prima_emarsys.sync.payload import carry_over

    carried = orjson.loads(carry_over(canonical(earlier), canonical(newer), may_have_reached=reached))
    assert newer.items() <= carried.items()
    assert all(name in carried for name, value in earlier.items() if value is None and name != "31")
    assert carried.get("31", 2) == 2
    if reached:
        assert earlier.keys() - {"31"} <= carried.keys()
