"""Whether anything of a run's people or tokens stands in its logs."""

from __future__ import annotations

import re
from pathlib import Path

from tests.faults.torture.conditions import AUDIENCES, TOKEN
from tests.faults.torture.people import DEVICES, HOST, OVER_THE_QUEUE, people_of

_DEVICES = f"{DEVICES >> 104:06x}"
_SUSPECT = re.compile(rf"{re.escape(HOST)}|{_DEVICES}[0-9a-f-]{{20,}}|{TOKEN}|pinr_|[0-9a-f]{{40}}")


def leaks(place: Path) -> list[str]:
    """Logs in which somebody can be found, with the place; what was found is not repeated."""
    digests = {
        digest
        for audience in AUDIENCES
        for way in range(OVER_THE_QUEUE + 1)
        for person in people_of(audience, way)
        for digest in person.digests.values()
    }
    found = []
    for log in sorted(place.glob("*.log")):
        text = log.read_text(errors="replace").lower()
        for match in _SUSPECT.finditer(text):
            word = match[0]
            if re.fullmatch("[0-9a-f]{40}", word) and word not in digests:
                continue
            line = text.count("\n", 0, match.start()) + 1
            found.append(f"leak: {log.name}, line {line}, {len(word)} characters")
            break
    return found
