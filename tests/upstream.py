"""Messages as upstream systems send them: one person who enters an audience, in each format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.workshop import address


def own(number: int = 1, audience: object = 31001, **more: Any) -> dict[str, Any]:
    return {"audience": audience, "operation": "add", "email": address(number)} | more


def profile(number: int = 1, audience: object = 31001, action: str = "add") -> dict[str, Any]:
    return {
        "user_identities": [{"type": "email", "encoding": "raw", "value": address(number)}],
        "audiences": [
            {"audience_id": audience, "audience_name": f"A {audience}", "action": action}
        ],
    }


def membership(*profiles: object, **more: Any) -> dict[str, Any]:
    return {
        "type": "audience_membership_change_request",
        "timestamp_ms": 1_767_265_200_123,
        "firehose_version": "3.2.0",
        "account": {"account_id": 4711, "account_settings": {}},
        "user_profiles": list(profiles),
    } | more


def mparticle(number: int = 1, audience: object = 31001, **more: Any) -> dict[str, Any]:
    return membership(profile(number, audience), **more)


def segment(number: int = 1, audience: object = 31001, **more: Any) -> dict[str, Any]:
    return {
        "type": "track",
        "event": "Audience Entered",
        "context": {
            "traits": {"email": address(number)},
            "personas": {"computation_class": "audience", "computation_key": str(audience)},
        },
        "properties": {str(audience): True},
    } | more


def rudderstack(number: int = 1, audience: object = 31001, **more: Any) -> dict[str, Any]:
    return {
        "type": "audienceList",
        "context": {"externalId": [{"type": f"PINTEREST_AUDIENCE-{audience}"}]},
        "properties": {"listData": {"add": [{"EMAIL": address(number)}]}},
    } | more


MAKERS: dict[str, Callable[..., dict[str, Any]]] = {
    "events": own,
    "mparticle": mparticle,
    "segment": segment,
    "rudderstack": rudderstack,
}
