"""What `pinfold doctor` says of a login."""

from __future__ import annotations

from typing import Any

import pytest

from app.connections import add_connection
from app.doctor import Finding, examine
from app.pinterest.oauth import read_tokens
from app.sandbox.pinterest import DEFAULT_APP_ID, DEFAULT_APP_SECRET
from tests.workshop import ACCOUNT, TOKEN, Workshop, environment_of


def finding_of_login(workshop: Workshop, monkeypatch: pytest.MonkeyPatch, **more: str) -> Finding:
    for name, value in (environment_of(workshop.deployment.settings) | more).items():
        monkeypatch.setenv(name, value)
    found = examine(lambda _settings, _timeout: [])
    return next(each for each in found if each.what == "login main")


@pytest.fixture
def renewable(workshop: Workshop) -> Workshop:
    """With a login that an app's data would renew."""
    now = workshop.value("SELECT clock_timestamp()")
    body: dict[str, Any] = {"access_token": TOKEN, "refresh_token": TOKEN.replace("pina", "pinr")}
    tokens = read_tokens(body | {"expires_in": 2_592_000}, now)
    assert tokens is not None
    add_connection(workshop.deployment, "main", ACCOUNT, tokens)
    return workshop


def test_a_login_that_nobody_here_can_renew_is_warned_of_while_it_still_works(
    renewable: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = finding_of_login(renewable, monkeypatch)
    assert found.verdict == "warning"
    assert "PINFOLD_APP_ID" in found.fix


def test_a_login_that_can_be_renewed_is_well(
    renewable: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = {"PINFOLD_APP_ID": DEFAULT_APP_ID, "PINFOLD_APP_SECRET": DEFAULT_APP_SECRET}
    assert finding_of_login(renewable, monkeypatch, **app).verdict == "ok"
