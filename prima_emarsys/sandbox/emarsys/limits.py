"""The rate limit: so many calls of one API user within a window that opens with its first call."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass
class RateLimit:
    """Windows by API user. Every reply carries the limit, what remains and when the window ends (Unix seconds)."""

    _windows: dict[str, tuple[float, int]] = field(default_factory=dict)

    def count(self, user: str, limit: int, window: float) -> tuple[bool, dict[str, str]]:
        """Count one call: whether it is within the limit, and the three headers that tell the caller."""
        now = time.time()
        opened, used = self._windows.get(user, (now, 0))
        if now >= opened + window:
            opened, used = now, 0
        self._windows[user] = opened, used + 1
        return used < limit, {
            "X-Ratelimit-Limit": str(limit),
            "X-Ratelimit-Remaining": str(max(0, limit - used - 1)),
            "X-Ratelimit-Reset": str(int(opened + window)),
        }

    def reset(self) -> None:
        """Close all windows."""
        self._windows.clear()
