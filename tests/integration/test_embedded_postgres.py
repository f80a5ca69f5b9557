from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg2
import pytest
import sqlalchemy as sa

from app.sandbox import postgres_binaries
from app.sandbox.children import Account, StackError
from app.sandbox.embedded_postgres import EmbeddedPostgres, PostgresServer
from app.sandbox.postgres_binaries import REACHABLE, find_binaries, unprivileged_account
from tests.integration.processes import alive, eventually, supervisor

SUPERVISOR = """
import sys, time
from pathlib import Path
from app.sandbox.embedded_postgres import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
while True:
    time.sleep(60)
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pinfold-test-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture
def server(directory: Path) -> Iterator[EmbeddedPostgres]:
    embedded = EmbeddedPostgres(directory / "state")
    yield embedded
    embedded.stop()


def query(server: PostgresServer, statement: str) -> list[str]:
    engine = sa.create_engine(server.url(), poolclass=sa.NullPool)
    with engine.begin() as connection:
        result = connection.exec_driver_sql(statement)
        return [str(row[0]) for row in result] if result.returns_rows else []


def remember(server: PostgresServer, word: str) -> None:
    query(server, f"CREATE TABLE IF NOT EXISTS word AS SELECT '{word}' AS word")


def test_a_cold_start_serves_a_durable_database_on_a_unix_socket_only(
    server: EmbeddedPostgres,
) -> None:
    server.start()
    assert server.url().startswith("postgresql+psycopg2://")
    assert query(server, "SHOW listen_addresses") == [""]
    assert query(server, "SHOW fsync") == ["on"]
    assert query(server, "SHOW max_connections") == ["60"]
    assert query(server, "SELECT datcollate FROM pg_database WHERE datname = 'pinfold'") == [
        "C.UTF-8"
    ]


def test_a_warm_start_keeps_the_rows(server: EmbeddedPostgres) -> None:
    server.start()
    remember(server, "kept")
    server.stop()
    assert server.pid is None
    server.start()
    assert query(server, "SELECT word FROM word") == ["kept"]


def test_starting_twice_is_starting_once(server: EmbeddedPostgres) -> None:
    assert server.start() is server.start()


def test_a_second_supervisor_is_refused_before_it_touches_anything(
    server: EmbeddedPostgres, directory: Path
) -> None:
    server.start()
    before = {path: path.lstat().st_mtime_ns for path in server.home.iterdir()}
    with pytest.raises(StackError, match=rf"{directory}/state is in use by process {os.getpid()}"):
        EmbeddedPostgres(directory / "state").start()
    assert {path: path.lstat().st_mtime_ns for path in server.home.iterdir()} == before
    assert query(server, "SELECT 1") == ["1"]


def test_kill_9_of_the_supervisor_leaves_no_process_and_loses_no_row(
    server: EmbeddedPostgres, directory: Path
) -> None:
    server.start()
    remember(server, "kept")
    server.stop()
    with supervisor(SUPERVISOR, directory / "state") as (process, family):
        assert len(family) > 3
        process.kill()
        assert eventually(lambda: not alive(family), seconds=5)
    server.start()
    assert query(server, "SELECT word FROM word") == ["kept"]


def test_a_start_right_after_kill_9_of_supervisor_and_postmaster_succeeds(
    server: EmbeddedPostgres, directory: Path
) -> None:
    with supervisor(SUPERVISOR, directory / "state") as (process, family):
        process.kill()
        family[0].kill()
        process.wait()
        server.start()
    assert query(server, "SELECT 1") == ["1"]


def test_after_kill_9_of_the_postmaster_a_start_finds_the_committed_rows(
    server: EmbeddedPostgres,
) -> None:
    server.start()
    remember(server, "kept")
    os.kill(server.pid or 0, 9)
    assert eventually(server.died)
    server.start()
    assert query(server, "SELECT word FROM word") == ["kept"]


@pytest.mark.parametrize(
    "name", ["with spaces, and a comma", "deep/" * 30, "per%cent & 'quotes\"", "zażółć"]
)
def test_the_state_path_may_be_long_or_odd(directory: Path, name: str) -> None:
    server = EmbeddedPostgres(directory / name)
    try:
        server.start()
        assert query(server, "SELECT 1") == ["1"]
    finally:
        server.stop()


@pytest.mark.parametrize("exists", [True, False])
def test_a_strict_umask_locks_nobody_out(directory: Path, exists: bool) -> None:
    if exists:
        (directory / "state").mkdir()
    server = EmbeddedPostgres(directory / "state")
    before = os.umask(0o077)
    try:
        server.start()
        assert query(server, "SELECT 1") == ["1"]
    finally:
        os.umask(before)
        server.stop()
        shutil.rmtree(server.home)


def test_no_short_socket_directory_is_left_behind(directory: Path) -> None:
    before = set(Path("/tmp").glob("pinfold-*"))
    server = EmbeddedPostgres(directory / ("deep/" * 30))
    server.start()
    server.stop()
    assert set(Path("/tmp").glob("pinfold-*")) <= before


def test_a_state_below_a_closed_directory_works_and_opens_nothing(directory: Path) -> None:
    closed = directory / "closed"
    closed.mkdir(mode=0o700)
    server = EmbeddedPostgres(closed / "state")
    try:
        server.start()
        remember(server, "kept")
        server.stop()
        server.start()
        assert query(server, "SELECT word FROM word") == ["kept"]
        assert closed.stat().st_mode & 0o777 == 0o700
        assert (server.home.parent == REACHABLE) == (os.geteuid() == 0)
    finally:
        server.stop()
        shutil.rmtree(server.home)


def test_a_new_state_directory_never_finds_the_data_of_an_old_one(directory: Path) -> None:
    closed = directory / "closed"
    closed.mkdir(mode=0o700)
    homes = []
    try:
        for _ in range(2):
            server = EmbeddedPostgres(closed / "state")
            server.start()
            homes.append(server.home)
            assert query(server, "SELECT count(*) FROM pg_class WHERE relname = 'word'") == ["0"]
            remember(server, "old")
            server.stop()
            shutil.rmtree(closed / "state")
    finally:
        for home in homes:
            shutil.rmtree(home, ignore_errors=True)


def test_binaries_below_a_closed_directory_are_used(directory: Path) -> None:
    package = find_binaries().parent.parent
    site = directory / "closed"
    site.mkdir(mode=0o700)
    shutil.copytree(package, site / package.name, ignore=shutil.ignore_patterns("include"))
    if (libraries := package.with_name(f"{package.name}.libs")).exists():
        shutil.copytree(libraries, site / libraries.name)
    before = set(REACHABLE.glob("postgres-*"))
    server = EmbeddedPostgres(directory / "state", binaries=site / package.name / "pginstall/bin")
    try:
        server.start()
        assert query(server, "SELECT 1") == ["1"]
        assert site.stat().st_mode & 0o777 == 0o700
    finally:
        server.stop()
        for copy in set(REACHABLE.glob("postgres-*")) - before:
            shutil.rmtree(copy)


def test_values_never_reach_the_log(server: EmbeddedPostgres, directory: Path) -> None:
    server.start()
    query(server, "CREATE TABLE person (email text PRIMARY KEY, age int)")
    secret = "ada@example.com"
    insert = "INSERT INTO person VALUES (%s, %s)"
    with (
        psycopg2.connect(server.url().replace("+psycopg2", "")) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(insert, (secret, 1))
        connection.commit()
        for values in ((secret, 1), ("other", secret), (secret, "x" * 10)):
            with pytest.raises(psycopg2.Error):
                cursor.execute(insert, values)
            connection.rollback()
        with pytest.raises(psycopg2.Error):
            cursor.execute("DO $$ BEGIN RAISE WARNING 'w'; RAISE EXCEPTION %s; END $$", (secret,))
        connection.rollback()
    connection.close()
    server.stop()
    log = directory / "state" / "postgres.log"
    assert "ready to accept connections" in log.read_text()
    assert secret not in log.read_text()
    assert "INSERT" not in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_half_made_cluster_is_thrown_away(server: EmbeddedPostgres) -> None:
    half = server.home / "data.new-half"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    server.start()
    assert query(server, "SELECT 1") == ["1"]
    assert not half.exists()


def test_the_files_of_another_major_version_are_refused(server: EmbeddedPostgres) -> None:
    server.start()
    server.stop()
    (server.home / "data" / "PG_VERSION").write_text("17\n")
    with pytest.raises(StackError, match=r"made by PostgreSQL 17, this is 18"):
        server.start()


def test_binaries_for_another_machine_are_named_as_such(directory: Path) -> None:
    (directory / "initdb").write_bytes(b"\x7fELF not for here")
    (directory / "initdb").chmod(0o755)
    (directory / "postgres").touch()
    with pytest.raises(StackError, match=r"another processor .* PINFOLD_DATABASE_URL"):
        EmbeddedPostgres(directory / "state", binaries=directory).start()
    assert list((directory / "state" / "postgres").glob("data*")) == []


def test_a_missing_wheel_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(StackError, match=r"pip install 'pinfold\[embedded\]'"):
        find_binaries()


def test_a_user_without_passwd_entry_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: object) -> None:
        raise KeyError

    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(StackError, match=r"user id 1234 has no entry .* PINFOLD_DATABASE_URL"):
        unprivileged_account()


def test_a_directory_made_by_a_stranger_is_reported_in_one_line(directory: Path) -> None:
    (directory / "state").mkdir()
    (directory / "state" / "postgres").write_text("a file")
    with pytest.raises(StackError, match=r"state"):
        EmbeddedPostgres(directory / "state").start()


def test_a_fresh_database_is_migrated_and_changes_nothing_in_the_next(
    postgres: PostgresServer, migrated_template: str, fresh_database: str
) -> None:
    engine = sa.create_engine(fresh_database, poolclass=sa.NullPool)
    assert "alembic_version" in sa.inspect(engine).get_table_names()
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE mine ()")
    template = sa.create_engine(postgres.url(migrated_template), poolclass=sa.NullPool)
    assert "mine" not in sa.inspect(template).get_table_names()


def test_dropping_a_database_ends_its_sessions(postgres: PostgresServer) -> None:
    postgres.create_database("busy")
    connection = psycopg2.connect(postgres.url("busy").replace("+psycopg2", ""))
    postgres.drop_database("busy")
    postgres.drop_database("busy")
    with pytest.raises(psycopg2.OperationalError), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    with suppress(psycopg2.Error):
        connection.close()


def test_copied_binaries_are_readable_by_everyone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binaries = tmp_path / "wheel" / "pginstall" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "postgres").write_text("program")
    (binaries / "postgres").chmod(0o700)
    (tmp_path / "wheel").chmod(0o700)
    monkeypatch.setattr(postgres_binaries, "REACHABLE", tmp_path / "reachable")
    copied = postgres_binaries.reachable_binaries(binaries, Account(65534, 65534))
    assert copied != binaries
    assert (copied / "postgres").stat().st_mode & 0o777 == 0o755
    assert copied == postgres_binaries.reachable_binaries(binaries, Account(65534, 65534))
