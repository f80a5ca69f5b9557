"""Quotas and tokens of the simulated Pinterest (API facts sections 5, 6 and 11)."""

from collections.abc import Iterator

import pytest
import requests

from tests.pinterest_caller import Caller, calling, refusal


@pytest.fixture
def pinterest() -> Iterator[Caller]:
    with calling() as caller:
        yield caller


# Quotas.


def test_writes_and_reads_have_separate_quotas_that_open_again_after_a_minute(
    pinterest: Caller,
) -> None:
    pinterest.behaviour.writes_per_minute = 2
    list_id = pinterest.create()
    second = pinterest.patch(list_id, "ADD", "c")
    assert second.headers["x-ratelimit-limit"] == "2"
    assert second.headers["x-ratelimit-remaining"] == "0"
    pinterest.clock.now += 20
    third = pinterest.patch(list_id, "ADD", "d")
    assert refusal(third) == (429, 8)
    assert third.headers["x-ratelimit-reset"] == "40"
    assert pinterest.lists("GET", f"/{list_id}").headers["x-ratelimit-remaining"] == "999"
    pinterest.clock.now += 40
    assert pinterest.patch(list_id, "ADD", "e").ok
    assert pinterest.books.membership(list_id) == {"a", "b", "c", "e"}
    assert pinterest.books.max_writes_in_a_minute("pina_test") == 3


def test_each_token_has_its_own_quota(pinterest: Caller) -> None:
    pinterest.behaviour.writes_per_minute = 1
    pinterest.simulator.set_token_state("pina_other", "valid")
    list_id = pinterest.create()
    assert pinterest.patch(list_id, "ADD", "c").status_code == 429
    other = {"Authorization": "Bearer pina_other"}
    assert pinterest.patch(list_id, "ADD", "c", headers=other).ok


def test_quota_headers_and_quotas_can_be_left_out(pinterest: Caller) -> None:
    pinterest.behaviour.rate_headers = False
    assert "x-ratelimit-limit" not in pinterest.lists("GET").headers
    pinterest.behaviour.reads_per_minute = None
    assert "x-ratelimit-limit" not in pinterest.lists("GET").headers
    pinterest.behaviour.calls_per_second = 2
    assert [pinterest.lists("GET").status_code for _ in range(3)] == [200, 200, 429]


# Tokens.


def test_a_code_is_good_once_and_gives_tokens_that_work(pinterest: Caller) -> None:
    pinterest.simulator.tokens.add_code("code-1", "https://app.example/callback")
    form = {
        "grant_type": "authorization_code",
        "code": "code-1",
        "redirect_uri": "https://app.example/callback",
    }
    reply = pinterest.token(form).json()
    pinterest.simulator.tokens.add_code("code-2", "https://app.example/callback")
    elsewhere = form | {"code": "code-2", "redirect_uri": "https://app.example/other"}
    assert refusal(pinterest.token(elsewhere)) == (401, 2)
    assert (reply["expires_in"], reply["refresh_token_expires_in"]) == (2_592_000, 5_184_000)
    bearer = {"Authorization": f"Bearer {reply['access_token']}"}
    assert pinterest.lists("GET", headers=bearer).ok
    assert refusal(pinterest.token(form)) == (401, 2)
    pinterest.clock.now += 2_592_000
    assert refusal(pinterest.lists("GET", headers=bearer)) == (401, 2)


def test_a_refresh_rotates_and_the_old_refresh_token_dies(pinterest: Caller) -> None:
    def refresh(token: str) -> requests.Response:
        return pinterest.token({"grant_type": "refresh_token", "refresh_token": token})

    first = refresh("pinr_test").json()
    assert refusal(refresh("pinr_test")) == (401, 2)
    pinterest.behaviour.old_refresh_dies = False
    second = refresh(first["refresh_token"]).json()
    assert second["refresh_token"] != first["refresh_token"]
    pinterest.behaviour.rotate_refresh = False
    assert refresh(first["refresh_token"]).json()["refresh_token"] == first["refresh_token"]
    pinterest.behaviour.return_refresh = False
    assert "refresh_token" not in refresh(first["refresh_token"]).json()
    pinterest.simulator.set_token_state(second["access_token"], "revoked")
    pinterest.behaviour.dead_refresh_status = 400
    assert refusal(refresh(second["refresh_token"])) == (400, 2)


def test_the_token_endpoint_checks_the_app_and_the_form(pinterest: Caller) -> None:
    good = {"grant_type": "refresh_token", "refresh_token": "pinr_test"}
    assert refusal(pinterest.token(good, app=("1500000", "wrong"))) == (401, 2)
    assert refusal(pinterest.token({"grant_type": "refresh_token"})) == (400, 1)
    assert refusal(pinterest.token({"grant_type": "password"})) == (400, 1)
    assert pinterest.token(good).ok


def test_client_credentials_may_read_a_list_but_not_write_one(pinterest: Caller) -> None:
    list_id = pinterest.create()
    form = {"grant_type": "client_credentials", "scope": "ads:read,ads:write"}
    bearer = {"Authorization": f"Bearer {pinterest.token(form).json()['access_token']}"}
    assert pinterest.lists("GET", f"/{list_id}", headers=bearer).ok
    assert refusal(pinterest.patch(list_id, "ADD", "c", headers=bearer)) == (403, 29)
    assert refusal(pinterest.lists("GET", headers=bearer)) == (403, 29)
