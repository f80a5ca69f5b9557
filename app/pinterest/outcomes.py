"""What an answer of Pinterest means: was it processed, and what happens next. Pure.

Classified by HTTP status first, then by Pinterest's own code, which means different things under
different statuses (API facts, section 7; design section 5). "Certainly not processed" needs proof:
the request never left, or Pinterest said no in its own words. Everything else is unknown, and an
unknown charge is never given back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Settlement(StrEnum):
    """What becomes of an attempt's charge."""

    SENT = "sent"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Action(StrEnum):
    """What happens to the batch, the list or the connection."""

    GO_ON = "go on"
    WAIT = "wait"
    WAIT_CONNECTION = "wait with the connection"
    HALVE = "halve"
    NARROW = "narrow down"
    HOLD_LIST = "hold the list"
    HOLD_CONNECTION = "hold the connection"


@dataclass(frozen=True)
class Answer:
    """What came back of one request; ``status`` is None when nothing did."""

    status: int | None
    body: Mapping[str, Any] = field(default_factory=dict)
    request_id: str | None = None
    retry_after: float | None = None
    """Seconds, when Pinterest named any."""
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
    """A short name of the cause, stable, for status and books."""
    message: str = ""
    wait: float | None = None
    """Seconds to wait when Pinterest named them; else the caller backs off."""


DISGUISED = re.compile(r"retry after \d+|something went wrong", re.IGNORECASE)
TOO_MANY = re.compile(r"too many (records|users)|maximum (number of )?records", re.IGNORECASE)
LONGEST_WAIT = 3_600.0


def judge(answer: Answer) -> Verdict:
    """The verdict on one answer (design section 5)."""
    if answer.status is None:
        settlement = Settlement.UNKNOWN if answer.left else Settlement.REFUSED
        return Verdict(settlement, Action.WAIT, "unreachable", answer.message)
    if answer.ok:
        return Verdict(Settlement.SENT, Action.GO_ON, "accepted")
    if answer.status >= 500:
        return _verdict(answer, Settlement.UNKNOWN, Action.WAIT, "server error")
    # Only Pinterest's own refusal proves that nothing was processed: a proxy's page does not.
    refused = answer.status >= 400 and answer.own_words
    settlement = Settlement.REFUSED if refused else Settlement.UNKNOWN
    action, reason = _client_error(answer)
    if settlement is Settlement.UNKNOWN and action in (Action.HALVE, Action.NARROW):
        action, reason = Action.HOLD_LIST, "unknown answer"
    return _verdict(answer, settlement, action, reason)


def _client_error(answer: Answer) -> tuple[Action, str]:
    """The action and the reason for a status from 300 to 499."""
    match answer.status:
        case 429:
            return Action.WAIT_CONNECTION, "rate limited"
        case 401 if answer.code == 3:
            return Action.HOLD_CONNECTION, "scope missing"
        case 401 if answer.code == 29:
            return Action.HOLD_CONNECTION, "not permitted"
        case 401:
            return Action.HOLD_CONNECTION, "log in again"
        case 403:
            return Action.HOLD_CONNECTION, "not permitted"
        case 404:
            return Action.HOLD_LIST, "gone at Pinterest"
        case 409:
            return Action.WAIT, "conflict"
        case 413:
            return Action.HALVE, "too large"
        case 400:
            return _bad_request(answer)
        case _:
            return Action.HOLD_LIST, "unknown answer"


def _bad_request(answer: Answer) -> tuple[Action, str]:
    message = str(answer.body.get("message", ""))
    if answer.code == 12 or DISGUISED.search(message):
        return Action.WAIT, "transient refusal"
    if TOO_MANY.search(message):
        return Action.HALVE, "too large"
    return Action.NARROW, "refused"


def _verdict(answer: Answer, settlement: Settlement, action: Action, reason: str) -> Verdict:
    wait = answer.retry_after
    if wait is not None:
        wait = min(max(wait, 1.0), LONGEST_WAIT)
    return Verdict(settlement, action, reason, answer.message, wait)


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
