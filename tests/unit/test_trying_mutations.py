"""A mutant is killed by an assertion of its tests, and by nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.__main__ import line
from tests.mutants.mutation import Edit, Mutation
from tests.mutants.trial import PROJECT, Verdict, copied_project, try_mutation, unmutated_problem

TEST = """
import pytest
import code_under_test

@pytest.fixture
def value():
    assert code_under_test.VALUE != 4
    return code_under_test.VALUE

def test_it(value):
    assert value in (1, 5)
    assert 6 / (5 - value)
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A small project, with the plugin that writes down who noticed."""
    project = tmp_path / "project"
    for part in ("tests/__init__.py", "tests/mutants/__init__.py", "tests/mutants/noticing.py"):
        (project / part).parent.mkdir(parents=True, exist_ok=True)
        (project / part).write_text((PROJECT / part).read_text())
    (project / "code_under_test.py").write_text("VALUE = 1\n")
    (project / "test_code.py").write_text(TEST)
    (project / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    return project


def mutation(value: str, test: str = "test_code.py::test_it") -> Mutation:
    return Mutation("odd", "It is odd.", (Edit("code_under_test.py", "= 1", value),), (test,))


@pytest.mark.parametrize(
    ("mutant", "why"),
    [
        (mutation("= 2"), None),
        (mutation("= 1.0"), "all its tests passed"),
        (mutation("= 5"), "test_code.py::test_it ended with ZeroDivisionError in its call"),
        (mutation("= 4"), "test_code.py::test_it ended with AssertionError in its setup"),
        (mutation("= nothing"), "its tests could not be collected"),
        (mutation("= 2", "test_code.py::test_that"), "its tests could not be collected"),
    ],
    ids=["noticed", "not noticed", "stumbled", "no fixture", "no import", "no test"],
)
def test_only_an_assertion_in_a_test_kills(copy: Path, mutant: Mutation, why: str | None) -> None:
    verdict = try_mutation(copy, mutant, {})
    assert verdict.killer == (None if why else "test_code.py::test_it")
    assert verdict.why.startswith(why or "")
    assert (copy / "code_under_test.py").read_text() == "VALUE = 1\n"


def test_a_mutation_that_does_not_apply_is_said_to(copy: Path) -> None:
    (copy / "code_under_test.py").write_text("VALUE = 2 - 1\n")
    verdict = try_mutation(copy, mutation("= 2"), {})
    assert verdict.killer is None
    assert "does not apply" in verdict.why


def test_tests_that_fail_without_a_mutation_are_named(copy: Path) -> None:
    tests = ["test_code.py::test_it"]
    assert unmutated_problem(copy, tests, {}) is None
    (copy / "code_under_test.py").write_text("VALUE = 3\n")
    assert unmutated_problem(copy, tests, {}) == "test_code.py::test_it"


def test_a_line_says_who_killed_or_why_nobody_did() -> None:
    killed, survived = Verdict("tests/x.py::test_y"), Verdict(None, "all its tests passed")
    assert line(mutation("= 2"), killed).endswith("  killed by tests/x.py::test_y")
    assert line(mutation("= 2"), survived).endswith("SURVIVED: all its tests passed. It is odd.")


def test_the_copy_holds_what_tests_need_and_leaves_nothing_behind() -> None:
    with copied_project() as copy:
        assert (copy / "app" / "quota.py").exists()
        assert (copy / "tests" / "conftest.py").exists()
        assert not list(copy.rglob("__pycache__"))
    assert not copy.parent.exists()
