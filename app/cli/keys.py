"""``pinfold keys``: the keys that seal what rests in Postgres."""

from __future__ import annotations

import typer

from app.keyring import new_key

commands = typer.Typer(help="Keys that seal identities and tokens at rest.", no_args_is_help=True)


@commands.callback()
def keys() -> None:
    """Keys that seal identities and tokens at rest."""


@commands.command("new")
def new() -> None:
    """Print a fresh key for PINFOLD_KEYS. Keep a copy: without it what is stored is lost.

    Example: pinfold keys new > pinfold.key && export PINFOLD_KEYS_FILE=pinfold.key
    """
    typer.echo(new_key())
