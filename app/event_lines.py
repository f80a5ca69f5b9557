"""The lines of a file, plain or gzip: numbered, limited in length, with a running digest."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

from app.errors import ConfigError, InvalidEvent

LONGEST_LINE = 1 << 20
BROKEN = (EOFError, zlib.error, gzip.BadGzipFile)


class BrokenFile(ConfigError):
    """The file ends in the middle; the parts before are good."""


class Lines:
    """Lines with their numbers, their length limited, and a running digest of what was read.

    ``meaning`` goes into the digest: what the same bytes are taken for.
    """

    def __init__(self, stream: io.BufferedReader, meaning: bytes = b"") -> None:
        self._stream = _unpacked(stream)
        self._meaning = meaning
        self._digest = sha256(meaning)
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
        """Lines read within are to be noted in the list; what cannot be used gives them back."""
        digest, number, size = self._digest.copy(), self.number, self.bytes_read
        taken: list[bytes] = []
        try:
            yield taken
        except (InvalidEvent, UnicodeDecodeError):
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
        """The digest of the meaning and of all lines since the last call of ``begin_part``."""
        return self._digest.hexdigest()[:32]

    def begin_part(self) -> None:
        self._digest = sha256(self._meaning)


def _unpacked(stream: io.BufferedReader) -> io.BufferedReader:
    """The stream, or what it packs when it is gzip."""
    if stream.peek(2)[:2] == b"\x1f\x8b":
        return io.BufferedReader(gzip.GzipFile(fileobj=stream))
    return stream
