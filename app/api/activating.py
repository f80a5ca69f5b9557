"""Activating: the wish of a caller, recorded and rung for."""

from __future__ import annotations

from app.api.problems import Refusal
from app.api.ways import Ways
from app.audiences import activate_over
from app.errors import ConfigError


def activate_and_ring(ways: Ways, connection_id: int, name: str, upstream_id: str) -> int:
    """Forward an audience from now on; returns its id. A worker makes its lists at Pinterest.

    Raises Refusal (422) for a name or an id that cannot be one, Refused when the upstream id is
    activated under another name.
    """
    try:
        made = activate_over(ways.deployment, connection_id, name, upstream_id)
    except ConfigError as problem:  # to its caller it is a field of the request
        raise Refusal(422, str(problem)) from None
    for list_id in made.list_ids:
        ways.doorbell.deliver(list_id)
    return made.audience_id
