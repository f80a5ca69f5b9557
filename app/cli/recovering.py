"""``pinfold recover``: what a restored database must be told before the workers start."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from app.cli.outside import Outside
from app.cli.terminal import say
from app.database import transaction
from app.errors import ConfigError, Refused, Unavailable
from app.processes import running
from app.recovering import Plan, Recovered, recover, survey
from app.surveying import Survey

PING_TIMEOUT_S = 2.0


def register(root: typer.Typer) -> None:
    root.command("recover")(recover_)


def recover_(
    ctx: typer.Context,
    backup_taken: Annotated[
        str,
        typer.Option(metavar="TIME", help="When, with its zone. Rather too early than too late."),
    ],
    allowance: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Records per list that Pinterest may have and not count yet; "
            "without it, those of one request.",
        ),
    ] = None,
    charged: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LIST=N", help="A list was charged N records at least. Can be repeated."
        ),
    ] = None,
    give_up_waiting: Annotated[
        bool,
        typer.Option(
            "--give-up-waiting",
            help="Book what waited in the backup as not forwarded: your system sends everything.",
        ),
    ] = False,
    while_running: Annotated[
        bool,
        typer.Option("--while-running", help="Go on although processes seem to run."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Make a database that was restored from a backup safe to work with. Run it before the workers.

    It asks Pinterest what each list has had since, charges that, lets every list rest, and takes
    care that no list is made twice. It shows what it found and asks before it changes anything (a
    login that Pinterest refuses is renewed at once). Safe to repeat; no charge is ever lowered.
    Afterwards let your system send everything since the backup again.

    Example: pinfold recover --backup-taken 2026-02-03T04:00Z
    """
    outside: Outside = ctx.obj
    taken = _read_time(backup_taken)
    told = dict(map(_read_charge, charged or []))
    if not while_running:
        _refuse_beside_others(outside)
    plan = survey(outside.deployment, taken, allowance, told)
    _show(plan, give_up_waiting=give_up_waiting)
    if not yes:
        typer.confirm("recover?", abort=True)
    _report(plan, recover(outside.deployment, plan, give_up_waiting=give_up_waiting))


def _read_time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ConfigError(
            "--backup-taken: a time with its zone is needed, as 2026-02-03T04:00Z or "
            "2026-02-03T05:00+01:00"
        )
    return moment.astimezone(UTC)


def _read_charge(text: str) -> tuple[str, int]:
    name, _, number = text.rpartition("=")
    digits = number.replace(",", "").replace("_", "")
    if not name or not (digits.isascii() and digits.isdigit()):
        raise ConfigError(
            '--charged: a list and a number are needed, as "Lapsed buyers-EMAIL=9000"'
        )
    return name, int(digits)


def _refuse_beside_others(outside: Outside) -> None:
    """Raise Refused while somebody might send or stage; who does not know the loss does harm."""
    with transaction(outside.deployment.engine) as tx:
        names = [one.name for one in running(tx)]
    try:
        names += outside.broker.workers_answering(outside.settings, PING_TIMEOUT_S)
    except (ConfigError, Unavailable) as problem:
        say(f"workers were not asked whether they run: {problem}", "yellow")
    if names:
        raise Refused(
            f"stop everything first: {', '.join(names)} (a process that ended without a word, or "
            "ran when the backup was taken, is forgotten in 5 minutes; --while-running goes on)"
        )


def _show(plan: Plan, *, give_up_waiting: bool) -> None:
    say(f"the backup is of {plan.backup_taken_at:%Y-%m-%d %H:%M} UTC, by your word")
    if plan.newest_at is not None and plan.newest_at > plan.backup_taken_at:
        say(
            f"this database knows of a due check at {plan.newest_at:%Y-%m-%d %H:%M} UTC: unless "
            "you named an earlier time on purpose, something has run since it was restored",
            "yellow",
        )
    for each in plan.connections:
        _show_connection(each)
    end = "booked as not forwarded" if give_up_waiting else "sent before anything newer"
    say(
        f"{plan.waiting_messages:,} messages and {plan.waiting_records:,} records of lanes waited "
        f"when the backup was taken: they will be {end}"
    )


def _show_connection(each: Survey) -> None:
    if each.trouble:
        say(f"connection {each.name}: Pinterest does not answer: {each.trouble}", "yellow")
    else:
        say(f"connection {each.name}: Pinterest accepts the login")
    for one in each.lists:
        if one.gone:
            say(f"  {one.name}: gone at Pinterest", "yellow")
        elif one.least is None:
            say(f"  {one.name}: {one.trouble}; nothing will be sent to it", "yellow")
        else:
            known = "unknown" if one.counted is None else f"{one.counted:,}"
            end = f"raised to {one.charged + one.missing:,}" if one.missing else "left as it is"
            say(f"  {one.name}: charged {one.charged:,}, counted by Pinterest {known}: {end}")
    for found in each.forgotten:
        say(
            f"  {found.name}: list {found.pinterest_list_id}, made "
            f"{found.created_at:%Y-%m-%d %H:%M} UTC and known to no row: taken over when a list of "
            "this name is asked for",
            "yellow",
        )


def _report(plan: Plan, done: Recovered) -> None:
    raised = {name: count for name, count in done.raised.items() if count}
    say(f"recovered: {len(raised):,} lists charged with {sum(raised.values()):,} records more")
    if done.in_flight:
        say(f"{done.in_flight:,} requests under way at the backup count as sent")
    if done.written_off.identities:
        say(f"{done.written_off.identities:,} waiting identities are booked as not forwarded")
    if done.gone:
        say(f"gone at Pinterest, pinfold audience rebuild: {', '.join(done.gone)}", "yellow")
    if done.held:
        say(f"held until this is run again: {', '.join(done.held)}", "yellow")
        for each in plan.connections:
            if each.trouble:
                say(f"  pinfold connection replace-login {each.name}, if it is the login", "yellow")
    say(
        "now: start api and intake, let your system send again everything since "
        f"{plan.backup_taken_at:%Y-%m-%d %H:%M} UTC (rather from an hour before), then the workers"
    )
