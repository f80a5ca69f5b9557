"""What people see: plain lines, tables that fit any width, errors on standard error."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text


def out() -> Console:
    return Console(highlight=False, soft_wrap=True)


def complain(message: str) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(Text(f"pinfold: {message}", "red"))


def say(message: str, style: str = "") -> None:
    """One line for people; nothing in it is taken for markup."""
    out().print(Text(message, style))


def table(title: str, columns: Iterable[str]) -> Table:
    """A table whose columns fold rather than hide what does not fit; numbers go right."""
    drawn = Table(title=title or None, title_justify="left", header_style="bold", pad_edge=False)
    for column in columns:
        name = column.removeprefix(">")
        drawn.add_column(name, justify="right" if column != name else "left", overflow="fold")
    return drawn


def show(drawn: Table) -> None:
    Console(highlight=False).print(drawn)
