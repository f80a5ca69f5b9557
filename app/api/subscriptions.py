"""Subscriptions: upstream systems that connect and disconnect audiences by themselves.

mParticle says so in a message of its protocol, Segment's Webhook Audiences asks for an id. Both
activate where the source may activate (``--activate-unknown``); else a person does, and what is not
activated yet is refused with a status that says so.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import sqlalchemy as sa

from app.accepting import usable_name
from app.api.activating import activate_and_ring
from app.api.problems import Refusal
from app.api.ways import Ways
from app.audiences import deactivate, find_upstream, is_latest
from app.errors import InvalidEvent, Refused
from app.events import parse_time
from app.formats.mparticle_answers import read_subscription, subscription_answer
from app.formats.reading import read_reference
from app.sources import Source


def answer_subscription(ways: Ways, source: Source, message: object, now_ms: int) -> dict[str, Any]:
    """An audience was connected, changed or disconnected at mParticle (event-formats, 2.5).

    Renaming does not rename at Pinterest. Disconnecting deactivates and deletes nothing there; only
    a source that activates does so, else that is a person's decision as well.
    """
    asked = read_subscription(message)
    known = find_upstream(ways.deployment, source.connection_id, asked.audience_id)
    if known is None:
        if asked.action != "remove":
            _activate(ways, source, asked.name, asked.audience_id)
            known = find_upstream(ways.deployment, source.connection_id, asked.audience_id)
        if known is not None:
            is_latest(ways.deployment, known.id, _moment(message, now_ms))
    elif is_latest(ways.deployment, known.id, _moment(message, now_ms)):
        _change(ways, source, known, asked.action)
    return subscription_answer(message, now_ms)


def _moment(message: object, now_ms: int) -> int:
    """When it was asked, in microseconds: one that comes late, sent again, undoes no newer one.

    Nothing was asked in the future, or it could never be undone.
    """
    try:
        at_us = parse_time(_field(message, "timestamp_ms"), "timestamp_ms")
    except InvalidEvent:
        at_us = None
    now_us = now_ms * 1_000
    return now_us if at_us is None else min(at_us, now_us)


def _change(ways: Ways, source: Source, known: sa.Row[Any], action: str) -> None:
    if action == "add" and known.state == "deactivated":
        _activate(ways, source, known.name, known.upstream_id)
    if action == "remove" and known.state != "deactivated" and source.activate_unknown:
        for list_id in deactivate(ways.deployment, known.id):
            ways.doorbell.deliver(list_id)
        ways.doorbell.flush(known.id)


def create_audience(ways: Ways, source: Source, message: object) -> dict[str, Any]:
    """Segment wants an audience made; its name is its upstream id from then on."""
    name = read_reference(_field(message, "audienceName"), "audienceName")
    known = find_upstream(ways.deployment, source.connection_id, name)
    if known is None or known.state == "deactivated":
        _activate(ways, source, known.name if known is not None else name, name)
    return {"externalId": name}


def get_audience(ways: Ways, source: Source, message: object) -> dict[str, Any]:
    """Segment asks whether an audience is there."""
    upstream_id = read_reference(_field(message, "externalId"), "externalId")
    if find_upstream(ways.deployment, source.connection_id, upstream_id) is None:
        raise Refusal(404, "externalId: there is no such audience")
    return {"externalId": upstream_id}


def _field(message: object, name: str) -> object:
    if not isinstance(message, dict):
        raise InvalidEvent("message", "must be a JSON object")
    return message.get(name)


def _activate(ways: Ways, source: Source, name: str | None, upstream_id: str) -> None:
    if not source.activate_unknown:
        raise Refusal(
            404,
            f"this audience is not activated, and source {source.name} may not activate: "
            "pinfold audience activate NAME --id UPSTREAM_ID",
        )
    with suppress(Refused):  # it was activated meanwhile, under another name
        usable = usable_name(name, upstream_id)
        activate_and_ring(ways, source.connection_id, usable, upstream_id)
