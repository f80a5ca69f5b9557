"""Supervisors to kill, and what is left of them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import psutil

PATIENCE_S = 30.0


class Supervisor(NamedTuple):
    process: subprocess.Popen[str]
    family: list[psutil.Process]
    """All its descendants at the time it printed its first line."""


@contextmanager
def supervisor(program: str, *arguments: object) -> Iterator[Supervisor]:
    """Run a Python program up to its first line of output; end it and its family at the end."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        family = psutil.Process(process.pid).children(recursive=True) if said else []
        try:
            assert said, "the supervisor ended early"
            yield Supervisor(process, family)
        finally:
            process.kill()
            for member in alive(family):
                member.kill()


def alive(family: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; a zombie waits only to be counted by its parent."""
    return [member for member in family if _runs(member)]


def eventually(condition: Callable[[], bool], seconds: float = PATIENCE_S) -> bool:
    """Whether the condition came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _runs(member: psutil.Process) -> bool:
    try:
        return member.is_running() and member.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
