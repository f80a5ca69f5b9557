"""``pinfold keys forget``: the way out when a key is lost."""

from __future__ import annotations

from typing import Annotated

import typer

from app import forgetting
from app.cli.outside import Outside
from app.cli.terminal import say
from app.forgetting import Lost


def register(commands: typer.Typer) -> None:
    commands.command("forget")(forget)


def forget(
    ctx: typer.Context,
    key_id: Annotated[
        str, typer.Argument(help="As the refusal, or `pinfold keys list`, shows it.")
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Give up a key that is LOST, and all that only it opens. Nothing brings that back.

    It says first what that is: logins, which have to be made anew, and identities that wait, which
    are booked as not forwarded. Put a key that you have into PINFOLD_KEYS before. To give up a key
    that you still have, see `pinfold keys drop`.

    Example: pinfold keys forget 5f0c21ab
    """
    outside: Outside = ctx.obj
    _explain(key_id, forgetting.count_lost(outside.deployment, key_id))
    if not yes:
        typer.confirm("forget?", abort=True)
    lost = forgetting.forget_key(outside.deployment, key_id)
    say(f"key {key_id} is forgotten: nothing needs it any more, should it turn up")
    for name in lost.connections:
        say(f"now: pinfold connection replace-login {name}")
    for name in lost.sources:
        say(f"now: pinfold source add-secret {name} --signing, and give the key to the sender")
    if lost.waiting.identities:
        say("now: let your system send again everything since the last uploads")


def _explain(key_id: str, lost: Lost) -> None:
    say(
        f"without key {key_id}, {lost.waiting.messages:,} staged messages cannot be sent, with "
        f"the lanes {lost.waiting.identities:,} identities: they are booked as not forwarded"
    )
    if lost.quarantined:
        say(f"so are {lost.quarantined:,} quarantined records, which Pinterest had refused")
    for name in lost.connections:
        say(f"connection {name} needs a new login")
    for name in lost.sources:
        say(f"source {name} needs a new signing key; until then it refuses what must be signed")
