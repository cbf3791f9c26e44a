"""Named points at which a test may kill this very process, as a power cut would.

`PRIMA_EMARSYS_FAILPOINT=after_send:3` sends SIGKILL at the third pass of `after_send`. Unset, a point costs one
comparison. Nothing else belongs here: a failure that code can see is injected by a test's own sender.
"""

from __future__ import annotations

import os
import signal
import threading

LANE_POINTS = ("mid_stage", "after_stage", "after_claim", "after_send", "before_ack_commit", "after_ack")
"""Inside a page's transaction · after the last page · after a claim's commit · after Emarsys answered ·
inside the acknowledging transaction · after its commit."""

SALES_POINTS = ("mid_seal", "after_seal", "before_send", "after_send", "before_accept", "after_accept")
"""Inside a sealing transaction · after its commit · after the commit that a file is being sent · after Emarsys
answered · inside the accepting transaction · after its commit."""

COLLECTING_POINTS = ("after_founding", "mid_collect", "after_collect")
"""After new buyers have their person keys · inside the transaction that writes events and moves the cursors ·
after its commit."""

POINTS = (*LANE_POINTS, *SALES_POINTS, *COLLECTING_POINTS)

_name, _, _count = os.environ.get("PRIMA_EMARSYS_FAILPOINT", "").partition(":")
if _name and _name not in POINTS:
    raise ValueError(f"PRIMA_EMARSYS_FAILPOINT={_name!r} is no failpoint; there are {', '.join(dict.fromkeys(POINTS))}")
_left = int(_count or 1)
_lock = threading.Lock()


def failpoint(name: str) -> None:
    """Pass the point `name`; ends the process with SIGKILL if it is armed and its turn has come."""
    if name != _name:
        return
    global _left
    with _lock:
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
