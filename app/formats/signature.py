"""Segment's signature: ``X-Signature`` is the hex HMAC-SHA1 of the event's JSON text.

Of an array only the first element is signed (event-formats, section 4.1), so the others are vouched
for by the source's secret alone, which has to be shown with them. The text is cut out of the body
as it came: written anew it might differ in a blank, an escape or the order of keys.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from typing import Final

from app.errors import InvalidEvent

BLANKS: Final = b" \t\r\n"
# Up to the next byte that matters, and that: a whole string, a bracket or a comma. Possessive, so
# that nothing is ever tried twice: a body of any bytes is read once from its start.
_NEXT_TOKEN = re.compile(
    rb'[^"\[\]{},]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"|([\[{])|([\]}])|(,))', re.DOTALL
).match
_OPENING, _CLOSING, _COMMA = 1, 2, 3


def is_signed(body: bytes, signature: str | None, keys: Iterable[bytes]) -> bool:
    """True when ``signature`` is the one of any of the keys; takes as long for every wrong one."""
    try:
        signed = signed_part(body)
    except InvalidEvent:
        return False
    given = (signature or "").strip().lower().encode(errors="replace")
    matches = [
        hmac.compare_digest(hmac.digest(key, text, "sha1").hex().encode(), given)
        for key in keys
        if key
        for text in (signed, signed.strip(BLANKS))
    ]
    return any(matches)


def signed_part(body: bytes) -> bytes:
    """The bytes that are signed: the body of one event, the first element of an array.

    Raises InvalidEvent for an array without a first element, or one that does not end.
    """
    start = len(body) - len(body.lstrip(BLANKS))
    if body[start : start + 1] != b"[":
        return body
    element = body[start + 1 : _end_of_element(body, start + 1)].strip(BLANKS)
    if not element:
        raise InvalidEvent("body", "holds no event")
    return element


def _end_of_element(body: bytes, position: int) -> int:
    """Where the comma or the bracket stands that ends the element beginning at ``position``."""
    depth = 0
    while token := _NEXT_TOKEN(body, position):
        position = token.end()
        if token.lastindex == _OPENING:
            depth += 1
        elif token.lastindex == _CLOSING:
            depth -= 1
        if depth < 0 or (depth == 0 and token.lastindex == _COMMA):
            return position - 1
    raise InvalidEvent("body", "holds no event that ends")
