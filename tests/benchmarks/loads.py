"""What a day's events ask for in the hour of the peak: chunks, uploads, records and requests.

Why each constant is what it is, says ``assumptions``.
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

DAY = 86_400.0
PEAK = 3.0
"""As many times the mean."""
FOLDED = 0.3
"""Of identities: these are never sent."""
CHUNK_EVENTS = 10
"""Of one audience in one call."""
FLUSH_MESSAGES = 100_000
FLUSHES_A_DAY_BY_AGE = 8
GROUPS = {"EMAIL, ADD": 0.48, "EMAIL, REMOVE": 0.12, "MAID, ADD": 0.32, "MAID, REMOVE": 0.08}
"""The parts of an upload, as shares of its records."""


class Load(NamedTuple):
    events_a_day: float
    audiences: int

    @property
    def uploads_a_day(self) -> float:
        """By count where 100,000 wait within 3 hours, else by age."""
        by_age = float(self.audiences * FLUSHES_A_DAY_BY_AGE)
        by_count = self.events_a_day / FLUSH_MESSAGES
        return max(min(by_age, self.events_a_day), by_count)


LOADS = (Load(1e6, 100), Load(100e6, 1_000), Load(10e9, 10_000))


class Amounts(NamedTuple):
    """How many of each there are: in a second of the peak, or in one upload."""

    events: float
    chunks: float
    records: float
    requests: float
    uploads: float

    def costs(
        self,
        *,
        event: float = 0,
        chunk: float = 0,
        record: float = 0,
        request: float = 0,
        upload: float = 0,
    ) -> float:
        """What they cost together, from what one of each costs."""
        return (
            self.events * event
            + self.chunks * chunk
            + self.records * record
            + self.requests * request
            + self.uploads * upload
        )


def peak(load: Load, records_per_request: int) -> Amounts:
    """What there is of each in a second of it."""
    events = load.events_a_day / DAY * PEAK
    records = events * (1 - FOLDED)
    uploads = load.uploads_a_day / DAY * PEAK
    requests = uploads * requests_per_upload(records / uploads, records_per_request)
    return Amounts(events, events / CHUNK_EVENTS, records, requests, uploads)


def requests_per_upload(records: float, records_per_request: int) -> int:
    """Requests of one upload with so many records: the last one of each group is not full."""
    return sum(ceil(records * share / records_per_request) for share in GROUPS.values())
