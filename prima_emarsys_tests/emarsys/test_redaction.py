"""Nothing secret or personal leaves through a log or a message."""

from __future__ import annotations

import logging

import pytest

from prima_emarsys.emarsys.redaction import RedactingFilter, forget, redact, remember


def test_a_live_secret_is_replaced_also_where_it_is_url_quoted() -> None:
    remember("s3cr&t/value")
    try:
        assert redact("a=s3cr&t/value b=s3cr%26t%2Fvalue") == "a=[secret] b=[secret]"
    finally:
        forget("s3cr&t/value")
    assert redact("a=s3cr&t/value") == "a=s3cr&t/value"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("external id: 3 - ann@example.com", "external id: 3 - a…(15)"),
        ("GET /query/?return=3&3=ann%40example.com&limit=1", "GET /query/?return=3&3=a…(17)&limit=1"),
        ('{"jürgen.müller+tag@exämple.de":{"2010":"x"}}', '{"j…(28)":{"2010":"x"}}'),
        ("no address here", "no address here"),
    ],
)
def test_what_looks_like_an_address_is_masked(text: str, kept: str) -> None:
    assert redact(text) == kept


def test_a_record_is_redacted_with_its_arguments_and_its_traceback() -> None:
    remember("topsecretvalue")
    try:
        raise ValueError("ann@example.com used topsecretvalue")
    except ValueError as error:
        record = logging.LogRecord(
            "x", logging.ERROR, __file__, 1, "for %s", ("bob@example.com",), (type(error), error, error.__traceback__)
        )
    assert RedactingFilter().filter(record)
    text = logging.Formatter().format(record)
    assert "for b…(15)" in text
    assert "ann@" not in text
    assert "topsecretvalue" not in text
    forget("topsecretvalue")
