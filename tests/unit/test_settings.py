"""The environment: read once, refused whole with every problem named."""

import json
import os
from pathlib import Path

import pytest

from app.errors import ConfigError
from app.settings import CAP, CHAIN, Settings, load_settings

SECRET = "s3cr3t-canary"


@pytest.fixture(autouse=True)
def _no_stack_runs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    s = load_settings({})
    assert (s.flush_messages, s.flush_age, s.record_cap) == (100_000, 3 * 3_600, 300_000_000)
    assert (s.records_per_request, s.writes_per_minute) == (1_900, 400)
    assert s.pinterest_url == "https://api.pinterest.com/v5"
    assert s == Settings()


def test_each_value_is_read_from_its_variable() -> None:
    s = load_settings({"PINFOLD_FLUSH_MESSAGES": "5", "PINFOLD_CHECK_INTERVAL": "0.5", "HOME": "x"})
    assert (s.flush_messages, s.check_interval) == (5, 0.5)


@pytest.mark.parametrize(
    ("shorter", "longer"), list(zip(CHAIN, [*CHAIN[1:], "flush_age"], strict=True))
)
def test_a_broken_chain_of_times_is_refused_naming_both_ends(shorter: str, longer: str) -> None:
    environ = {f"PINFOLD_{shorter.upper()}": str(getattr(Settings(), longer))}
    with pytest.raises(ConfigError) as caught:
        load_settings(environ)
    assert shorter in str(caught.value)
    assert longer in str(caught.value)


def test_an_unknown_variable_of_ours_is_refused_by_its_name_without_its_value() -> None:
    with pytest.raises(ConfigError, match="PINFOLD_FLUSH_MESAGES") as caught:
        load_settings({"PINFOLD_FLUSH_MESAGES": SECRET})
    assert SECRET not in str(caught.value)


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings({"PINFOLD_FLUSH_MESSAGES": "none", "PINFOLD_RECORDS_PER_REQUEST": "0"})
    assert "PINFOLD_FLUSH_MESSAGES" in str(caught.value)
    assert "PINFOLD_RECORDS_PER_REQUEST" in str(caught.value)


@pytest.mark.parametrize("cap", [CAP + 1, -1])
def test_the_cap_can_only_be_lowered(cap: int) -> None:
    with pytest.raises(ConfigError, match="PINFOLD_RECORD_CAP"):
        load_settings({"PINFOLD_RECORD_CAP": str(cap)})


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "keys"
    secret.write_text(f"{SECRET}\n")
    s = load_settings({"PINFOLD_KEYS_FILE": str(secret)})
    assert s.require_keys() == SECRET


def test_a_secret_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(ConfigError, match="PINFOLD_KEYS_FILE") as caught:
        load_settings({"PINFOLD_KEYS_FILE": str(missing)})
    assert str(missing) in str(caught.value)


def test_a_secret_file_that_is_no_text_is_refused_without_its_bytes(tmp_path: Path) -> None:
    secret = tmp_path / "keys"
    secret.write_bytes(b"\xff\xfe" + SECRET.encode())
    with pytest.raises(ConfigError) as caught:
        load_settings({"PINFOLD_KEYS_FILE": str(secret)})
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("order", [1, -1])
def test_a_secret_that_is_named_twice_is_refused(tmp_path: Path, order: int) -> None:
    secret = tmp_path / "keys"
    secret.write_text(SECRET)
    named = [("PINFOLD_KEYS", SECRET), ("PINFOLD_KEYS_FILE", str(secret))]
    with pytest.raises(ConfigError, match="PINFOLD_KEYS and its _FILE are both set"):
        load_settings(dict(named[::order]))


