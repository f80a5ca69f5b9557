"""A doorbell that remembers who rang, for the processes that would tell a worker."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class RecordingDoorbell:
    flushes: list[int] = field(default_factory=list)
    """Ids of the audiences a worker was asked to look at."""
    deliveries: list[int] = field(default_factory=list)
    """Ids of the lists a worker was asked to look at."""

    def flush(self, audience_id: int) -> None:
        self.flushes.append(audience_id)

    def deliver(self, list_id: int) -> None:
        self.deliveries.append(list_id)
