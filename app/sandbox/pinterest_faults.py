"""Misbehaviour of the simulated Pinterest: which fault a call meets, and how the fault plays out.

Before anything is applied:
    rate_limited, transient_400, bad_request, refuse_records, server_error, unavailable,
    expired_token, missing_scope, forbidden, gone, too_large, conflict, teapot, redirect, html,
    drop_before (the connection closes without a reply)
After it was applied:
    server_error_after, created (201), slow, drop_after, reset_after, half_status (the connection
    closes within the status line), truncated, garbage, huge, drip
While the client waits in vain:
    late (nothing is ever answered; it is applied `seconds` later, the client may be gone)
"""

import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from app.sandbox.pinterest_messages import Call, Refusal, Reply

_REFUSALS = {
    "rate_limited": (429, 8, "You have exceeded your rate limit. Try again later."),
    "transient_400": (400, 12, "Something went wrong on our end. Retry after 5 seconds."),
    "bad_request": (400, 1, "Invalid request."),
    "refuse_records": (400, 1, "Invalid records."),
    "server_error": (500, 500, "An unexpected error occurred."),
    "server_error_after": (500, 500, "An unexpected error occurred."),
    "unavailable": (503, 4197, "Service temporarily unavailable."),
    "expired_token": (401, 2, "Authentication failed."),
    "missing_scope": (401, 3, "Your token lacks a scope."),
    "forbidden": (403, 29, "You are not permitted to access that resource."),
    "gone": (404, 404, "CustomerList not found."),
    "too_large": (413, 413, "Request body too large."),
    "conflict": (409, 409, "The resource is being changed by another request."),
    "teapot": (418, 7418, "I'm a teapot."),
}
_INSTEAD = {"drop_before", "redirect", "html", *_REFUSALS} - {"server_error_after"}
_UNANSWERED = {"drop_after": "drop", "reset_after": "reset", "half_status": "half_status"}
"""How they go over the wire."""
_AFTER = {"slow", "truncated", "garbage", "huge", "drip", "created", *_UNANSWERED}
FAULTS = frozenset(_INSTEAD | _AFTER | {"server_error_after", "late"})
_RATE_HEADERS = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
_PAGE = b"<html><head><title>502 Bad Gateway</title></head><body>502 Bad Gateway</body></html>"


@dataclass(frozen=True)
class Options:
    """How a fault plays. Each fault reads only what concerns it."""

    seconds: float = 1.0
    """slow: delay of the reply; late: until it is applied; drip: pause before each byte."""
    reset: float | str | None = 5
    """rate_limited: the x-ratelimit-reset header as given; None: no rate headers at all."""
    retry_after: str | None = None
    """rate_limited, unavailable: a Retry-After header, sensible or not."""
    code: int | None = None
    message: str | None = None
    """Every refusal: Pinterest's own number and words."""
    body: str = "<<< this is not JSON >>>"
    """garbage: the body."""
    size: int = 1 << 28
    """huge: bytes of the body."""
    records: frozenset[str] = frozenset()
    """refuse_records: the poison."""
    predicate: Callable[[str], bool] | None = None
    """refuse_records: tells poison, where a set does not do."""

    def poisons(self, call: Call) -> bool:
        digests = (call.records.digests if call.records else None) or ()
        if self.predicate is not None and any(map(self.predicate, digests)):
            return True
        return not self.records.isdisjoint(digests)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Options":
        """TypeError for an option that does not exist."""
        return cls(**{**given, "records": frozenset(given.get("records", ()))})


@dataclass
class Script:
    """A fault, the calls it waits for and how many of them it still meets (None: all)."""

    fault: str
    times: int | None = 1
    skip: int = 0
    """How many matching calls it lets pass first."""
    operation: str = "any"
    ad_account: str | None = None
    list_id: str | None = None
    options: Options = field(default_factory=Options)

    def __post_init__(self) -> None:
        if self.fault not in FAULTS:
            raise ValueError(f"unknown fault: {self.fault}")

    def meets(self, call: Call) -> bool:
        if self.times is not None and self.times <= 0:
            return False
        if self.fault == "refuse_records" and not self.options.poisons(call):
            return False
        return (
            _selects(self.operation, call)
            and self.ad_account in (None, call.ids.get("ad_account_id"))
            and self.list_id in (None, call.ids.get("customer_list_id"))
        )


def _selects(operation: str, call: Call) -> bool:
    if operation in ("any write", "any read"):
        return call.route.category == "ads_" + operation.removeprefix("any ")
    return operation in ("any", call.route.operation)


