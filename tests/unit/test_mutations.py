"""The mutations fit the code as it is, and the tests that they name exist."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants.__main__ import MUTATIONS, main
from tests.mutants.mutation import DoesNotApply, Edit, Mutation, mutated, mutated_texts

ROOT = Path(__file__).resolve().parents[2]
TESTS = sorted({test for mutation in MUTATIONS for test in mutation.tests})


@pytest.mark.parametrize("mutation", MUTATIONS, ids=[each.name for each in MUTATIONS])
def test_a_mutation_applies_to_the_code_and_leaves_it_python(mutation: Mutation) -> None:
    for path, text in mutated_texts(ROOT, mutation).items():
        assert text != path.read_text(encoding="utf-8")
        ast.parse(text)


def test_no_two_mutations_have_the_same_name() -> None:
    assert len({each.name for each in MUTATIONS}) == len(MUTATIONS)
    assert all(each.tests and each.what.endswith(".") for each in MUTATIONS)


def test_every_test_that_is_named_exists() -> None:
    asked = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "--quiet", *TESTS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert asked.returncode == 0, asked.stdout + asked.stderr
    found = asked.stdout.splitlines()
    assert [test for test in TESTS if not any(line.startswith(test) for line in found)] == []


def mutation_of(old: str, file: str = "code.py") -> Mutation:
    return Mutation("odd", "Wrong.", (Edit(file, old, "2"),), ("test_code.py::test_it",))


def test_a_project_is_mutated_within_the_block_only(tmp_path: Path) -> None:
    code = tmp_path / "code.py"
    code.write_text("x = 1\n")
    with mutated(tmp_path, mutation_of("1")):
        assert code.read_text() == "x = 2\n"
    assert code.read_text() == "x = 1\n"


@pytest.mark.parametrize("code", ["x = 3\n", "x = 1 + 1\n"], ids=["gone", "twice"])
def test_a_mutation_of_code_that_has_changed_does_not_apply(tmp_path: Path, code: str) -> None:
    (tmp_path / "code.py").write_text(code)
    with (
        pytest.raises(DoesNotApply, match=r"times in code\.py"),
        mutated(tmp_path, mutation_of("1")),
    ):
        pass
    assert (tmp_path / "code.py").read_text() == code


def test_the_command_says_which_names_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["no such word"])
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr()
    assert "no mutation's name holds no such word" in said.err
    assert "refund on unknown" in said.out
