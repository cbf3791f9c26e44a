"""Texts are mended, counted, and left alone where they are right."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prima_emarsys.prima.webservice.mending import mended_bytes, mended_value


def mend(data: bytes, pieces: int = 0) -> tuple[bytes, dict[str, int]]:
    repairs: Counter[str] = Counter()
    chunks = [data[at : at + pieces] for at in range(0, len(data), pieces)] if pieces else [data]
    return b"".join(mended_bytes(chunks, repairs)), dict(repairs)


@pytest.mark.parametrize("pieces", [0, 1, 3])
@pytest.mark.parametrize(
    ("data", "mended", "repairs"),
    [
        (b"plain &lt;&#65;\t\n", b"plain &lt;&#65;\t\n", {}),
        ("caf\u00e9 \u20ac \U0001f97f".encode(), "caf\u00e9 \u20ac \U0001f97f".encode(), {}),
        (b"a\x00b\x07c", b"abc", {"control-characters": 2}),
        (b"a&#7;b&#x1F;c&#xD800;d&#10;", b"abcd&#10;", {"control-characters": 3}),
        (b"caf\xe9 O\x92B", "caf\u00e9 O\u2019B".encode(), {"windows-1252": 2}),
        ("a\ufffeb".encode(), b"ab", {"control-characters": 1}),
        (b"end &am", b"end &am", {}),
        ("\u20ac".encode()[:2], "\u00e2\u201a".encode(), {"windows-1252": 2}),
    ],
    ids=[
        "sound",
        "sound UTF-8",
        "controls",
        "references",
        "windows-1252",
        "noncharacter",
        "half a name",
        "half a sign",
    ],
)
def test_a_document_is_mended_wherever_it_is_cut(
    data: bytes, mended: bytes, repairs: dict[str, int], pieces: int
) -> None:
    assert mend(data, pieces) == (mended, repairs)


@given(st.binary(), st.integers(1, 9))
def test_any_bytes_become_text_that_xml_may_hold_and_the_cuts_do_not_matter(data: bytes, pieces: int) -> None:
    whole, _ = mend(data)
    text = whole.decode("utf-8")
    assert not [one for one in text if (one < " " and one not in "\t\n\r") or one in "\ufffe\uffff"]
    assert mend(whole) == (whole, {}) or b"&#" in whole
    assert mend(data, pieces)[0] == whole


@pytest.mark.parametrize(
    ("text", "mended", "repair"),
    [
        ("M\u00c3\u00bcller", "M\u00fcller", "mojibake"),
        ("O\u00e2\u20ac\u2122Brien", "O\u2019Brien", "mojibake"),
        ("\u00c2\u00a35", "\u00a35", "mojibake"),
        ("O\x92Brien", "O\u2019Brien", "windows-1252"),
        ("M\ufffdller", "M\ufffdller", "lost-characters"),
        ("M\u00fcller", "M\u00fcller", None),
        ("\u201cCAF\u00c9\u201d \u00abCAF\u00c9\u00bb", "\u201cCAF\u00c9\u201d \u00abCAF\u00c9\u00bb", None),
        ("\u201cMA\u00c7\u00c3\u201d", "\u201cMA\u00c7\u00c3\u201d", None),
        ("\u6b27\u9633 \U0001f97f", "\u6b27\u9633 \U0001f97f", None),
    ],
)
def test_a_value_is_mended_only_where_it_is_certainly_wrong(text: str, mended: str, repair: str | None) -> None:
    repairs: Counter[str] = Counter()
    assert mended_value(text, repairs) == mended
    assert dict(repairs) == ({repair: 1} if repair else {})


@given(st.text("abc \u00e4\u00e9\u00e8\u00fc\u00f1\u00e5\u00f8\u00e7\u00df\u20ac\u2019\u2013", min_size=1))
def test_what_was_encoded_twice_comes_back(text: str) -> None:
    twice = text.encode().decode("windows-1252", "ignore")
    if twice.encode("windows-1252").decode("utf-8", "ignore") == text:
        assert mended_value(twice, Counter()) == text
