"""What Pinterest says of a list and its audience, in plain words. Pure (API facts, 2.5 and 3)."""

from __future__ import annotations

from typing import NamedTuple

TOO_SMALL = "under 100 matched people: it cannot be targeted, a campaign on it does not serve"
MATCHED_LEAST = 100
PROCESSING = (
    "processing: it can take up to 24 hours before a size shows (others report 48); uploads go on"
)
NOT_CREATED = "not yet created at Pinterest"
NO_AUDIENCE = "the list stands, Pinterest has no audience of it yet"
AUDIENCE_GONE = "gone"
"""Stored as the status of an audience that Pinterest does not know any more."""
WORKING = {"PROCESSING", "UPLOADING", "INITIALIZING"}
READY = {"READY", "ELIGIBLE"}


class Seen(NamedTuple):
    """What the newest looks saw; None where Pinterest did not say, or nobody looked."""

    list_status: str | None = None
    audience_status: str | None = None
    audience_size: int | None = None


def is_too_small(seen: Seen) -> bool:
    if seen.audience_status in READY:
        return seen.audience_size is not None and seen.audience_size < MATCHED_LEAST
    return "TOO_SMALL" in (seen.audience_status, seen.list_status)


def standing(seen: Seen, audience: str) -> str:
    """One sentence about a list that stands at Pinterest, with its audience."""
    if seen == Seen():
        return "nobody has looked at it yet: beat does within a minute or so"
    if seen.audience_status == AUDIENCE_GONE:
        return (
            "the list stands, but its audience is gone at Pinterest, so no campaign can use it: "
            f'pinfold audience rebuild "{audience}" makes the audience again'
        )
    if is_too_small(seen):
        return TOO_SMALL
    if seen.audience_status in READY:
        size = "" if seen.audience_size is None else f", {seen.audience_size:,} people matched"
        newest = "; the newest changes are processed" if seen.list_status in WORKING else ""
        return f"ready{size}{newest}"
    status = seen.audience_status or seen.list_status
    if status in WORKING or (seen.audience_status is None and status in READY):
        return PROCESSING
    return f"Pinterest calls it {status}, which Pinfold does not know"
