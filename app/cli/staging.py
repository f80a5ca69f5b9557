"""``pinfold stage FILE``: accept membership events from a file or standard input."""

from __future__ import annotations

import io
import secrets
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from app.accepting import meet_audiences
from app.cli.audiences import Connection
from app.cli.outside import Outside
from app.cli.staging_report import Listing, Tally
from app.cli.terminal import say
from app.connections import find_connection
from app.errors import ConfigError, InvalidEvent, Refused
from app.event_files import FORMS, STORAGE, read_parts
from app.event_lines import BrokenFile
from app.event_parts import LineFault, Part
from app.formats import mparticle_storage
from app.formats.reading import Dialect, read_reference
from app.receipts import keys_used
from app.staging import Intake, stage

REJECTED = 3
"""Exit status when some lines could not be accepted."""


def register(root: typer.Typer) -> None:
    root.command("stage")(stage_file)


def stage_file(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(help="NDJSON or CSV, plain or gzip; - is standard input.")],
    connection: Connection = None,
    form: Annotated[
        str | None, typer.Option("--format", help=f"{', '.join(FORMS)}; else told by line 1.")
    ] = None,
    audience: Annotated[
        str | None, typer.Option(help="Upstream id of the audience, where lines name none.")
    ] = None,
    audience_key: Annotated[
        str | None, typer.Option(help="Name of the boolean that says membership, likewise.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Skip what an earlier run staged.")] = False,
    again: Annotated[bool, typer.Option(help="Stage it once more on purpose.")] = False,
    rejects: Annotated[Path | None, typer.Option(help="Where rejected lines are listed.")] = None,
) -> None:
    """Accept the membership events of a file; what is good is staged, the rest is listed.

    Fields: audience, operation (add or remove), occurred_at (optional), email, idfa, gaid; each
    identity a value or a list (CSV: several with ; between them), plain or already hashed.
    Other formats: mparticle, segment and rudderstack messages, one JSON object or array a line;
    segment-csv, Segment's file export; mparticle-kinesis records; mparticle-storage, whose
    audience stands in the file's name.
    Exit status: 0 all accepted, 3 some lines rejected, 1 an error.

    Example: pinfold stage events.ndjson.gz --connection main
    """
    outside: Outside = ctx.obj
    if form is not None and form not in FORMS:
        raise ConfigError(f"--format is one of {', '.join(FORMS)}")
    dialect = _dialect(form, file, audience, audience_key)
    deployment = outside.deployment
    connection_id = find_connection(deployment, connection).id if connection else None
    intake = Intake(deployment, "stage", connection_id)
    _keys = deployment.keyring  # refuse a wrong key before anything is read
    run = f":{secrets.token_hex(4)}" if again else ""
    tally = Tally()
    listing = rejects or Path(f"{'stdin' if file == '-' else file}.rejects.ndjson")
    broken: BrokenFile | None = None
    with (
        intake.presence,
        _opened(file) as stream,
        Listing(listing, goes_on=resume) as listed,
        _progress(file) as progress,
    ):
        try:
            for part in read_parts(stream, form, dialect):
                _stage_part(intake, part, run, resume, tally, listed)
                progress(part.bytes_read, f"{tally.accepted:,} accepted, {tally.rejected:,} not")
        except BrokenFile as problem:
            broken = problem
    tally.report(listing, file)
    if broken:
        raise ConfigError(f"{file}: {broken}")
    if tally.rejected:
        raise typer.Exit(REJECTED)


def _dialect(
    form: str | None, file: str, audience: str | None, audience_key: str | None
) -> Dialect:
    """What is said of the file beside it: by options, or by its name."""
    try:
        reference = read_reference(audience, "--audience") if audience is not None else None
    except InvalidEvent as problem:
        raise ConfigError(str(problem)) from None
    if form == STORAGE and reference is None:
        reference = _audience_in_name(Path(file).name)
    return Dialect(reference, audience_key)


def _audience_in_name(name: str) -> str | None:
    """The audience of a Cloud Storage file; none for those that mParticle leaves empty."""
    if name.startswith(mparticle_storage.VALIDATION):
        return None
    mention = mparticle_storage.audience_in(name)
    if mention is None:
        raise ConfigError(
            f"{name} is not named NAME_ID_DATE_TIME_GUID.txt: name the audience with --audience"
        )
    say(f"audience {mention.references[0]} ({mention.name}), as the file's name says")
    return mention.references[0]


def _stage_part(
    intake: Intake, part: Part, run: str, resume: bool, tally: Tally, listed: Listing
) -> None:
    tally.lines = part.last_line
    if resume:
        part = _without_staged_beginning(intake, part)
    if not part.holds_something():
        return
    meet_audiences(intake, part.mentions.values(), None)
    staged = stage(
        intake,
        part.events,
        dedupe_key=part.key + run,
        rejected_before=Counter(fault.reason for fault in part.faults if fault.whole),
        noted=part.remarks(),
    )
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
    tally.add(part, staged.accepted, faults)


def _without_staged_beginning(intake: Intake, part: Part) -> Part:
    """The part without the lines that an earlier run staged before the file broke off."""
    known = keys_used(intake.deployment, intake.source, part.beginnings)
    staged_to = max((part.beginnings[key] for key in known), default=0)
    return part.without_lines_up_to(staged_to) if staged_to else part


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
