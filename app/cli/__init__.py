"""The command line: ``pinfold``. Each command prints what happened and what to do next.

Every command works without a terminal and under NO_COLOR. An error is one line with the fix and a
status other than 0. What only the layer above can do (ring the doorbell, ask the workers, consume
from the broker) is handed in as ``Outside``.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import typer

from app.cli import (
    accounts,
    audiences,
    errors,
    keys,
    lists,
    logins,
    lost_keys,
    operations,
    recovering,
    reports,
    sources,
    stacks,
    staging,
    tokens,
)
from app.cli.outside import Outside
from app.cli.terminal import complain
from app.errors import PinfoldError

root = typer.Typer(
    name="pinfold",
    help="Keep Pinterest audiences in step with your own.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for part in (stacks, logins, operations, recovering, staging, reports, errors):
    part.register(root)
lists.register(audiences.commands)
lost_keys.register(keys.commands)
root.add_typer(audiences.commands, name="audience")
root.add_typer(accounts.commands, name="connection")
root.add_typer(sources.commands, name="source")
root.add_typer(tokens.commands, name="token")
root.add_typer(keys.commands, name="keys")


def run(outside: Outside, arguments: list[str] | None = None) -> None:
    """Run one command and exit: 0 done, 1 an error, 2 a wrong call, 3 done with rejections."""
    try:
        root(args=arguments, obj=outside, standalone_mode=True)
    except PinfoldError as problem:
        complain(str(problem))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as problem:
        if "PINFOLD_TEST_TRACE" in _environment():
            raise
        complain(f"{type(problem).__name__} in pinfold itself; PINFOLD_TEST_TRACE=1 shows where")
    else:
        return
    raise SystemExit(1)


def _environment() -> dict[str, Any]:
    from app.settings import environment  # noqa: PLC0415 only where something went wrong

    return environment()
