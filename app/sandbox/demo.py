"""The demo: the whole service on sample traffic, ending with a comparison that can fail.

Three audiences, a quarter of a million messages. Two audiences flush because 100,000 messages
wait, one because its last upload is old enough; the age is shortened from 3 hours to 20 seconds and
the other times with it, which is the only difference from a real installation. In the end Pinfold's
books are held against the simulator's own, and the members against a plain reckoning.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from app.audiences import activate
from app.books import ListBook, read_books
from app.connections import add_connection
from app.deployment import Deployment
from app.formats import own
from app.formats.reading import Reading
from app.sandbox.comparison import compare, print_comparison
from app.sandbox.sample_traffic import AUDIENCES, Reckoning, sample_calls
from app.sandbox.stack import SimulatorOptions, Stack, stop_on_signals
from app.settings import Settings
from app.staging import Intake, stage
from app.status import Status, read_status

AD_ACCOUNT = "549770000001"
TOKEN = "pina_demo"  # noqa: S105 of the simulator
TIMES = {
    "PINFOLD_CONNECT_TIMEOUT": "1",
    "PINFOLD_READ_TIMEOUT": "5",
    "PINFOLD_CALL_DEADLINE": "8",
    "PINFOLD_DEAD_MAN": "10",
    "PINFOLD_LEASE": "12",
    "PINFOLD_QUARANTINE": "15",
    "PINFOLD_FLUSH_AGE": "20",
    "PINFOLD_CHECK_INTERVAL": "2",
    "PINFOLD_BACKOFF_FIRST": "1",
}
LONGEST_RUN_S = 170.0
REFRESH_S = 0.5
CALLS_A_LOOK = 8
"""Of those that stage: about ten seconds in all, so that one can watch, and well within the age."""


def run_demo(
    state: Path, environment: dict[str, str], *, flower_port: int, stay: bool, console: Console
) -> bool:
    """Run the demo; returns whether everything agreed. Ctrl-C ends it at any point.

    Raises StackError when a part cannot be started.
    """
    options = SimulatorOptions(
        arguments=("--token", TOKEN, "--ad-account", AD_ACCOUNT, "--ready-after", "5")
    )
    with stop_on_signals():
        console.print("starting Postgres, broker, simulator, worker, beat and Flower", style="bold")
        stack = Stack(
            state,
            database_url=None,
            broker_url=None,
            environment=environment | TIMES,
            flower_port=flower_port,
            simulator=options,
            fresh=True,
        )
        with stack:
            deployment = Deployment(_settings(stack.addresses))
            console.print(f"running; Flower shows the tasks at {stack.flower_url}")
            age = TIMES["PINFOLD_FLUSH_AGE"]
            console.print(f"an upload is due at 100,000 messages, or {age} s after the last one")
            console.print("(the age is shortened for the demo: 3 hours in real use)")
            reckoning = Reckoning()
            console.print("inventing what upstream will say")
            calls = list(_invented(reckoning))
            finished, invalid = _play(deployment, stack, calls, console)
            url = stack.addresses["PINFOLD_PINTEREST_URL"]
            lines = compare(deployment, url, reckoning, invalid)
            agreed = print_comparison(lines, console) and finished
            deployment.engine.dispose()
            if stay:
                console.print(f"\nFlower: {stack.flower_url}    Ctrl-C ends everything")
                while True:
                    stack.tick()
                    time.sleep(REFRESH_S)
    return agreed


def _settings(addresses: dict[str, str]) -> Settings:
    """The demo's own settings: the same as its workers have."""
    values = {
        name.removeprefix("PINFOLD_").lower(): value for name, value in (addresses | TIMES).items()
    }
    values["keys"] = Path(values.pop("keys_file")).read_text().strip()
    return Settings(**values)  # type: ignore[arg-type]  # pydantic turns the texts into numbers


def _play(
    deployment: Deployment, stack: Stack, calls: list[list[Reading]], console: Console
) -> tuple[bool, int]:
    """Activate, stage and watch until nothing waits: whether it does, and the invalid values."""
    add_connection(deployment, "demo", AD_ACCOUNT, TOKEN)
    for name, upstream_id, _ in AUDIENCES:
        activate(deployment, name, upstream_id, None)
    intake = Intake(deployment, "demo")
    invalid, begun = 0, 0
    deadline = time.monotonic() + LONGEST_RUN_S
    with _shown(console) as show:
        while time.monotonic() < deadline:
            refresh_at = time.monotonic() + REFRESH_S
            now = calls[begun : begun + CALLS_A_LOOK]
            invalid += sum(_stage(intake, call) for call in now)
            begun += len(now)
            staging = begun < len(calls)
            stack.tick()
            books, status = read_books(deployment), read_status(deployment)
            show(_picture(books, status, invalid, staging))
            if not staging and not any(book.waiting for book in books):
                return True, invalid
            time.sleep(max(0.0, refresh_at - time.monotonic()))
    console.print(
        f"not finished after {LONGEST_RUN_S:.0f} s; the logs are in {stack.logs}", style="red"
    )
    return False, invalid


def _invented(reckoning: Reckoning) -> Iterator[list[Reading]]:
    """The calls of all audiences, in turn, as they would come in life."""
    sources = [
        sample_calls(upstream_id, messages, seed, reckoning)
        for seed, (_, upstream_id, messages) in enumerate(AUDIENCES)
    ]
    for calls in zip_longest(*sources):
        yield from ([own.read(message) for message in call] for call in calls if call is not None)


def _stage(intake: Intake, call: list[Reading]) -> int:
    """Stage one call like any upstream's; returns how many values could not be used."""
    staged = stage(intake, [event for message in call for event in message.events])
    return len(staged.rejections) + sum(len(message.faults) for message in call)


def _picture(books: list[ListBook], status: Status, invalid: int, staging: bool) -> Table:
    drawn = Table(title="identities, by list", title_justify="left", header_style="bold")
    drawn.add_column("list")
    for column in ("received", "waiting", "folded", "sent"):
        drawn.add_column(column, justify="right")
    drawn.add_column("next upload")
    following = {item.audience_id: item.next_upload for item in status.audiences}
    for book in books:
        counts = (book.received, book.waiting, book.folded, book.sent)
        next_upload = following.get(book.audience_id, "") if book.list_type == "EMAIL" else ""
        drawn.add_row(
            f"{book.audience}-{book.list_type}", *(f"{count:,}" for count in counts), next_upload
        )
    drawn.caption = f"{invalid:,} invalid values refused; {'staging' if staging else 'all staged'}"
    return drawn


class _shown:  # noqa: N801 reads as a phrase
    """Shows a table in place on a terminal; elsewhere prints a line every few seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._next_line_at = 0.0

    def __enter__(self) -> Callable[[Table], None]:
        if self._live:
            self._live.start()
        return self._show

    def _show(self, drawn: Table) -> None:
        if self._live:
            self._live.update(drawn, refresh=True)
        elif time.monotonic() >= self._next_line_at:
            self._next_line_at = time.monotonic() + 5
            self._console.print(drawn)

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()
