"""The team stack as far as it can be proved without an engine: the compose file and what it names.

`build_image.sh` beside this builds the image itself and runs its commands.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from ruamel.yaml import YAML

from app.keyring import KeyRing, new_key
from app.sandbox.stack import free_port
from app.settings import Settings, load_settings

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
STACK: dict[str, Any] = YAML(typ="safe").load(ROOT / "docker-compose.yml")
SERVICES: dict[str, Any] = STACK["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "pinfold"}
START_S = 30


def test_the_stack_is_a_valid_compose_file() -> None:
    command = [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec"]
    checked = subprocess.run(
        [*command, ROOT / "docker-compose.yml"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("name", OURS)
def test_every_service_runs_a_command_that_exists(name: str, tmp_path: Path) -> None:
    program, *arguments = OURS[name]["command"]
    ran = subprocess.run(
        [BIN / program, *arguments, "--help"],
        env=environment_inside(name, tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Usage" in ran.stdout


@pytest.mark.parametrize("name", OURS)
def test_every_variable_a_service_gets_is_a_setting(name: str) -> None:
    for variable in OURS[name].get("environment", {}):
        setting = variable.removeprefix("PINFOLD_").removesuffix("_FILE").lower()
        assert variable.startswith("PINFOLD_")
        assert setting in Settings.model_fields


def test_only_who_stages_or_sends_can_open_what_is_sealed() -> None:
    with_keys = {
        name
        for name, service in SERVICES.items()
        if "keys" in secrets_of(service) or "PINFOLD_KEYS" in str(service.get("environment"))
    }
    assert with_keys == {"api", "intake", "worker"}


def test_beat_and_flower_cannot_reach_the_database() -> None:
    for name in ("beat", "flower"):
        assert "database" not in str([SERVICES[name]["environment"], secrets_of(SERVICES[name])])


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_has_a_default_password(name: str) -> None:
    secrets = secrets_of(SERVICES[name])
    for variable, value in SERVICES[name].get("environment", {}).items():
        if re.search("PASS|SECRET|TOKEN|KEY|URL|LOGIN", variable):
            assert variable.endswith("_FILE")
            assert value.removeprefix("/run/secrets/") in secrets
    assert "://" not in str(SERVICES[name].get("command"))


def test_every_secret_is_a_file_that_somebody_must_make_first() -> None:
    for secret in STACK["secrets"].values():
        assert Path(secret["file"]).parent.name == "secrets"
    assert "/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    assert "secrets" not in (ROOT / ".dockerignore").read_text()


def test_the_documented_commands_make_every_secret(tmp_path: Path) -> None:
    block = re.search(
        r"runs this block -->\n```sh\n(.*?)```", (ROOT / "docs/team.md").read_text(), re.DOTALL
    )
    assert block
    image_without_engine = tmp_path / "bin" / "docker"
    image_without_engine.parent.mkdir()
    image_without_engine.write_text('#!/bin/sh\n[ "$1" = compose ] || { shift 3; exec "$@"; }\n')
    image_without_engine.chmod(0o755)
    path = f"{image_without_engine.parent}:{BIN}:{os.environ['PATH']}"
    subprocess.run(["sh", "-euc", block[1]], cwd=tmp_path, env={"PATH": path}, check=True)

    made = {name: tmp_path / secret["file"] for name, secret in STACK["secrets"].items()}
    settings = load_settings(
        {
            f"PINFOLD_{name.upper()}_FILE": str(made[name])
            for name in ("database_url", "broker_url", "keys")
        }
    )
    database, broker = (
        urlsplit(settings.require_database_url()),
        urlsplit(settings.require_broker_url()),
    )
    KeyRing.parse(settings.require_keys())
    assert database.password == made["postgres_password"].read_text().strip()
    assert (database.hostname, broker.hostname) == ("postgres", "rabbitmq")
    assert f"default_pass = {broker.password}\n" in made["rabbitmq_login"].read_text()
    assert re.fullmatch(r"team:\w{48}\n", made["flower_login"].read_text())
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["worker", "intake"])
def test_stopping_waits_for_the_request_under_way(name: str) -> None:
    grace = float(SERVICES[name]["stop_grace_period"].removesuffix("s"))
    assert grace > Settings.model_fields["call_deadline"].default + 10


def test_workers_can_be_multiplied() -> None:
    assert not {"container_name", "hostname", "ports", "volumes"} & set(SERVICES["worker"])


def test_the_schema_is_up_to_date_before_anything_uses_it() -> None:
    for name in ("intake", "worker"):
        waits_for = SERVICES[name]["depends_on"]["migrate"]["condition"]
        assert waits_for == "service_completed_successfully"


def test_the_image_is_built_with_what_developers_build_with() -> None:
    pins = re.compile(r"^(\S+==\S+)", re.MULTILINE)
    developers = set(pins.findall((ROOT / "requirements-dev.txt").read_text()))
    building = set(pins.findall((ROOT / "requirements-build.txt").read_text()))
    assert building
    assert building <= developers


def test_nothing_listens_beyond_this_machine_unless_asked() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {
        "api": ["${API_LISTEN:-127.0.0.1:8080}:8080"],
        "flower": ["${FLOWER_LISTEN:-127.0.0.1:5555}:5555"],
    }


def test_postgres_gets_settings_it_knows(fresh_database: str) -> None:
    given = [word.removeprefix("-c").split("=") for word in SERVICES["postgres"]["command"][1:]]
    engine = sa.create_engine(fresh_database)
    with engine.connect() as connection:
        known = set(connection.scalars(sa.text("SELECT name FROM pg_settings")))
        for name, value in given:
            assert name in known
            if name == "synchronous_commit":
                assert value == "on"
    engine.dispose()


def test_flower_refuses_to_start_without_a_login(tmp_path: Path) -> None:
    empty = tmp_path / "login"
    for content in ("", "\n", "team", "team:", ":password"):
        empty.write_text(content)
        ran = subprocess.run(
            [BIN / "celery", "-A", "workers", "flower"],
            env=flower_environment(empty, "redis://127.0.0.1:1/0", port=0),
            cwd=ROOT / "workers",
            capture_output=True,
            text=True,
            timeout=START_S,
            check=False,
        )
        assert ran.returncode != 0
        assert "Flower needs a login" in ran.stderr


def test_flower_shows_nothing_without_the_login_and_changes_nothing_with_it(
    valkey: Any, tmp_path: Path
) -> None:
    login = tmp_path / "login"
    login.write_text("team:correct horse\n".replace(" ", "-"))
    with flower(flower_environment(login, valkey.url(), port=free_port(0))) as address:
        assert status(f"{address}/healthcheck") == 200
        for page in ("/", "/tasks", "/api/tasks", "/broker"):
            assert status(address + page) == 401
            assert status(address + page, "team:wrong") == 401
        assert status(f"{address}/", "team:correct-horse") == 200
        shutdown = f"{address}/api/worker/shutdown/celery@anybody"
        assert status(shutdown, "team:correct-horse", method="POST") == 403


def secrets_of(service: dict[str, Any]) -> set[str]:
    return {
        secret if isinstance(secret, str) else secret["source"]
        for secret in service.get("secrets", ())
    }


def environment_inside(name: str, directory: Path) -> dict[str, str]:
    """The service's variables, with secret files made up for them."""
    contents = {
        "PINFOLD_DATABASE_URL_FILE": "postgresql+psycopg2://pinfold@postgres/pinfold",
        "PINFOLD_BROKER_URL_FILE": "amqp://pinfold@rabbitmq:5672//",
        "PINFOLD_KEYS_FILE": new_key(),
        "PINFOLD_APP_ID_FILE": "",
        "PINFOLD_APP_SECRET_FILE": "",
    }
    for variable in OURS[name]["environment"]:
        (directory / variable).write_text(contents[variable])
    files = {variable: str(directory / variable) for variable in OURS[name]["environment"]}
    return {"PATH": os.environ["PATH"], **files}


def flower_environment(login: Path, broker_url: str, port: int) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PINFOLD_BROKER_URL": broker_url,
        "FLOWER_LOGIN_FILE": str(login),
        "FLOWER_ADDRESS": "127.0.0.1",
        "FLOWER_PORT": str(port),
    }


@contextmanager
def flower(environment: dict[str, str]) -> Iterator[str]:
    """Flower as the image starts it: in the folder of its configuration."""
    address = f"http://127.0.0.1:{environment['FLOWER_PORT']}"
    process = subprocess.Popen(
        [BIN / "celery", "-A", "workers", "flower"],
        env=environment,
        cwd=ROOT / "workers",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + START_S
        while status(f"{address}/healthcheck") is None:
            assert process.poll() is None, "Flower ended"
            assert time.monotonic() < deadline, "Flower does not answer"
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(START_S)


def status(address: str, login: str = "", method: str = "GET") -> int | None:
    """The HTTP status of an answer, None when nobody listens."""
    request = urllib.request.Request(address, method=method)
    if login:
        request.add_header("Authorization", f"Basic {b64encode(login.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code
    except OSError:
        return None
