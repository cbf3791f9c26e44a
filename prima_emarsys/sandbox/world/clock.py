"""The wall clock of this Prima: it writes naive times of Europe/London."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("Europe/London")


def local(moment: datetime) -> datetime:
    """An aware moment on the world's wall clock, naive, to the second. Raises `ValueError` for a naive one."""
    if moment.tzinfo is None:
        raise ValueError(f"now = {moment.isoformat()} has no time zone; give an aware time such as UTC")
    return moment.astimezone(ZONE).replace(tzinfo=None, microsecond=0)
