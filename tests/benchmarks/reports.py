"""What is written down of a measurement: when, of which commit, on what machine, and every figure.

A report is JSON with these keys: ``taken`` (date in UTC, commit, seconds, machine), ``sizes``, and
``rows``, each with the figures of every round. Reports of sweeps have ``points`` instead.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import psycopg2

from tests.benchmarks.harness import Must, Row, Sizes
from tests.benchmarks.installation import Ground, disk_directory, filesystem

Report = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
DIRECTORY = Path(".pinfold/bench")
PUBLISHED = ROOT / "docs/performance"
"""The figures that docs/performance.md shows."""
QUICK = "quick-"
"""How files begin that hold small sizes only; no page takes them."""
SETTINGS = (
    *("fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "wal_level"),
    *("max_wal_size", "autovacuum_naptime", "autovacuum_vacuum_scale_factor"),
)
"""Of Postgres: those that figures depend on."""


def commit() -> str:
    """What is checked out now. To be read before measuring: others commit meanwhile."""
    changes = _git("status", "--porcelain", "--untracked-files=no")
    head = _git("rev-parse", "--short=12", "HEAD") or "unknown"
    return head + (" with changes" if changes else "")


def taken(ground: Ground, commit: str, seconds: float) -> Report:
    """Where a measurement that has just ended comes from: of which commit, and what it took."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "seconds": round(seconds, 1),
        "machine": machine(ground),
    }


def machine(ground: Ground) -> dict[str, str]:
    """Everything of this machine that figures depend on, as words."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / (1 << 30):.0f} GiB",
        "kernel": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "filesystem": filesystem(disk_directory()),
        "Python": platform.python_version(),
        **_postgres(ground),
    }


def report(taken: Report, sizes: Sizes, rows: Sequence[Row]) -> Report:
    return {"taken": taken, "sizes": asdict(sizes), "rows": [from_row(row) for row in rows]}


def from_row(row: Row) -> Report:
    return asdict(row) | {"median": median(row.figures), "met": row.is_met}


def to_row(written: Mapping[str, Any]) -> Row:
    """The row again that ``from_row`` wrote down, now or when rows had other fields.

    Its verdict is judged anew, never read.
    """
    known = {each.name for each in fields(Row)}
    kept = {key: value for key, value in written.items() if key in known}
    must = kept.pop("must", None)
    return Row(**kept, must=Must(**must) if must else None)


def rows_of(report: Report | None) -> list[Row]:
    return [to_row(written) for written in (report or {}).get("rows", ())]


def write(path: Path, report: Report) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> Report | None:
    """None where nothing was written down."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def read_all(directory: Path, names: Iterable[str]) -> dict[str, Any]:
    """What was written down, by the names of the files, of those that are there."""
    found = {name: read(directory / f"{name}.json") for name in names}
    return {name: report for name, report in found.items() if report is not None}


def _git(*arguments: str) -> str:
    """What git says of this checkout; nothing where there is no git, or no checkout."""
    try:
        ran = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return ran.stdout.strip()


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    if described.exists():
        for line in described.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _postgres(ground: Ground) -> dict[str, str]:
    """Its version, and its settings."""
    address = ground.server.url().replace("+psycopg2", "")
    with closing(psycopg2.connect(address)) as session, session.cursor() as cursor:
        said = {}
        for setting in ("server_version", *SETTINGS):
            cursor.execute(f"SHOW {setting}")
            said[setting] = cursor.fetchone()[0]
    return {"Postgres": said.pop("server_version").partition(" ")[0], **said}
