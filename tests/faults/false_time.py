"""A clock that can be set while a process runs by it. Postgres does so by libfaketime."""

from __future__ import annotations

from pathlib import Path

LIBRARIES = (
    *Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"),
    *Path("/usr/lib/faketime").glob("libfaketimeMT.so.1"),
)
"""Where Debian puts it; there is none where the package is not installed."""


class FalseTime:
    """A time of day that is off by as many seconds as ``file`` says."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._shift = 0.0
        self.jump(0.0)

    def postgres(self, real: Path, directory: Path) -> Path:
        """A directory with the programs of a Postgres whose server has this clock."""
        (directory / "initdb").symlink_to(real / "initdb")
        server = directory / "postgres"
        server.write_text(
            f"#!/bin/sh\nLD_PRELOAD={LIBRARIES[0]} FAKETIME_TIMESTAMP_FILE={self.file}"
            " FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1"
            f' exec {real / "postgres"} "$@"\n'
        )
        server.chmod(0o755)
        return directory

    def jump(self, seconds: float) -> None:
        """Set it so many seconds ahead, or back, of what it shows now."""
        self._shift += seconds
        fresh = self.file.with_suffix(".new")
        fresh.write_text(f"{self._shift:+f}\n")
        fresh.chmod(0o644)
        fresh.replace(self.file)
