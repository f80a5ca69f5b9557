"""Messages with the results a person wrote down for them, from the fact sheet's tables.

Each file is ``tests/golden/FORMAT/NAME.json``: a ``message`` and what is to be read from it. What
is left out is empty. Nothing else may be read: the comparison is whole.

    about      one sentence: what the message is an example of
    dialect    what the source was told: audience, audience_key, identifiers
    refused    [field, reason] when the message cannot be used at all
    events     {"audience", "operation", "at_us", "identities": [[kind, value], ...]}
    faults     [[field, reason], ...] in the order they are met
    ignored, noted    texts, in any order, one for each time
    mentions   {reference: {"references": [...], "name": ...}}
    message_id
"""

import json
from pathlib import Path
from typing import Any

import pytest

from app.errors import InvalidEvent
from app.formats import FORMATS
from app.formats.reading import Dialect, Reading

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
FILES = [
    pytest.param(name, path, id=f"{name}/{path.stem}")
    for name in sorted(FORMATS)
    for path in sorted((GOLDEN / name).glob("*.json"))
]
NOTHING: dict[str, Any] = {
    "events": [],
    "faults": [],
    "ignored": [],
    "noted": [],
    "mentions": {},
    "message_id": None,
}


def written_down(reading: Reading) -> dict[str, Any]:
    """What was read, in the words of a golden file."""
    return {
        "events": [
            {
                "audience": event.audience,
                "operation": event.operation.value,
                "at_us": event.occurred_at_us,
                "identities": [[kind.value, value] for kind, value in event.identities],
            }
            for event in reading.events
        ],
        "faults": [list(fault) for fault in reading.faults],
        "ignored": sorted(reading.ignored),
        "noted": sorted(reading.noted),
        "mentions": {
            reference: {"references": list(mention.references), "name": mention.name}
            for reference, mention in reading.mentions.items()
        },
        "message_id": reading.message_id,
    }


@pytest.mark.parametrize(("name", "path"), FILES)
def test_a_message_is_read_as_a_person_wrote_it_down(name: str, path: Path) -> None:
    golden = json.loads(path.read_text(encoding="utf-8"))
    assert golden.keys() <= {"about", "message", "dialect", "refused"} | NOTHING.keys()
    message, dialect = golden["message"], Dialect(**golden.get("dialect", {}))
    if "refused" in golden:
        with pytest.raises(InvalidEvent) as refused:
            FORMATS[name](message, dialect)
        assert [refused.value.field, refused.value.reason] == golden["refused"]
        return
    expected = {key: golden.get(key, nothing) for key, nothing in NOTHING.items()}
    expected |= {key: sorted(expected[key]) for key in ("ignored", "noted")}
    assert written_down(FORMATS[name](message, dialect)) == expected


def test_every_directory_of_golden_results_belongs_to_a_format() -> None:
    assert {path.name for path in GOLDEN.iterdir() if path.is_dir()} <= FORMATS.keys()
