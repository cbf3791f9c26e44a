"""The relay: a small resident process that tells what happens to orders within a second or two.

It watches the change marks of Prima's orders and returns, writes what happened into the outbox, and drains that with
the same function that the asset `emarsys/events` calls. Leases in the ledger make any number of relays and runs safe
together; killed at any moment, it leaves what the next one, or the asset, goes on with. How its work is reported is
its caller's business.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from prima_emarsys.project import Project
from prima_emarsys.settings import SettingsError
from prima_emarsys.steps.events import Collected
from prima_emarsys.sync.drain import Drained

LOOK_SECONDS = 0.2
"""Between two looks at Prima's marks, which cost a few milliseconds."""
TEND_SECONDS = 10.0
"""How often the outbox is tended although nothing is due: what is too old ends, and missing names are looked up."""
REPORT_SECONDS = 30.0
REST_SECONDS = 60.0
"""How long a lane is left alone that stands still until a person acts."""
_LONGEST_PAUSE = 60.0
_LONGEST_WAIT = 5.0

Report = Callable[[Project, Collected, Drained], None]
"""Told every `REPORT_SECONDS`, and at the end, what was done since it was told last."""

log = logging.getLogger(__name__)


class Relay:
    """One relay. `open_project` opens the site's connections; they are opened anew after a failure."""

    def __init__(self, open_project: Callable[[], Project], report: Report) -> None:
        self._open, self._report = open_project, report
        self._collected, self._drained = Collected(), Drained()
        self._resting: dict[str, float] = {}
        self._tended_at = self._reported_at = float("-inf")

    def run(self, over: threading.Event) -> None:
        """Work until `over` is set. Outlives every failure, since Prima or Emarsys may be down for a while; but for
        SettingsError, which it raises.
        """
        pause = 1.0
        while not over.is_set():
            project = self._open()
            began = time.monotonic()
            try:
                self._watch(project, over)
                self._tell(project)
            except SettingsError:
                raise
            except Exception as error:
                # The words of an error that nobody foresaw may hold a person's data.
                foreseen = type(error).__module__.startswith("prima_emarsys")
                log.warning("begins anew after %s%s", type(error).__name__, f": {error}" if foreseen else "")
                self._tell_if_due(project)
            finally:
                project.close()
            pause = 1.0 if time.monotonic() - began > _LONGEST_PAUSE else min(pause * 2, _LONGEST_PAUSE)
            over.wait(pause)

    def _watch(self, project: Project, over: threading.Event) -> None:
        wait = LOOK_SECONDS
        while not over.is_set():
            busy = False
            if project.collector.stirs():
                for part in project.collector.collect():
                    self._collected += part
                    busy = busy or bool(part.new or part.resolved)
                    if part.new:  # a long look must not keep the first of it waiting
                        self._drain(project)
                    if over.is_set():
                        break
            waiting = bool(project.outbox.due() or project.outbox.buyers(1))
            if waiting or time.monotonic() - self._tended_at >= TEND_SECONDS:
                busy = self._drain(project) or busy
            self._tell_if_due(project)
            # What is due and cannot go (a pause, an open breaker, another's lane) is tried ever less often.
            wait = min(wait * 2, _LONGEST_WAIT) if waiting and not busy else LOOK_SECONDS
            over.wait(wait)

    def _drain(self, project: Project) -> bool:
        """Send what may go; whether anything was."""
        now = self._tended_at = time.monotonic()
        self._resting = {lane: until for lane, until in self._resting.items() if until > now}
        done = project.drain_events(patient=False, resting=self._resting)
        self._resting |= dict.fromkeys(done.stopped, now + REST_SECONDS)
        self._drained += done
        return bool(done.tally.calls or done.contacts.calls)

    def _tell_if_due(self, project: Project) -> None:
        if time.monotonic() - self._reported_at >= REPORT_SECONDS:
            self._tell(project)

    def _tell(self, project: Project) -> None:
        """Report. A report that fails is only written down: it must not keep an event waiting."""
        self._reported_at = time.monotonic()
        try:
            self._report(project, self._collected, self._drained)
        except Exception as error:
            log.warning("could not report: %s", type(error).__name__)
        else:
            self._collected, self._drained = Collected(), Drained()
