"""What Pinterest says of a list, in words; and what its replies are stored as."""

from __future__ import annotations

from typing import Any

import pytest

from app.pinterest.replies import LONGEST_EXCEPTIONS, audience_values, list_values
from app.standing import Seen, is_too_small, standing


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (Seen(), "nobody has looked"),
        (Seen("PROCESSING", "INITIALIZING", 0), "up to 24 hours before a size shows"),
        (Seen("READY", "INITIALIZING", 0), "others report 48"),
        (Seen("READY"), "processing"),
        (Seen("UPLOADING"), "processing"),
        (Seen("READY", "READY", 1234), "ready, 1,234 people matched"),
        (Seen("READY", "ELIGIBLE", None), "ready"),
        (Seen("PROCESSING", "READY", 1234), "matched; the newest changes are processed"),
        (Seen("TOO_SMALL", "READY", 1234), "ready"),
        (Seen("READY", "READY", 99), "under 100 matched"),
        (Seen("TOO_SMALL", "TOO_SMALL", 3), "does not serve"),
        (Seen("TOO_SMALL", "INITIALIZING", 0), "under 100 matched"),
        (Seen("READY", "gone"), "its audience is gone at Pinterest, so no campaign"),
        (Seen("EXPIRED", "EXPIRED", 5), "Pinterest calls it EXPIRED"),
    ],
)
def test_each_state_has_plain_words(seen: Seen, words: str) -> None:
    assert words in standing(seen, "VIP")


def test_only_a_ready_audience_tells_its_size() -> None:
    assert not is_too_small(Seen("PROCESSING", "INITIALIZING", 0))
    assert is_too_small(Seen("PROCESSING", "READY", 99))
    assert not is_too_small(Seen("PROCESSING", "READY", 100))


@pytest.mark.parametrize(
    ("given", "stored"),
    [(2.0, 2), (3, 3), (None, None), ("4", None), (True, None), (float("nan"), None), (1e30, None)],
)
def test_counters_are_read_tolerantly(given: Any, stored: int | None) -> None:
    assert list_values({"num_batches": given})["batches"] == stored
    assert audience_values({"size": given})["audience_size"] == stored


def test_an_empty_reply_says_nothing() -> None:
    assert set(list_values({}).values()) == {None}
    assert set(audience_values({"status": 7}).values()) == {None}
    assert list_values({"exceptions": {}})["exceptions"] is None
    assert list_values({"exceptions": "odd"})["exceptions"] is None


def test_exceptions_keep_what_is_harmless_and_name_nobody() -> None:
    digest, person = "a" * 40, "ann@example.org"
    given = {
        "code": 42,
        "message": f"{person} is invalid",
        person: [digest, {"id": 123456789012345, "deep": {"deeper": {"deepest": person}}}],
        "flag": True,
    }
    kept = list_values({"exceptions": given})["exceptions"]
    assert (kept["code"], kept["flag"]) == (42, True)
    assert kept["message"] == "[removed] is invalid"
    for secret in (digest, person, "123456789012345"):
        assert secret not in str(kept)


@pytest.mark.parametrize(
    "given",
    [
        {str(number): "x" * 200 for number in range(10_000)},
        {"list": list(range(10_000))},
        {"a": {"a": {"a": {"a": {"a": {"a": 1}}}}}},
    ],
)
def test_exceptions_are_bounded(given: dict[str, Any]) -> None:
    kept = list_values({"exceptions": given})["exceptions"]
    assert len(str(kept)) < 2 * LONGEST_EXCEPTIONS
