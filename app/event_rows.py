"""The rows of a CSV file as mappings from column to cell, whichever way its cells are divided.

Two tables are known: our own form, and Segment's file export (event-formats, section 4.4), whose
delimiter the customer chose; the header tells it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass

from app.errors import ConfigError, InvalidEvent
from app.event_lines import Lines
from app.events import Kind
from app.formats.reading import Dialect

RECORD_LINES = 100
"""How many lines one CSV record may go on over."""
LIST_SEPARATOR = ";"
"""Between several identities in one cell of our own form."""


@dataclass(frozen=True)
class Table:
    """What a kind of CSV file asks of its header."""

    delimiters: str
    needed: tuple[str, ...]
    one_of: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    """Columns whose cells may hold several values."""


OWN = Table(",", ("audience", "operation"), one_of=tuple(Kind), lists=tuple(Kind))
SEGMENT = Table(",|;:\t", ("audience_action", "audience_id"))
AUDIENCE_COLUMNS = {"audience", "audience_id"}
"""Not needed where the audience is told beside the file."""


class Rows:
    """Reads rows after the header. Raises ConfigError for a header without its columns."""

    def __init__(self, lines: Lines, table: Table, dialect: Dialect) -> None:
        self._lines = lines
        self._table = table
        header = _first_line(lines)
        choices = [
            (_missing(names, table, dialect), delimiter, names)
            for delimiter in table.delimiters
            for names in [_names(header, delimiter)]
        ]
        missing, self._delimiter, self._names = min(choices, key=lambda choice: len(choice[0]))
        if missing:
            raise ConfigError(
                f"line 1: a CSV file needs a header line with its columns; missing: "
                f"{', '.join(missing)} (NDJSON has one JSON object a line)"
            )

    def message(self, line: bytes) -> dict[str, object]:
        """The row that begins with a line; a quoted cell may go on over some following lines.

        Raises InvalidEvent for what is no row, UnicodeDecodeError for what is no UTF-8.
        """
        with self._lines.attempt() as taken:
            try:
                record = self._record(line, taken)
                cells = next(csv.reader(record, strict=True, delimiter=self._delimiter))
            except (csv.Error, StopIteration):
                raise InvalidEvent("line", "is not CSV, or a quoted cell is not closed") from None
        if len(cells) > len(self._names):
            raise InvalidEvent("line", f"has {len(cells)} cells, the header {len(self._names)}")
        message: dict[str, object] = dict(zip(self._names, cells, strict=False))
        for name in self._table.lists:
            value = message.get(name)
            if isinstance(value, str) and LIST_SEPARATOR in value:
                message[name] = value.split(LIST_SEPARATOR)
        return message

    def _record(self, line: bytes, taken: list[bytes]) -> Iterator[str]:
        """The lines of one record, as many as the CSV reader asks for within reason."""
        yield line.decode()
        while len(taken) < RECORD_LINES and (more := self._lines.read()) is not None:
            taken.append(more)
            yield more.decode()


def _first_line(lines: Lines) -> str:
    try:
        return (lines.read() or b"").decode()
    except UnicodeDecodeError:
        return ""


def _names(header: str, delimiter: str) -> list[str]:
    try:
        return [name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter))]
    except (csv.Error, StopIteration):
        return []


def _missing(names: list[str], table: Table, dialect: Dialect) -> list[str]:
    told = AUDIENCE_COLUMNS if dialect.audience else set()
    missing = [name for name in table.needed if name not in names and name not in told]
    if table.one_of and not any(name in names for name in table.one_of):
        missing.append(f"one of {', '.join(table.one_of)}")
    return missing
