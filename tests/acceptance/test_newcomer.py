"""A newcomer's path: the README's block, pasted as it stands beside `pinfold up --simulator`."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.fleet import PINFOLD, ROOT, eventually

pytestmark = [pytest.mark.slow, pytest.mark.curl]

README = (ROOT / "README.md").read_text(encoding="utf-8")
START_S = 60.0


def the_block() -> str:
    found = re.search(r"test_newcomer\.py runs this block -->\n```sh\n(.*?)\n```", README, re.S)
    assert found
    return found[1]


@contextmanager
def up(directory: Path, *, simulator: bool = True, **settings: str) -> Iterator[dict[str, Any]]:
    """`pinfold up` in a directory; gives what it wrote down about itself."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "PYTHONPATH": str(ROOT)}
    environment |= settings
    command = [*PINFOLD, "up", "--api-port=18080", "--flower-port=15555"]
    command += ["--simulator"] * simulator
    run_file = directory / ".pinfold" / ("trial" if simulator else "stack") / "run.json"
    with (directory / "up").open("wb") as out:
        process = subprocess.Popen(command, cwd=directory, env=environment, stdout=out, stderr=out)
        try:
            assert eventually(run_file.exists, START_S), (directory / "up").read_text()
            yield json.loads(run_file.read_text())
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(START_S) == 0, (directory / "up").read_text()


@pytest.fixture
def directory() -> Iterator[Path]:
    """Open to pass through: as root, Postgres runs as `nobody`."""
    with tempfile.TemporaryDirectory(prefix="pinfold-newcomer-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_stack_reads_the_secrets_in_the_files_beside_it(directory: Path) -> None:
    (directory / "secret.txt").write_text("secret of the app")
    settings = {"PINFOLD_APP_ID": "1", "PINFOLD_APP_SECRET_FILE": "secret.txt"}
    with up(directory, simulator=False, **settings) as run:
        named = run["environment"]["PINFOLD_APP_SECRET_FILE"]
        assert Path(named).read_text() == "secret of the app"


def test_every_command_of_the_readme_works_as_pasted(directory: Path) -> None:
    with up(directory) as run:
        pinterest = run["environment"]["PINFOLD_PINTEREST_URL"].removesuffix("/v5")
        block = the_block().replace("http://127.0.0.1:8080", run["api"])
        block = block.replace("http://127.0.0.1:8086", pinterest)
        wrapper = directory / "bin" / "pinfold"
        wrapper.parent.mkdir()
        wrapper.write_text(f'#!/bin/sh\nexec {" ".join(PINFOLD)} "$@"\n')
        wrapper.chmod(0o755)
        environment = {
            "PATH": f"{wrapper.parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(directory),
            "PYTHONPATH": str(ROOT),
        }

        def run_it(script: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                ["sh", "-eu", "-c", script],
                cwd=directory,
                env=environment,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )

        ran = run_it(block)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert '"accepted":1' in ran.stdout
        assert "audience_membership_change_response" in ran.stdout
        assert "Cart abandoners" in ran.stdout

        def members() -> dict[str, int]:
            summary = json.loads(run_it(f"curl -sS {pinterest}/_sandbox/summary").stdout)
            return {each["name"]: each["members"] for each in summary["lists"]}

        wanted = {
            "Lapsed buyers-EMAIL": 2,
            "Lapsed buyers-MAID": 1,
            "Cart abandoners-EMAIL": 2,
            "Cart abandoners-MAID": 1,
        }
        assert eventually(lambda: members() == wanted), members()
