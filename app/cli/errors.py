"""``pinfold errors``: the error book, whole or what it says of one answer."""

from __future__ import annotations

from typing import Annotated

import orjson
import typer

from app.cli.terminal import say, show, table
from app.pinterest.entries import Entry
from app.pinterest.error_book import ENTRIES, entries_about, entry

Json = Annotated[bool, typer.Option("--json", help="For programs.")]


def register(root: typer.Typer) -> None:
    root.command("errors")(errors)


def errors(
    code: Annotated[
        str | None,
        typer.Argument(help="An HTTP status, a code of Pinterest, or a reason that status shows."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what Pinterest's answers and the reasons in `pinfold status` mean, and what to do.

    Example: pinfold errors 401, or: pinfold errors "log in again"
    """
    found = list(ENTRIES) if code is None else entries_about(code)
    if as_json:
        held = found or [entry("unknown answer")]
        typer.echo(orjson.dumps([known.as_json() for known in held]).decode())
    elif code is None:
        _show_all(found)
    elif found:
        for known in found:
            _show(known)
    else:
        say(f"the error book has no entry for {code}: an answer of this kind is held, not dropped")
        _show(entry("unknown answer"))


def _show_all(entries: list[Entry]) -> None:
    drawn = table("", ("reason", "answer of Pinterest", "who must act", "retried"))
    for known in entries:
        drawn.add_row(
            known.slug, "; ".join(map(str, known.answers)), known.who.value, known.retried.value
        )
    show(drawn)
    say("`pinfold errors REASON`, or a status or code instead, says why and what to do")


def _show(known: Entry) -> None:
    say(known.slug, "bold")
    lines = {
        "answer": "; ".join(map(str, known.answers)),
        "cause": known.cause,
        "who acts": known.who.value,
        "retried": known.retried.value,
        "fix": known.fix_for(),
    }
    for name, text in lines.items():
        if text:
            say(f"  {name:9} {text}")
