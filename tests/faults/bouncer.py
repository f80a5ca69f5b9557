"""PgBouncer in transaction mode before a database, as a fleet of many connections has it."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from app.sandbox.children import Account, Child
from app.sandbox.stack import free_port

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
SESSIONS = 4
"""Of Postgres, for however many connections."""
README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
(AS_DOCUMENTED,) = re.findall(r"^(ignore_startup_parameters.*)\n(connect_query=.*)$", README, re.M)
SETTINGS = """
[databases]
* = {target} pool_mode=transaction {connect_query}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
default_pool_size = {sessions}
max_client_conn = 500
{ignored}
"""


@contextmanager
def bouncer(database_url: str) -> Iterator[str]:
    """Run it; yields the address of the database by way of it."""
    url = sa.make_url(database_url)
    with tempfile.TemporaryDirectory(prefix="pinfold-test-") as made:
        directory, port = Path(made), free_port(0)
        through = url.set(host="127.0.0.1", port=port, query={})
        child = _child(directory, _written(directory, url, port), through)
        child.start()
        try:
            yield through.render_as_string(hide_password=False)
        finally:
            child.stop()


def _written(directory: Path, url: sa.URL, port: int) -> Path:
    """The file of its settings."""
    user, password = url.username or "pinfold", url.password or ""
    users, settings = directory / "users.txt", directory / "pgbouncer.ini"
    users.write_text(f'"{user}" "{password}"\n')
    target = f"host={url.query.get('host', url.host)} port={url.port or 5432} user={user}"
    settings.write_text(
        SETTINGS.format(
            target=f"{target} password={password}" if password else target,
            ignored=AS_DOCUMENTED[0],
            connect_query=AS_DOCUMENTED[1],
            port=port,
            users=users,
            sessions=SESSIONS,
        )
    )
    return settings


def _child(directory: Path, settings: Path, through: sa.URL) -> Child:
    account = None
    if os.geteuid() == 0:  # it refuses to run as root: then as whom embedded Postgres runs
        nobody = pwd.getpwnam("nobody")
        account = Account(nobody.pw_uid, nobody.pw_gid)
        for place in (directory, *directory.iterdir()):
            os.chown(place, *account)
    return Child(
        "pgbouncer",
        [PROGRAM or "pgbouncer", settings],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        log=directory / "pgbouncer.log",
        account=account,
        ready=partial(_answers, through),
        death_signal=signal.SIGKILL,
    )


def _answers(through: sa.URL) -> bool:
    engine = sa.create_engine(through, poolclass=sa.NullPool)
    try:
        with engine.connect() as connection:
            return bool(connection.exec_driver_sql("SELECT 1").scalar())
    except OperationalError:
        return False
