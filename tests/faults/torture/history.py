"""Pinterest's history, request by request, matched with the attempts that paid for them.

A request belongs to the last attempt of its list that was charged before it came, carried as many
records for the same purpose, and whose upload holds these digests. Before it was noted a second try
may have begun, so attempts that ended as it did come first. It came too late when the worker that
sent it could no longer have its lease.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from app.sandbox.pinterest import RequestRecord
from tests.faults.torture.conditions import LEASE_S
from tests.faults.torture.reckoning import Reckoning
from tests.faults.torture.witness import Seen

TOLERANCE_S = 1.75
"""Between leaving a worker and being noted by a simulator that shares two cores with all others."""


@dataclass
class Attempt:
    """What the witness saw of an attempt."""

    id: int
    list_id: int
    upload_id: int | None
    purpose: str
    records: int
    charged_at: float
    state: str = "in_flight"
    settled_at: float | None = None
    request: RequestRecord | None = None

    def shown(self) -> str:
        return f"attempt {self.id} ({self.purpose}, {self.records} records, {self.state})"

    def ended_as(self, request: RequestRecord) -> bool:
        """Whether it ended as it must, where this was its request."""
        if self.state == "refused":
            return request.surely_refused
        if self.state == "sent":
            return request.status is not None and 200 <= request.status < 300
        return True


@dataclass
class CustomerList:
    """A list of ours, as it stands at the end."""

    id: int
    audience_id: int
    upstream_id: str
    list_type: str
    pinterest_id: str | None
    charged: int
    cap: int
    reserve: int
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.upstream_id}-{self.list_type}"


def shown(request: RequestRecord) -> str:
    first = request.digests[0][:8] if request.digests else "none"
    return (
        f"request {request.sequence} ({request.operation_type} of {request.record_count}, first "
        f"{first}, answered {request.status}, fault {request.fault}, applied {request.applied})"
    )


def attempts_of(seen: list[Seen]) -> dict[int, Attempt]:
    """Every attempt by its id, with how and when it ended."""
    found: dict[int, Attempt] = {}
    for each in seen:
        row: dict[str, Any] = each.fields
        if each.what == "attempt INSERT":
            found[row["id"]] = Attempt(
                row["id"],
                row["customer_list_id"],
                row["upload_id"],
                row["purpose"],
                row["record_count"],
                each.at,
            )
        elif each.what.startswith("attempt "):
            attempt = found[row["id"]]
            attempt.state, attempt.settled_at = each.what.split()[1], each.at
    return found


def match_requests(
    lists: list[CustomerList],
    requests: list[RequestRecord],
    reckoning: Reckoning,
    stalled: Callable[[float], float],
) -> list[str]:
    """Give each request its attempt; returns what was violated.

    ``stalled``: how long Pinterest may have noted a request late that it noted at a moment.
    """
    by_list: defaultdict[str | None, list[RequestRecord]] = defaultdict(list)
    for request in requests:
        if request.operation == "patch":
            by_list[request.list_id].append(request)
    violations = []
    for each in lists:
        for request in by_list.pop(each.pinterest_id, []):
            violations += _match(each, request, reckoning, stalled(request.received_at))
    violations += [f"list {name} is none of ours" for name in by_list]
    return violations


def _match(
    each: CustomerList, request: RequestRecord, reckoning: Reckoning, stalled: float
) -> list[str]:
    fitting = [one for one in reversed(each.attempts) if _fits(each, one, request, reckoning)]
    if not fitting:
        return [f"unpaid: {each.name}: {shown(request)} belongs to no attempt"]
    in_time = [one for one in fitting if _late_by(request, one) <= TOLERANCE_S + stalled]
    agreeing = [one for one in in_time if one.ended_as(request)]
    attempt = (agreeing or fitting)[0]
    attempt.request = request
    if attempt in in_time:
        return []
    late = _late_by(request, attempt) - stalled
    return [
        f"sent late: {each.name}: {shown(request)} came {late:.1f} s after the lease of "
        f"{attempt.shown()}"
    ]


def _late_by(request: RequestRecord, attempt: Attempt) -> float:
    return request.received_at - attempt.charged_at - LEASE_S


def _fits(
    each: CustomerList, attempt: Attempt, request: RequestRecord, reckoning: Reckoning
) -> bool:
    if attempt.request is not None or attempt.charged_at > request.received_at:
        return False
    if attempt.records != request.record_count:
        return False
    contents = reckoning.contents.get((attempt.upload_id or 0, each.list_type), {})
    if attempt.purpose == "PROBE":
        return request.operation_type == "ADD" and not contents.keys() & set(request.digests)
    entered = request.operation_type == "ADD"
    return attempt.purpose == request.operation_type and all(
        contents.get(digest) is entered for digest in request.digests
    )
