"""A pytest plugin that writes down which tests failed, and whether an assertion noticed.

A test that ends with any other exception has not noticed the mistake: it stumbled over it.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--failures", type=Path, required=True, help="a line of JSON for each failure")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and call.excinfo is not None:
        asserted = call.excinfo.errisinstance((AssertionError, pytest.fail.Exception))
        failure = {
            "test": item.nodeid,
            "noticed": call.when == "call" and asserted,
            "ended": f"{call.excinfo.typename} in its {call.when}",
        }
        with item.config.getoption("failures").open("a") as file:
            file.write(json.dumps(failure) + "\n")
    return report
