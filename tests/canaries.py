"""Canaries: identities and secrets that tests plant, and the search for them in what a run left.

    python -m tests.canaries DIRECTORY

prints what was searched and where a canary stands. It ends with 0 when there is none, with 1 when
there is, and with 2 when it did not even find the control word in each place known to hold it.
"""

from __future__ import annotations

import mmap
import os
import sys
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha1
from pathlib import Path

WORD = "quokkawallaby"
"""Stands in every canary of which no trace may be left anywhere."""
PUBLISHED = "numbatbilby"
"""Stands in those that were published: the broker has them by the upstream's own doing."""
CONTROL = "pademelonpotoroo"
"""Stands in logs of each of these places: a search that does not come by it proves nothing."""
PLACES = ("servers", "tests")
"""Where the files and logs of servers are kept, and the logs of the processes that tests start."""
ADDRESSES = [f"canary{number}.{WORD}@example.org" for number in range(5)]
DEVICE = "3f1c9a52-7d40-4b8e-9a61-0c5d2e7f8a"
DEVICES = [f"{DEVICE}{number:02d}" for number in range(5)]


def shapes(value: str) -> set[bytes]:
    """A value as it could be found, beside itself: its digests in hex and in raw bytes."""
    found = set()
    for spelling in {value.strip().lower(), value.strip().upper(), value}:
        digest = sha1(spelling.encode())
        found |= {digest.digest(), digest.hexdigest().encode(), digest.hexdigest().upper().encode()}
    return found


def packed(word: bytes) -> set[bytes]:
    """A word as base64 shows it, wherever in a text it stands."""
    found = set()
    for before, hidden in ((0, 0), (1, 2), (2, 3)):
        shown = b64encode(bytes(before) + word)
        whole = len(shown) if (before + len(word)) % 3 == 0 else len(shown) - 4
        found.add(shown[hidden:whole])
    return found


def spellings(*words: str) -> set[bytes]:
    """Words plain, in upper and in lower case, each of them as base64 shows it, too."""
    cased = {each.encode() for word in words for each in (word, word.lower(), word.upper())}
    return cased | {shown for word in cased for shown in packed(word)}


KNOWN = spellings(WORD, PUBLISHED, DEVICE).union(*map(shapes, [*ADDRESSES, *DEVICES]))


@dataclass
class Place:
    """Where canaries must not be: files, or texts."""

    name: str
    contents: dict[str, bytes] = field(default_factory=dict)

    def read(self, directory: Path) -> Place:
        for path in files_below(directory):
            self.contents[str(path)] = path.read_bytes()
        return self

    def holding(self, needles: Iterable[bytes]) -> list[tuple[str, bytes]]:
        return [
            (where, needle)
            for where, text in self.contents.items()
            for needle in needles
            if needle in text
        ]


def files_below(directory: Path) -> Iterator[Path]:
    """All files, also where a link leads elsewhere."""
    for place, _, names in os.walk(directory, followlinks=True):
        for name in sorted(names):
            path = Path(place, name)
            if path.is_file():
                yield path


def contains(path: Path, needles: Iterable[bytes]) -> list[bytes]:
    """Which of the needles stand in a file, however large it is."""
    if not path.stat().st_size:
        return []
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return [needle for needle in needles if text.find(needle) >= 0]


def search(directory: Path) -> int:
    """Search all files of a directory and print what was found; the status to end with."""
    found, files, size = 0, 0, 0
    controls: Counter[str] = Counter()
    for path in files_below(directory):
        files, size = files + 1, size + path.stat().st_size
        if path.suffix == ".log" and contains(path, [CONTROL.encode()]):
            controls[path.relative_to(directory).parts[0]] += 1
        for needle in contains(path, KNOWN):
            found += 1
            print(f"{path.relative_to(directory)} holds {needle!r}")
    print(f"{found} canaries in {files:,} files of {size:,} bytes")
    for place in PLACES:
        print(f"{controls[place]} of the logs in {place} hold the control word that was planted")
    if not all(controls[place] for place in PLACES):
        return 2
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(search(Path(sys.argv[1])))
