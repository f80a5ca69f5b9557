"""The demo's comparison: Pinfold's books with the simulator's, the members with a reckoning.

It can fail, and is the point of the demo: what was said upstream has arrived, no more and no less.
"""

from __future__ import annotations

from dataclasses import dataclass

import requests
import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from app.books import ListBook, read_books
from app.database import transaction
from app.deployment import Deployment
from app.sandbox.sample_traffic import AUDIENCES, Reckoning
from app.tables import attempt, upload


@dataclass(frozen=True)
class Line:
    """One comparison: what Pinfold's books say, and what the other side says."""

    what: str
    ours: object
    theirs: object

    @property
    def agrees(self) -> bool:
        return self.ours == self.theirs


def compare(
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


def print_comparison(lines: list[Line], console: Console) -> bool:
    """Show the lines; returns whether all of them agree."""
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
