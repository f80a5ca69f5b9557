"""What an answer of Pinterest means: was it processed, and what happens next. Pure.

What happens next stands in the error book (design section 5). "Certainly not processed" needs
proof: the request never left, or Pinterest said no in its own words. Everything else is unknown,
and an unknown charge is never given back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from app.pinterest.entries import Action, Entry
from app.pinterest.error_book import entry, explain
from app.pinterest.pacing import Allowance
from app.settings import LONGEST_WAIT

__all__ = [
    "LONGEST_MESSAGE",
    "Action",
    "Answer",
    "Settlement",
    "Verdict",
    "judge",
    "redact",
]


class Settlement(StrEnum):
    """What becomes of an attempt's charge."""

    SENT = "sent"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Answer:
    """What came back of one request; ``status`` is None when nothing did."""

    status: int | None
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)  # of a grant: tokens
    request_id: str | None = None
    retry_after: float | None = None
    """Seconds, when Pinterest named any."""
    allowance: Allowance | None = None
    """What the rate headers said."""
    left: bool = True
    """False when the request certainly never left this host."""
    fault: str | None = None
    """The kind of transport failure, for people."""

    @property
    def ok(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def code(self) -> int | None:
        code = self.body.get("code")
        return code if isinstance(code, int) else None

    @property
    def own_words(self) -> bool:
        """True when the body is Pinterest's error object, not some proxy's page."""
        return self.code is not None and isinstance(self.body.get("message"), str)

    @property
    def message(self) -> str:
        """What was said, fit to be stored and shown: nothing in it names a person."""
        said = self.body.get("message")
        text = said if isinstance(said, str) else (self.fault or "no message")
        return redact(text)


@dataclass(frozen=True)
class Verdict:
    settlement: Settlement
    action: Action
    reason: str
    """A short name of the cause, stable: its slug in the error book."""
    message: str = ""
    wait: float | None = None
    """Seconds to wait when Pinterest named them; else the caller backs off."""


def judge(answer: Answer) -> Verdict:
    """The verdict on one answer, its action and its reason as the error book says."""
    if answer.status is None:
        if answer.left:
            return _verdict(answer, Settlement.UNKNOWN, entry("timed out"))
        return _verdict(answer, Settlement.REFUSED, entry("unreachable"))
    if answer.ok:
        return Verdict(Settlement.SENT, Action.GO_ON, "accepted")
    known = explain(answer.status, answer.code, str(answer.body.get("message", "")))
    # Only Pinterest's own refusal proves that nothing was processed: a proxy's page does not.
    if 400 <= answer.status < 500 and answer.own_words:
        return _verdict(answer, Settlement.REFUSED, known)
    if known.action in (Action.HALVE, Action.NARROW):
        known = entry("unknown answer")
    return _verdict(answer, Settlement.UNKNOWN, known)


def _verdict(answer: Answer, settlement: Settlement, known: Entry) -> Verdict:
    wait = answer.retry_after
    if wait is not None:
        wait = min(max(wait, 1.0), LONGEST_WAIT)
    return Verdict(settlement, known.action, known.slug, answer.message, wait)


_SECRETS = re.compile(
    r"[^\s\"'<>,;:=]+@[^\s\"'<>,;]+"  # addresses
    r"|\bpin[a-z]?[ar]_\S+"  # tokens
    r"|[0-9a-fA-F]{8}-[0-9a-fA-F-]{9,}"  # advertising ids
    r"|[0-9a-fA-F]{32,}"  # digests
)
LONGEST_MESSAGE = 300


def redact(text: str) -> str:
    """A text of Pinterest without addresses, ids, digests and tokens, cut to a sane length."""
    return _SECRETS.sub("[removed]", text.replace("\x00", ""))[:LONGEST_MESSAGE]
