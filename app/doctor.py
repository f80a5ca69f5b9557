"""Doctor: examine everything an installation needs, each with what to do when it is not well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa

from app.books import SWEEP as BOOKS
from app.connections import list_connections, open_client
from app.database import transaction
from app.deployment import Deployment
from app.due import SWEEP
from app.errors import PinfoldError
from app.lease import NOW
from app.logins import in_words, read_login, warning_days
from app.migrate import left_out
from app.pinterest.error_book import fix_of
from app.pinterest.outcomes import judge
from app.settings import Settings, load_settings
from app.status import short
from app.tables import sweep

PING_TIMEOUT_S = 2.0
CHECKS_LATE = 8
"""Due checks that may be missed before beat counts as gone."""
CLOCKS_APART = timedelta(minutes=5)
UNSAFE = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


@dataclass(frozen=True)
class Finding:
    what: str
    verdict: Literal["ok", "warning", "wrong"]
    found: str
    fix: str = ""

    def as_json(self) -> dict[str, str]:
        return asdict(self)


def examine(ask_workers: Callable[[Settings, float], list[str]]) -> list[Finding]:
    """Look at the settings, then at each part; a part that is missing hides what rests on it."""
    try:
        settings = load_settings()
    except PinfoldError as problem:
        return [Finding("settings", "wrong", str(problem), "mend the environment (README)")]
    deployment = Deployment(settings)
    findings = [Finding("settings", "ok", "every value can be used")]
    findings += _examine_database(deployment)
    if findings[-1].what != "database" or findings[-1].verdict == "ok":
        findings += _examine_connections(deployment)
    findings += _examine_broker(settings, ask_workers)
    return findings


def _examine_database(deployment: Deployment) -> Iterator[Finding]:
    try:
        with transaction(deployment.engine) as tx:
            version = tx.exec_driver_sql("SHOW server_version").scalar_one()
            risky = [
                f"{name} is {value}"
                for name, value in UNSAFE.items()
                if tx.exec_driver_sql(f"SHOW {name}").scalar_one() == value
            ]
    except PinfoldError as problem:
        fix = "start Postgres, or mend PINFOLD_DATABASE_URL; what is staged waits there"
        yield Finding("database", "wrong", str(problem), fix)
        return
    if risky:
        fix = "turn it on: after a crash accepted events or charges could be missing"
        yield Finding("durability", "warning", ", ".join(risky), fix)
    yield Finding("database", "ok", f"Postgres {version}")
    try:
        deployment.require_schema()
    except PinfoldError as problem:
        yield Finding("migrations", "wrong", str(problem), "pinfold migrate")
        return
    yield _examine_migrations(deployment)
    try:
        yield Finding("keys", "ok", f"key {deployment.keyring.key_ids[0]} seals")
    except PinfoldError as problem:
        yield Finding("keys", "wrong", str(problem), "set PINFOLD_KEYS or PINFOLD_KEYS_FILE")
    yield _examine_clock(deployment)
    yield _examine_beat(deployment)
    yield from _examine_books(deployment)


def _examine_migrations(deployment: Deployment) -> Finding:
    """What this version needs is there; what only older ones used may be there still."""
    with transaction(deployment.engine) as tx:
        found = left_out(tx)
    if not found.left_out:
        return Finding("migrations", "ok", "up to date")
    steps = ", ".join(step.revision for step in found.left_out)
    if found.older:
        names = ", ".join(process.name for process in found.older)
        waiting = f"{steps} was left out while an older version runs: {names}"
        return Finding("migrations", "warning", waiting, "upgrade these, then pinfold migrate")
    return Finding("migrations", "warning", f"{steps} was left out", "pinfold migrate")


def _examine_clock(deployment: Deployment) -> Finding:
    """All waiting is by the database's clock; this machine's counts in logs and certificates."""
    with transaction(deployment.engine) as tx:
        theirs: datetime = tx.execute(sa.select(NOW)).scalar_one()
    apart = abs(datetime.now(UTC) - theirs)
    if apart > CLOCKS_APART:
        found = f"this machine and the database differ by {short(apart)}"
        return Finding("clock", "warning", found, "let both be set by NTP")
    return Finding("clock", "ok", "this machine and the database agree")


def _examine_beat(deployment: Deployment) -> Finding:
    start = "celery -A workers beat, and a worker for the queue upkeep"
    with transaction(deployment.engine) as tx:
        now: datetime = tx.execute(sa.select(NOW)).scalar_one()
        last = tx.execute(sa.select(sweep.c.finished_at).where(sweep.c.name == SWEEP)).scalar()
    if last is None:
        return Finding("beat", "wrong", "the due check has never run", start)
    late = timedelta(seconds=deployment.settings.check_interval * CHECKS_LATE)
    if now - last > late:
        return Finding("beat", "wrong", f"the last due check was {short(now - last)} ago", start)
    return Finding("beat", "ok", f"the last due check was {short(now - last)} ago")


def _examine_books(deployment: Deployment) -> Iterator[Finding]:
    with transaction(deployment.engine) as tx:
        off = tx.execute(sa.select(sweep.c.found).where(sweep.c.name == BOOKS)).scalar()
    if off is None:
        return  # never looked at yet
    if off:
        found = f"those of {off:,} lists do not balance: something is lost, or counted twice"
        yield Finding("books", "wrong", found, "pinfold books --check names them; report it")
    else:
        yield Finding("books", "ok", "they balance")


def _examine_connections(deployment: Deployment) -> Iterator[Finding]:
    try:
        deployment.require_schema()
        rows = list_connections(deployment)
        if not rows:
            yield Finding("connections", "warning", "there is none yet", "pinfold connect NAME")
        for row in rows:
            yield _examine_connection(deployment, row)
    except PinfoldError:
        return  # said already


def _examine_connection(deployment: Deployment, row: sa.Row[Any]) -> Finding:
    """The login: what Pinterest says to it, and how long it lives."""
    what = f"login {row.name}"
    with transaction(deployment.engine) as tx:
        client = open_client(deployment, tx, row)
        tokens = read_login(tx, deployment.keyring, row.id)
        now: datetime = tx.execute(sa.select(NOW)).scalar_one()
    if row.held_reason:
        client.close()
        found = f"held: {row.held_reason} ({row.held_message})"
        return Finding(what, "wrong", found, fix_of(row.held_reason, connection=row.name))
    answer = client.get_account()
    client.close()
    if answer.status is None:
        fix = "check the network to Pinterest; everything waits, nothing is lost"
        return Finding(what, "warning", f"Pinterest cannot be reached: {answer.message}", fix)
    if not answer.ok:
        found = f"Pinterest answers {answer.status}: {answer.message}"
        return Finding(what, "wrong", found, fix_of(judge(answer).reason, connection=row.name))
    again = f"pinfold connection replace-login {row.name}"
    if tokens.problem:
        found = f"Pinterest does not renew it: {tokens.problem}; {in_words(tokens, now)}"
        fix = f"check PINFOLD_APP_ID and PINFOLD_APP_SECRET of the workers, else {again}"
        return Finding(what, "warning", found, fix)
    if tokens.refresh and not deployment.settings.app_id:
        found = f"without a Pinterest app it cannot be renewed from here; {in_words(tokens, now)}"
        fix = "give PINFOLD_APP_ID and PINFOLD_APP_SECRET to every worker"
        return Finding(what, "warning", found, fix)
    if warning_days(tokens, now) is not None:
        return Finding(what, "warning", in_words(tokens, now), again)
    return Finding(what, "ok", f"Pinterest accepts it; {in_words(tokens, now)}")


def _examine_broker(
    settings: Settings, ask_workers: Callable[[Settings, float], list[str]]
) -> Iterator[Finding]:
    try:
        names = ask_workers(settings, PING_TIMEOUT_S)
    except PinfoldError as problem:
        fix = "start it, or mend PINFOLD_BROKER_URL; nothing is lost without it"
        yield Finding("broker", "wrong", str(problem), fix)
        return
    yield Finding("broker", "ok", "reachable")
    if names:
        yield Finding("workers", "ok", f"{len(names)} answer: {', '.join(names)}")
    else:
        yield Finding("workers", "wrong", "none answers", "celery -A workers worker")
