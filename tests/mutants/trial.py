"""One trial: the named tests on a copy of the project, and what they say."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.sandbox.children import tethered
from app.sandbox.embedded_postgres import EmbeddedPostgres
from tests.mutants.mutation import DoesNotApply, Mutation, mutated

PROJECT = Path(__file__).resolve().parents[2]
COPIED = ("app", "workers", "migrations", "tests", "pyproject.toml", "README.md")
PATIENCE_S = 300.0
PYTEST_ENDS = {
    2: "its tests could not be collected",
    3: "pytest itself failed",
    4: "its tests could not be collected",  # by their names: none of them, or the import failed
    5: "its tests were deselected",
}


@dataclass(frozen=True)
class Verdict:
    """``killer`` is the test that noticed; without one ``why`` says how it went."""

    killer: str | None
    why: str = ""


@contextmanager
def copied_project(project: Path = PROJECT) -> Iterator[Path]:
    """A copy of what tests need of a project, gone at the end."""
    with tempfile.TemporaryDirectory(prefix="pinfold-mutants-") as name:
        copy = Path(name) / "project"
        copy.mkdir()
        for part in COPIED:
            source = project / part
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, copy / part, ignore=ignored)
            elif source.exists():
                shutil.copy(source, copy / part)
        yield copy


@contextmanager
def own_postgres() -> Iterator[dict[str, str]]:
    """A Postgres for all trials, as the variable that names it to the tests."""
    with tempfile.TemporaryDirectory(prefix="pinfold-mutants-") as name:
        Path(name).chmod(0o755)  # as root, Postgres runs as `nobody`
        server = EmbeddedPostgres(Path(name))
        server.start()
        try:
            yield {"PINFOLD_TEST_DATABASE_URL": server.url()}
        finally:
            server.stop()


def unmutated_problem(copy: Path, tests: Sequence[str], variables: Mapping[str, str]) -> str | None:
    """Why the tests do not pass on the code as it is, None when they do."""
    ended, failures = _run(copy, tests, variables, "--maxfail=3", patience=10 * PATIENCE_S)
    if ended == 0:
        return None
    named = ", ".join(failure["test"] for failure in failures)
    return named or PYTEST_ENDS.get(ended, _unexpected(ended))


def try_mutation(copy: Path, mutation: Mutation, variables: Mapping[str, str]) -> Verdict:
    """Whether one of a mutation's tests notices it."""
    try:
        with mutated(copy, mutation):
            ended, failures = _run(copy, mutation.tests, variables, "--exitfirst")
    except DoesNotApply as changed:
        return Verdict(None, f"it does not apply: {changed}")
    if ended == 0:
        return Verdict(None, "all its tests passed")
    if ended != 1 or not failures:
        return Verdict(None, PYTEST_ENDS.get(ended, _unexpected(ended)))
    for failure in failures:
        if failure["noticed"]:
            return Verdict(failure["test"])
    return Verdict(None, f"{failures[0]['test']} ended with {failures[0]['ended']}, not asserting")


def _unexpected(ended: int) -> str:
    if ended == -signal.SIGKILL:
        return f"the tests did not end within {PATIENCE_S:g} s"
    return f"pytest ended with {ended}"


def _run(
    copy: Path,
    tests: Sequence[str],
    variables: Mapping[str, str],
    option: str,
    patience: float = PATIENCE_S,
) -> tuple[int, list[dict[str, Any]]]:
    """The exit status of pytest, that of SIGKILL where it took too long, and the failures."""
    told = copy.parent / "failures"
    told.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "--quiet", "-p", "no:cacheprovider"]
    command += ["-p", "tests.mutants.noticing", f"--failures={told}", option, *tests]
    with (
        (copy.parent / "pytest.log").open("wb") as log,
        subprocess.Popen(
            tethered(command, None, signal.SIGTERM),
            cwd=copy,
            env=_environment(copy, variables),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        ) as process,
    ):
        try:
            with suppress(subprocess.TimeoutExpired):
                process.wait(patience)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    lines = told.read_text().splitlines() if told.exists() else []
    return process.returncode, [json.loads(line) for line in lines]


def _environment(copy: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """Ours, but for what would change Pinfold's settings, with the copy before our own code."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PINFOLD_")}
    ours = {"PYTHONPATH": str(copy), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # a second to import
    return kept | ours | dict(variables)
