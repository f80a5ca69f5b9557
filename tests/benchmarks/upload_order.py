"""What order audiences were uploaded in, and how long it took, from the moments alone. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tests.benchmarks.http_intake import percentile


class Upload(NamedTuple):
    """One upload of an audience. Moments are in seconds by one clock."""

    audience_id: int
    cut_at: float
    accepted_at: float
    """When the last of its requests was settled."""


def firsts(uploads: Sequence[Upload], moment: str) -> list[int]:
    """The audiences, by the moment of that kind of the upload that each was first cut."""
    first: dict[int, Upload] = {}
    for upload in sorted(uploads, key=lambda each: each.cut_at):
        first.setdefault(upload.audience_id, upload)
    return sorted(first, key=lambda audience_id: getattr(first[audience_id], moment))


def places_lost(due: Sequence[int], done: Sequence[int]) -> int:
    """The most places by which one came later than it was due."""
    due_place = {each: place for place, each in enumerate(due)}
    return max((place - due_place[each] for place, each in enumerate(done)), default=0)


def rank_correlation(due: Sequence[int], done: Sequence[int]) -> float:
    """Spearman's: 1 where the orders are the same, 0 where one says nothing about the other."""
    due_place = {each: place for place, each in enumerate(due)}
    squares = sum((place - due_place[each]) ** 2 for place, each in enumerate(done))
    count = len(due)
    return 1 - 6 * squares / (count * (count**2 - 1)) if count > 1 else 1.0


def waited_for_a_second(uploads: Sequence[Upload]) -> tuple[int, int]:
    """Audiences whose first upload came after a second one of another, and how many of these came.

    A few may: the check rings for one audience after another, and who was rung for first may have
    been delivered, and be in line again, before it has rung for the last.
    """
    seen: set[int] = set()
    seconds = waited = overtaking = 0
    for upload in sorted(uploads, key=lambda each: each.cut_at):
        if upload.audience_id in seen:
            seconds += 1
            continue
        waited += seconds > 0
        overtaking = seconds
        seen.add(upload.audience_id)
    return waited, overtaking


def figures(due: Sequence[int], uploads: Sequence[Upload], began: float) -> dict[str, Any]:
    """Order, latency and duration of a round that began at a moment, for JSON.

    ``due``: the audiences in the order in which they fell due, each of which was uploaded.
    """
    cut, accepted = firsts(uploads, "cut_at"), firsts(uploads, "accepted_at")
    waited, overtaking = waited_for_a_second(uploads)
    latencies = [(each.accepted_at - each.cut_at) * 1e3 for each in uploads]
    return {
        "seconds": max(each.accepted_at for each in uploads) - began,
        "uploads": len(uploads),
        "second_uploads": len(uploads) - len(cut),
        "waited_for_a_second": waited,
        "seconds_before_a_first": overtaking,
        "places_lost_when_cut": places_lost(due, cut),
        "places_lost_when_accepted": places_lost(due, accepted),
        "rank_correlation_when_cut": rank_correlation(due, cut),
        "rank_correlation_when_accepted": rank_correlation(due, accepted),
        "cut_to_accepted_p50_ms": percentile(latencies, 0.5),
        "cut_to_accepted_p99_ms": percentile(latencies, 0.99),
    }
