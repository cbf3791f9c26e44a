"""Timing a piece of work: CPU seconds (user and system, all threads) and peak memory of a fresh process each.

A work is a function `(World, Clock) -> figures`; what it does inside `with clock:` is timed, the rest prepares and
checks. `run` starts it in a process of its own, so that neither memory nor caches of another work help or harm it.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from benchmarks.sizes import World


class Clock:
    """Adds up the CPU and wall seconds of the blocks that it stands around."""

    def __init__(self) -> None:
        self.cpu = self.wall = 0.0

    def __enter__(self) -> Self:
        self._cpu, self._wall = _cpu_seconds(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu += _cpu_seconds() - self._cpu
        self.wall += time.perf_counter() - self._wall

    @contextmanager
    def round(self) -> Iterator[None]:
        """Time one of several rounds in a warm process; the round with the least CPU counts."""
        one = Clock()
        with one:
            yield
        if not self.wall or one.cpu < self.cpu:
            self.cpu, self.wall = one.cpu, one.wall


Work = Callable[[World, Clock], Mapping[str, Any]]


@dataclass(frozen=True)
class Measured:
    """One run of a work. Seconds; `rss` is the peak memory of its process in MB, imports included."""

    cpu: float
    wall: float
    rss: float
    figures: Mapping[str, Any]


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_memory() -> float:
    """Peak memory of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e6 / 1024)


def run(name: str, world: World) -> Measured:
    """Do the named work once, in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.works", name, str(world.customers)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603 (our own code)
    if ended.returncode:
        raise RuntimeError(f"the work {name!r} failed with exit code {ended.returncode}; its error stands above")
    return Measured(**json.loads(ended.stdout.splitlines()[-1]))


def do(work: Work, world: World) -> None:
    """Do a work in this process and print what was measured as one line of JSON."""
    clock = Clock()
    figures = work(world, clock)
    measured = Measured(clock.cpu, clock.wall, peak_memory(), dict(figures))
    print(json.dumps(vars(measured)))


def best(names: Sequence[str], world: World, times: int = 3) -> dict[str, Measured]:
    """Each work's run with the least CPU, of `times` rounds in which all take turns."""
    runs: dict[str, list[Measured]] = {name: [] for name in names}
    for _ in range(times):
        for name in names:
            runs[name].append(run(name, world))
    return {name: min(found, key=lambda one: one.cpu) for name, found in runs.items()}
