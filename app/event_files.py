"""Event files: NDJSON or CSV, plain or gzip, read in parts that can be staged once each.

A part is some 10,000 lines with a key made of their bytes: the same part of the same file has the
same key whenever it is read, so a run that broke off can be resumed without staging twice. A line
that cannot be used becomes a fault with its number; its neighbours go on. A line longer than a
mebibyte is skipped without being held in memory.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import NamedTuple

import orjson

from app.errors import ConfigError, InvalidEvent
from app.events import Kind, MembershipEvent, parse_message

PART_LINES = 10_000
LONGEST_LINE = 1 << 20
NEEDED_COLUMNS = ("audience", "operation")
RECORD_LINES = 100
"""How many lines one CSV record may go on over."""
BROKEN = (EOFError, zlib.error, gzip.BadGzipFile)
LIST_SEPARATOR = ";"
"""Between several identities in one CSV cell."""


class LineFault(NamedTuple):
    line: int
    field: str
    reason: str
    whole: bool
    """The whole line is lost; otherwise one identity of it."""


@dataclass
class Part:
    """Some lines of a file: their events, the line of each, and what could not be used."""

    number: int
    first_line: int
    events: list[MembershipEvent] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    faults: list[LineFault] = field(default_factory=list)
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
        )


class BrokenFile(ConfigError):
    """The file ends in the middle; the parts before are good."""


def read_parts(stream: io.BufferedReader, form: str | None = None) -> Iterator[Part]:
    """Read a file part by part; ``form`` is "ndjson" or "csv", None tells by the first line.

    Raises ConfigError when it is no event file at all, and BrokenFile, after the last good part
    was given out, when it is cut off in the middle.
    """
    lines = _Lines(_unpacked(stream))
    first = lines.peek()
    if first is None:
        return
    if form is None:
        form = "ndjson" if first.lstrip().startswith((b"{", b"[")) else "csv"
    header = _csv_header(lines) if form == "csv" else None
    number = 0
    while True:
        part = Part(number, lines.number + 1)
        lines.begin_part()
        try:
            _fill(part, lines, header)
        except BROKEN:
            lines.broken = True
        part.last_line = lines.number
        part.key = f"{lines.digest()}:{number}"
        part.bytes_read = lines.bytes_read
        if part.events or part.faults:
            yield part
        if lines.broken:
            raise BrokenFile(
                f"the file is cut off or damaged after line {lines.number}: what came before is "
                "staged; get the whole file and run again with --resume"
            )
        if lines.at_end:
            return
        number += 1


class _Lines:
    """Lines with their numbers, their length limited, and a running digest of what was read."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream
        self._digest = sha256()
        self._ahead: list[bytes] = []
        self.number = 0
        self.bytes_read = 0
        self.at_end = False
        self.broken = False

    def peek(self) -> bytes | None:
        """The first line without its byte order mark, still to be read; None in an empty file."""
        try:
            line = self._stream.readline(LONGEST_LINE + 1)
            if line.startswith(codecs.BOM_UTF8):
                line = line.removeprefix(codecs.BOM_UTF8)
                if not line.endswith(b"\n"):
                    line += self._stream.readline(len(codecs.BOM_UTF8))
        except BROKEN:
            raise BrokenFile("the file is damaged from its start: nothing was staged") from None
        self._ahead = [line] if line else []
        return line or None

    def read(self) -> bytes | None:
        """The next line, None at the end. Raises InvalidEvent for one that is too long."""
        line = self._ahead.pop() if self._ahead else self._stream.readline(LONGEST_LINE + 1)
        if not line:
            self.at_end = True
            return None
        self.number += 1
        self._digest.update(line)
        self.bytes_read += len(line)
        if len(line) > LONGEST_LINE and not line.endswith(b"\n"):
            self._skip_rest()
            raise InvalidEvent("line", f"is longer than {LONGEST_LINE:,} bytes")
        return line

    @contextmanager
    def attempt(self) -> Iterator[list[bytes]]:
        """Lines read within are to be noted in the list; an InvalidEvent gives them back."""
        digest, number, size = self._digest.copy(), self.number, self.bytes_read
        taken: list[bytes] = []
        try:
            yield taken
        except InvalidEvent:
            self._ahead += reversed(taken)
            self._digest, self.number, self.bytes_read = digest, number, size
            self.at_end = False
            raise

    def _skip_rest(self) -> None:
        while rest := self._stream.readline(LONGEST_LINE):
            self._digest.update(rest)
            self.bytes_read += len(rest)
            if rest.endswith(b"\n"):
                return

    def digest(self) -> str:
        """The digest of all since the last call of ``begin_part``."""
        return self._digest.hexdigest()[:32]

    def begin_part(self) -> None:
        self._digest = sha256()


