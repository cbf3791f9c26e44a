"""Which addresses another system may have."""

from __future__ import annotations

import pytest

from prima_emarsys.addresses import secure


@pytest.mark.parametrize(
    "url",
    [
        "http://api.emarsys.net",
        "http://192.168.1.4:8080",
        "http://127.0.0.1.example.com",
        "ftp://api.emarsys.net",
        "api.emarsys.net",
        "https://user:word@api.emarsys.net",
        "",
    ],
)
def test_an_address_off_this_machine_must_be_https_and_hold_no_credentials(url: str) -> None:
    """Fault 29: there is no switch that allows it."""
    with pytest.raises(ValueError, match="the url must") as refused:
        secure(url, "the url")
    assert "word" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["https://api.emarsys.net/", "http://127.0.0.1:80", "http://localhost:1", "http://[::1]:9"]
)
def test_https_and_this_machine_are_fine(url: str) -> None:
    assert secure(url, "the url") == url.rstrip("/")
