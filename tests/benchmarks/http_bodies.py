"""What the clients of the HTTP benchmark send: one sample of events in every form, as requests.

A request is whole beforehand, head and body, so that sending it costs as little as can be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from app.events import Kind, MembershipEvent, Operation

_FIELDS = {Kind.EMAIL: ("user_identities", "email")} | {
    kind: ("device_identities", name)
    for kind, name in ((Kind.IDFA, "ios_advertising_id"), (Kind.GAID, "google_advertising_id"))
}

Body = Callable[[Sequence[MembershipEvent]], bytes]


def one_object(events: Sequence[MembershipEvent]) -> bytes:
    (event,) = events
    return orjson.dumps(_own(event))


def array(events: Sequence[MembershipEvent]) -> bytes:
    return orjson.dumps(list(map(_own, events)))


def lines(events: Sequence[MembershipEvent]) -> bytes:
    return b"\n".join(orjson.dumps(_own(event)) for event in events)


def _own(event: MembershipEvent) -> dict[str, str]:
    (identity,) = event.identities
    return {
        "audience": event.audience,
        "operation": event.operation.name.lower(),
        "occurred_at": _occurred_at(event).isoformat(),
        identity.kind.value: identity.value,
    }


def _occurred_at(event: MembershipEvent) -> datetime:
    return datetime.fromtimestamp((event.occurred_at_us or 0) / 1e6, UTC)


def firehose(number: int, events: Sequence[MembershipEvent]) -> bytes:
    """mParticle's message about so many people, with an id of its own."""
    return orjson.dumps(
        {
            "type": "audience_membership_change_request",
            "id": str(UUID(int=number + 1, version=4)),
            "timestamp_ms": (events[0].occurred_at_us or 0) // 1_000,
            "firehose_version": "3.2.0",
            "account": {"account_id": 4711, "account_settings": {"forwardEmail": "true"}},
            "user_profiles": list(map(_profile, events)),
        }
    )


def _profile(event: MembershipEvent) -> dict[str, Any]:
    (identity,) = event.identities
    field, name = _FIELDS[identity.kind]
    number = firehose_id(event.audience)
    return {
        field: [{"type": name, "encoding": "raw", "value": identity.value}],
        "audiences": [
            {
                "audience_id": int(number),
                "audience_name": f"firehose {number}",
                "action": "add" if event.operation is Operation.ADD else "delete",
            }
        ],
    }


def firehose_id(upstream_id: str) -> str:
    """The audiences of mParticle have numbers."""
    return str(31_000 + int(upstream_id.rpartition("-")[2]))


class Requests:
    """Whole requests in a file, as the clients send them, and how many events they carry."""

    def __init__(
        self, file: Path, path: str, authorization: str, bodies: Iterable[bytes], events: int
    ) -> None:
        self.file, self.events = file, events
        self.lengths: list[int] = []
        with file.open("wb") as written:
            for body in bodies:
                head = (
                    f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {authorization}\r\n"
                    f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                )
                self.lengths.append(written.write(head.encode() + body))
