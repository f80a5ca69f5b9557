"""Commands that show: status, books, doctor."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import orjson
import typer

from app import doctor as checks
from app.books import Book, ListBook, in_sum, noted_by_reason, read_books, rejected_by_reason
from app.cli.outside import Outside
from app.cli.terminal import say, show, table
from app.list_status import ListStatus
from app.pinterest.entries import Who
from app.pinterest.error_book import fix_of
from app.status import AudienceStatus, Status, read_status, short
from app.troubles import Trouble

BOOK_COLUMNS = (
    "received",
    "waiting",
    "not_forwarded",
    "folded",
    "sent",
    "over_cap",
    "quarantined",
    "charged",
)
RARE_COLUMNS = ("not_forwarded", "over_cap", "quarantined")
"""Shown when there is something in them."""
Json = Annotated[bool, typer.Option("--json", help="For programs.")]


def register(root: typer.Typer) -> None:
    root.command("status")(status)
    root.command("books")(books)
    root.command("doctor")(doctor)


def status(ctx: typer.Context, as_json: Json = False) -> None:
    """Show per audience what waits, what was sent, what comes next, what is held and why.

    Example: pinfold status --json
    """
    outside: Outside = ctx.obj
    now = read_status(outside.deployment)
    if as_json:
        typer.echo(
            orjson.dumps(
                {
                    "at": now.at,
                    "last_check_at": now.last_check_at,
                    "audiences": [item.as_json() for item in now.audiences],
                }
            ).decode()
        )
        return
    if not now.audiences:
        say("no audience yet: pinfold audience activate NAME --id UPSTREAM_ID")
        return
    show_status(now)


def show_status(now: Status) -> None:
    drawn = table(
        "", ("audience", ">waiting", "last upload", "next upload", "list", "sent of the cap")
    )
    for item in now.audiences:
        name = item.name if item.state == "active" else f"{item.name} ({item.state})"
        head = (name, f"{item.waiting:,}", _ago(now.at, item.last_upload_at), item.next_upload)
        cells = [(row.list_type, _sent(row)) for row in item.lists]
        for number, cell in enumerate(cells or [("none", "")]):
            drawn.add_row(*(head if number == 0 else ("",) * len(head)), *cell)
    show(drawn)
    # a connection's trouble is told once, not for each of its audiences
    for told in dict.fromkeys(line for item in now.audiences for line in troubles(item)):
        say(told, "yellow")
    if now.unbalanced_lists:
        say(
            f"the books of {now.unbalanced_lists} lists do not balance: pinfold books --check",
            "red",
        )
    checked = _ago(now.at, now.last_check_at)
    say(f"beat looked {checked}" if now.last_check_at else "beat has never looked: is it running?")


def _sent(row: ListStatus) -> str:
    return f"{row.sent:,} of {row.cap:,}"


def troubles(item: AudienceStatus) -> list[str]:
    """Everything about an audience that people should know, with what to do about it."""
    told = []
    if item.trouble:
        told.append(_told(f"connection {item.connection}", item.trouble))
    if item.set_aside:
        fix = fix_of("set aside", item.connection, item.name)
        told.append(f"{item.name}: {item.set_aside:,} messages are set aside\n  -> you: {fix}")
    for row in item.lists:
        if row.trouble:
            told.append(_told(row.name, row.trouble))
        told += [f"{row.name}: {note}" for note in row.notes]
    return told


def _told(name: str, trouble: Trouble) -> str:
    """What is the matter, why, who must act and how: three lines."""
    seen = "; ".join(part for part in (trouble.message, trouble.answer) if part)
    head = f"{name} {'is held' if trouble.held else 'waits'}: {trouble.reason}"
    who = "" if trouble.who == Who.NOBODY else f"{trouble.who}: "
    return f"{head}{f' ({seen})' if seen else ''}\n  {trouble.cause}\n  -> {who}{trouble.fix}"


def _ago(now: datetime, then: datetime | None) -> str:
    return "never" if then is None else f"{short(now - then)} ago"


def books(
    ctx: typer.Context,
    as_json: Json = False,
    check: Annotated[bool, typer.Option("--check", help="Exit 1 if anything is off.")] = False,
) -> None:
    """Show that every accepted identity is accounted for, per list.

    Example: pinfold books --check
    """
    outside: Outside = ctx.obj
    rows = read_books(outside.deployment)
    rejected = rejected_by_reason(outside.deployment)
    noted = noted_by_reason(outside.deployment)
    if as_json:
        shown = {
            "lists": [row.as_json() for row in rows],
            "sum": in_sum(rows).as_json(),
            "rejected": rejected,
            "noted": noted,
        }
        typer.echo(orjson.dumps(shown).decode())
    else:
        _show_books(rows)
        for reason, count in rejected.items():
            say(f"rejected at intake: {count:,}  {reason}")
        for reason, count in noted.items():
            say(f"noted at intake: {count:,}  {reason}")
    off = [row for row in rows if not row.balanced]
    for row in off if check else []:
        say(f"the books of {row.audience} {row.list_type}: {_balance(row)}", "red")
    if check and off:
        raise typer.Exit(1)


def _show_books(rows: list[ListBook]) -> None:
    columns = [
        name
        for name in BOOK_COLUMNS
        if name not in RARE_COLUMNS or any(getattr(row, name) for row in rows)
    ]
    heads = (f">{name.replace('_', ' ')}" for name in columns)
    drawn = table("in accepted identities", ("audience", "list", *heads, "balance"))
    lines: list[tuple[str, str, Book]] = [(row.audience, row.list_type, row) for row in rows]
    for name, list_type, book in (*lines, ("in sum", "", in_sum(rows))):
        counts = (f"{getattr(book, item):,}" for item in columns)
        drawn.add_row(name, list_type, *counts, _balance(book))
    show(drawn)


def _balance(book: Book) -> str:
    if book.balanced:
        return "ok"
    off = f"off by {book.difference:,}" if book.difference else ""
    ledger = book.charged - book.attempted
    return ", ".join(filter(None, (off, f"charged off by {ledger:,}" if ledger else "")))


def doctor(ctx: typer.Context, as_json: Json = False) -> None:
    """Check everything this installation needs, and say what to do. Exit 1 if something is wrong.

    Example: pinfold doctor
    """
    outside: Outside = ctx.obj
    findings = checks.examine(outside.broker.workers_answering)
    if as_json:
        typer.echo(orjson.dumps([finding.as_json() for finding in findings]).decode())
    else:
        styles = {"ok": "green", "warning": "yellow", "wrong": "red"}
        for finding in findings:
            say(f"{finding.verdict:8} {finding.what:14} {finding.found}", styles[finding.verdict])
            if finding.fix:
                say(f"{'':8} {'':14} -> {finding.fix}")
    if any(finding.verdict == "wrong" for finding in findings):
        raise typer.Exit(1)
