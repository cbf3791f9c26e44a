"""What an account says of itself: the cheapest call that proves the credentials, and the values to check at start."""

from __future__ import annotations

from dataclasses import dataclass

from prima_emarsys.emarsys.outcome import Ambiguous, NotAnswered
from prima_emarsys.emarsys.transport import Transport


@dataclass(frozen=True)
class AccountSettings:
    """`environment` is the Emarsys host, `timezone` an IANA name (dates in e-mails follow it)."""

    name: str
    environment: str
    timezone: str
    country: str
    contacts: int


def read_settings(transport: Transport) -> AccountSettings:
    """Read the account's settings. Raises NotAnswered, whose outcome says what is wrong with address or credentials."""
    data = transport.fetch("GET", "settings")
    if not isinstance(data, dict) or "timezone" not in data:
        raise NotAnswered(Ambiguous("Emarsys answered something else than the account's settings"))
    return AccountSettings(
        name=str(data.get("name", "")),
        environment=str(data.get("environment", "")),
        timezone=str(data["timezone"]),
        country=str(data.get("country", "")),
        contacts=int(data.get("totalContacts") or 0),
    )