def test_a_file_for_an_unknown_setting_is_refused_too(tmp_path: Path) -> None:
    secret = tmp_path / "x"
    secret.write_text(SECRET)
    with pytest.raises(ConfigError) as caught:
        load_settings({"PINFOLD_KEYZ_FILE": str(secret)})
    assert "PINFOLD_KEYZ" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_secrets_stand_in_no_error_and_no_representation() -> None:
    environ = {
        "PINFOLD_KEYS": SECRET,
        "PINFOLD_DATABASE_URL": f"mysql://u:{SECRET}@db/x",
        "PINFOLD_FLUSH_MESSAGES": f"x{SECRET}",
    }
    with pytest.raises(ConfigError) as caught:
        load_settings(environ)
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    del environ["PINFOLD_FLUSH_MESSAGES"]
    s = load_settings(environ)
    assert SECRET not in str(s.keys)
    with pytest.raises(ConfigError) as caught:
        s.require_database_url()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("given_url", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_a_database_address_gets_the_driver_that_is_installed(given_url: str) -> None:
    s = load_settings({"PINFOLD_DATABASE_URL": f"{given_url}://u@h/d"})
    assert s.require_database_url() == "postgresql+psycopg2://u@h/d"


def test_a_database_address_that_is_none_is_refused_without_its_text() -> None:
    s = load_settings({"PINFOLD_DATABASE_URL": f"postgresql://u:{SECRET}@h:54x2/d"})
    with pytest.raises(ConfigError, match="PINFOLD_DATABASE_URL is no address") as caught:
        s.require_database_url()
    assert SECRET not in str(caught.value)
    assert "54x2" not in str(caught.value)


@pytest.mark.parametrize(
    ("require", "variable"),
    [
        ("require_database_url", "PINFOLD_DATABASE_URL"),
        ("require_broker_url", "PINFOLD_BROKER_URL"),
        ("require_keys", "PINFOLD_KEYS"),
    ],
)
def test_what_is_missing_is_named_with_the_fix(require: str, variable: str) -> None:
    with pytest.raises(ConfigError, match=variable):
        getattr(load_settings({}), require)()


@pytest.mark.parametrize(
    ("url", "flag", "allowed"),
    [
        ("http://127.0.0.1:80/v5", "1", True),
        ("http://localhost:80/v5", "1", True),
        ("http://[::1]:80/v5", "1", True),
        ("http://127.0.0.1:80/v5", "0", False),
        ("http://api.pinterest.com/v5", "1", False),
        ("http://127.0.0.1.example.org/v5", "1", False),
        ("http://localhost@example.org/v5", "1", False),
        ("ftp://127.0.0.1/v5", "0", False),
        ("https://api.example.org/v5", "0", True),
    ],
)
def test_plain_http_needs_both_the_flag_and_a_loopback_address(
    url: str, flag: str, allowed: bool
) -> None:
    environ = {"PINFOLD_PINTEREST_URL": url, "PINFOLD_ALLOW_PLAIN_HTTP": flag}
    if allowed:
        assert load_settings(environ).pinterest_url == url
    else:
        with pytest.raises(ConfigError, match="https"):
            load_settings(environ)


def test_variables_of_the_tests_are_no_settings() -> None:
    assert load_settings({"PINFOLD_TEST_DATABASE_URL": "x"}) == Settings()


def run_file(directory: Path, pid: int) -> None:
    (directory / ".pinfold" / "stack").mkdir(parents=True)
    environment = {"PINFOLD_DATABASE_URL": "postgresql://stack/x", "PINFOLD_LOG_LEVEL": "DEBUG"}
    content = {"pid": pid, "environment": environment}
    (directory / ".pinfold" / "stack" / "run.json").write_text(json.dumps(content))


def test_a_stack_that_runs_here_is_found_unless_a_database_is_named(tmp_path: Path) -> None:
    run_file(tmp_path, os.getpid())
    assert load_settings({}).database_url == "postgresql://stack/x"
    named = load_settings({"PINFOLD_DATABASE_URL": "postgresql://other/y"})
    assert (named.database_url, named.log_level) == ("postgresql://other/y", "INFO")


def test_a_stack_that_was_killed_is_not_taken_for_one_that_runs(tmp_path: Path) -> None:
    run_file(tmp_path, 2**22 + 1)  # above the largest process id
    assert load_settings({}).database_url is None
