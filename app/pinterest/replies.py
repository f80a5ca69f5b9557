"""What Pinterest's replies say of a list and its audience, in the columns of an observation.

Replies are read tolerantly: a field that is absent or of another kind is None, numbers may come as
floats (API facts, section 2.4). Free text is redacted and bounded before it is stored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import islice
from typing import Any

import orjson

from app.pinterest.outcomes import redact

LONGEST_EXCEPTIONS = 4_000
MOST_ITEMS = 20
DEEPEST = 4
LARGEST_NUMBER = 1 << 62


def list_values(reply: Mapping[str, Any]) -> dict[str, Any]:
    """Status, counters and exceptions of a customer list."""
    return {
        "list_status": _status(reply),
        "batches": _count(reply, "num_batches"),
        "uploaded_records": _count(reply, "num_uploaded_user_records"),
        "removed_records": _count(reply, "num_removed_user_records"),
        "exceptions": _exceptions(reply.get("exceptions")),
    }


def audience_values(reply: Mapping[str, Any]) -> dict[str, Any]:
    """Status and size of an audience; the size is None while it is unknown."""
    return {"audience_status": _status(reply), "audience_size": _count(reply, "size")}


def _status(reply: Mapping[str, Any]) -> str | None:
    status = reply.get("status")
    return redact(status)[:50] if isinstance(status, str) else None


def _count(reply: Mapping[str, Any], name: str) -> int | None:
    value = reply.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return int(value) if abs(value) < LARGEST_NUMBER else None


def _exceptions(given: object) -> Any:
    """What Pinterest reports of a list, without identities and not endless; None for nothing."""
    if not isinstance(given, dict) or not given:
        return None
    kept = _redacted(given, DEEPEST)
    return kept if len(orjson.dumps(kept)) <= LONGEST_EXCEPTIONS else {"too long": len(given)}


def _redacted(value: Any, depth: int) -> Any:
    """The same without identities; what lies too deep, or beyond the first items, is left out."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, int | float) or value is None:
        # a long number may be somebody's id
        return value if value is None or abs(value) < 10**12 else "[removed]"
    if depth == 0:
        return "[left out]"
    if isinstance(value, dict):
        items = islice(value.items(), MOST_ITEMS)
        return {redact(str(key)): _redacted(each, depth - 1) for key, each in items}
    return [_redacted(each, depth - 1) for each in value[:MOST_ITEMS]]
