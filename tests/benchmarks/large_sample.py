"""Samples of any size in the memory of one million events."""

from __future__ import annotations

from app.events import Identity, Kind, MembershipEvent
from tests.benchmarks.events import STEP_US, Sample

PART = 1_000_000
MOST_PARTS = 10
"""People are told apart by one decimal digit."""


def sample_of(count: int, audiences: int) -> Sample:
    return Sample(count, audiences) if count <= PART else LargeSample(count, audiences)


class LargeSample(Sample):
    """One sample of a million events, repeated: each time of other people, and later.

    ``values`` holds the first part only.
    """

    def __init__(self, count: int, audiences: int) -> None:
        if count > PART * MOST_PARTS:
            raise ValueError(f"at most {PART * MOST_PARTS:,} events")
        super().__init__(PART, audiences)
        self.count = count

    def events(self, start: int, stop: int) -> list[MembershipEvent]:
        """Within one part: calls never reach across two."""
        part, offset = divmod(start, PART)
        if stop > (part + 1) * PART:
            raise ValueError("these events belong to two parts")
        later_us = part * PART * STEP_US
        return [
            MembershipEvent(
                event.audience,
                event.operation,
                tuple(Identity(kind, _of_part(kind, value, part)) for kind, value in people),
                event.occurred_at_us + later_us,
            )
            for event in super().events(offset, offset + stop - start)
            for people in (event.identities,)
        ]


def _of_part(kind: Kind, value: str, part: int) -> str:
    """Another person's identity of the same length. Numbers in addresses begin with a free 0."""
    if kind is Kind.EMAIL:
        return value.replace(".0", f".{part}", 1)
    return f"{value[:-1]}{part}"
