"""Doctor: examine everything an installation needs, each with what to do when it is not well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa

from app.connections import list_connections, open_client
from app.database import transaction
from app.deployment import Deployment
from app.due import SWEEP
from app.errors import PinfoldError
from app.lease import NOW
from app.settings import Settings, load_settings
from app.status import short
from app.tables import sweep

PING_TIMEOUT_S = 2.0
CHECKS_LATE = 8
"""Due checks that may be missed before beat counts as gone."""
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
        yield Finding("migrations", "ok", "up to date")
    except PinfoldError as problem:
        yield Finding("migrations", "wrong", str(problem), "pinfold migrate")
        return
    try:
        yield Finding("keys", "ok", f"key {deployment.keyring.key_ids[0]} seals")
    except PinfoldError as problem:
        yield Finding("keys", "wrong", str(problem), "set PINFOLD_KEYS or PINFOLD_KEYS_FILE")
    yield _examine_beat(deployment)


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


def _examine_connections(deployment: Deployment) -> Iterator[Finding]:
    try:
        deployment.require_schema()
        rows = list_connections(deployment)
        if not rows:
            fix = "pinfold connection add NAME --ad-account ID --token-file FILE"
            yield Finding("connections", "warning", "there is none yet", fix)
        for row in rows:
            yield _examine_connection(deployment, row)
    except PinfoldError:
        return  # said already


def _examine_connection(deployment: Deployment, row: sa.Row[Any]) -> Finding:
    what = f"login {row.name}"
    with transaction(deployment.engine) as tx:
        client = open_client(deployment, tx, row)
    answer = client.get_account()
    client.close()
    if row.held_reason:
        fix = f"pinfold connection token {row.name} --token-file FILE, then pinfold retry"
        return Finding(what, "wrong", f"held: {row.held_reason} ({row.held_message})", fix)
    if answer.ok:
        return Finding(what, "ok", "Pinterest accepts the token")
    if answer.status is None:
        fix = "check the network to Pinterest; everything waits, nothing is lost"
        return Finding(what, "warning", f"Pinterest cannot be reached: {answer.message}", fix)
    fix = f"pinfold connection token {row.name} --token-file FILE"
    return Finding(what, "wrong", f"Pinterest answers {answer.status}: {answer.message}", fix)


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
