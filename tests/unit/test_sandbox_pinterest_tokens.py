"""Quotas and tokens of the simulated Pinterest (API facts sections 5, 6 and 11)."""

from collections.abc import Iterator

import pytest
import requests

from tests.pinterest_caller import ACCOUNT, Caller, calling, refusal


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


def test_each_person_has_a_quota_of_their_own_that_a_refresh_does_not_fill_again(
    pinterest: Caller,
) -> None:
    pinterest.behaviour.writes_per_minute = 1
    list_id = pinterest.create()
    form = {"grant_type": "refresh_token", "refresh_token": "pinr_test"}
    fresh = {"Authorization": f"Bearer {pinterest.token(form).json()['access_token']}"}
    assert pinterest.patch(list_id, "ADD", "c", headers=fresh).status_code == 429
    pinterest.simulator.tokens.set_state("pina_ann", "valid", person="ann")
    pinterest.simulator.accounts.set_roles(ACCOUNT, "ADMIN", person="ann")
    ann = {"Authorization": "Bearer pina_ann"}
    assert pinterest.patch(list_id, "ADD", "c", headers=ann).ok
    assert pinterest.books.max_writes_in_a_minute() == 3
    assert pinterest.books.max_writes_in_a_minute("pina_ann") == 1


def test_a_trial_app_has_300_writes_and_1000_calls_a_day_for_everybody(pinterest: Caller) -> None:
    pinterest.behaviour.trial = True
    pinterest.simulator.tokens.set_state("pina_ann", "valid", person="ann")
    pinterest.simulator.accounts.set_roles(ACCOUNT, "ADMIN", person="ann")
    list_id = pinterest.create()
    for _ in range(298):
        assert pinterest.patch(list_id, "ADD", "c").ok
    last = pinterest.patch(list_id, "ADD", "c", headers={"Authorization": "Bearer pina_ann"})
    assert (last.status_code, last.headers["x-ratelimit-remaining"]) == (200, "0")
    assert last.headers["x-ratelimit-limit"] == "300"
    pinterest.clock.now += 3600
    spent = pinterest.patch(list_id, "ADD", "c")
    assert refusal(spent) == (429, 8)
    assert spent.headers["x-ratelimit-reset"] == str(23 * 3600)
    pinterest.behaviour.trial_calls_per_day = 302  # 300 were writes
    assert [pinterest.lists("GET").status_code for _ in range(3)] == [200, 200, 429]
    pinterest.clock.now += 23 * 3600
    assert pinterest.patch(list_id, "ADD", "c").ok


def test_reads_of_a_trial_app_are_counted_by_the_day_too(pinterest: Caller) -> None:
    pinterest.behaviour.trial = True
    pinterest.behaviour.trial_reads_per_day = 2
    assert [pinterest.lists("GET").status_code for _ in range(3)] == [200, 200, 429]
    form = {"grant_type": "refresh_token", "refresh_token": "pinr_test"}
    assert pinterest.token(form).ok, "token calls have a quota of their own"


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


def refresh(pinterest: Caller, token: str) -> requests.Response:
    return pinterest.token({"grant_type": "refresh_token", "refresh_token": token})


def test_tokens_can_be_expired_and_revoked_each_or_all(pinterest: Caller) -> None:
    tokens = pinterest.simulator.tokens
    fresh = refresh(pinterest, "pinr_test").json()
    bearer = {"Authorization": f"Bearer {fresh['access_token']}"}
    tokens.expire(fresh["access_token"])
    assert refusal(pinterest.lists("GET", headers=bearer)) == (401, 2)
    assert pinterest.lists("GET").ok
    tokens.expire()
    assert refusal(pinterest.lists("GET")) == (401, 2)
    newest = refresh(pinterest, fresh["refresh_token"]).json()
    bearer = {"Authorization": f"Bearer {newest['access_token']}"}
    tokens.revoke_refresh(newest["refresh_token"])
    assert refusal(refresh(pinterest, newest["refresh_token"])) == (401, 2)
    assert pinterest.lists("GET", headers=bearer).ok
    tokens.revoke()
    assert refusal(pinterest.lists("GET", headers=bearer)) == (401, 2)
    with pytest.raises(KeyError):
        tokens.expire("pina_nobody")


