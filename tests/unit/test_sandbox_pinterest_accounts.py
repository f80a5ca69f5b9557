"""Who may do what with the ad accounts of the simulated Pinterest (API facts sections 5 and 7)."""

from collections.abc import Iterator

import pytest

from tests.pinterest_caller import ACCOUNT, Caller, calling, refusal

OTHER = "549770000002"


@pytest.fixture
def pinterest() -> Iterator[Caller]:
    with calling(ad_accounts=(ACCOUNT, OTHER)) as caller:
        yield caller


def listed(pinterest: Caller, token: str = "pina_test") -> list[tuple[str, list[str]]]:
    query: dict[str, str] = {"page_size": "1"}
    found = []
    while True:
        headers = {"Authorization": f"Bearer {token}"}
        page = pinterest.call("GET", "/ad_accounts", params=query, headers=headers).json()
        found += [(each["id"], each["permissions"]) for each in page["items"]]
        if page["bookmark"] is None:
            return found
        query["bookmark"] = page["bookmark"]


def test_a_login_sees_its_own_accounts_and_roles_page_by_page(pinterest: Caller) -> None:
    accounts = pinterest.simulator.accounts
    accounts.set_roles("549770000003", "ADMIN", "ANALYST", person="ann")
    accounts.set_roles(OTHER, "AUDIENCE_MANAGER", person="ann")
    pinterest.simulator.tokens.set_state("pina_ann", "valid", person="ann")
    assert listed(pinterest) == [(ACCOUNT, ["OWNER"]), (OTHER, ["OWNER"])]
    assert listed(pinterest, "pina_ann") == [
        (OTHER, ["AUDIENCE_MANAGER"]),
        ("549770000003", ["ADMIN", "ANALYST"]),
    ]
    ann = {"Authorization": "Bearer pina_ann"}
    assert refusal(pinterest.lists("GET", headers=ann)) == (403, 29)
    assert pinterest.call("GET", f"/ad_accounts/{OTHER}/customer_lists", headers=ann).ok


@pytest.mark.parametrize("status", [401, 403])
def test_a_role_that_was_lost_closes_lists_and_audiences_but_not_the_account(
    pinterest: Caller, status: int
) -> None:
    list_id = pinterest.create()
    pinterest.behaviour.not_permitted_status = status
    pinterest.simulator.accounts.set_roles(ACCOUNT, "ANALYST", "CAMPAIGN_MANAGER")
    assert refusal(pinterest.patch(list_id, "ADD", "c")) == (status, 29)
    assert refusal(pinterest.lists("GET", f"/{list_id}")) == (status, 29)
    assert refusal(pinterest.audiences("GET")) == (status, 29)
    seen = pinterest.call("GET", f"/ad_accounts/{ACCOUNT}")
    assert seen.json()["permissions"] == ["ANALYST", "CAMPAIGN_MANAGER"]
    pinterest.simulator.accounts.set_roles(ACCOUNT)
    assert refusal(pinterest.call("GET", f"/ad_accounts/{ACCOUNT}")) == (status, 29)
    assert listed(pinterest) == [(OTHER, ["OWNER"])]
    pinterest.simulator.accounts.set_roles(ACCOUNT, "AUDIENCE_MANAGER")
    assert pinterest.patch(list_id, "ADD", "c").ok
    assert pinterest.books.membership(list_id) == {"a", "b", "c"}


@pytest.mark.parametrize(("state", "code"), [("disapproved", 2625), ("under review", 2626)])
def test_an_account_that_is_disapproved_or_under_review_takes_nothing(
    pinterest: Caller, state: str, code: int
) -> None:
    pinterest.simulator.accounts.set_state(ACCOUNT, state)  # type: ignore[arg-type] # parametrised
    assert refusal(pinterest.lists("POST", json={"name": "VIP", "records": "a"})) == (403, code)
    assert pinterest.call("GET", f"/ad_accounts/{ACCOUNT}").ok
    assert pinterest.call("GET", f"/ad_accounts/{OTHER}/customer_lists").ok
    pinterest.simulator.accounts.set_state(ACCOUNT, "active")
    assert pinterest.lists("POST", json={"name": "VIP", "records": "a"}).ok


def test_a_restricted_app_is_refused_in_other_words_than_a_lost_role(pinterest: Caller) -> None:
    pinterest.simulator.apps.restrict()
    restricted = pinterest.lists("GET")
    assert refusal(restricted) == (403, 29)
    assert "restricted feature" in restricted.json()["message"]
    assert pinterest.call("GET", "/ad_accounts").ok
    pinterest.simulator.apps.restrict(restricted=False)
    pinterest.simulator.accounts.set_roles(ACCOUNT)
    assert restricted.json() != pinterest.lists("GET").json()


def test_a_mistaken_name_of_a_state_an_account_or_an_app_is_an_error(pinterest: Caller) -> None:
    with pytest.raises(ValueError, match="unknown state"):
        pinterest.simulator.accounts.set_state(ACCOUNT, "gone")  # type: ignore[arg-type] # on purpose
    with pytest.raises(KeyError):
        pinterest.simulator.accounts.set_state("1", "active")
    with pytest.raises(KeyError):
        pinterest.simulator.apps.restrict("1")


def test_all_of_it_can_be_set_over_the_inspection_route(pinterest: Caller) -> None:
    roles = {"roles": ["ANALYST"], "person": "sandbox"}
    assert pinterest.inspect("PUT", f"/accounts/{ACCOUNT}/roles", json=roles).status_code == 204
    assert refusal(pinterest.lists("GET")) == (403, 29)
    assert pinterest.inspect("PUT", f"/accounts/{ACCOUNT}/roles", json={"roles": ["ADMIN"]}).ok
    state = {"state": "under review"}
    assert pinterest.inspect("PUT", f"/accounts/{ACCOUNT}/state", json=state).ok
    assert refusal(pinterest.lists("GET")) == (403, 2626)
    assert pinterest.inspect("PUT", "/accounts/1/state", json=state).status_code == 404
    redirect = {"redirect_uri": "http://localhost:1/"}
    assert pinterest.inspect("POST", "/apps/1500000/redirects", json=redirect).ok
    app = {"id": "7", "secret": "s", "redirect_uris": ["http://localhost:2/"], "name": "Seven"}
    assert pinterest.inspect("POST", "/apps", json=app).ok
    apps = pinterest.simulator.apps
    registered = [apps.find("1500000"), apps.find("7")]
    assert [len(each.redirect_uris) for each in registered if each] == [2, 1]
    assert pinterest.inspect("POST", "/apps/1500000/restrict", json={}).ok
    assert refusal(pinterest.lists("GET")) == (403, 29)
