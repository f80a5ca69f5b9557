"""What people see: plain lines, tables without frames, errors on standard error."""

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
    """A table of lines; a column named ``>...`` holds numbers and goes right."""
    drawn = Table(
        title=title or None,
        title_justify="left",
        title_style="",
        header_style="bold",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for column in columns:
        name = column.removeprefix(">")
        drawn.add_column(name, justify="right" if column != name else "left", overflow="fold")
    return drawn


def show(drawn: Table) -> None:
    """Print a table; where there is no terminal, as wide as it wants to be."""
    console = Console(highlight=False)
    width = console.width if console.is_terminal else console.measure(drawn).maximum
    Console(highlight=False, width=width).print(drawn)
