"""Making Prima's text readable, and counting what was mended: encodings, control characters, forbidden references.

An answer declares ISO-8859-1 and travels as UTF-8; what it declares is therefore never believed. What cannot be parsed
is mended on the way (`mended_bytes`), what can be parsed and is still wrong, value by value (`mended_value`). Nothing
is dropped for its encoding: a row with a spoilt text is a row.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

_CONTROLS = bytes(byte for byte in range(0x20) if byte not in b"\t\n\r")
_REFERENCE = re.compile(rb"&#(?:x([0-9a-fA-F]{1,6})|([0-9]{1,7}));")
_LONGEST_REFERENCE = len(b"&#x10FFFF;")
_UNDEFINED = (0x81, 0x8D, 0x8F, 0x90, 0x9D)
_WINDOWS = {byte: bytes([byte]).decode("windows-1252") for byte in range(0x80, 0xA0) if byte not in _UNDEFINED}
"""What windows-1252 has where ISO-8859-1 has control characters."""
_ESCAPED = {0xDC80 + byte - 0x80: _WINDOWS.get(byte, chr(byte)) for byte in range(0x80, 0x100)}
_NO_UTF8 = re.compile("[\udc80-\udcff]")
_NONCHARACTERS = (b"\xef\xbf\xbe", b"\xef\xbf\xbf")
_BYTE_OF = {chr(byte): byte for byte in range(0x80, 0x100)} | {text: byte for byte, text in _WINDOWS.items()}
_ANY = f"[{re.escape(''.join(_BYTE_OF))}]"
_TWICE = re.compile(f"\u00c2{_ANY}|[\u00c3-\u00c5](?![\u2018-\u201d]){_ANY}|\u00e2{_ANY}{{2}}|\u00f0{_ANY}{{3}}")
"""How letters of European languages, punctuation and emoji look that were encoded twice. A curly quote behind a capital
may be just that, so it is left alone."""
_C1 = re.compile("[\x80-\x9f]")


def mended_bytes(chunks: Iterable[bytes], repairs: Counter[str]) -> Iterator[bytes]:
    """The same document as UTF-8 that an XML parser takes; chunks may be cut anywhere.

    Bytes that are no UTF-8 are read as windows-1252; characters that XML forbids, and references to them, are removed.
    """
    held = b""
    for chunk in chunks:
        # Before anything is held back: a control character may stand inside a character or a reference.
        data = held + _without_controls(chunk, repairs)
        whole = _whole(data)
        held = data[whole:]
        yield _mended(data[:whole], repairs)
    yield _mended(held, repairs)


def mended_value(text: str, repairs: Counter[str]) -> str:
    """One value: UTF-8 that was read as windows-1252 is put right, and windows-1252 that was read as ISO-8859-1.

    Replacement characters stay and are counted: what they stood for is lost.
    """
    if text.isascii():
        return text
    mended = _TWICE.sub(_decoded_twice, text)
    if mended != text:
        repairs["mojibake"] += 1
    if _C1.search(mended):
        repairs["windows-1252"] += 1
        mended = mended.translate(_WINDOWS)
    if "\ufffd" in mended:
        repairs["lost-characters"] += 1
    return mended


def _decoded_twice(found: re.Match[str]) -> str:
    try:
        return bytes(_BYTE_OF[character] for character in found[0]).decode("utf-8")
    except UnicodeDecodeError:
        return found[0]


def _whole(data: bytes) -> int:
    """How much of `data` ends with a whole character and a whole reference."""
    end = len(data)
    for back in range(1, min(4, end + 1)):
        byte = data[-back]
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            end -= back if back < length else 0
            break
        if byte < 0x80:
            break
    reference = data.rfind(b"&", max(0, end - _LONGEST_REFERENCE), end)
    return reference if reference >= 0 and b";" not in data[reference:end] else end


def _without_controls(data: bytes, repairs: Counter[str]) -> bytes:
    clean = data.translate(None, _CONTROLS)
    if removed := len(data) - len(clean):
        repairs["control-characters"] += removed
    return clean


def _mended(data: bytes, repairs: Counter[str]) -> bytes:
    clean = data
    if b"&#" in clean:
        clean = _REFERENCE.sub(lambda found: _allowed(found, repairs), clean)
    if clean.isascii():
        return clean
    for forbidden in _NONCHARACTERS:
        if removed := clean.count(forbidden):
            repairs["control-characters"] += removed
            clean = clean.replace(forbidden, b"")
    text = clean.decode("utf-8", "surrogateescape")
    if wrong := len(_NO_UTF8.findall(text)):
        repairs["windows-1252"] += wrong
    return text.translate(_ESCAPED).encode() if wrong else clean


def _allowed(found: re.Match[bytes], repairs: Counter[str]) -> bytes:
    number = int(found[1], 16) if found[1] else int(found[2])
    if number in (9, 10, 13) or 0x20 <= number < 0xD800 or 0xE000 <= number < 0xFFFE or 0x10000 <= number < 0x110000:
        return found[0]
    repairs["control-characters"] += 1
    return b""
