"""Commands that make something happen: migrate, flush, retry, intake."""

from __future__ import annotations

from typing import Annotated

import typer

from app import audiences, connections, resuming
from app.cli.audiences import Connection, Reference
from app.cli.outside import Outside
from app.cli.terminal import say
from app.migrate import upgrade
from app.status import short


def register(root: typer.Typer) -> None:
    root.command("migrate")(migrate)
    root.command("flush")(flush)
    root.command("retry")(retry)
    root.command("intake")(intake)
    root.command("api")(api)


def migrate(
    ctx: typer.Context,
    contract_anyway: Annotated[
        bool, typer.Option("--contract-anyway", help="Do not wait for older processes to end.")
    ] = False,
) -> None:
    """Bring the database's schema up to date, while everything runs. Two at once are safe.

    A step that takes away what only older versions use is left out while a process of theirs runs;
    it is told which. Run it again when they have ended.

    Example: PINFOLD_DATABASE_URL=postgresql+psycopg2://pinfold@db/pinfold pinfold migrate
    """
    outside: Outside = ctx.obj
    done = upgrade(outside.settings.require_database_url(), contract_anyway=contract_anyway)
    say(f"the database stands at revision {done.revision}")
    if not done.left_out:
        return
    names = ", ".join(step.revision for step in done.left_out)
    say(f"left out: {names}; it takes away what processes of older versions use, which run:")
    for process in done.older:
        say(f"  {process.name}, seen {short(process.seen_ago)} ago")
    say("when these have ended, run `pinfold migrate` again", "yellow")


def flush(ctx: typer.Context, audience: Reference, connection: Connection = None) -> None:
    """Upload what waits for an audience now, instead of at its count or age.

    Example: pinfold flush "Lapsed buyers"
    """
    outside: Outside = ctx.obj
    row = audiences.find_audience(outside.deployment, audience, connection)
    waiting = audiences.waiting_of(outside.deployment, row.id)
    if not waiting.messages:
        say(f"nothing waits for {row.name}: there is nothing to upload")
        return
    audiences.request_flush(outside.deployment, row.id)
    outside.doorbell().flush(row.id)
    say(
        f"{row.name}: {waiting.messages:,} messages are uploaded next; pinfold status shows how far"
    )


def retry(
    ctx: typer.Context,
    audience: Annotated[str | None, typer.Argument(help="Only this one.")] = None,
    connection: Connection = None,
) -> None:
    """Let what is held, or waits after a failure, go on now.

    Example: pinfold retry "Lapsed buyers"
    """
    outside: Outside = ctx.obj
    audience_id = (
        audiences.find_audience(outside.deployment, audience, connection).id if audience else None
    )
    counts = resuming.retry(outside.deployment, audience_id)
    say(
        f"going on: {counts['connections']} connections, {counts['lists']} lists, "
        f"{counts['chunks']} chunks that were set aside"
    )


def intake(ctx: typer.Context, connection: Connection = None) -> None:
    """Consume membership events from the broker until told to stop (Ctrl-C or SIGTERM).

    Events are read from the queue pinfold.events, bound to the exchange pinfold.events. A message
    is acknowledged after its events are committed; one that cannot be used goes, sealed, to the
    queue pinfold.events.dead with the reason in its headers.

    Example: pinfold intake --connection main
    """
    outside: Outside = ctx.obj
    connection_id = (
        connections.find_connection(outside.deployment, connection).id if connection else None
    )
    _keys = outside.deployment.keyring
    count = outside.broker.consume(outside.deployment, connection_id)
    say(f"intake stopped after {count:,} messages; what was not acknowledged comes again")


def api(
    ctx: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535)] = 8080,
    processes: Annotated[int, typer.Option(min=1, help="One a core is a good number.")] = 1,
) -> None:
    """Serve HTTP: events in, audiences administered, /docs to read and try. Ctrl-C ends it.

    Put a proxy with TLS in front where others than this machine reach it.

    Example: pinfold api --port 8080 --processes 2
    """
    outside: Outside = ctx.obj
    _keys = outside.deployment.keyring  # refuse a wrong key before anything is accepted
    say(f"listening on http://{host}:{port}; http://{host}:{port}/docs describes it")
    outside.broker.serve(host, port, processes)
