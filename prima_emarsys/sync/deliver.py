"""Delivery: send what is due on a lane until nothing is, and write down what became of it.

One process sends on a lane at a time, with several threads that hold disjoint claims. Which outcome calls for which
change of state is here; what a reply means (which outcome it is) is in `emarsys.outcome`. The states themselves belong
to whoever keeps what is sent: `ledger` for records, of which only the latest state counts, `outbox` for events.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Protocol

from prima_emarsys.emarsys.outcome import (
    Ambiguous,
    Answered,
    BatchRefused,
    Later,
    Outcome,
    Refusal,
    Stopped,
    TooLarge,
)
from prima_emarsys.finding import Finding
from prima_emarsys.sync import lanes
from prima_emarsys.sync.exceptions import observe
from prima_emarsys.sync.failpoints import failpoint
from prima_emarsys.sync.lanes import HeldBy
from prima_emarsys.sync.ledger import Acknowledged, Claim, Counts, Ledger
from prima_emarsys.sync.refusals import TOO_LARGE, is_of_all


class Stock(Protocol):
    """Who keeps what a lane sends. `Ledger` and `Outbox` are the two; see their methods."""

    def claim(self, lane: str, limit: int, lease: timedelta) -> Claim | None:
        """Lease some of what is due to the caller; None if nothing is."""
        ...

    def extend(self, claim: Claim, lease: timedelta) -> bool:
        """Prolong the lease; False if it was lost."""
        ...

    def acknowledge(self, claim: Claim, accepted: Iterable[str], refused: Mapping[str, Refusal]) -> Acknowledged:
        """Write down what was accepted and what was refused."""
        ...

    def defer(self, claim: Claim, until: datetime, *, counts_attempt: bool) -> int:
        """Give back what was certainly not applied."""
        ...

    def doubt(self, claim: Claim, grace: timedelta, *, differs: bool = False) -> int:
        """Give back what may have been applied."""
        ...

    def abandon(self, claim: Claim) -> int:
        """Give back what failed in a way that nobody foresaw."""
        ...

    def expire_leases(self, lane: str) -> int:
        """Take back what a dead sender left."""
        ...

    def next_due(self, lane: str) -> datetime | None:
        """When something that can be claimed becomes due; None if nothing waits."""
        ...

    def counts(self, lane: str) -> Counts:
        """Where everything is."""
        ...

    def findings(self, lane: str) -> Iterable[Finding]:
        """What waits for a person."""
        ...


class Sender(Protocol):
    """What carries one batch to Emarsys. Called from several threads at once."""

    def send(self, batch: Mapping[str, bytes]) -> Outcome:
        """Send the records (key → JSON object). Must return within the lane's lease."""
        ...

    def read_back(self, keys: Sequence[str], payloads: Mapping[str, bytes]) -> Mapping[str, bool]:
        """Whether Emarsys holds each payload. A key that is left out could not be read: it is asked for again."""
        ...


@dataclass(frozen=True)
class Policy:
    """How a lane is worked. Times in seconds."""

    batch: int = 1_000
    """Records in a call; Emarsys takes 1,000."""
    parallel: int = 4
    """Calls at once."""
    lease: float = 120.0
    """How long a claim holds its records: at least twice the longest call."""
    lane_lease: float = 60.0
    """How long a process may send without renewing; it renews three times in it."""
    lane_wait: float = 5.0
    """How long to wait for another process to leave the lane: it may only be sending one new buyer's contact."""
    grace: float = 120.0
    """After an unknown outcome the record is not sent again before this has passed: a late write must be over."""
    probe: int = 10
    """Records in the one call that tries a stopped or broken lane."""
    bisect_calls: int = 20
    """Calls spent in one go on finding the culprit of a refused batch: twice the halvings of 1,000."""
    short_wait: float = 65.0
    """A wait that Emarsys asks for is sat out if it is no longer: its rate limit is by the minute."""
    patience: int = 5
    """Waits in a row, without any answer between them, after which the rest is left to the next run."""
    backoff_first: float = 1.0
    backoff_most: float = 300.0
    """Bounds of a record's own back-off, which doubles with its failed calls (full jitter)."""


_MOMENT = timedelta(milliseconds=10)
_LOOK = timedelta(milliseconds=200)


