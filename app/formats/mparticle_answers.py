"""What mParticle's partner protocol asks beside memberships, and what it is answered.

Every answer carries ``type``, ``id``, ``timestamp_ms`` and ``firehose_version`` (event-formats,
sections 2.1, 2.2, 2.5 and 2.6).
"""

from __future__ import annotations

import re
from importlib.metadata import version as version_of_package
from typing import Any, Final, Literal, NamedTuple, get_args
from uuid import uuid4

from app.errors import InvalidEvent
from app.events import is_storable
from app.formats.mparticle import read_audience_id, read_audience_name

REGISTRATION: Final = "module_registration_request"
SUBSCRIPTION: Final = "audience_subscription_request"

PROTOCOL_VERSION: Final = "3.2.0"
LONGEST_PROTOCOL_VERSION: Final = 20
DESCRIPTION: Final = (
    "Self-hosted: keeps Pinterest customer lists in step with your audiences, by email, IDFA and"
    " Google Advertising ID, in bulk and without losing a member."
)
_is_uuid = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}").fullmatch

Action = Literal["add", "update", "remove"]
_ACTIONS: Final[dict[str, Action]] = {action: action for action in get_args(Action)}


class Subscription(NamedTuple):
    """An audience was connected, changed or disconnected."""

    audience_id: str
    name: str | None
    """None where the message has none that can be used."""
    action: Action


def kind_of(message: object) -> str:
    """The ``type`` of a message. Raises InvalidEvent when it is no object with one."""
    if not isinstance(message, dict):
        raise InvalidEvent("message", "must be a JSON object")
    kind = message.get("type")
    if not isinstance(kind, str):
        raise InvalidEvent("type", "must be text")
    return kind


def read_subscription(message: object) -> Subscription:
    """Read a subscription request. Raises InvalidEvent when it cannot be used.

    The word for leaving is ``remove`` here, and ``delete`` in memberships.
    """
    if kind_of(message) != SUBSCRIPTION or not isinstance(message, dict):
        raise InvalidEvent("type", f"must be {SUBSCRIPTION}")
    word = message.get("action")
    action = _ACTIONS.get(word.strip().lower()) if isinstance(word, str) else None
    if action is None:
        raise InvalidEvent("action", "must be add, update or remove")
    audience_id = read_audience_id(message.get("audience_id"), "audience_id")
    return Subscription(audience_id, read_audience_name(message.get("audience_name")), action)


def registration_answer(message: object, now_ms: int, version: str | None = None) -> dict[str, Any]:
    """What Pinfold wants to be sent: raw identities, so that it knows an id from a digest."""
    return _answer("module_registration_response", message, now_ms) | {
        "name": "Pinfold",
        "version": version or version_of_package("pinfold"),
        "description": DESCRIPTION,
        "permissions": {
            "user_identities": [_wanted("email")],
            "device_identities": [_wanted("ios_advertising_id"), _wanted("google_advertising_id")],
        },
        "audience_processing_registration": {
            "account_settings": _switches("any audience"),
            "audience_subscription_settings": _switches("this audience"),
            "bulk_configuration": {
                "bulk_forward_wait_for_messages": 1000,
                "bulk_forward_wait_in_minutes": 5,
            },
        },
    }


def subscription_answer(message: object, now_ms: int) -> dict[str, Any]:
    return _answer("audience_subscription_response", message, now_ms)


def membership_answer(message: object, now_ms: int) -> dict[str, Any]:
    """Never suspends: mParticle would stop until a person resumes it, and lose what comes."""
    answer = _answer("audience_membership_change_response", message, now_ms)
    return answer | {"suspend_subscription": False}


def _answer(kind: str, message: object, now_ms: int) -> dict[str, Any]:
    """What all answers carry; the request's own id and version where they can be repeated."""
    request = message if isinstance(message, dict) else {}
    guid, spoken = request.get("id"), request.get("firehose_version")
    return {
        "type": kind,
        "id": guid if isinstance(guid, str) and _is_uuid(guid) else str(uuid4()),
        "timestamp_ms": now_ms,
        "firehose_version": spoken if _is_version(spoken) else PROTOCOL_VERSION,
    }


def _is_version(value: object) -> bool:
    if not isinstance(value, str):
        return False
    return 0 < len(value.strip()) <= len(value) <= LONGEST_PROTOCOL_VERSION and is_storable(value)


def _wanted(kind: str) -> dict[str, Any]:
    """Not required: a person with any one of the identities is sent."""
    return {"type": kind, "encoding": "raw", "required": False}


def _switches(whose: str) -> list[dict[str, Any]]:
    """The settings that ``mparticle.read`` narrows by, on unless a person switches them off."""
    return [
        {
            "type": "boolean",
            "id": setting,
            "name": name,
            "description": f"If off, {what} of {whose} are not forwarded to Pinterest.",
            "visible": True,
            "default_value": True,
            "checked": True,
        }
        for setting, name, what in (
            ("forwardEmail", "Forward Email", "emails"),
            ("forwardDeviceId", "Forward Device ID", "advertising ids"),
        )
    ]
