"""What logs in at Pinterest is found nowhere: the app's secret, codes, tokens old and new."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.keyring import new_key
from app.sandbox.pinterest import DEFAULT_APP_ID, App
from app.sandbox.stack import free_port
from tests.acceptance.consent import allowed, begin
from tests.acceptance.fleet import happens
from tests.acceptance.flower_pages import all_pages
from tests.acceptance.sealed_site import AUDIENCE, NAME, Site, sealed_site
from tests.canaries import ADDRESSES, WORD, spellings

SECRET = f"secret{WORD}4711"
VERSION = "SELECT coalesce(max(version), 0) FROM login"
HELD = "SELECT count(*) FROM connection WHERE held_reason IS NOT NULL"

pytestmark = pytest.mark.slow


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """An installation with a registered app, and nobody logged in."""
    port = free_port(0)
    settings = {
        "PINFOLD_APP_ID": DEFAULT_APP_ID,
        "PINFOLD_APP_SECRET": SECRET,
        "PINFOLD_CALLBACK_PORT": str(port),
    }
    with sealed_site(tmp_path, f"pina_{WORD}", **settings) as made:
        simulator = made.fleet.simulator
        made.fleet.environment["PINFOLD_CONSENT_URL"] = simulator.consent_url
        simulator.apps.register(App(DEFAULT_APP_ID, SECRET, {f"http://localhost:{port}/"}))
        yield made


class Person:
    """Logs in by pasting addresses; remembers what was in them."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.codes: list[str] = []

    def log_in(self, *command: str, well: bool = True) -> None:
        process, address = begin(self._site.fleet, *command, "--no-browser")
        pasted = allowed(address)
        self.codes += re.findall(r"code=(\w+)", pasted)
        if not well:
            pasted = re.sub("state=[^&]*", "state=guessed", pasted)
        said, _ = process.communicate(pasted + "\n", timeout=60)
        assert process.returncode == (0 if well else 1), said
        self._site.show(" ".join(command), said.encode())


def tokens(site: Site) -> set[str]:
    """All that Pinterest has given out and that still lives."""
    issued = site.fleet.simulator.tokens.issued()
    return {each["token"] for each in issued} | {
        token for each in issued for token in each["refresh_tokens"]
    }


def test_logins_renewals_and_their_failures_leave_no_token_anywhere(site: Site) -> None:
    fleet, person = site.fleet, Person(site)
    person.log_in("connect", "main", well=False)
    person.log_in("connect", "main")
    site.pinfold("audience", "activate", NAME, "--id", AUDIENCE, "--no-wait")
    port = free_port(0)
    fleet.flower(port, level="DEBUG")
    fleet.worker(level="DEBUG")
    fleet.beat(level="DEBUG")
    known = tokens(site)
    echo = f"bad {SECRET} with {' and '.join(known)} and {person.codes}"
    script = fleet.simulator.faults.script
    for fault in ("unavailable", "garbage", "teapot"):
        script(fault, operation="token", message=echo, body=echo)
    fleet.simulator.tokens.expire()
    fleet.stage([{"audience": AUDIENCE, "operation": "add", "email": ADDRESSES[0]}])
    happens(lambda: fleet.count(VERSION) > 1 or fleet.count(HELD) > 0, 90)
    site.pinfold("connection", "show", "main")
    known |= tokens(site)
    script("bad_request", operation="token", message=echo)
    fleet.simulator.tokens.expire()
    fleet.stage([{"audience": AUDIENCE, "operation": "add", "email": ADDRESSES[1]}])
    happens(lambda: fleet.count(HELD) > 0, 90)
    site.pinfold_all(("status", "doctor", "connection list"))
    fleet.simulator.faults.clear()
    person.log_in("connection", "replace-login", "main")
    assert fleet.drained()
    known |= tokens(site)
    assert len(known) > 3
    site.show("Flower", all_pages(f"http://127.0.0.1:{port}"))
    rotate_keys(site)
    site.assert_nowhere(spellings(WORD, *known, *person.codes))


def rotate_keys(site: Site) -> None:
    """By a command, after everybody who holds keys has ended."""
    site.look_at_processes()
    for child in site.fleet.children:
        child.stop()
    old = site.fleet.environment["PINFOLD_KEYS"]
    site.fleet.environment["PINFOLD_KEYS"] = f"{new_key()},{old}"
    site.pinfold("keys", "rotate")
    site.pinfold("keys", "list")
