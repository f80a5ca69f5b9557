"""The fault matrix in docs/faults.md is whole, and every test it names exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| (\d+) \| (.+?) \| (.+?) \| (.+) \|$", re.MULTILINE)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
ROWS = ROW.findall((ROOT / "docs/faults.md").read_text(encoding="utf-8"))


@cache
def functions(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_all_forty_faults_stand_in_it_once_and_in_order() -> None:
    assert [int(number) for number, *_ in ROWS] == list(range(1, 41))


@pytest.mark.parametrize(("number", "tested_by"), [(row[0], row[3]) for row in ROWS])
def test_each_fault_names_tests_that_exist(number: str, tested_by: str) -> None:
    named = TEST.findall(tested_by)
    assert named, f"row {number} names no test"
    assert TEST.sub("", tested_by).strip() == "", f"row {number} names something else as well"
    for path, name in named:
        assert name.startswith("test_")
        assert name in functions(path), f"row {number}: there is no {name} in {path}"
