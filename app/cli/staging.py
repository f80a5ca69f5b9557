"""``pinfold stage FILE``: accept membership events from a file or standard input."""

from __future__ import annotations

import io
import secrets
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Annotated, cast

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from app.cli.audiences import Connection
from app.cli.outside import Outside
from app.cli.terminal import say
from app.connections import find_connection
from app.errors import ConfigError, Refused
from app.event_files import BrokenFile, LineFault, Part, read_parts
from app.receipts import keys_used
from app.staging import Intake, stage

REJECTED = 3
"""Exit status when some lines could not be accepted."""


def register(root: typer.Typer) -> None:
    root.command("stage")(stage_file)


@dataclass
class _Tally:
    lines: int = 0
    accepted: int = 0
    rejected: int = 0
    identities_dropped: int = 0
    parts_skipped: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


def stage_file(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(help="NDJSON or CSV, plain or gzip; - is standard input.")],
    connection: Connection = None,
    form: Annotated[str | None, typer.Option("--format", help="ndjson or csv.")] = None,
    resume: Annotated[bool, typer.Option(help="Skip what an earlier run staged.")] = False,
    again: Annotated[bool, typer.Option(help="Stage it once more on purpose.")] = False,
    rejects: Annotated[Path | None, typer.Option(help="Where rejected lines are listed.")] = None,
) -> None:
    """Accept the membership events of a file; what is good is staged, the rest is listed.

    Fields: audience, operation (add or remove), occurred_at (optional), email, idfa, gaid; each
    identity a value or a list (CSV: several with ; between them), plain or already hashed.
    Exit status: 0 all accepted, 3 some lines rejected, 1 an error.

    Example: pinfold stage events.ndjson.gz --connection main
    """
    outside: Outside = ctx.obj
    if form not in (None, "ndjson", "csv"):
        raise ConfigError("--format is ndjson or csv")
    deployment = outside.deployment
    connection_id = find_connection(deployment, connection).id if connection else None
    intake = Intake(deployment, "stage", connection_id)
    _keys = deployment.keyring  # refuse a wrong key before anything is read
    run = f":{secrets.token_hex(4)}" if again else ""
    tally = _Tally()
    listing = rejects or Path(f"{'stdin' if file == '-' else file}.rejects.ndjson")
    broken: BrokenFile | None = None
    with (
        intake.presence,
        _opened(file) as stream,
        _Listing(listing) as listed,
        _progress(file) as progress,
    ):
        try:
            for part in read_parts(stream, form):
                _stage_part(intake, part, run, resume, tally, listed)
                progress(part.bytes_read, f"{tally.accepted:,} accepted, {tally.rejected:,} not")
        except BrokenFile as problem:
            broken = problem
    _report(tally, listing, file)
    if broken:
        raise ConfigError(f"{file}: {broken}")
    if tally.rejected:
        raise typer.Exit(REJECTED)


def _stage_part(
    intake: Intake, part: Part, run: str, resume: bool, tally: _Tally, listed: _Listing
) -> None:
    tally.lines = part.last_line
    if resume:
        part = _without_staged_beginning(intake, part)
    before = Counter(fault.reason for fault in part.faults if fault.whole)
    staged = stage(intake, part.events, dedupe_key=part.key + run, rejected_before=before)
    if staged.duplicate:
        if not resume:
            raise Refused(
                f"lines {part.first_line} to {part.last_line} were staged before: "
                "--resume skips what was staged, --again stages everything once more"
            )
        tally.parts_skipped += 1
        return
    faults = part.faults + [
        LineFault(part.lines[r.position], r.field, r.reason, r.whole) for r in staged.rejections
    ]
    for fault in sorted(faults):
        listed.write(fault)
    whole = [fault for fault in faults if fault.whole]
    tally.accepted += staged.accepted
    tally.rejected += len(whole)
    tally.identities_dropped += len(faults) - len(whole)
    tally.reasons.update(f"{fault.field}: {fault.reason}" for fault in faults)


def _without_staged_beginning(intake: Intake, part: Part) -> Part:
    """The part without the lines that an earlier run staged before the file broke off."""
    known = keys_used(intake.deployment, intake.source, part.beginnings)
    staged_to = max((part.beginnings[key] for key in known), default=0)
    return part.without_lines_up_to(staged_to) if staged_to else part


class _Listing:
    """The reject file, opened when there is something to write: places and reasons, no values."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def __enter__(self) -> _Listing:
        """Raises ConfigError, before anything is staged, when the file cannot be written."""
        try:
            with self._path.open("ab") as file:
                was_empty = file.tell() == 0
        except OSError as problem:
            raise ConfigError(
                f"cannot write {self._path} ({problem.strerror}), which is to list the rejected "
                "lines: name another file with --rejects"
            ) from None
        if was_empty:
            self._path.unlink()
        return self

    def write(self, fault: LineFault) -> None:
        if self._file is None:
            self._file = self._path.open("wb")
        self._file.write(orjson.dumps(fault._asdict()) + b"\n")

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


@contextmanager
def _opened(file: str) -> Iterator[io.BufferedReader]:
    if file == "-":
        yield cast("io.BufferedReader", sys.stdin.buffer)
        return
    try:
        stream = Path(file).open("rb")  # noqa: SIM115 the errors of opening are told apart
    except FileNotFoundError:
        raise ConfigError(f"there is no file {file}") from None
    except OSError as problem:
        raise ConfigError(f"cannot read {file}: {problem.strerror}") from None
    with stream:
        yield stream


@contextmanager
def _progress(file: str) -> Iterator[Callable[[int, str], None]]:
    """A callable (bytes read, text) that moves a bar on a terminal and is silent elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _done, _text: None
        return
    size = Path(file).stat().st_size if file != "-" and not file.endswith(".gz") else None
    console = Console(stderr=True)
    columns = (TextColumn("staging"), BarColumn(), TextColumn("{task.description}"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("", total=size, visible=console.is_terminal)
        yield lambda done, text: bar.update(task, completed=done, description=text)


def _report(tally: _Tally, listing: Path, file: str) -> None:
    if not tally.lines:
        say(f"{file} is empty: nothing to stage")
        return
    counts = f"{tally.accepted:,} events accepted, {tally.rejected:,} rejected"
    say(f"{tally.lines:,} lines read: {counts}")
    if tally.parts_skipped:
        say(f"{tally.parts_skipped:,} parts had been staged before and were skipped")
    if tally.identities_dropped:
        say(f"{tally.identities_dropped:,} identities of accepted events could not be used")
    for reason, count in tally.reasons.most_common(10):
        say(f"  {count:>9,}  {reason}")
    if tally.reasons:
        say(f"{listing} lists each with its line")
    say("next: pinfold status shows what waits and when it is uploaded")
