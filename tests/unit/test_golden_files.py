"""Files with the results a person wrote down for them, from the fact sheet.

Each is ``tests/golden_files/FORM/NAME.json``. What is left out is empty; nothing else may be read.

    about      one sentence: what the file is an example of
    file       its lines, without a line end at last; an object or array stands for its JSON
    dialect    what is said beside it: audience, audience_key, identifiers
    refused    words of the error when it is no such file at all
    events     {"line", "audience", "operation", "at_us", "identities": [[kind, value], ...]}
    faults     [line, field, reason, whether a whole message is lost]
    ignored, noted    [line, reason], one for each time
    mentions   {reference: name}
"""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from app.errors import ConfigError
from app.event_files import FORMS, read_parts
from app.event_parts import Part
from app.formats.reading import Dialect

GOLDEN = Path(__file__).resolve().parents[1] / "golden_files"
FILES = [
    pytest.param(form, path, id=f"{form}/{path.stem}")
    for form in FORMS
    for path in sorted((GOLDEN / form).glob("*.json"))
]
NOTHING: dict[str, Any] = {"events": [], "faults": [], "ignored": [], "noted": [], "mentions": {}}


def content_of(lines: list[Any]) -> bytes:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    return "\n".join(texts).encode()


def read(form: str, content: bytes, dialect: Dialect) -> list[Part]:
    return list(read_parts(io.BufferedReader(io.BytesIO(content)), form, dialect))


def written_down(part: Part) -> dict[str, Any]:
    """What was read, in the words of a golden file."""
    return {
        "events": [
            {
                "line": line,
                "audience": event.audience,
                "operation": event.operation.value,
                "at_us": event.occurred_at_us,
                "identities": [[kind.value, value] for kind, value in event.identities],
            }
            for line, event in zip(part.lines, part.events, strict=True)
        ],
        "faults": [list(fault) for fault in part.faults],
        "ignored": sorted(list(remark) for remark in part.ignored.elements()),
        "noted": sorted(list(remark) for remark in part.noted.elements()),
        "mentions": {reference: mention.name for reference, mention in part.mentions.items()},
    }


@pytest.mark.parametrize(("form", "path"), FILES)
def test_a_file_is_read_as_a_person_wrote_it_down(form: str, path: Path) -> None:
    golden = json.loads(path.read_text(encoding="utf-8"))
    assert golden.keys() <= {"about", "file", "dialect", "refused"} | NOTHING.keys()
    content, dialect = content_of(golden["file"]), Dialect(**golden.get("dialect", {}))
    if "refused" in golden:
        with pytest.raises(ConfigError, match="line 1") as refused:
            read(form, content, dialect)
        assert golden["refused"] in str(refused.value)
        return
    parts = read(form, content, dialect)
    assert len(parts) <= 1
    found = written_down(parts[0]) if parts else NOTHING
    expected = {key: golden.get(key, nothing) for key, nothing in NOTHING.items()}
    expected |= {key: sorted(expected[key]) for key in ("ignored", "noted")}
    assert found == expected


def test_every_directory_of_golden_files_belongs_to_a_form() -> None:
    assert {path.name for path in GOLDEN.iterdir() if path.is_dir()} <= FORMS.keys()
