"""``pinfold source``: addresses at which upstream systems deliver over HTTP."""

from __future__ import annotations

from typing import Annotated

import orjson
import typer

from app import sources
from app.cli.audiences import Connection
from app.cli.outside import Outside
from app.cli.terminal import say, show, table
from app.errors import ConfigError
from app.events import Kind
from app.formats import FORMATS
from app.formats.reading import DEVICE, Dialect, IdentifierKind

commands = typer.Typer(help="Upstream systems that deliver over HTTP.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Part of its address: /in/NAME.")]
KINDS: dict[str, IdentifierKind] = {**{kind.value: kind for kind in Kind}, DEVICE: DEVICE}


@commands.command("add")
def add(
    ctx: typer.Context,
    name: Name,
    format_: Annotated[str, typer.Option("--format", help=f"{', '.join(FORMATS)}.")],
    connection: Connection = None,
    activate_unknown: Annotated[
        bool, typer.Option(help="Activate audiences under their names when they first come.")
    ] = False,
    audience: Annotated[
        str | None, typer.Option(help="Upstream id for messages that name no audience.")
    ] = None,
    audience_key: Annotated[
        str | None, typer.Option(help="The boolean trait that says membership.")
    ] = None,
    identifier: Annotated[
        list[str] | None,
        typer.Option(help="A further name of an identifier: NAME=email, idfa, gaid or device."),
    ] = None,
    signed: Annotated[
        bool, typer.Option(help="Segment: make a key with which it signs (shared secret).")
    ] = False,
) -> None:
    """Make an address for an upstream system and print its secret, for the only time.

    The secret stands alone on standard output, with --signed the signing key on a second line.

    Example: pinfold source add crm --format events > crm.secret
    """
    outside: Outside = ctx.obj
    if signed and format_ != "segment":
        raise ConfigError("--signed is for --format segment: no other format signs")
    dialect = Dialect(audience, audience_key, dict(map(_identifier, identifier or [])))
    made = sources.add_source(
        outside.deployment,
        name,
        format_,
        connection,
        activate_unknown=activate_unknown,
        dialect=dialect,
    )
    _tell(f"source {name} takes {format_} at  /in/{name}  of pinfold api")
    _print_secret(sources.add_secret(outside.deployment, made.id))
    if signed:
        _print_signing_key(sources.add_signing_key(outside.deployment, made))
    unknown = "activated under their names" if activate_unknown else "rejected"
    _tell(f"audiences that nobody activated are {unknown}")


@commands.command("list")
def list_(ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """List the sources with their live secrets, by number; the secrets themselves are not shown.

    Example: pinfold source list
    """
    outside: Outside = ctx.obj
    found = sources.list_sources(outside.deployment)
    if as_json:
        typer.echo(orjson.dumps(found).decode())
        return
    if not found:
        say("no source yet: pinfold source add NAME --format mparticle")
        return
    drawn = table("", ("source", "format", "connection", "unknown audiences", "secrets"))
    for each in found:
        secrets = [f"{one.secret_id}{' (signs)' if one.signs else ''}" for one in each.secrets]
        unknown = "activate" if each.source.activate_unknown else "reject"
        row = (each.source.name, each.source.format, each.connection, unknown)
        drawn.add_row(*row, ", ".join(secrets) or "none: nobody gets in")
    show(drawn)


@commands.command("add-secret")
def add_secret(
    ctx: typer.Context,
    name: Name,
    signing: Annotated[bool, typer.Option(help="A key with which Segment signs.")] = False,
) -> None:
    """A further secret, good within a second beside the others: to replace one without a gap.

    Example: pinfold source add-secret mparticle   then: pinfold source revoke-secret mparticle 1
    """
    outside: Outside = ctx.obj
    source = sources.find_source(outside.deployment, name)
    if not signing:
        _print_secret(sources.add_secret(outside.deployment, source.id))
        return
    _print_signing_key(sources.add_signing_key(outside.deployment, source))


@commands.command("revoke-secret")
def revoke_secret(
    ctx: typer.Context,
    name: Name,
    secret_id: Annotated[int, typer.Argument(help="As pinfold source list numbers it.")],
) -> None:
    """Let nobody in with one secret any more.

    Example: pinfold source revoke-secret mparticle 1
    """
    outside: Outside = ctx.obj
    source = sources.find_source(outside.deployment, name)
    sources.revoke_secret(outside.deployment, source.id, secret_id)
    say(f"secret {secret_id} of {name} is revoked; running services refuse it within 5 seconds")


@commands.command("remove")
def remove(ctx: typer.Context, name: Name) -> None:
    """Close an address for good. What it accepted is kept, its audiences stay as they are.

    Example: pinfold source remove mparticle
    """
    outside: Outside = ctx.obj
    sources.remove_source(outside.deployment, sources.find_source(outside.deployment, name).id)
    say(f"source {name} is removed; running services refuse it within 5 seconds")


def _print_secret(secret: str) -> None:
    """Alone on standard output, so that it can go into a file."""
    _tell("its secret, shown this once, goes into the header  Authorization: Bearer SECRET")
    _tell("(mParticle: Authorization: Token SECRET; or the password of Basic)")
    typer.echo(secret)


def _print_signing_key(key: str) -> None:
    _tell(
        "its signing key, shown this once, is Segment's shared secret; from now on events without"
    )
    _tell("a valid X-Signature are refused")
    typer.echo(key)


def _tell(line: str) -> None:
    typer.echo(line, err=True)


def _identifier(text: str) -> tuple[str, IdentifierKind]:
    name, _, kind = text.rpartition("=")
    if not name.strip() or kind not in KINDS:
        raise ConfigError(f"--identifier is NAME=KIND, with a kind of {', '.join(KINDS)}")
    return name.strip().lower(), KINDS[kind]
