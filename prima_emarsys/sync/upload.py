"""Uploading: send the sealed files of a sink, oldest first, and write down what became of each.

One process sends at a time. What a reply means (which outcome it is) is in `emarsys.sales_data`; a file's states are in
`sales_files`. A file whose reply was lost ends the run: if the line is bad, one file of unknown fate is enough.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ClassVar, Protocol

from prima_emarsys.emarsys.outcome import (
    Ambiguous,
    Answered,
    BatchRefused,
    Later,
    Outcome,
    Stopped,
    TooLarge,
    explain,
)
from prima_emarsys.sync import lanes
from prima_emarsys.sync.failpoints import failpoint
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.sync.sales_files import ACCEPTED, REFUSED, SEALED, UNKNOWN, SalesFile, SalesFiles, Sending

LANE = "sales"


class Sink(Protocol):
    """One way by which files reach Emarsys."""

    name: ClassVar[str]
    """Its name in the site file and the ledger."""
    repeatable: ClassVar[bool]
    """Whether the same file twice does no harm, so that a lost reply is no riddle."""

    def send(self, name: str, content: bytes) -> Outcome:
        """Send a file (CSV by gzip), once, within the lane's lease."""
        ...


@dataclass(frozen=True)
class Pace:
    """How files are sent. Times in seconds."""

    lease: float = 240.0
    """How long a process may send without renewing: at least twice the longest call."""
    between: float = 1.0
    """From the beginning of one file to that of the next, at least."""
    short_wait: float = 65.0
    """A wait that Emarsys asks for is sat out if it is no longer."""
    patience: int = 3
    """Such waits in a row, after which the rest is left to the next run."""
    backoff: float = 1.0
    """The wait after a failed call, doubled with every further one."""


@dataclass
class Uploaded:
    """What one run sent, by the state in which it left a file (`sealed`: put back)."""

    files: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    stopped: Stopped | None = None
    """Why the lane stands still until a person acts."""


def upload(
    ledger: Ledger,
    dispatcher: lanes.Dispatcher,
    sink: Sink,
    pace: Pace,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> Uploaded:
    """Send what is sealed for this sink, while `dispatcher` holds the lane and nothing is in the way.

    A stopped lane, or one whose breaker was open, is tried with one file.
    """
    run = _Run(ledger, dispatcher, sink, pace, sleep)
    while run.goes_on and (file := run.files.next_sealed(sink.name)) is not None and run.may_send():
        run.send(file)
    state = lanes.find(ledger, LANE)
    if state.stopped_at is not None:
        run.done.stopped = Stopped(state.stop_reason or "", state.stop_remedy or "")
    return run.done


class _Run:
    def __init__(
        self,
        ledger: Ledger,
        dispatcher: lanes.Dispatcher,
        sink: Sink,
        pace: Pace,
        sleep: Callable[[float], None],
    ) -> None:
        self.ledger, self.dispatcher, self.sink, self.pace, self.sleep = ledger, dispatcher, sink, pace, sleep
        self.files = SalesFiles(ledger)
        self.done = Uploaded()
        self.goes_on = True
        self._waits = 0
        self._next: datetime | None = None

    def may_send(self) -> bool:
        """Wait for the pace and for what Emarsys asks; False if that is too long, or nothing may go."""
        state, now = lanes.find(self.ledger, LANE), self.ledger.clock()
        if state.stopped_at is not None and self.done.files:
            return False
        closed = [moment for moment in (state.paused_until, state.breaker.open_until) if moment and moment > now]
        if closed and (max(closed) - now > timedelta(seconds=self.pace.short_wait) or self._waits > self.pace.patience):
            return False
        if wait := max([(moment - now).total_seconds() for moment in (*closed, self._next or now)]):
            self.sleep(max(wait, 0.0))
        return lanes.renew(self.ledger, self.dispatcher, timedelta(seconds=self.pace.lease))

    def send(self, file: SalesFile) -> None:
        """Send one file and settle it."""
        sending = self.files.begin(file)
        if sending is None:
            return
        started = self.ledger.clock()
        self._next = started + timedelta(seconds=self.pace.between)
        try:
            outcome = self.sink.send(sending.name, sending.content)
        except BaseException as error:
            self._lose(sending, f"sending it failed in a way that nobody foresaw: {type(error).__name__}")
            raise
        failpoint("after_send")
        self._settle(sending, outcome)
        taken = sending.rows if isinstance(outcome, Answered) else 0
        refused = sending.rows if isinstance(outcome, BatchRefused | TooLarge) else 0
        lanes.note_call(self.ledger, LANE, started, sending.rows, outcome, acknowledged=taken, refused=refused)

    def _settle(self, sending: Sending, outcome: Outcome) -> None:
        match outcome:
            case Answered():
                self._count(sending, ACCEPTED, self.files.accept(sending))
                self._waits = 0
            case BatchRefused() | TooLarge():
                self._count(sending, REFUSED, self.files.refuse(sending, explain(outcome)))
            case Ambiguous(reason):
                self._lose(sending, reason)
                self.goes_on = False
            case Stopped(reason, remedy):
                lanes.stop(self.ledger, LANE, reason, remedy)
                self._put_back(sending, reason)
                self.goes_on = False
            case Later(reason, seconds, counts_as_failure):
                wait = self.pace.backoff * 2**self._waits if counts_as_failure else 0.0
                lanes.pause(self.ledger, LANE, self.ledger.clock() + timedelta(seconds=max(seconds, wait)))
                self._put_back(sending, reason)
                self._waits += 1

    def _lose(self, sending: Sending, reason: str) -> None:
        if self.sink.repeatable:
            self._put_back(sending, reason)
        else:
            self._count(sending, UNKNOWN, self.files.lose(sending, reason))

    def _put_back(self, sending: Sending, reason: str) -> None:
        self._count(sending, SEALED, self.files.put_back(sending, reason))

    def _count(self, sending: Sending, state: str, moved: bool) -> None:
        """Count what was moved; a file that was taken away meanwhile is another process's to count."""
        if moved:
            self.done.files[state] += 1
            self.done.rows[state] += sending.rows
