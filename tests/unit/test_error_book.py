"""The error book is whole, names commands that exist, and is what everybody decides by."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from app.cli import root
from app.lists import GONE
from app.pinterest.entries import Action, Entry, Retried, Seen, Who
from app.pinterest.error_book import ENTRIES, entries_about, entry, explain, fix_of
from app.pinterest.outcomes import Answer, Settlement, judge

TOP = Path(__file__).parents[2]
SLUGS = {known.slug for known in ENTRIES}
NOTHING = "Nothing is to be done"
SAYING = {
    "spam": "This was flagged as spam.",
    "retry after N, something went wrong": "Retry after 5 seconds.",
    "too many records": "Too many records.",
    "scope": "The token lacks the scope ads:write.",
    "role": "Your role does not allow this.",
    "app, tier": "Your app has trial access only.",
    "ad account not found": "AdAccount not found.",
}
"""What Pinterest may say, for each pattern of the book."""
each_entry = pytest.mark.parametrize("known", ENTRIES, ids=[known.slug for known in ENTRIES])


@each_entry
def test_every_entry_says_all_there_is_to_say(known: Entry) -> None:
    assert known.slug == known.slug.strip()
    assert isinstance(known.action, Action)
    assert isinstance(known.who, Who)
    assert isinstance(known.retried, Retried)
    assert len(known.cause) > 20
    assert known.cause.endswith(".")
    assert known.fix.endswith(".")
    assert ". " not in known.fix  # one sentence


def test_no_two_entries_have_one_name() -> None:
    assert len(SLUGS) == len(ENTRIES)


def commands() -> dict[str, set[str]]:
    """Every command of the command line with its options."""
    found = {}
    for name, command in typer.main.get_command(root).commands.items():  # type: ignore[attr-defined]
        for sub, part in getattr(command, "commands", {"": command}).items():
            options = {option for known in part.params for option in known.opts}
            found[f"{name} {sub}".strip()] = options
    return found


@each_entry
def test_every_fix_names_a_command_that_exists_or_says_that_nothing_is_to_be_done(
    known: Entry,
) -> None:
    named = re.findall(r"`pinfold ([^`]+)`", fix_of(known.slug))
    assert named or NOTHING in known.fix
    for call in named:
        words = call.split()
        path = " ".join(words[:2]) if " ".join(words[:2]) in commands() else words[0]
        assert path in commands(), call
        assert {word for word in words if word.startswith("--")} <= commands()[path], call


@each_entry
def test_nothing_is_to_be_done_where_nobody_must_act(known: Entry) -> None:
    if known.who is Who.NOBODY:
        assert known.fix.startswith(NOTHING)
        assert known.retried is Retried.YES
    if known.who in (Who.YOU, Who.ADMIN):
        assert not known.fix.startswith(NOTHING)


@each_entry
def test_what_is_held_is_not_said_to_be_retried(known: Entry) -> None:
    held = known.action in (Action.HOLD_LIST, Action.HOLD_CONNECTION)
    assert not (held and known.retried is Retried.YES)


def kinds_of_answers() -> Iterator[Any]:
    for known in ENTRIES:
        for seen in known.answers:
            numbers = [*seen.codes, *([987_654] if seen.any_code else [])]
            for code in numbers:
                yield pytest.param(known, seen, code, id=f"{known.slug}-{seen.status}-{code}")


@pytest.mark.parametrize(("known", "seen", "code"), list(kinds_of_answers()))
def test_every_answer_in_the_book_is_judged_as_the_book_says(
    known: Entry, seen: Seen, code: int
) -> None:
    message = SAYING[seen.words.shown] if seen.words else "Invalid."
    verdict = judge(Answer(seen.status, {"code": code, "message": message}))
    assert (verdict.reason, verdict.action) == (known.slug, known.action)


@given(
    st.integers(100, 599),
    st.none() | st.integers(),
    st.sampled_from([*SAYING.values(), ""]) | st.text(),
)
def test_every_verdict_stands_in_the_book_and_what_is_unknown_is_held(
    status: int, code: int | None, message: str
) -> None:
    answer = Answer(status, {"code": code, "message": message})
    verdict = judge(answer)
    if answer.ok:
        assert verdict.settlement is Settlement.SENT
        return
    assert verdict.reason in SLUGS
    assert verdict.action is entry(verdict.reason).action
    if not any(s.covers(status, code, message) for known in ENTRIES for s in known.answers):
        assert verdict.reason == "unknown answer"
        assert verdict.action is Action.HOLD_LIST


def test_a_login_is_renewed_for_every_401_but_a_missing_scope_and_a_missing_permission() -> None:
    for code in (None, 2, 1, 401, 30):
        assert explain(401, code, "role scope app").action is Action.RENEW_LOGIN
    for code in (3, 29):
        assert explain(401, code, "").action is Action.HOLD_CONNECTION


def reasons_in(path: Path) -> Iterator[str]:
    """The reasons that a module gives to ``hold`` and ``hold_connection``, as far as written."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or len(node.args) < 4:
            continue
        called = getattr(node.func, "id", getattr(node.func, "attr", ""))
        if called not in ("hold", "hold_connection"):
            continue
        reason = node.args[2]
        if isinstance(reason, ast.Constant):
            yield str(reason.value)
        elif isinstance(reason, ast.Name) and reason.id.isupper():
            module = ".".join(path.relative_to(TOP).with_suffix("").parts)
            yield str(getattr(importlib.import_module(module), reason.id))


def test_every_reason_something_is_held_for_stands_in_the_book() -> None:
    sources = [path for top in ("app", "workers") for path in (TOP / top).rglob("*.py")]
    used = {reason for path in sources for reason in reasons_in(path)}
    assert {"several lists", "list refused", "unreadable batch"} <= used
    assert used <= SLUGS


def test_every_reason_the_readme_names_stands_in_the_book() -> None:
    readme = (TOP / "README.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| (?:connection|list): ([^|]+?) \|", readme, re.MULTILINE)
    assert told
    assert {slug for cell in told for slug in cell.split(", ")} <= SLUGS


def test_names_are_filled_in_as_a_shell_takes_them() -> None:
    fix = fix_of("gone at Pinterest", audience="Lapsed {buyers}")
    assert "`pinfold audience rebuild 'Lapsed {buyers}'`" in fix
    assert "`pinfold connection replace-login main`" in fix_of("log in again", connection="main")
    assert "`pinfold connection replace-login NAME`" in fix_of("log in again")


def test_rebuilding_is_advised_only_for_what_it_takes() -> None:
    advised = {known.slug for known in ENTRIES if "audience rebuild" in known.fix}
    assert advised == {GONE}


def test_a_reason_that_the_book_does_not_have_is_explained_as_an_unknown_answer() -> None:
    assert entry("x").slug == "unknown answer"
    assert fix_of("x") == fix_of("unknown answer")


@pytest.mark.parametrize(
    ("asked", "slugs"),
    [
        ("2625", ["account disapproved"]),
        ("2", ["log in again", "ad account not found", "gone at Pinterest"]),
        ("404", ["ad account not found", "gone at Pinterest"]),
        ("503", ["server error"]),
        ("Login Revoked ", ["login revoked"]),
        ("7418", []),
        ("²", []),
        ("", []),
    ],
)
def test_the_book_is_asked_by_status_code_and_name(asked: str, slugs: list[str]) -> None:
    assert [known.slug for known in entries_about(asked)] == slugs
