"""The wheel in an environment of its own, somewhere else: migrate and a worker run."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from app.sandbox.embedded_postgres import PostgresServer
from tests.acceptance.conftest import FleetMaker
from tests.acceptance.fleet import ROOT

pytestmark = pytest.mark.slow
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


def run(*command: object, **options: Any) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has the wheel, and borrows what it depends on.

    A path in a .pth file lends packages but not the links of editable installs.
    """
    place = tmp_path_factory.mktemp("wheel")
    run(*PIP, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", place, ROOT)
    (wheel,) = place.glob("pinfold-*.whl")
    home = place / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", home)
    python = home / "bin" / "python"
    (packages,) = home.glob("lib/python*/site-packages")
    run(*PIP, "--python", python, "install", "--no-deps", "--no-index", wheel)
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_the_wheel_brings_its_own_code(python: Path, tmp_path: Path) -> None:
    code = "import app, workers, migrations; print(app.__file__, workers.__file__)"
    for path in run(python, "-c", code, cwd=tmp_path, env={}).split():
        assert str(python.parents[1]) in path


def test_migrate_and_a_worker_run_from_another_directory(
    python: Path, tmp_path: Path, make: FleetMaker, postgres: PostgresServer
) -> None:
    fleet = make()
    fleet.environment.pop("PYTHONPATH")
    name = "pinfold_of_the_wheel"
    postgres.create_database(name)
    try:
        fleet.environment["PINFOLD_DATABASE_URL"] = postgres.url(name)
        environment = fleet.environment
        pinfold = python.with_name("pinfold")
        assert "revision" in run(pinfold, "migrate", cwd=tmp_path, env=environment)
        fleet.connect()
        fleet.activate("31001", "VIP")
        worker = (
            python,
            "-m",
            "celery",
            "-A",
            "workers",
            "worker",
            "-c1",
            "-l",
            "INFO",
            "-n",
            "w@x",
        )
        fleet.start("worker", map(str, worker), "w@x ready")
        beat = (python, "-m", "celery", "-A", "workers", "beat", "-l", "INFO", "--pidfile=")
        fleet.start("beat", map(str, beat), "beat: Starting")
        fleet.stage_traffic("31001", 2_000)
        assert fleet.drained()
        assert fleet.strangers() == {}
    finally:
        fleet.stop()
        postgres.drop_database(name)
