"""What ``pinfold stage`` says of a file: the reject file with places, and the counts at the end."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import orjson

from app.cli.terminal import say
from app.errors import ConfigError
from app.event_parts import LineFault, Part

MOST_REASONS = 10
"""How many reasons are shown, the most frequent first."""


class Listing:
    """The reject file, opened when there is something to write: places and reasons, no values.

    ``goes_on``: an earlier run listed what it could not accept, which stays in it.
    """

    def __init__(self, path: Path, *, goes_on: bool = False) -> None:
        self._path = path
        self._mode = "ab" if goes_on else "wb"
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Listing:
        """Raises ConfigError, before anything is staged, when the file cannot be written."""
        try:
            with self._path.open("ab") as file:
                was_empty = file.tell() == 0
        except OSError as problem:
            raise ConfigError(
                f"cannot write {self._path} ({problem.strerror}), which is to list the rejected "
                "lines: name another file with --rejects"
            ) from None
        if was_empty:
            self._path.unlink()
        return self

    def write(self, fault: LineFault) -> None:
        if self._file is None:
            self._file = self._path.open(self._mode)
        self._file.write(orjson.dumps(fault._asdict()) + b"\n")

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


@dataclass
class Tally:
    """What became of a file's lines so far."""

    lines: int = 0
    accepted: int = 0
    rejected: int = 0
    identities_dropped: int = 0
    parts_skipped: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    noted: Counter[str] = field(default_factory=Counter)

    def add(self, part: Part, accepted: int, faults: Iterable[LineFault]) -> None:
        """Count a part that was staged, with all that could not be accepted of it."""
        self.accepted += accepted
        for fault in faults:
            self.rejected += fault.whole
            self.identities_dropped += not fault.whole
            self.reasons[f"{without_places(fault.field)}: {fault.reason}"] += 1
        for remarks, counts in ((part.ignored, self.ignored), (part.noted, self.noted)):
            for remark, count in remarks.items():
                counts[remark.reason] += count

    def report(self, listing: Path, file: str) -> None:
        if not self.lines:
            say(f"{file} is empty: nothing to stage")
            return
        counts = f"{self.accepted:,} events accepted, {self.rejected:,} rejected"
        say(f"{self.lines:,} lines read: {counts}")
        if self.parts_skipped:
            say(f"{self.parts_skipped:,} parts had been staged before and were skipped")
            if listing.exists():
                say(f"{listing} lists what an earlier run could not accept of them")
        if self.identities_dropped:
            say(f"{self.identities_dropped:,} identities of accepted events could not be used")
        _say_counts(self.reasons)
        if self.reasons:
            say(f"{listing} lists each with its line")
        if self.ignored:
            say(f"{self.ignored.total():,} changes ignored:")
            _say_counts(self.ignored)
        if self.noted:
            say(f"{self.noted.total():,} doubts, in spite of which something was taken:")
            _say_counts(self.noted)
        say("next: pinfold status shows what waits and when it is uploaded")


def _say_counts(counts: Counter[str]) -> None:
    for reason, count in counts.most_common(MOST_REASONS):
        say(f"  {count:>9,}  {reason}")


def without_places(field_name: str) -> str:
    """The name of a field for counting: the same for all entries of an array.

    >>> without_places("[2].user_profiles[3].audiences[0].action")
    'user_profiles[].audiences[].action'
    """
    return re.sub(r"\[[0-9]+\]", "[]", re.sub(r"^\[[0-9]+\]\.", "", field_name))