class Faults:
    """What is to go wrong. Scripts come before probabilities; a call meets one fault at most."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scripts: list[Script] = []
        self._chances: list[tuple[float, Script]] = []
        self._chance_operation = "any write"
        self._random = random.Random(0)

    def script(
        self,
        fault: str,
        *,
        times: int | None = 1,
        operation: str = "any",
        ad_account: str | None = None,
        list_id: str | None = None,
        skip: int = 0,
        **options: Any,
    ) -> None:
        """Let the next `times` matching calls meet a fault (None: all until `clear`).

        `operation` is the name of a route (`patch`, `create_list`, `token`, ...: see ROUTES in
        pinterest_messages.py), `any`, `any write` or `any read`. Options: see `Options`. Only
        calls that pass token and quota count. `refuse_records` meets only writes with poison.
        """
        planned = Script(fault, times, skip, operation, ad_account, list_id, Options.of(options))
        with self._lock:
            self._scripts.append(planned)

    def probability(
        self,
        chances: Mapping[str, float],
        *,
        seed: int,
        operation: str = "any write",
        options: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Let each matching call meet a fault by chance; the same seed draws the same faults.

        Replaces earlier chances. `options` are given per fault.
        """
        if sum(chances.values()) > 1 or min(chances.values(), default=0) < 0:
            raise ValueError("chances must be positive and add up to 1 at most")
        given = options or {}
        drawn = [
            (
                chance,
                Script(fault, None, operation=operation, options=Options.of(given.get(fault, {}))),
            )
            for fault, chance in chances.items()
        ]
        with self._lock:
            self._chances, self._random = drawn, random.Random(seed)
            self._chance_operation = operation

    def clear(self) -> None:
        """Behave again."""
        with self._lock:
            self._scripts, self._chances = [], []

    def remaining(self) -> int:
        """How many scripted faults have not been met yet, endless ones aside."""
        with self._lock:
            return sum(script.times or 0 for script in self._scripts)

    def next_for(self, call: Call) -> Script | None:
        """The fault this call meets; uses it up."""
        with self._lock:
            for script in self._scripts:
                if script.meets(call):
                    if script.skip > 0:
                        script.skip -= 1
                        continue
                    if script.times is not None:
                        script.times -= 1
                    return script
            return self._draw(call)

    def _draw(self, call: Call) -> Script | None:
        if not self._chances or not _selects(self._chance_operation, call):
            return None
        point = self._random.random()
        for chance, script in self._chances:
            if point < chance:
                return script if script.meets(call) else None
            point -= chance
        return None


def play(
    script: Script, call: Call, apply: Callable[[], Reply], wait: Callable[[float], bool]
) -> Reply:
    """The reply of a call that meets a fault.

    `apply` does what the call asks and gives the honest reply; `wait` sleeps that many seconds
    and says whether the simulator was stopped meanwhile.
    """
    if script.fault == "late":
        if not wait(script.options.seconds):
            apply()
        return Reply(None, delivery="drop")
    if script.fault in _INSTEAD:
        return _instead(script, call)
    reply = apply()
    if script.fault == "slow":
        wait(script.options.seconds)
    return _spoiled(script, reply)


def _instead(script: Script, call: Call) -> Reply:
    if script.fault == "drop_before":
        return Reply(None, delivery="drop")
    if script.fault == "html":
        return Reply(502, _PAGE, content_type="text/html")
    if script.fault == "redirect":
        return Reply(307, headers={"Location": "/v5" + call.path})
    return _refusal(script)


def _spoiled(script: Script, reply: Reply) -> Reply:
    options = script.options
    match script.fault:
        case "drop_after" | "reset_after" | "half_status":
            return Reply(None, delivery=_UNANSWERED[script.fault])
        case "server_error_after":
            return _refusal(script)
        case "created":
            return replace(reply, status=201)
        case "garbage":
            return replace(reply, payload=options.body.encode())
        case "truncated" | "huge" | "drip":
            seconds, size = options.seconds, options.size
            return replace(reply, delivery=script.fault, seconds=seconds, size=size)
    return reply


def _refusal(script: Script) -> Reply:
    options = script.options
    status, code, message = _REFUSALS[script.fault]
    code = code if options.code is None else options.code
    reply = Refusal(status, code, options.message or message).reply()
    if script.fault == "rate_limited":
        reset = None if options.reset is None else str(options.reset)
        limits = ("0", "0", reset) if reset is not None else (None, None, None)
        reply.headers.update(zip(_RATE_HEADERS, limits, strict=True))
    if options.retry_after is not None:
        reply.headers["Retry-After"] = options.retry_after
    return reply