def _unpacked(stream: io.BufferedReader) -> io.BufferedReader:
    """The stream, or what it packs when it is gzip."""
    if stream.peek(2)[:2] == b"\x1f\x8b":
        return io.BufferedReader(gzip.GzipFile(fileobj=stream))
    return stream


def _fill(part: Part, lines: _Lines, header: list[str] | None) -> None:
    while lines.number - part.first_line < PART_LINES - 1:
        part.beginnings[f"{lines.digest()}:{part.number}"] = lines.number
        try:
            line = lines.read()
            if line is None:
                return
            if not line.strip():
                continue
            message = orjson.loads(line) if header is None else _csv_message(line, lines, header)
            event, faults = parse_message(message)
        except orjson.JSONDecodeError:
            _fault(part, lines.number, "line", "is not JSON")
        except UnicodeDecodeError:
            _fault(part, lines.number, "line", "is not UTF-8")
        except InvalidEvent as problem:
            _fault(part, lines.number, problem.field, problem.reason)
        else:
            part.events.append(event)
            part.lines.append(lines.number)
            part.faults += [LineFault(lines.number, f.field, f.reason, whole=False) for f in faults]


def _fault(part: Part, line: int, where: str, reason: str) -> None:
    part.faults.append(LineFault(line, where, reason, whole=True))


def _csv_header(lines: _Lines) -> list[str]:
    line = lines.read() or b""
    try:
        header = [name.strip().lower() for name in next(csv.reader([line.decode()]))]
    except (UnicodeDecodeError, csv.Error, StopIteration):
        header = []
    missing = [name for name in NEEDED_COLUMNS if name not in header]
    if not any(kind.value in header for kind in Kind):
        missing.append("one of email, idfa, gaid")
    if missing:
        raise ConfigError(
            f"line 1: a CSV file needs a header line with its columns; missing: "
            f"{', '.join(missing)} (NDJSON has one JSON object a line)"
        )
    return header


def _csv_message(line: bytes, lines: _Lines, header: list[str]) -> dict[str, object]:
    """One CSV record as a message; a quoted cell may go on over some following lines."""
    with lines.attempt() as taken:
        try:
            cells = next(csv.reader(_record(line, lines, taken), strict=True))
        except (csv.Error, StopIteration):
            raise InvalidEvent("line", "is not CSV, or a quoted cell is not closed") from None
    if len(cells) > len(header):
        raise InvalidEvent("line", f"has {len(cells)} cells, the header {len(header)}")
    message: dict[str, object] = dict(zip(header, cells, strict=False))
    for kind in Kind:
        value = message.get(kind.value)
        if isinstance(value, str) and LIST_SEPARATOR in value:
            message[kind.value] = value.split(LIST_SEPARATOR)
    return message


def _record(line: bytes, lines: _Lines, taken: list[bytes]) -> Iterator[str]:
    """The lines of one record, as many as the CSV reader asks for within reason."""
    yield line.decode()
    while len(taken) < RECORD_LINES and (more := lines.read()) is not None:
        taken.append(more)
        yield more.decode()
