"""The demo in a directory of its own: it ends well, Flower shows it, and nothing outlives it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from app.sandbox.stack import free_port
from tests.acceptance.fleet import PINFOLD, ROOT, eventually, happens, read_log
from tests.acceptance.flower_pages import task_table

pytestmark = pytest.mark.slow

LONGEST_RUN_S = 180.0


@pytest.fixture
def directory() -> Iterator[Path]:
    """Open to pass through: as root, Postgres runs as `nobody`."""
    with tempfile.TemporaryDirectory(prefix="pinfold-demo-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def demo(directory: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """`pinfold demo --exit` in a directory, with next to no environment; ended in any case."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "PYTHONPATH": str(ROOT)}
    with (directory / "out").open("wb") as out:
        process = subprocess.Popen(
            [*PINFOLD, "demo", "--exit", f"--flower-port={port}"],
            cwd=directory,
            env=environment,
            stdout=out,
            stderr=out,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            assert eventually(lambda: not belonging_to(directory)), belonging_to(directory)


def belonging_to(directory: Path) -> list[psutil.Process]:
    """The processes that have the directory in their command, environment or working directory."""
    return [process for process in psutil.process_iter() if _belongs(process, str(directory))]


def holds(directory: Path, name: str) -> bool:
    """Whether a file of this name is anywhere below, while others come and go there."""
    return any(name in files for _, _, files in os.walk(directory))


def _belongs(process: psutil.Process, directory: str) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
            return False
        known = [*process.cmdline(), process.cwd(), *process.environ().values()]
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
    return any(directory in text for text in known)


def test_the_demo_agrees_with_the_reckoning_and_flower_shows_its_tasks(directory: Path) -> None:
    port = free_port(0)
    seen: set[tuple[str, str]] = set()
    with demo(directory, port) as process:

        def watch() -> bool:
            for row in task_table(f"http://127.0.0.1:{port}"):
                if row.get("worker") == "worker@embedded":
                    seen.add((row["name"], row["state"]))
            return process.poll() is not None

        assert eventually(watch, LONGEST_RUN_S), read_log(directory / "out")[-2_000:]
        assert process.returncode == 0, read_log(directory / "out")[-4_000:]
        assert belonging_to(directory) == []
    assert {("pinfold.flush", "SUCCESS"), ("pinfold.deliver", "SUCCESS")} <= seen
    assert not [name for name, state in seen if state == "FAILURE"]
    said = read_log(directory / "out")
    assert "everything agrees" in said
    assert "DIFFER" not in said
    assert "Traceback" not in said + "".join(map(read_log, directory.rglob("*.log")))


def test_nothing_outlives_a_killed_supervisor_for_five_seconds(directory: Path) -> None:
    with demo(directory, free_port(0)) as process:
        happens(lambda: holds(directory, "run.json"), 60)
        happens(lambda: len(belonging_to(directory)) > 8)
        process.kill()
        assert eventually(lambda: not belonging_to(directory), 5), belonging_to(directory)
