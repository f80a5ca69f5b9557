"""The demo: the whole service on sample traffic, ending with a comparison that can fail.

Three audiences, a quarter of a million messages. Two audiences flush because 100,000 messages
wait, one because its last upload is old enough; the age is shortened from 3 hours to 20 seconds and
the other times with it, which is the only difference from a real installation. In the end Pinfold's
books are held against the simulator's own, and the members against a plain reckoning.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import requests
import sqlalchemy as sa
from rich.console import Console
from rich.live import Live
from rich.table import Table

from app.audiences import activate
from app.books import ListBook, read_books
from app.connections import add_connection
from app.database import transaction
from app.deployment import Deployment
from app.formats import own
from app.formats.reading import Reading
from app.sandbox.sample_traffic import Reckoning, sample_calls
from app.sandbox.stack import SimulatorOptions, Stack, stop_on_signals
from app.settings import Settings
from app.staging import Intake, stage
from app.status import Status, read_status
from app.tables import attempt, upload

AD_ACCOUNT = "549770000001"
TOKEN = "pina_demo"  # noqa: S105 of the simulator
AUDIENCES = (
    ("Spring sale", "31001", 130_000),
    ("Lapsed buyers", "31002", 110_000),
    ("VIP", "31003", 15_000),
)
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


@dataclass(frozen=True)
class Line:
    """One comparison: what Pinfold's books say, and what the other side says."""

    what: str
    ours: object
    theirs: object

    @property
    def agrees(self) -> bool:
        return self.ours == self.theirs


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
            lines = _compare(deployment, url, reckoning, invalid)
            agreed = _print_comparison(lines, console) and finished
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


def _compare(
    deployment: Deployment, pinterest_url: str, reckoning: Reckoning, invalid: int
) -> list[Line]:
    """Pinfold's books against the simulator's, and its members against the reckoning."""
    inspect_url = f"{pinterest_url.removesuffix('/v5')}/_sandbox"
    session = requests.Session()
    session.trust_env = False
    summary = session.get(f"{inspect_url}/summary", timeout=30).json()
    theirs = {item["name"]: item for item in summary["lists"]}
    upstream_ids = {name: upstream_id for name, upstream_id, _ in AUDIENCES}
    books = read_books(deployment)
    lines = [Line("lists at Pinterest", len(books), len(summary["lists"]))]
    lines.append(Line("audiences at Pinterest", len(books), len(summary["audiences"])))
    for book in books:
        name = f"{book.audience}-{book.list_type}"
        found = theirs[name]
        processed = found["num_uploaded_user_records"] + found["num_removed_user_records"]
        lines.append(Line(f"{name}: records charged, and processed", book.charged, processed))
        lines.append(Line(f"{name}: requests", _requests(deployment, book), found["num_batches"]))
        text = session.get(f"{inspect_url}/lists/{found['id']}/members", timeout=60).text
        members = set(text.split())
        expected = reckoning.members((upstream_ids[book.audience], book.list_type))
        lines.append(Line(f"{name}: members missing", 0, len(expected - members)))
        lines.append(Line(f"{name}: members too many (1 placeholder)", 1, len(members - expected)))
    received = sum(book.received for book in books)
    lines.append(Line("identities received, and invented", received, reckoning.identities))
    lines.append(Line("junk refused, and mixed in", invalid, reckoning.junk))
    lines.append(Line("books that balance", len(books), sum(book.balanced for book in books)))
    return lines + _trigger_lines(deployment)


def _requests(deployment: Deployment, book: ListBook) -> int:
    query = sa.text(
        "SELECT count(*) FROM attempt JOIN customer_list l ON l.id = customer_list_id"
        " WHERE l.audience_id = :audience AND l.list_type = :type"
        " AND state <> 'refused' AND purpose <> 'AUDIENCE'"
    )
    with transaction(deployment.engine) as tx:
        values = {"audience": book.audience_id, "type": book.list_type}
        return int(tx.execute(query, values).scalar_one())


def _trigger_lines(deployment: Deployment) -> list[Line]:
    """What made each audience flush first: its count, or its age."""
    with transaction(deployment.engine) as tx:
        rows = tx.execute(
            sa.select(upload.c.audience_id, upload.c.reason).order_by(upload.c.id)
        ).all()
        unknown = tx.execute(
            sa.select(sa.func.count()).where(attempt.c.state == "unknown")
        ).scalar_one()
    reasons = {name: set[str]() for name, _, _ in AUDIENCES}
    names = {number: name for number, (name, _, _) in enumerate(AUDIENCES, start=1)}
    for row in rows:
        reasons[names[row.audience_id]].add(row.reason)
    wanted = {"Spring sale": "count", "Lapsed buyers": "count", "VIP": "age"}
    lines = [
        Line(f"{name}: flushed by {reason}", True, reason in reasons[name])
        for name, reason in wanted.items()
    ]
    return [*lines, Line("requests without a known end", 0, unknown)]


def _print_comparison(lines: list[Line], console: Console) -> bool:
    drawn = Table(title="do the books agree?", title_justify="left", header_style="bold")
    drawn.add_column("what")
    drawn.add_column("Pinfold", justify="right")
    drawn.add_column("simulator, reckoning", justify="right")
    drawn.add_column("")
    for line in lines:
        verdict = "agree" if line.agrees else "DIFFER"
        style = None if line.agrees else "red"
        drawn.add_row(line.what, _number(line.ours), _number(line.theirs), verdict, style=style)
    console.print(drawn)
    agreed = all(line.agrees for line in lines)
    console.print(
        "everything agrees" if agreed else "something differs",
        style="bold green" if agreed else "bold red",
    )
    return agreed


def _number(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