@dataclass(frozen=True)
class Tally:
    """What was done, in records (and calls). A record that is sent twice counts twice."""

    calls: int = 0
    acknowledged: int = 0
    refused: int = 0
    """Set aside for a person."""
    again: int = 0
    """Refused in a way that a repeat cures."""
    in_doubt: int = 0
    deferred: int = 0
    lost: int = 0
    """The lease had ended before the outcome was written down; whoever took over answers for them."""

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(Tally)))


@dataclass(frozen=True)
class Delivered:
    """How a delivery ended."""

    tally: Tally
    counts: Counts
    held_by: HeldBy | None = None
    """Another process sends on the lane, so this one sent nothing (or nothing more)."""
    stopped: Stopped | None = None
    """Why the lane stands still until a person acts."""
    next_due: datetime | None = None
    """When something becomes due again; None if nothing waits."""

    @property
    def settled(self) -> bool:
        """Whether all that can be sent was acknowledged."""
        return self.counts.dirty == self.counts.leased == self.counts.in_doubt == 0


def deliver(
    ledger: Ledger,
    lane: str,
    sender: Sender,
    policy: Policy = Policy(),  # noqa: B008 (frozen)
    *,
    stock: Stock | None = None,
    until_settled_for: float = 0.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Delivered:
    """Send all that is due on `lane`. `stock` keeps it: by default the ledger, with its records.

    Goes on while records become due within `until_settled_for` seconds from now (back-off, doubt, an open breaker);
    short waits that Emarsys asks for are sat out in any case. A lane that is stopped, or whose breaker was open, is
    tried with one small batch. If the sender raises, its records are given back in doubt, and the error goes on to
    the caller once the other calls are written down.
    """
    stock = stock or ledger
    dispatcher = _take_lane(ledger, lane, policy, sleep)
    if isinstance(dispatcher, HeldBy):
        return Delivered(Tally(), stock.counts(lane), held_by=dispatcher)
    deadline = ledger.clock() + timedelta(seconds=until_settled_for)
    run = _Run(ledger, stock, lane, sender, policy, dispatcher, sleep, deadline)
    try:
        run.until_nothing_is_due()
    finally:
        lanes.give_back(ledger, dispatcher)
        report(ledger, lane, stock)
    state = lanes.find(ledger, lane)
    return Delivered(
        run.tally,
        stock.counts(lane),
        held_by=None if run.renewed else HeldBy(state.dispatcher or "", state.dispatcher_until or ledger.clock()),
        stopped=Stopped(state.stop_reason or "", state.stop_remedy or "") if state.stopped_at else None,
        next_due=stock.next_due(lane),
    )


def _take_lane(ledger: Ledger, lane: str, policy: Policy, sleep: Callable[[float], None]) -> lanes.Dispatcher | HeldBy:
    """Become the lane's only sender, within the policy's wait."""
    until = ledger.clock() + timedelta(seconds=policy.lane_wait)
    while True:
        taken = lanes.take(ledger, lane, timedelta(seconds=policy.lane_lease))
        if not isinstance(taken, HeldBy) or ledger.clock() >= until:
            return taken
        sleep(_LOOK.total_seconds())


def report(ledger: Ledger, lane: str, stock: Stock) -> None:
    """Put what a person must do about the lane and what it sends on the list of exceptions, and close the rest."""
    observe(ledger, f"delivery/{lane}", stock.findings(lane))
    lanes.report(ledger, lane)


class _Run:
    """One delivery: the loop that hands out claims, and what each thread does with one."""

    def __init__(
        self,
        ledger: Ledger,
        stock: Stock,
        lane: str,
        sender: Sender,
        policy: Policy,
        dispatcher: lanes.Dispatcher,
        sleep: Callable[[float], None],
        deadline: datetime,
    ) -> None:
        self.ledger, self.stock, self.lane, self.sender, self.policy = ledger, stock, lane, sender, policy
        self.dispatcher, self.sleep, self.deadline = dispatcher, sleep, deadline
        self.tally = Tally()
        self.renewed = True
        self.failure: BaseException | None = None
        self._renew_at = ledger.clock()
        self._waits = 0

    # -- the loop ------------------------------------------------------------------------------------------------

    def until_nothing_is_due(self) -> None:
        """Hand out claims until nothing is due, or nothing may go; then let the running calls end."""
        running: set[Future[Tally]] = set()
        with ThreadPoolExecutor(self.policy.parallel, thread_name_prefix=f"deliver-{self.lane}") as threads:
            probed = False
            while self._still_ours() and self.failure is None:
                gate = self._gate(probed)
                if len(running) < gate.width and (claim := self._claim(gate.batch)) is not None:
                    running.add(threads.submit(self._dispatch, claim))
                    probed = True
                elif running:
                    self._collect(running)
                elif gate.halted or not self._wait_for_more(gate):
                    break
            while running:
                self._collect(running)
        if self.failure is not None:
            raise self.failure

    def _still_ours(self) -> bool:
        """Renew the right to send when a third of it has passed."""
        now = self.ledger.clock()
        if now >= self._renew_at:
            lease = timedelta(seconds=self.policy.lane_lease)
            self.renewed = lanes.renew(self.ledger, self.dispatcher, lease)
            self._renew_at = now + lease / 3
        return self.renewed

    def _claim(self, limit: int) -> Claim | None:
        return self.stock.claim(self.lane, limit, timedelta(seconds=self.policy.lease))

    def _gate(self, probed: bool) -> _Gate:
        """How much may go now, by the lane's state."""
        state, now = lanes.find(self.ledger, self.lane), self.ledger.clock()
        breaker = state.breaker
        opens_at = max((moment for moment in (state.paused_until, breaker.open_until) if moment), default=now)
        if state.stopped_at is not None:
            return _Gate(0, 0, opens_at, halted=True) if probed else _Gate(1, self.policy.probe, opens_at)
        if opens_at > now:
            asked = breaker.open_until is None or breaker.open_until <= now
            return _Gate(0, 0, opens_at, asked_to_wait=asked)
        if breaker.open_until is not None:
            return _Gate(1, self.policy.probe, opens_at)
        return _Gate(1 if breaker.failed_last else self.policy.parallel, self.policy.batch, opens_at)

    def _collect(self, running: set[Future[Tally]]) -> None:
        """Wait for a call to end, no longer than until the right to send must be renewed."""
        ended, _ = wait(running, timeout=self.policy.lane_lease / 3, return_when=FIRST_COMPLETED)
        running -= ended
        for future in ended:
            done = future.result()
            self.tally += done
            if done.acknowledged or done.refused:
                self._waits = 0

    def _wait_for_more(self, gate: _Gate) -> bool:
        """Sleep towards the moment at which something may go again; False if that is too far away."""
        self.stock.expire_leases(self.lane)
        due = self.stock.next_due(self.lane)
        if due is None:
            return False
        now = self.ledger.clock()
        wake = max(due, gate.opens_at)
        if wake > max(now, self.deadline):
            short = gate.opens_at - now <= timedelta(seconds=self.policy.short_wait)
            if not (gate.asked_to_wait and short) or self._waits >= self.policy.patience:
                return False
            wake = gate.opens_at
            self._waits += 1
        # At least a moment, for what is due and still not to be had is locked by another transaction.
        until_renewal = max(self._renew_at - now, _MOMENT)
        self.sleep(min(max(wake - now, _MOMENT), until_renewal).total_seconds())
        return True

    # -- one claim, in a thread ------------------------------------------------------------------------------------

    def _dispatch(self, claim: Claim) -> Tally:
        """Send one claim, in parts where it must be, until every record of it has its outcome."""
        tally = Tally()
        parts = [claim]
        bisecting = 0
        try:
            while parts:
                part = parts[-1]
                if tally.calls and not self._may_go_on(part, bisecting):
                    tally += self._defer(part, self.ledger.clock(), counts_attempt=False)
                    parts.pop()
                    continue
                started = self.ledger.clock()
                outcome = _checked(self.sender.send(part.records), part)
                failpoint("after_send")
                halves = _halves(part) if _calls_for_halves(outcome) and len(part.records) > 1 else []
                done = Tally(calls=1) + (Tally() if halves else self._settle(part, outcome))
                parts.pop()
                parts.extend(halves)
                bisecting += bool(bisecting) or (bool(halves) and isinstance(outcome, BatchRefused))
                lanes.note_call(
                    self.ledger,
                    self.lane,
                    started,
                    len(part.records),
                    outcome,
                    acknowledged=done.acknowledged,
                    refused=done.refused,
                )
                tally += done
        except BaseException as error:
            self.failure = self.failure or error  # first, so that nobody claims again what is given back now
            for part in parts:
                self.stock.abandon(part)
        return tally

    def _may_go_on(self, part: Claim, bisecting: int) -> bool:
        """Whether the next part of a split claim may be sent now: calls are left, nothing is in the way, it is held."""
        gate = self._gate(probed=True)
        return (
            bisecting <= self.policy.bisect_calls
            and gate.width > 0
            and self.stock.extend(part, timedelta(seconds=self.policy.lease))
        )

    def _settle(self, part: Claim, outcome: Outcome) -> Tally:
        """Write down what the outcome means for each record of `part`."""
        now = self.ledger.clock()
        match outcome:
            case Answered(refused):
                return self._answered(part, refused)
            case BatchRefused(code, text):
                return self._acknowledge(part, [], dict.fromkeys(part.records, Refusal(code, text)))
            case TooLarge(reason):
                refusal = Refusal(TOO_LARGE, reason)
                return self._acknowledge(part, [], dict.fromkeys(part.records, refusal))
            case Ambiguous():
                return self._doubt(part)
            case Later(_, seconds, counts_as_failure):
                until = now + timedelta(seconds=seconds)
                if seconds > 0:
                    lanes.pause(self.ledger, self.lane, until)
                if counts_as_failure:
                    until = max(until, now + self._backoff(part.attempts))
                return self._defer(part, until, counts_attempt=counts_as_failure)
            case Stopped(reason, remedy):
                lanes.stop(self.ledger, self.lane, reason, remedy)
                return self._defer(part, now, counts_attempt=False)

    def _answered(self, part: Claim, refused: Mapping[str, Refusal]) -> Tally:
        """Acknowledge row by row; what was in doubt counts only after it was read back."""
        accepted = part.records.keys() - refused.keys()
        tally = self._acknowledge(part, [key for key in accepted if key not in part.doubtful], refused)
        doubtful = part.part(key for key in accepted if key in part.doubtful)
        if not doubtful.records:
            return tally
        held = self.sender.read_back(list(doubtful.records), doubtful.records)
        tally += self._acknowledge(doubtful, [key for key in doubtful.records if held.get(key)], {})
        other = doubtful.part(key for key in doubtful.records if held.get(key) is False)
        unread = doubtful.part(key for key in doubtful.records if key not in held)
        return tally + self._doubt(other, differs=True) + self._doubt(unread)

    def _acknowledge(self, part: Claim, accepted: Iterable[str], refused: Mapping[str, Refusal]) -> Tally:
        done = self.stock.acknowledge(part, accepted, refused)
        return Tally(acknowledged=done.acknowledged, refused=done.quarantined, again=done.again, lost=done.lost)

    def _doubt(self, part: Claim, *, differs: bool = False) -> Tally:
        if not part.records:
            return Tally()
        done = self.stock.doubt(part, timedelta(seconds=self.policy.grace), differs=differs)
        return Tally(in_doubt=done, lost=len(part.records) - done)

    def _defer(self, part: Claim, until: datetime, *, counts_attempt: bool) -> Tally:
        done = self.stock.defer(part, until, counts_attempt=counts_attempt)
        return Tally(deferred=done, lost=len(part.records) - done)

    def _backoff(self, attempts: int) -> timedelta:
        most = min(self.policy.backoff_first * 2**attempts, self.policy.backoff_most)
        return timedelta(seconds=random.uniform(0, most))  # noqa: S311 (jitter, no secret)


@dataclass(frozen=True)
class _Gate:
    """How many calls of how many records may run at once, and from when on."""

    width: int
    batch: int
    opens_at: datetime
    asked_to_wait: bool = False
    """It is Emarsys's wish that nothing goes, not our breaker's."""
    halted: bool = False


def _calls_for_halves(outcome: Outcome) -> bool:
    """Whether smaller batches would fare better."""
    return isinstance(outcome, TooLarge) or (isinstance(outcome, BatchRefused) and not is_of_all(outcome.code))


def _halves(claim: Claim) -> list[Claim]:
    """The two halves of a claim, the first on top of the stack."""
    keys = list(claim.records)
    middle = len(keys) // 2
    return [claim.part(keys[middle:]), claim.part(keys[:middle])]


def _checked(outcome: Outcome, part: Claim) -> Outcome:
    """`outcome`, unless it refuses a record that was not sent: then nobody knows whom it means, so it is halved."""
    if isinstance(outcome, Answered) and not outcome.refused.keys() <= part.records.keys():
        stranger = next(refusal for key, refusal in outcome.refused.items() if key not in part.records)
        return BatchRefused(stranger.code, stranger.text)
    return outcome
