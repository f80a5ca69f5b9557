"""A disk so small that it can be filled: a tmpfs of the test's own."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CAP_SYS_ADMIN = 21
PIECE = 1 << 16


def _may_mount() -> bool:
    status = Path("/proc/self/status")
    if not (shutil.which("mount") and status.exists()):
        return False
    line = next(each for each in status.read_text().splitlines() if each.startswith("CapEff"))
    return os.geteuid() == 0 and bool(int(line.split()[1], 16) >> CAP_SYS_ADMIN & 1)


MAY_MOUNT = _may_mount()


class SmallDisk:
    """A file system with little room."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._ballast = root / "ballast"

    def fill(self) -> None:
        """Take all the room that is left."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (PIECE, 1):
                while _append(file.fileno(), size):
                    pass

    def free(self) -> None:
        self._ballast.unlink()


def _append(file: int, size: int) -> bool:
    try:
        os.write(file, bytes(size))
    except OSError as problem:
        if problem.errno != errno.ENOSPC:
            raise
        return False
    return True


@contextmanager
def small_disk(megabytes: int) -> Iterator[SmallDisk]:
    """Mount one; whatever runs on it has to be stopped before the block ends."""
    with tempfile.TemporaryDirectory(prefix="pinfold-test-") as directory:
        options = f"size={megabytes}m,mode=755"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", directory], check=True)
        try:
            yield SmallDisk(Path(directory))
        finally:
            subprocess.run(["umount", "--lazy", directory], check=True)
