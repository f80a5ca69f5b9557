"""The three counters of a customer list, which need not say what happened (API facts 2.4)."""

from dataclasses import dataclass, field

Count = tuple[int, int, int]
"""Batches, uploaded records, removed records."""


@dataclass(slots=True)
class Counters:
    """Counts writes; some may show late, some not at all."""

    batches: int = 0
    uploaded: int = 0
    removed: int = 0
    late: list[tuple[float, Count]] = field(default_factory=list)
    """What has been counted and does not show yet, with the time at which it will."""
    to_skip: int = 0
    """How many of the next writes are not counted."""

    def write(self, operation: str, records: int, *, now: float, delay: float) -> None:
        """Count a write of `ADD` or `REMOVE` that shows after `delay` seconds."""
        if self.to_skip > 0:
            self.to_skip -= 1
            return
        count = (1, records, 0) if operation == "ADD" else (1, 0, records)
        self.move(*count)
        self.late = [each for each in self.late if each[0] > now]
        self.late.append((now + delay, count))

    def move(self, batches: int, uploaded: int, removed: int) -> None:
        """Add to the counters, and show it at once."""
        self.batches += batches
        self.uploaded += uploaded
        self.removed += removed

    def settle(self) -> None:
        """Show everything that was counted."""
        self.late = []

    def shown(self, now: float) -> Count:
        hidden = [count for shows_at, count in self.late if shows_at > now]
        batches, uploaded, removed = (sum(each) for each in zip((0, 0, 0), *hidden, strict=True))
        return self.batches - batches, self.uploaded - uploaded, self.removed - removed
