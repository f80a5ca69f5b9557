"""``pinfold audience show | rebuild | roll-over``: the lists of an audience, and the next ones."""

from __future__ import annotations

from typing import Annotated

import orjson
import typer

from app import audiences, rebuilding, rolling
from app.cli.audiences import Connection, Reference, watch
from app.cli.outside import Outside
from app.cli.terminal import say, show, table
from app.rolling import RollOver
from app.showing import ShownList, read_shown

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Wait = Annotated[bool, typer.Option(help="Wait until Pinterest has made the lists.")]
COLUMNS = ("seen", "list", "audience", ">people", ">batches", ">added", ">removed", "exceptions")


def register(commands: typer.Typer) -> None:
    commands.command("show")(show_audience)
    commands.command("rebuild")(rebuild)
    commands.command("roll-over")(roll_over)


def show_audience(
    ctx: typer.Context,
    audience: Reference,
    connection: Connection = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show what Pinterest says of an audience's lists, and what was sent to them.

    Example: pinfold audience show "Lapsed buyers"
    """
    outside: Outside = ctx.obj
    row = audiences.find_audience(outside.deployment, audience, connection)
    shown = read_shown(outside.deployment, row.id)
    if as_json:
        typer.echo(orjson.dumps(shown.as_json()).decode())
        return
    say(
        f"{shown.name}: upstream id {shown.upstream_id}, connection {shown.connection}, "
        f"{shown.state}"
    )
    for each in shown.lists:
        _show_list(each)


def _show_list(each: ShownList) -> None:
    ids = (
        f"list {each.pinterest_list_id or 'none'}, audience {each.pinterest_audience_id or 'none'}"
    )
    age = "" if each.current else " (an older list: only its own lane is still sent to it)"
    say("")
    say(f"{each.name}: {ids}{age}", "bold")
    if each.held_reason:
        say(f"  held       {each.held_reason} ({each.held_message})", "yellow")
    say(f"  Pinterest  {each.standing}")
    if each.pinterest_list_id:
        say(f"  counters   {each.counters}", "yellow" if _alarms(each) else "")
    say(f"  cap        {each.sent}", "yellow" if each.forecast.level else "")
    if each.in_lane:
        say(f"  lane       {each.in_lane:,} records wait to be sent")
    if each.history:
        _show_history(each)


def _alarms(each: ShownList) -> bool:
    return each.finding is not None and each.finding.alarming


def _show_history(each: ShownList) -> None:
    drawn = table("", COLUMNS)
    for seen in each.history:
        counts = ("audience_size", "batches", "uploaded_records", "removed_records")
        drawn.add_row(
            f"{seen['observed_at']:%Y-%m-%d %H:%M}",
            seen["list_status"] or "",
            seen["audience_status"] or "",
            *("" if seen[name] is None else f"{seen[name]:,}" for name in counts),
            orjson.dumps(seen["exceptions"]).decode() if seen["exceptions"] else "",
        )
    show(drawn)


def rebuild(
    ctx: typer.Context,
    audience: Reference,
    connection: Connection = None,
    yes: Yes = False,
    wait: Wait = True,
) -> None:
    """Make again what is gone at Pinterest: a list under the same name, or only its audience.

    A new list is empty, and nobody but you has its members: send them all again. What waits for an
    older list that is gone is not sent.

    Example: pinfold audience rebuild "Lapsed buyers" --yes
    """
    outside: Outside = ctx.obj
    row = audiences.find_audience(outside.deployment, audience, connection)
    for name, records in rebuilding.unreachable(outside.deployment, row.id).items():
        say(
            f"{name}, an older list, is gone: {records:,} records that wait for it will not be "
            "sent, they are booked as not forwarded"
        )
    if not yes:
        say(f"what is gone of {row.name} at Pinterest is made again; a new list begins empty")
        typer.confirm("rebuild?", abort=True)
    rebuilt = rebuilding.rebuild(outside.deployment, row.id)
    for each in rebuilt.lists:
        say(f"{each.name}: a new list takes the place of the one that is gone")
        if each.records:
            say(f"  {each.records:,} records that waited for that one go to the new one")
    for name in rebuilt.audiences:
        say(f"{name}: its list stands with all members, only its audience is made again")
    for name in rebuilt.given_up:
        say(f"{name}: nothing waits for it any more")
    if rebuilt.lists:
        say(f"the new list begins empty: send all members of {row.name} again from your system")
    if rebuilt.lists or rebuilt.audiences:
        say("a campaign on what is gone must be pointed to the new audience in the Ads Manager")
    _ring(outside, row.id, [each.list_id for each in rebuilt.lists], wait and row.state == "active")


def roll_over(
    ctx: typer.Context,
    audience: Reference,
    connection: Connection = None,
    yes: Yes = False,
    wait: Wait = True,
) -> None:
    """Start fresh lists under the next name, `NAME (2)-EMAIL`, before the old ones are full.

    Example: pinfold audience roll-over "Lapsed buyers" --yes
    """
    outside: Outside = ctx.obj
    row = audiences.find_audience(outside.deployment, audience, connection)
    _explain(rolling.plan_roll_over(outside.deployment, row.id))
    if not yes:
        typer.confirm("roll over?", abort=True)
    done = rolling.roll_over(outside.deployment, row.id)
    say(f"new changes go to {', '.join(each.name for each in done.lists)} from now on")
    _ring(outside, row.id, [each.list_id for each in done.lists], wait and row.state == "active")


def _explain(plan: RollOver) -> None:
    older = " and ".join(each.older_name for each in plan.lists)
    say(f"{older}: new changes will go to {' and '.join(each.name for each in plan.lists)} instead")
    for each in plan.lists:
        if each.records:
            say(f"  {each.records:,} records that wait for {each.older_name} are sent to it first")
    say("  the old audiences keep their members as they are: who leaves from now on is removed")
    say("  from the new ones only, so point campaigns to these in the Ads Manager")
    say(f"  the new ones begin empty: send all members of {plan.audience} again from your system")


def _ring(outside: Outside, audience_id: int, list_ids: list[int], wait: bool) -> None:
    doorbell = outside.doorbell()
    for list_id in list_ids:
        doorbell.deliver(list_id)
    if wait:
        watch(outside, audience_id)
