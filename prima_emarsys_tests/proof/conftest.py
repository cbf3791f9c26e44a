"""The fixtures of this room."""

from prima_emarsys_tests.defs.house import first_sync, house

__all__ = ["first_sync", "house"]
