"""One supervisor per directory."""

from __future__ import annotations

import os
from pathlib import Path

from app.sandbox.children import StackError
from app.sandbox.lock_files import open_private, overwrite, try_lock


class Claim:
    """The exclusive right to a directory, held until released or until this process ends."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "lock"
        self._file: int | None = None

    def take(self, state: Path) -> None:
        """Take the right. Raises StackError, naming ``state``, when another process has it."""
        file = open_private(self._path)
        if not try_lock(file):
            holder = os.pread(file, 32, 0).decode() or "unknown"
            os.close(file)
            raise StackError(
                f"{state} is in use by process {holder}: "
                "stop that one first, or choose another state directory"
            )
        overwrite(file, str(os.getpid()))
        self._file = file

    def release(self) -> None:
        if self._file is not None:
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = None
