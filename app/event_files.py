"""Event files: read in parts that can be staged once each, whichever format their lines have.

A part is some 10,000 lines with a key made of their bytes: the same part of the same file, read the
same way, has the same key whenever it is read, so a run that broke off can be resumed without
staging twice. A line that cannot be used becomes a fault with its number; its neighbours go on. A
line longer than a mebibyte is skipped without being held in memory.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import NamedTuple

import orjson

from app.errors import InvalidEvent
from app.event_lines import BROKEN, BrokenFile, Lines
from app.event_parts import LineFault, Part, Remark
from app.event_rows import OWN, SEGMENT, Rows, Table
from app.formats import (
    FORMATS,
    Read,
    messages_of,
    mparticle_kinesis,
    mparticle_storage,
    own,
    segment_csv,
)
from app.formats.reading import PLAIN, Dialect, Reading

PART_LINES = 10_000
STORAGE = "mparticle-storage"


class Form(NamedTuple):
    """How a file is read: the format of its messages, and its table where they are rows."""

    read: Read
    table: Table | None = None


FORMS = {
    "ndjson": Form(own.read),
    "csv": Form(own.read, OWN),
    **{name: Form(FORMATS[name]) for name in ("mparticle", "segment", "rudderstack")},
    "segment-csv": Form(segment_csv.read, SEGMENT),
    "mparticle-kinesis": Form(mparticle_kinesis.read),
    STORAGE: Form(mparticle_storage.read),
}
OWN_FORMS = (None, "ndjson", "csv")


def read_parts(
    stream: io.BufferedReader, form: str | None = None, dialect: Dialect = PLAIN
) -> Iterator[Part]:
    """Read a file part by part; ``form`` is one of FORMS, None tells our own two apart.

    Raises ConfigError when it is no event file at all, and BrokenFile, after the last good part
    was given out, when it is cut off in the middle.
    """
    lines = Lines(stream, _meaning(form, dialect))
    first = lines.peek()
    if first is None:
        return
    if form is None:
        form = "ndjson" if first.lstrip().startswith((b"{", b"[")) else "csv"
    read, table = FORMS[form]
    values = Rows(lines, table, dialect).message if table else orjson.loads
    number = 0
    while True:
        part = Part(number, lines.number + 1)
        lines.begin_part()
        try:
            _fill(part, lines, values, lambda message: read(message, dialect))
            part.key, part.last_line = f"{lines.digest()}:{number}", lines.number
        except BROKEN:
            lines.broken = True
            part.key, part.last_line = list(part.beginnings.items())[-1]
        part.bytes_read = lines.bytes_read
        if part.last_line >= part.first_line:
            yield part
        if lines.broken:
            raise BrokenFile(
                f"the file is cut off or damaged after line {part.last_line}: what came before is "
                "staged; get the whole file and run again with --resume"
            )
        if lines.at_end:
            return
        number += 1


def _meaning(form: str | None, dialect: Dialect) -> bytes:
    """What distinguishes two readings of the same bytes, such as the audience they are for."""
    if form in OWN_FORMS and dialect == PLAIN:
        return b""
    return orjson.dumps([form, dialect.audience, dialect.audience_key])


def _fill(
    part: Part,
    lines: Lines,
    value_of: Callable[[bytes], object],
    read: Callable[[object], Reading],
) -> None:
    while lines.number - part.first_line < PART_LINES - 1 and not part.is_full():
        part.beginnings[f"{lines.digest()}:{part.number}"] = lines.number
        first = lines.number + 1
        try:
            line = lines.read()
            if line is None:
                return
            if not line.strip():
                continue
            messages = messages_of(value_of(line))
            if not messages:
                raise InvalidEvent("message", "holds no event")
        except orjson.JSONDecodeError:
            _reject(part, first, InvalidEvent("line", "is not JSON"))
        except UnicodeDecodeError:
            _reject(part, first, InvalidEvent("line", "is not UTF-8"))
        except InvalidEvent as problem:
            _reject(part, first, problem)
        else:
            for position, message in enumerate(messages):
                place = f"[{position}]." if len(messages) > 1 else ""
                _take(part, first, place, message, read)


def _take(
    part: Part, line: int, place: str, message: object, read: Callable[[object], Reading]
) -> None:
    """Read one message of a line; ``place`` says which of several."""
    try:
        reading = read(message)
    except InvalidEvent as problem:
        _reject(part, line, problem, place)
        return
    part.events += reading.events
    part.lines += [line] * len(reading.events)
    for where, reason in reading.faults:
        part.faults.append(LineFault(line, place + where, reason, whole=False))
    for reason in reading.ignored:
        part.ignored[Remark(line, reason)] += 1
    for reason in reading.noted:
        part.noted[Remark(line, reason)] += 1
    if reading.mentions:
        part.mentions |= reading.mentions


def _reject(part: Part, line: int, problem: InvalidEvent, place: str = "") -> None:
    part.faults.append(LineFault(line, place + problem.field, problem.reason, whole=True))
