"""``pinfold keys``: the keys that seal what rests in Postgres."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app import keys, rotation
from app.cli.outside import DeadLetters, Outside
from app.cli.terminal import say, show, table
from app.errors import ConfigError, Refused, Unavailable
from app.keyring import KeyRing, new_key
from app.keys import KnownKey
from app.sealed import KINDS, in_words

LINE_EVERY_S = 10.0

commands = typer.Typer(no_args_is_help=True)


@commands.callback()
def group() -> None:
    """Keys that seal identities and tokens at rest.

    To replace a key while everything runs: `pinfold keys new` makes one. Add it at the END of
    PINFOLD_KEYS everywhere and start everything again, so that all can open it. Then move it to
    the FRONT and start everything again, so that all seal with it. Then `pinfold keys rotate`,
    `pinfold keys drop OLD`, take the old key out of PINFOLD_KEYS, and start everything again.
    """


@commands.command("new")
def new() -> None:
    """Print a fresh key for PINFOLD_KEYS. Keep a copy: without it what is stored is lost.

    Example: pinfold keys new > pinfold.key && export PINFOLD_KEYS_FILE=pinfold.key
    """
    typer.echo(new_key())


@commands.command("list")
def list_(ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """List every key this database knows: what is sealed with it, and who runs with it.

    Example: pinfold keys list --json
    """
    outside: Outside = ctx.obj
    known = keys.known_keys(outside.deployment)
    mine = _own_ring(outside)
    if as_json:
        typer.echo(orjson.dumps([_as_json(key, mine) for key in known]).decode())
        return
    if not known:
        say("no key has sealed anything yet: the first process that starts notes its keys down")
        return
    drawn = table("", ("key", "known since", "state", *(f">{kind}" for kind in KINDS), "running"))
    for key in known:
        counts = [f"{key.needed[kind]:,}" for kind in KINDS]
        since = f"{key.registered_at:%Y-%m-%d %H:%M}"
        drawn.add_row(key.key_id, since, _state(key, mine), *counts, _processes(key))
    show(drawn)
    say("dead letters in the broker are not counted here: pinfold keys rotate seals them anew too")


@commands.command("rotate")
def rotate(ctx: typer.Context) -> None:
    """Seal tokens, staged events, batches and dead letters with the newest key, while all runs.

    The newest key is the first of PINFOLD_KEYS. Nothing waits for it. Stop it whenever you like
    (Ctrl-C) and run it again: it goes on with what is left. Exit status: 0 nothing needs an older
    key any more, 1 something still does.

    Example: pinfold keys rotate && pinfold keys drop 5f0c21ab
    """
    outside: Outside = ctx.obj
    newest = outside.deployment.keyring.key_ids[0]
    before = rotation.count_older(outside.deployment)
    say(f"to be sealed with key {newest}: {in_words(before) or 'nothing'}")
    try:
        with _progress(before.total()) as progress:
            done = rotation.rotate(outside.deployment, progress)
    except KeyboardInterrupt:
        say("stopped; what was done stays done: run it again for the rest", "yellow")
        raise typer.Exit(1) from None
    if done.resealed:
        say(f"sealed with key {newest} now: {in_words(done.resealed)}")
    complete = _report_left(done)
    complete &= _report_letters(outside)
    if not complete:
        raise typer.Exit(1)
    say("nothing needs an older key any more: pinfold keys list, then pinfold keys drop KEY_ID")


@commands.command("drop")
def drop(
    ctx: typer.Context,
    key_id: Annotated[str, typer.Argument(help="As `pinfold keys list` shows it.")],
    without_broker: Annotated[
        bool, typer.Option("--without-broker", help="Give up dead letters sealed with it.")
    ] = False,
) -> None:
    """Give up an old key, so that it may be taken out of PINFOLD_KEYS.

    Refused, saying which, while anything stored is sealed with it, a running process seals with it
    or does not hold the newest key yet. The database remembers a dropped key: it may stay in
    PINFOLD_KEYS for a while, behind the newest, and never seals again.

    Example: pinfold keys drop 5f0c21ab
    """
    outside: Outside = ctx.obj
    keys.require_unneeded(outside.deployment, key_id)
    if outside.settings.broker_url and not without_broker:
        letters = outside.broker.reseal_dead_letters(outside.settings)
        if letters.left[key_id]:
            raise Refused(
                f"key {key_id} is still needed: {letters.left[key_id]:,} dead letters in the broker"
                " (--without-broker gives them up)"
            )
    keys.drop_key(outside.deployment, key_id)
    say(f"key {key_id} is dropped: take it out of PINFOLD_KEYS everywhere; keep it with backups")


def _own_ring(outside: Outside) -> list[str]:
    try:
        return KeyRing.parse(outside.settings.require_keys()).key_ids
    except ConfigError:
        return []


def _state(key: KnownKey, mine: list[str]) -> str:
    if key.dropped_at is not None:
        return "dropped, but needed" if key.needed.total() else "dropped"
    if key.key_id not in mine:
        return "not in PINFOLD_KEYS"
    return "newest" if key.key_id == mine[0] else "opens"


def _processes(key: KnownKey) -> str:
    only_open = [name for name in key.holding if name not in key.sealing]
    words = {"sealing": key.sealing, "opening": only_open}
    return "; ".join(f"{word}: {', '.join(names)}" for word, names in words.items() if names)


def _as_json(key: KnownKey, mine: list[str]) -> dict[str, object]:
    return {
        "key_id": key.key_id,
        "registered_at": key.registered_at,
        "dropped_at": key.dropped_at,
        "state": _state(key, mine),
        "needed": {kind: key.needed[kind] for kind in KINDS},
        "sealing": key.sealing,
        "holding": key.holding,
    }


def _report_left(done: rotation.Rotated) -> bool:
    if not done.left:
        return True
    say(f"still sealed with an older key: {in_words(done.left)}", "yellow")
    for line in done.unopened[:20]:
        say(f"cannot be opened: {line}", "yellow")
    if done.sealing_older:
        names = ", ".join(done.sealing_older)
        say(f"these seal with an older key: {names}; start them again, then rotate again", "yellow")
    return False


def _report_letters(outside: Outside) -> bool:
    if not outside.settings.broker_url:
        say("no broker is set here, so dead letters were not looked at")
        return True
    try:
        letters: DeadLetters = outside.broker.reseal_dead_letters(outside.settings)
    except Unavailable as problem:
        say(f"dead letters were not reached: {problem}; run it again", "yellow")
        return False
    if letters.resealed:
        say(f"{letters.resealed:,} dead letters in the broker were sealed anew")
    for key_id, count in letters.left.items():
        say(f"{count:,} dead letters name key {key_id} and cannot be opened", "yellow")
    return not letters.left


@contextmanager
def _progress(total: int) -> Iterator[Callable[[str, int], None]]:
    """A bar on a terminal; elsewhere a line every ten seconds."""
    if sys.stderr.isatty():
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
        console = Console(stderr=True)
        with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
            task = bar.add_task("", total=total)
            yield lambda kind, count: bar.update(task, advance=count, description=kind)
        return
    done, next_at = 0, time.monotonic() + LINE_EVERY_S

    def line(kind: str, count: int) -> None:
        nonlocal done, next_at
        done += count
        if time.monotonic() >= next_at:
            next_at = time.monotonic() + LINE_EVERY_S
            say(f"{done:,} of {total:,} ({kind})")

    yield line
