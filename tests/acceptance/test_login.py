"""Logging in as people do: a command, a browser, a click; or an address pasted by hand."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from app.sandbox.pinterest import DEFAULT_APP_ID, DEFAULT_APP_SECRET
from app.sandbox.stack import free_port
from tests.acceptance.chromium import browser
from tests.acceptance.conftest import FleetMaker
from tests.acceptance.consent import allowed, begin
from tests.acceptance.fleet import AD_ACCOUNT, Fleet

SECRETS = re.compile(r"pin[ar]_|code=[0-9a-f]{8}")


@pytest.fixture
def port() -> int:
    return free_port(0)


@pytest.fixture
def fleet(make: FleetMaker, port: int) -> Fleet:
    """An installation with a registered app, and nobody logged in."""
    made = make(
        PINFOLD_APP_ID=DEFAULT_APP_ID,
        PINFOLD_APP_SECRET=DEFAULT_APP_SECRET,
        PINFOLD_CALLBACK_PORT=str(port),
        BROWSER="true",  # opens nothing: the test has a browser of its own
    )
    made.environment["PINFOLD_CONSENT_URL"] = made.simulator.consent_url
    made.simulator.register_redirect(f"http://localhost:{port}/")
    return made


def ended_well(process: subprocess.Popen[str], given: str | None = None) -> str:
    said, _ = process.communicate(given, timeout=60)
    assert process.returncode == 0, said
    assert SECRETS.search(said) is None
    return said


@pytest.mark.browser
def test_a_click_in_the_browser_logs_in(fleet: Fleet, tmp_path: Path) -> None:
    process, address = begin(fleet, "connect", "main")
    with browser(tmp_path / "profile") as page:
        page.open(address)
        page.click("button#allow")
        page.until("document.body !== null && document.body.innerText.includes('can be closed')")
        assert page.address().endswith("/done")
    assert f"ad account {AD_ACCOUNT}" in ended_well(process)
    assert "renewed by itself" in fleet.pinfold("connection", "list").stdout
    fleet.activate("31001", "VIP")
    fleet.worker()
    fleet.beat()
    fleet.stage_traffic("31001", 500)
    assert fleet.drained()
    assert fleet.strangers() == {}


@pytest.mark.browser
def test_a_denied_login_is_told_and_stores_nothing(fleet: Fleet, tmp_path: Path) -> None:
    process, address = begin(fleet, "connect", "main")
    with browser(tmp_path / "profile") as page:
        page.open(address)
        page.click("button#deny")
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "denied at Pinterest" in said
    assert fleet.count("SELECT count(*) FROM connection") == 0


def test_the_address_can_be_pasted_from_a_browser_elsewhere(fleet: Fleet) -> None:
    process, address = begin(fleet, "connect", "main", "--no-browser")
    assert "stands: ad account" in ended_well(process, allowed(address) + "\n")


def test_an_answer_to_another_login_is_refused(fleet: Fleet) -> None:
    process, address = begin(fleet, "connect", "main", "--no-browser")
    pasted = re.sub("state=[^&]*", "state=guessed", allowed(address))
    said, _ = process.communicate(pasted + "\n", timeout=60)
    assert process.returncode == 1
    assert "belongs to another login" in said
    assert SECRETS.search(said) is None


def test_a_replaced_login_is_told_and_another_account_refused(fleet: Fleet) -> None:
    process, address = begin(fleet, "connect", "main", "--no-browser")
    ended_well(process, allowed(address) + "\n")
    process, address = begin(fleet, "connection", "replace-login", "main", "--no-browser")
    assert "has its new login" in ended_well(process, allowed(address) + "\n")
    fleet.simulator.accounts.set_roles("549770000002", "ADMIN", person="ann")
    fleet.simulator.behaviour.signed_in = "ann"
    process, address = begin(fleet, "connection", "replace-login", "main", "--no-browser")
    said, _ = process.communicate(allowed(address) + "\n", timeout=60)
    assert process.returncode == 1
    assert f"does not reach ad account {AD_ACCOUNT}" in said


def test_several_accounts_without_a_terminal_are_named(fleet: Fleet) -> None:
    fleet.simulator.accounts.set_roles("549770000002", "ADMIN")
    process, address = begin(fleet, "connect", "main", "--no-browser")
    said, _ = process.communicate(allowed(address) + "\n", timeout=60)
    assert process.returncode == 1
    assert "--ad-account (549770000001" in said
    chosen = ("connect", "main", "--no-browser", "--ad-account", "549770000002")
    process, address = begin(fleet, *chosen)
    assert "ad account 549770000002" in ended_well(process, allowed(address) + "\n")


def test_without_an_app_the_command_names_the_settings(fleet: Fleet) -> None:
    done = fleet.pinfold("connect", "main", PINFOLD_APP_ID=None, PINFOLD_APP_SECRET=None)
    assert done.returncode == 1
    assert "PINFOLD_APP_ID and PINFOLD_APP_SECRET" in done.stderr
