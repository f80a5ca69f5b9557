"""``pinfold demo`` and ``pinfold up``: the whole service on one machine, nothing installed."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.console import Console

from app.cli.terminal import say
from app.sandbox.demo import run_demo
from app.sandbox.stack import Stack, Stopped, stop_on_signals
from app.settings import PREFIX, STATE, environment

KEPT = ("PATH", "HOME", "LANG", "TZ")
FlowerPort = Annotated[int, typer.Option(help="Flower's port; the next free one is taken.")]


def register(root: typer.Typer) -> None:
    root.command("demo")(demo)
    root.command("up")(up)


def demo(
    exit_: Annotated[
        bool, typer.Option("--exit", help="End when done; status 0 if all agrees.")
    ] = False,
    flower_port: FlowerPort = 5555,
) -> None:
    """Show the whole service on sample traffic, with a simulated Pinterest.

    Example: pinfold demo --exit
    """
    state = STATE / "demo"
    state.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in environment().items() if name in KEPT}
    agreed = False
    try:
        agreed = run_demo(
            state, kept, flower_port=flower_port, stay=not exit_, console=Console(highlight=False)
        )
    except Stopped as signal:
        say(f"{signal}: everything was stopped; the data of this run are in {state}")
        agreed = True
    raise typer.Exit(0 if agreed else 1)


def up(flower_port: FlowerPort = 5555, concurrency: int = 2) -> None:
    """Run the service here for real: Postgres and broker from this installation, data kept.

    Where PINFOLD_DATABASE_URL or PINFOLD_BROKER_URL is set, that one is used instead.

    Example: pinfold up &  then: pinfold connect main
    """
    state = STATE / "stack"
    given = environment()
    kept = {name: value for name, value in given.items() if name in KEPT or name.startswith(PREFIX)}
    try:
        with stop_on_signals():
            stack = Stack(
                state,
                database_url=given.get(f"{PREFIX}DATABASE_URL"),
                broker_url=given.get(f"{PREFIX}BROKER_URL"),
                environment=kept,
                worker_concurrency=concurrency,
                flower_port=flower_port,
                simulator=None,
            )
            with stack:
                for running in stack.describe():
                    say(f"{running.name:10} pid {running.pid}  log {running.log}")
                say(f"Flower: {stack.flower_url}; data and keys are kept in {state}")
                say("in another terminal every pinfold command finds this stack; Ctrl-C ends it")
                while True:
                    for name in stack.tick():
                        say(f"{name} had ended and was started again", "yellow")
                    time.sleep(0.5)
    except Stopped as signal:
        say(f"{signal}: everything was stopped; the data are kept in {state}")
