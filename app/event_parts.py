"""A part of a file: some of its lines, the events in them, and what is to be said of the rest."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from app.events import MembershipEvent
from app.formats.reading import Mention

PART_FINDS = 25_000
"""A part ends after so many events and faults: one line may hold thousands."""


class LineFault(NamedTuple):
    line: int
    field: str
    reason: str
    whole: bool
    """A whole message is lost, mostly the line; otherwise a part of one."""


class Remark(NamedTuple):
    line: int
    reason: str


@dataclass
class Part:
    """Some lines of a file: their events, the line of each, and what could not be used."""

    number: int
    first_line: int
    events: list[MembershipEvent] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    faults: list[LineFault] = field(default_factory=list)
    ignored: Counter[Remark] = field(default_factory=Counter)
    """What is no membership change, or is not to be forwarded."""
    noted: Counter[Remark] = field(default_factory=Counter)
    """Doubts in spite of which something was taken."""
    mentions: dict[str, Mention] = field(default_factory=dict)
    """How the messages speak of audiences (``app.formats.reading``)."""
    last_line: int = 0
    key: str = ""
    bytes_read: int = 0
    beginnings: dict[str, int] = field(default_factory=dict)
    """The key that the part had if the file broke off after a line, with the line's number."""

    def without_lines_up_to(self, line: int) -> Part:
        """What is left of the part when its beginning was staged before."""
        kept = [place for place, number in enumerate(self.lines) if number > line]
        return replace(
            self,
            events=[self.events[place] for place in kept],
            lines=[self.lines[place] for place in kept],
            faults=[fault for fault in self.faults if fault.line > line],
            ignored=_after(line, self.ignored),
            noted=_after(line, self.noted),
        )

    def remarks(self) -> Counter[str]:
        """What was ignored or taken in doubt, by reason."""
        counts: Counter[str] = Counter()
        for remark, count in (self.ignored + self.noted).items():
            counts[remark.reason] += count
        return counts

    def is_full(self) -> bool:
        return len(self.events) + len(self.faults) >= PART_FINDS

    def holds_something(self) -> bool:
        return bool(self.events or self.faults or self.ignored or self.noted)


def _after(line: int, remarks: Counter[Remark]) -> Counter[Remark]:
    return Counter({remark: count for remark, count in remarks.items() if remark.line > line})
