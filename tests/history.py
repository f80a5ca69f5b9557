"""The version of Pinfold that stood before schema revision 0002, from this clone's own history.

A clone without history, or a copy of the files alone, does not hold it: `AVAILABLE` is false then.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OLDER = "df85d9dc73afdf035fbb74002c38c63fce93f6ea"
OLDER_REVISION = "0001"
"""Of the schema that it needs, and exactly that."""


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)


def _is_available() -> bool:
    try:
        return _git("cat-file", "-e", f"{OLDER}^{{commit}}").returncode == 0
    except OSError:  # no git
        return False


AVAILABLE = _is_available()


def unpack_older(directory: Path) -> None:
    """Put the older version's code into a directory."""
    archive = _git("archive", OLDER, "app", "workers", "migrations").stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(directory, filter="data")