def test_a_revoked_token_takes_its_whole_login_with_it(pinterest: Caller) -> None:
    fresh = refresh(pinterest, "pinr_test").json()
    pinterest.simulator.tokens.revoke("pina_test")
    bearer = {"Authorization": f"Bearer {fresh['access_token']}"}
    assert refusal(pinterest.lists("GET", headers=bearer)) == (401, 2)
    assert refusal(refresh(pinterest, fresh["refresh_token"])) == (401, 2)


def test_a_refresh_token_that_is_renewed_in_time_lives_for_ever(pinterest: Caller) -> None:
    current = "pinr_test"
    for _ in range(7):
        pinterest.clock.now += 5_183_999
        current = refresh(pinterest, current).json()["refresh_token"]
    pinterest.clock.now += 5_184_000
    assert refusal(refresh(pinterest, current)) == (401, 2)


def test_issued_tokens_are_shown_with_whose_they_are(pinterest: Caller) -> None:
    fresh = refresh(pinterest, "pinr_test").json()
    named, issued = pinterest.simulator.tokens.issued()
    assert (named["token"], named["state"], named["expires_at"]) == ("pina_test", "valid", None)
    assert issued["token"] == fresh["access_token"]
    assert issued["expires_at"] == pinterest.clock.now + 2_592_000
    assert issued["refresh_tokens"] == {
        fresh["refresh_token"]: fresh["refresh_token_expires_at"],
    }
    assert (issued["person"], issued["app_id"]) == ("sandbox", "1500000")
    pinterest.clock.now += 2_592_000
    assert pinterest.simulator.tokens.issued()[1]["state"] == "expired"


def test_a_reply_can_name_its_lifetime_in_text_and_its_scopes_with_commas(
    pinterest: Caller,
) -> None:
    pinterest.behaviour.expires_in_as_text = True
    pinterest.behaviour.scope_separator = ","
    reply = refresh(pinterest, "pinr_test").json()
    assert reply["expires_in"] == "2592000"
    assert reply["scope"] == "ads:read,ads:write,user_accounts:read"


def test_grants_are_counted_by_kind_and_by_what_came_of_them(pinterest: Caller) -> None:
    assert refresh(pinterest, "pinr_test").ok
    assert refusal(refresh(pinterest, "pinr_test")) == (401, 2)
    pinterest.faults.script("unavailable", operation="token")
    assert refresh(pinterest, "pinr_test").status_code == 503
    pinterest.behaviour.rotate_refresh = False
    pinterest.simulator.tokens.add_refresh_token("pinr_2")
    pinterest.faults.script("drop_after", operation="token")
    with pytest.raises(requests.ConnectionError):
        refresh(pinterest, "pinr_2")
    pinterest.token({"grant_type": "authorization_code", "code": "c", "redirect_uri": "r"})
    grants = pinterest.books.grants("refresh_token")
    assert [(each.status, each.applied) for each in grants] == [
        (200, True),
        (401, False),
        (503, False),
        (None, True),
    ]
    assert len(pinterest.books.grants()) == 5
    lines = pinterest.inspect("GET", "/grants?kind=refresh_token").text
    assert lines.count('"operation_type": "refresh_token"') == 4
    assert "pinr_" not in lines


def test_tokens_can_be_looked_at_and_ended_over_the_inspection_route(pinterest: Caller) -> None:
    (shown,) = pinterest.inspect("GET", "/tokens").json()
    assert (shown["token"], list(shown["refresh_tokens"])) == ("pina_test", ["pinr_test"])
    assert pinterest.inspect("POST", "/tokens/expire").status_code == 204
    assert refusal(pinterest.lists("GET")) == (401, 2)
    assert refresh(pinterest, "pinr_test").ok
    assert pinterest.inspect("POST", "/refresh_tokens/revoke").ok
    newest = pinterest.inspect("GET", "/tokens").json()[-1]
    assert (newest["state"], newest["refresh_tokens"]) == ("valid", {})
    assert pinterest.inspect("POST", "/tokens/revoke", json={"token": newest["token"]}).ok
    assert pinterest.inspect("GET", "/tokens").json()[-1]["state"] == "revoked"
    assert pinterest.inspect("POST", "/tokens/revoke", json={"token": "x"}).status_code == 404
