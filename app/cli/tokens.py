"""``pinfold token``: what programs show to use the HTTP service."""

from __future__ import annotations

from typing import Annotated

import orjson
import typer

from app import api_tokens
from app.cli.audiences import Connection
from app.cli.outside import Outside
from app.cli.terminal import say, show, table

commands = typer.Typer(help="API tokens for the HTTP service.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Whose it is, for you to know.")]


@commands.command("add")
def add(
    ctx: typer.Context,
    name: Name,
    permission: Annotated[str, typer.Option(help="read, write or administer.")] = "write",
    connection: Connection = None,
) -> None:
    """Make a token and print it, alone on standard output; it is not to be had again.

    read: look at audiences; write: send events as well; administer: everything.
    With --connection it is good for that one only.

    Example: pinfold token add crm --permission write > token.txt
    """
    outside: Outside = ctx.obj
    token = api_tokens.add_token(outside.deployment, name, permission, connection)
    typer.echo(token)
    typer.echo(f"token {name} may {permission}; show it as  Authorization: Bearer TOKEN", err=True)


@commands.command("list")
def list_(ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """List the live tokens; the tokens themselves are kept nowhere.

    Example: pinfold token list
    """
    outside: Outside = ctx.obj
    found = api_tokens.list_tokens(outside.deployment)
    if as_json:
        typer.echo(orjson.dumps(found).decode())
        return
    if not found:
        say("no token yet: pinfold token add NAME --permission write")
        return
    drawn = table("", ("token", "may", "connection", "since"))
    for token in found:
        since = f"{token.created_at:%Y-%m-%d %H:%M}"
        drawn.add_row(token.name, token.permission, token.connection or "every one", since)
    show(drawn)


@commands.command("revoke")
def revoke(ctx: typer.Context, name: Name) -> None:
    """Let nobody in with it any more.

    Example: pinfold token revoke crm
    """
    outside: Outside = ctx.obj
    api_tokens.revoke_token(outside.deployment, name)
    say(f"token {name} is revoked; running services refuse it within 5 seconds")
