"""`pinfold errors` prints the book, whole or in part, for people and for programs."""

import orjson
import pytest
from typer.testing import CliRunner, Result

from app.cli import root
from app.pinterest.error_book import ENTRIES, entry, fix_of


def errors(*arguments: str, **environment: str) -> Result:
    done = CliRunner(env={"COLUMNS": "80", **environment}).invoke(root, ["errors", *arguments])
    assert done.exit_code == 0, done.output
    return done


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_the_whole_book_is_one_table(environment: dict[str, str]) -> None:
    printed = errors(**environment).stdout
    assert "\x1b" not in printed
    lines = printed.splitlines()
    for known in ENTRIES:
        (row,) = [line for line in lines if line.startswith(f"{known.slug}  ")]
        assert known.who in row
    assert "pinfold errors REASON" in lines[-1]


def test_asked_for_a_status_all_its_entries_are_told_in_full() -> None:
    printed = errors("401").stdout
    for slug in ("log in again", "scope missing", "role lost", "app restricted", "not permitted"):
        assert f"{slug}\n" in printed
        for text in (entry(slug).cause, entry(slug).who, entry(slug).retried, fix_of(slug)):
            assert text in printed
    assert "rate limited" not in printed


@pytest.mark.parametrize("asked", ["2626", "Account under review"])
def test_asked_for_a_code_or_a_reason_only_its_entry_is_told(asked: str) -> None:
    printed = errors(asked).stdout
    assert printed.startswith("account under review\n")
    assert fix_of("account under review") in printed
    assert "disapproved" not in printed


@pytest.mark.parametrize("asked", ["7418", "no such thing"])
def test_what_is_not_in_the_book_is_held_and_can_be_reported(asked: str) -> None:
    printed = errors(asked).stdout
    assert f"no entry for {asked}" in printed
    assert "held, not dropped" in printed
    assert "report it with what `pinfold status --json` shows" in printed


def test_programs_get_the_book_as_json() -> None:
    book = orjson.loads(errors("--json").stdout)
    assert [item["reason"] for item in book] == [known.slug for known in ENTRIES]
    (found,) = orjson.loads(errors("2625", "--json").stdout)
    assert found == {
        "reason": "account disapproved",
        "answers": ["403 code 2625"],
        "cause": entry("account disapproved").cause,
        "who": "your Pinterest admin",
        "retried": "each hour",
        "action": "hold the connection",
        "fix": fix_of("account disapproved"),
    }
    (unknown,) = orjson.loads(errors("7418", "--json").stdout)
    assert unknown["reason"] == "unknown answer"


def test_the_help_shows_an_example() -> None:
    assert "Example: pinfold errors 401" in errors("--help").stdout
