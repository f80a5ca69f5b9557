"""Where a unix socket can lie."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from app.sandbox.children import Account, StackError

LONGEST_SOCKET_PATH = 100
"""Bytes. Linux allows 107 in `sun_path`, macOS 103."""
SHORT_PLACE = Path("/tmp")  # noqa: S108 short and open to every user; ownership is checked


def socket_directory(wanted: Path, socket_name: str, account: Account | None = None) -> Path:
    """Make ``wanted``, or a short substitute, a private directory for a unix socket.

    The substitute stands in when the socket's path would be too long for the system, or has
    characters that addresses and lists give a meaning. Raises StackError when a stranger made it.
    """
    plain = re.fullmatch(r"[A-Za-z0-9/._-]+", str(wanted))
    directory = wanted
    if not plain or len(str(wanted / socket_name)) > LONGEST_SOCKET_PATH:
        directory = SHORT_PLACE / f"pinfold-{sha256(os.fsencode(wanted)).hexdigest()[:16]}"
    uid, gid = account or (os.geteuid(), os.getegid())
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (uid, os.geteuid()):
        raise StackError(f"{directory} belongs to someone else: remove it")
    if found.st_uid != uid:
        os.chown(directory, uid, gid)
    return directory


def remove_socket_directory(directory: Path) -> None:
    """Remove a substitute that ``socket_directory`` made; anything else stays."""
    if directory.parent == SHORT_PLACE:
        with suppress(OSError):
            directory.rmdir()
