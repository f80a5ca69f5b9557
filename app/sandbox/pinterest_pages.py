"""Pages of the simulated Pinterest: `page_size`, `order`, `bookmark` (API facts section 1)."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from app.sandbox.pinterest_messages import Reply, bad_request, choice


def page(query: Mapping[str, str], items: list[dict[str, Any]]) -> Reply:
    """One page of `items` (ascending ids); the bookmark is the last id shown, made opaque."""
    descending = choice(query, "order", ("ASCENDING", "DESCENDING"), "ASCENDING") == "DESCENDING"
    size = query.get("page_size", "25")
    if not (size.isascii() and size.isdecimal() and 1 <= int(size) <= 250):
        raise bad_request("page_size must be between 1 and 250.")
    if descending:
        items = items[::-1]
    if given := query.get("bookmark"):
        after = _read_bookmark(given)
        items = [each for each in items if (int(each["id"]) < after) is descending]
        items = [each for each in items if int(each["id"]) != after]
    shown = items[: int(size)]
    bookmark = _bookmark(shown[-1]["id"]) if len(items) > len(shown) else None
    return Reply.of(200, {"items": shown, "bookmark": bookmark})


def _bookmark(last_id: str) -> str:
    return base64.urlsafe_b64encode(f"after:{last_id}".encode()).decode()


def _read_bookmark(bookmark: str) -> int:
    try:
        word, _, last_id = base64.urlsafe_b64decode(bookmark).decode().partition(":")
        if word == "after":
            return int(last_id)
    except (binascii.Error, ValueError):
        pass
    raise bad_request("The bookmark is not valid.")
