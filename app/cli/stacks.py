"""``pinfold demo`` and ``pinfold up``: the whole service on one machine, nothing installed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from app.cli.terminal import say
from app.sandbox.demo import run_demo
from app.sandbox.stack import SimulatorOptions, Stack, Stopped, stop_on_signals
from app.settings import PREFIX, STATE, environment, load_settings

KEPT = ("PATH", "HOME", "LANG", "TZ")
TRIAL_ACCOUNT, TRIAL_TOKEN = "549770000001", "pina_trial"
SIMULATOR = SimulatorOptions(
    8086, ("--token", TRIAL_TOKEN, "--ad-account", TRIAL_ACCOUNT, "--ready-after", "5")
)
ApiPort = Annotated[int, typer.Option(help="Of the HTTP service; the next free one is taken.")]
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


def up(
    flower_port: FlowerPort = 5555,
    api_port: ApiPort = 8080,
    simulator: Annotated[
        bool, typer.Option(help="Try it without Pinterest: simulated, nothing kept.")
    ] = False,
    concurrency: int = 2,
) -> None:
    """Run the service here for real: Postgres and broker from this installation, data kept.

    Where PINFOLD_DATABASE_URL or PINFOLD_BROKER_URL is set, that one is used instead. With
    --simulator Pinterest is simulated and everything begins anew.

    Example: pinfold up &  then: pinfold connect main
    """
    state = STATE / ("trial" if simulator else "stack")
    given = {} if simulator else _given_settings()
    named = load_settings(given, of_running_stack=False)
    kept = {name: value for name, value in environment().items() if name in KEPT}
    try:
        with stop_on_signals():
            stack = Stack(
                state,
                database_url=named.database_url,
                broker_url=named.broker_url,
                environment=kept | given,
                worker_concurrency=concurrency,
                flower_port=flower_port,
                api_port=api_port,
                simulator=SIMULATOR if simulator else None,
                fresh=simulator,
            )
            with stack:
                for running in stack.describe():
                    say(f"{running.name:10} pid {running.pid}  log {running.log}")
                _say_where(stack, state, simulator)
                while True:
                    for name in stack.tick():
                        say(f"{name} had ended and was started again", "yellow")
                    time.sleep(0.5)
    except Stopped as signal:
        say(f"{signal}: everything was stopped; the data are kept in {state}")


def _given_settings() -> dict[str, str]:
    """The settings as they stand, their files named from the root: the processes run elsewhere."""
    return {
        name: str(Path(text).absolute()) if name.endswith("_FILE") and text else text
        for name, text in environment().items()
        if name.startswith(PREFIX)
    }


def _say_where(stack: Stack, state: Path, simulator: bool) -> None:
    say(f"Flower: {stack.flower_url}; HTTP: {stack.api_url}/docs; data and keys are in {state}")
    if simulator:
        url = stack.addresses[f"{PREFIX}PINTEREST_URL"].removesuffix("/v5")
        say(f"Pinterest is simulated: its ad account is {TRIAL_ACCOUNT}, its token {TRIAL_TOKEN}")
        say(f"what it holds: {url}/_sandbox/summary")
    say("in another terminal every pinfold command finds this stack; Ctrl-C ends it")
