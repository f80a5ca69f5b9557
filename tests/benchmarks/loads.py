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
CALL_EVENTS = 100
FLUSH_MESSAGES = 100_000
FLUSHES_A_DAY_BY_AGE = 8
GROUPS = {"EMAIL, ADD": 0.48, "EMAIL, REMOVE": 0.12, "MAID, ADD": 0.32, "MAID, REMOVE": 0.08}
"""The parts of an upload, as shares of its records."""


class Load(NamedTuple):
    events_a_day: float
    audiences: int

    @property
    def events_at_peak(self) -> float:
        """A second."""
        return self.events_a_day / DAY * PEAK

    @property
    def uploads_at_peak(self) -> float:
        """A second: by count where 100,000 wait within 3 hours, else by age, at any hour alike."""
        by_age = self.audiences * FLUSHES_A_DAY_BY_AGE / DAY
        by_count = self.events_at_peak / FLUSH_MESSAGES
        return min(self.events_at_peak, max(by_age, by_count))


LOADS = (Load(1e6, 100), Load(100e6, 1_000), Load(10e9, 10_000))


class Amounts(NamedTuple):
    """How many of each there are: in a second of the peak, or in one upload."""

    calls: float
    events: float
    chunks: float
    records: float
    requests: float
    uploads: float

    def costs(
        self,
        *,
        call: float = 0,
        event: float = 0,
        chunk: float = 0,
        record: float = 0,
        request: float = 0,
        upload: float = 0,
    ) -> float:
        """What they cost together, from what one of each costs."""
        return (
            self.calls * call
            + self.events * event
            + self.chunks * chunk
            + self.records * record
            + self.requests * request
            + self.uploads * upload
        )


def peak(load: Load, records_per_request: int) -> Amounts:
    """What there is of each in a second of it."""
    events, uploads = load.events_at_peak, load.uploads_at_peak
    records = events * (1 - FOLDED)
    requests = uploads * requests_per_upload(records / uploads, records_per_request)
    calls, chunks = events / CALL_EVENTS, events / CHUNK_EVENTS
    return Amounts(calls, events, chunks, records, requests, uploads)


def requests_per_upload(records: float, records_per_request: int) -> int:
    """Requests of one upload with so many records: the last one of each group is not full."""
    return sum(ceil(records * share / records_per_request) for share in GROUPS.values())
