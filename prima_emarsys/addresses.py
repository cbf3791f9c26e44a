"""What an address of another system must be: TLS, unless it is this machine, and no credentials in it."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def secure(url: str, what: str) -> str:
    """`url` without a trailing slash, if it is https or on this machine.

    Raises ValueError otherwise; there is no switch that allows it. `what` names the setting.
    """
    parts = urlsplit(url)
    if not parts.hostname or parts.scheme not in ("http", "https"):
        raise ValueError(f"{what} must be an address like https://host, with scheme and host")
    if parts.username or parts.password:
        raise ValueError(f"{what} must not hold credentials; give them in their own settings")
    if parts.scheme != "https" and not is_loopback(parts.hostname):
        raise ValueError(f"{what} must begin with https:// (http:// is for this machine alone), not {parts.scheme}://")
    return url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether `host` can only be this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
