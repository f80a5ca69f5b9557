"""``pinfold audience``: activate, pause, resume, deactivate. Nothing is deleted at Pinterest.

Looking at its lists and replacing them is in ``app.cli.lists``.
"""

from __future__ import annotations

import time
from typing import Annotated

import typer

from app import audiences
from app.cli.outside import Outside
from app.cli.terminal import say
from app.list_status import ListStatus
from app.status import AudienceStatus, read_status

commands = typer.Typer(help="Upstream audiences and what becomes of them.", no_args_is_help=True)

Connection = Annotated[
    str | None, typer.Option("--connection", "-c", help="Needed where there are several.")
]
Reference = Annotated[str, typer.Argument(metavar="AUDIENCE", help="Its name or upstream id.")]
WAIT_S = 60.0
POLL_S = 0.3


@commands.command("activate")
def activate(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="What the Pinterest audiences are called.")],
    upstream_id: Annotated[str, typer.Option("--id", help="Its id in the upstream system.")],
    connection: Connection = None,
    wait: Annotated[bool, typer.Option(help="Wait until Pinterest has made the lists.")] = True,
) -> None:
    """Forward an audience to Pinterest from now on, as NAME-EMAIL and NAME-MAID. Safe to repeat.

    Example: pinfold audience activate "Lapsed buyers" --id 31001 --connection main
    """
    outside: Outside = ctx.obj
    activated = audiences.activate(outside.deployment, name, upstream_id, connection)
    again = {
        None: "activated",
        "active": "active already",
        "paused": f"still paused (pinfold audience resume {upstream_id})",
    }.get(activated.was, "active again")
    say(f"{name} is {again}; its events are accepted under the id {upstream_id}")
    if activated.was == "deactivated":
        say("its lists and counts go on where they were; changes that came meanwhile were refused")
    doorbell = outside.doorbell()
    for list_id in activated.list_ids:
        doorbell.deliver(list_id)
    if wait and activated.was != "paused":
        watch(outside, activated.audience_id)


def watch(outside: Outside, audience_id: int) -> None:
    """Show each list as Pinterest makes it; a worker does the work, leaving loses nothing."""
    shown: set[str] = set()
    deadline = time.monotonic() + WAIT_S
    while True:
        status = _status_of(outside, audience_id)
        for item in status.lists:
            if item.list_type not in shown and (_says_all(item) or status.held_reason):
                shown.add(item.list_type)
                say(_line(item, status))
        if len(shown) == len(status.lists):
            return
        if time.monotonic() > deadline:
            say("Pinterest has not made the lists yet; it goes on by itself once a worker runs")
            say("(pinfold doctor says whether one does, pinfold status shows how far it is)")
            return
        time.sleep(POLL_S)


def _says_all(item: ListStatus) -> bool:
    """Whether nothing would be gained by waiting for more."""
    return _settled(item) or not (item.pinterest_list_id or item.made_when_activated)


def _settled(item: ListStatus) -> bool:
    made = item.pinterest_audience_id or item.audience_not_before
    return bool(item.held_reason or (item.pinterest_list_id and made))


def _line(item: ListStatus, status: AudienceStatus) -> str:
    if item.held_reason:
        return f"{item.name}: held, {item.held_reason} ({item.held_message})"
    if not _settled(item) and not item.forwarded:
        return f"{item.name}: not made, the connection does not forward what goes there"
    if not _settled(item) and status.held_reason:
        return f"{item.name}: waits, the connection is held: {status.held_reason}"
    if not _settled(item):
        return f"{item.name}: made with its first upload, as the connection is set"
    if not item.pinterest_audience_id:
        return f"{item.name}: list {item.pinterest_list_id}; its audience is asked for again later"
    return f"{item.name}: list {item.pinterest_list_id}, audience {item.pinterest_audience_id}"


def _status_of(outside: Outside, audience_id: int) -> AudienceStatus:
    found = read_status(outside.deployment).audiences
    return next(item for item in found if item.audience_id == audience_id)


@commands.command("pause")
def pause(ctx: typer.Context, audience: Reference, connection: Connection = None) -> None:
    """Send nothing for now. Events go on being accepted and wait.

    Example: pinfold audience pause "Lapsed buyers"
    """
    outside: Outside = ctx.obj
    row = audiences.find_audience(outside.deployment, audience, connection)
    audiences.pause(outside.deployment, row.id)
    say(f"{row.name} is paused: everything waits; pinfold audience resume {row.upstream_id}")


@commands.command("resume")
def resume(ctx: typer.Context, audience: Reference, connection: Connection = None) -> None:
    """Send again what waited while paused.

    Example: pinfold audience resume "Lapsed buyers"
    """
    outside: Outside = ctx.obj
    row = audiences.find_audience(outside.deployment, audience, connection)
    audiences.resume(outside.deployment, row.id)
    waiting = audiences.waiting_of(outside.deployment, row.id)
    say(f"{row.name} goes on: {waiting.messages:,} messages and {waiting.records:,} records waited")


@commands.command("deactivate")
def deactivate(
    ctx: typer.Context,
    audience: Reference,
    connection: Connection = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Stop forwarding. What waits is not sent; nothing is deleted at Pinterest.

    Example: pinfold audience deactivate "Lapsed buyers" --yes
    """
    outside: Outside = ctx.obj
    row = audiences.find_audience(outside.deployment, audience, connection)
    waiting = audiences.waiting_of(outside.deployment, row.id)
    say(
        f"{row.name}: {waiting.messages:,} waiting messages and {waiting.records:,} records in its "
        "lanes will not be sent, they are booked as not forwarded"
    )
    if not yes:
        typer.confirm("deactivate?", abort=True)
    doorbell = outside.doorbell()
    for list_id in audiences.deactivate(outside.deployment, row.id):
        doorbell.deliver(list_id)
    doorbell.flush(row.id)
    say(f"{row.name} is deactivated; its audiences at Pinterest stay, with all their members")
