"""Identities: tell an address or an advertising id from junk, recognise digests, hash the rest.

Pinterest takes SHA-1 over the trimmed, lower-cased value for emails and device ids alike (API
facts, section 2.3). Values that arrive hashed are told by their shape, never by a field's name
(event-formats, section 1): with ``@`` an address; exactly 32, 40 or 64 hex digits MD5, SHA-1 or
SHA-256. An advertising id without hyphens cannot be told from an MD5 and is taken for one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from hashlib import sha1
from typing import Final

from app.events import Kind

RAW: Final = 1
SHA1: Final = 2
OTHER_DIGEST: Final = 3
"""The forms of a value; MD5 and SHA-256 are ``OTHER_DIGEST``."""

CASES: Final[dict[str, Callable[[str], str]]] = {
    "lower": str.lower,
    "upper": str.upper,
    "as_is": str,
}
ASCII_CASES: Final[dict[str, Callable[[bytes], bytes]]] = {
    "lower": bytes.lower,
    "upper": bytes.upper,
    "as_is": bytes,
}

_NOT_IN_ADDRESS = r"\x00-\x20\x7f-\xa0\ud800-\udfff\s@\",;:<>()\[\]\\"
_NOT_ALL_ZEROS = r"(?![0-]+\Z|')"  # nor a value that came with its quotes
_HEX = "[0-9a-fA-F]"
_DIGESTS = rf"({_HEX}{{40}})|({_HEX}{{32}}|{_HEX}{{64}})"
_ADDRESS_OR_DIGEST = re.compile(
    rf"{_NOT_ALL_ZEROS}(?:"
    rf"([^{_NOT_IN_ADDRESS}]{{1,64}}@[^{_NOT_IN_ADDRESS}.]{{1,63}}(?:\.[^{_NOT_IN_ADDRESS}.]{{1,63}}){{1,7}})"
    rf"|{_DIGESTS})"
)
_DEVICE_ID_OR_DIGEST = re.compile(
    rf"{_NOT_ALL_ZEROS}(?:({_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}})|{_DIGESTS})"
)
_FIRST = r"[A-Za-z0-9.!#$%&*+/=?^_{|}~-]"  # no quote: the value may have come with its quotes
_LOCAL = r"[A-Za-z0-9.!#$%&*+/=?^_{|}~'-]{0,63}+"
_LABEL = r"[A-Za-z0-9_-]{1,63}+"
_ONLY_ADDRESSES = re.compile(
    rf"(?:{_FIRST}{_LOCAL}@{_LABEL}\.{_LABEL}(?:\n|(?:\.{_LABEL}){{1,6}}+\n))*+"
).fullmatch
_ZERO_ID = b"00000000-0000-0000-0000-000000000000\n"
_DIGITS_TO_ZERO = bytes.maketrans(b"123456789abcdefABCDEF", b"0" * 21)
match_address = _ADDRESS_OR_DIGEST.fullmatch
match_device_id = _DEVICE_ID_OR_DIGEST.fullmatch


def all_addresses(text: str, count: int) -> bool:
    """True when ``text`` is ``count`` plain ASCII addresses between newlines, nothing else.

    False says nothing about the single values: there may be digests or letters beyond ASCII.
    """
    if not count:
        return not text
    return text.count("\n") == count - 1 and _ONLY_ADDRESSES(f"{text}\n") is not None


def all_device_ids(text: str, count: int) -> bool:
    """True when ``text`` is ``count`` advertising ids between newlines, none of them all zeros."""
    if not count or not text.isascii():
        return not count and not text
    lines = text.encode() + b"\n"
    return lines.translate(_DIGITS_TO_ZERO) == _ZERO_ID * count and _ZERO_ID not in lines


def form_of(kind: Kind, value: str) -> int:
    """RAW, SHA1 or OTHER_DIGEST for a trimmed value that can be used, 0 for junk.

    >>> form_of(Kind.EMAIL, "ana.ruiz@example.org"), form_of(Kind.EMAIL, "ana.ruiz")
    (1, 0)
    """
    match = match_address(value) if kind is Kind.EMAIL else match_device_id(value)
    return match.lastindex or 0 if match else 0


def why_junk(kind: Kind, value: str) -> str:
    """The reason for people why ``form_of`` calls a value junk; never repeats the value."""
    if "\x00" in value:
        return "holds a NUL byte"
    if not value.strip("0-"):
        return "is all zeros: the person refused tracking, there is no id"
    if kind is Kind.EMAIL:
        return "is neither an address (name@domain.tld) nor a digest of 32, 40 or 64 hex digits"
    return "is neither a UUID (8-4-4-4-12 hex digits) nor a digest of 32, 40 or 64 hex digits"


def cased(text: bytes, case: str) -> list[bytes]:
    """The values of UTF-8 lines in one case: "lower", "upper" or "as_is".

    They are cased in one piece: a newline keeps neighbours apart, also for the letters whose lower
    case depends on what stands beside them. Raises UnicodeDecodeError for what is not UTF-8.
    """
    if text.isascii():
        return ASCII_CASES[case](text).split(b"\n")
    return CASES[case](text.decode()).encode().split(b"\n")


def hash_values(values: Iterable[bytes]) -> list[bytes]:
    """SHA-1 of each value as it stands, 20 bytes each, in order."""
    return [sha1(value).digest() for value in values]  # noqa: S324 Pinterest's choice
