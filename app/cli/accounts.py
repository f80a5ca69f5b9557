"""``pinfold connection``: authorised Pinterest ad accounts, their logins and their settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from app import connections
from app.cli import logins
from app.cli.outside import Outside
from app.cli.terminal import say, show, table
from app.errors import ConfigError

commands = typer.Typer(help="Pinterest ad accounts and their settings.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Your name for it.")]
TokenFile = Annotated[
    Path, typer.Option("--token-file", help="A file with the access token on one line.")
]
Switch = Annotated[bool | None, typer.Option(show_default=False)]
Number = Annotated[int | None, typer.Option(show_default=False, min=0)]
Seconds = Annotated[float | None, typer.Option(show_default=False, min=0)]
Case = Annotated[str | None, typer.Option(help="lower, upper or as_is: device ids before hashing.")]


@commands.command("add")
def add(
    ctx: typer.Context,
    name: Name,
    ad_account: Annotated[str, typer.Option("--ad-account", help="Its id: up to 18 digits.")],
    token_file: TokenFile,
    forward_email: Switch = None,
    forward_device_id: Switch = None,
) -> None:
    """Add a Pinterest ad account by an access token from elsewhere; it is not renewed.

    The usual way is `pinfold connect`, whose login stays alive.

    Example: pinfold connection add main --ad-account 549770573673 --token-file token.txt
    """
    outside: Outside = ctx.obj
    token = connections.read_token(_read(token_file))
    given = {"forward_email": forward_email, "forward_device_id": forward_device_id}
    connections.add_connection(outside.deployment, name, ad_account, token, **_given(given))
    say(f"connection {name} added; now: pinfold audience activate NAME --id UPSTREAM_ID")


@commands.command("token")
def token(ctx: typer.Context, name: Name, token_file: TokenFile) -> None:
    """Give a connection a new access token; what was held for the old one goes on.

    Example: pinfold connection token main --token-file token.txt
    """
    outside: Outside = ctx.obj
    connections.replace_token(outside.deployment, name, connections.read_token(_read(token_file)))
    say(f"connection {name} has its new token; what waited goes on within seconds")


@commands.command("settings")
def settings(
    ctx: typer.Context,
    name: Name,
    forward_email: Switch = None,
    forward_device_id: Switch = None,
    forward_other_digests: Switch = None,
    create_on_activation: Switch = None,
    device_id_case: Case = None,
    flush_messages: Number = None,
    flush_age: Seconds = None,
    record_cap: Number = None,
    removal_reserve: Number = None,
    records_per_request: Number = None,
    writes_per_minute: Number = None,
) -> None:
    """Change a connection's settings, or show them when none is named.

    Example: pinfold connection settings main --no-forward-device-id --flush-messages 50000
    """
    outside: Outside = ctx.obj
    given = _given({k: v for k, v in locals().items() if k not in ("ctx", "name", "outside")})
    if device_id_case not in (None, "lower", "upper", "as_is"):
        raise ConfigError("--device-id-case is lower, upper or as_is")
    if given:
        for note in connections.change_settings(outside.deployment, name, **given):
            say(note)
        say(f"connection {name} changed: {', '.join(given)}")
        return
    row = connections.find_connection(outside.deployment, name)
    for field in (*connections.SWITCHES, "device_id_case", *connections.NUMBERS):
        value = getattr(row, field)
        say(f"{field:24} {'(default)' if value is None else value}")


commands.command("replace-login")(logins.replace_login)


@commands.command("show")
def show_(
    ctx: typer.Context, name: Name, as_json: Annotated[bool, typer.Option("--json")] = False
) -> None:
    """Show a connection: its ad account, how long its login lives, and why it is held.

    Example: pinfold connection show main
    """
    outside: Outside = ctx.obj
    row = connections.find_connection(outside.deployment, name)
    told = connections.describe(outside.deployment, row)
    if as_json:
        typer.echo(orjson.dumps(told).decode())
        return
    for field, value in told.items():
        say(f"{field.replace('_', ' '):22} {'-' if value is None else value}")


@commands.command("remove")
def remove(ctx: typer.Context, name: Name) -> None:
    """Forget a connection and its login. Nothing is deleted at Pinterest, and its books stay.

    Its audiences have to be deactivated first.

    Example: pinfold connection remove old
    """
    outside: Outside = ctx.obj
    connections.remove_connection(outside.deployment, name)
    say(f"connection {name} is removed, its tokens are deleted; at Pinterest nothing changed")
    say("to take the app's access away there too: Pinterest settings, Security, Connected apps")


@commands.command("list")
def list_(ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """List the connections, how long their logins live, and why one is held.

    Example: pinfold connection list --json
    """
    outside: Outside = ctx.obj
    rows = connections.list_connections(outside.deployment)
    told = [connections.describe(outside.deployment, row) for row in rows]
    if as_json:
        typer.echo(orjson.dumps(told).decode())
        return
    if not rows:
        say("no connection yet: pinfold connect NAME")
        return
    drawn = table("", ("connection", "ad account", "emails", "device ids", "login", "held"))
    for row, each in zip(rows, told, strict=True):
        held = f"{row.held_reason}: {row.held_message}" if row.held_reason else ""
        drawn.add_row(
            row.name,
            row.ad_account_id,
            "on" if row.forward_email else "off",
            "on" if row.forward_device_id else "off",
            each["login"],
            held,
        )
    show(drawn)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except FileNotFoundError:
        raise ConfigError(f"there is no file {path}") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(f"cannot read {path}: {type(problem).__name__}") from None


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
