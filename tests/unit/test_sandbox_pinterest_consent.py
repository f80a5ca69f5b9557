"""The consent page of the simulated Pinterest, and where its buttons lead (API facts section 5)."""

import html
import re
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from app.sandbox.pinterest import DEFAULT_APP_ID, App
from tests.pinterest_caller import Caller, calling, refusal

REDIRECT = "http://localhost:8085/"
ASKED = {
    "client_id": DEFAULT_APP_ID,
    "redirect_uri": REDIRECT,
    "response_type": "code",
    "scope": "ads:read,ads:write",
    "state": 'x"><script>&=',
}


@pytest.fixture
def pinterest() -> Iterator[Caller]:
    with calling() as caller:
        yield caller


def show(pinterest: Caller, **changes: str) -> requests.Response:
    query = {name: value for name, value in (ASKED | changes).items() if value}
    return requests.get(pinterest.simulator.consent_url, params=query, timeout=10)


def click(pinterest: Caller, button: str, page: requests.Response) -> requests.Response:
    """Send the page's form as a browser would, back to where the page says."""
    assert f'<button id="{button}" name="decision" value="{button}">' in page.text
    found = re.findall(r'<input type="hidden" name="(.*?)" value="(.*?)">', page.text)
    form = {html.unescape(name): html.unescape(value) for name, value in found}
    url = pinterest.simulator.consent_url
    assert '<form method="post" action="/oauth/">' in page.text
    return requests.post(url, data=form | {"decision": button}, timeout=10, allow_redirects=False)


def landing(reply: requests.Response) -> tuple[str, dict[str, str]]:
    """The address a browser is sent to, and what its query says."""
    assert reply.status_code == 302
    address = urlsplit(reply.headers["Location"])
    query = {name: value for name, (value,) in parse_qs(address.query).items()}
    return address._replace(query="").geturl(), query


def exchange(pinterest: Caller, code: str, redirect_uri: str = REDIRECT) -> requests.Response:
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
    return pinterest.token(form)


def test_allow_leads_back_with_a_code_that_is_worth_tokens_once(pinterest: Caller) -> None:
    page = show(pinterest)
    assert page.headers["Content-Type"].startswith("text/html")
    for word in ("Sandbox app", "sandbox", "<li>ads:read</li>", "<li>ads:write</li>"):
        assert word in page.text
    address, answer = landing(click(pinterest, "allow", page))
    assert (address, answer["state"]) == (REDIRECT, ASKED["state"])
    assert "<script>&" not in page.text
    tokens = exchange(pinterest, answer["code"]).json()
    assert tokens["scope"].split() == ["ads:read", "ads:write"]
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert pinterest.lists("GET", headers=bearer).ok
    assert refusal(exchange(pinterest, answer["code"])) == (401, 2)


def test_deny_leads_back_with_an_error_and_the_state(pinterest: Caller) -> None:
    address, answer = landing(click(pinterest, "deny", show(pinterest)))
    assert address == REDIRECT
    assert answer == {"error": "access_denied", "state": ASKED["state"]}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("client_id", "42"),
        ("client_id", ""),
        ("redirect_uri", "http://localhost:8085"),
        ("redirect_uri", "http://localhost:9/"),
        ("redirect_uri", ""),
        ("response_type", "token"),
        ("scope", ""),
        ("scope", "everything"),
    ],
)
def test_a_link_that_is_wrong_shows_why_and_leads_nowhere(
    pinterest: Caller, field: str, value: str
) -> None:
    page = show(pinterest, **{field: value})
    assert page.status_code == 400
    assert 'id="problem"' in page.text
    assert "<button" not in page.text
    forged = ASKED | {field: value, "decision": "allow"}
    posted = requests.post(
        pinterest.simulator.consent_url, data=forged, timeout=10, allow_redirects=False
    )
    assert posted.status_code == 400


def test_further_addresses_and_apps_can_be_registered(pinterest: Caller) -> None:
    there = "http://localhost:12345/back?from=pinterest"
    pinterest.simulator.register_redirect(there)
    _, answer = landing(click(pinterest, "allow", show(pinterest, redirect_uri=there)))
    assert answer["from"] == "pinterest"
    assert refusal(exchange(pinterest, answer["code"])) == (401, 2)
    pinterest.simulator.apps.register(App("77", "other-secret", {there}, "Other <app>"))
    page = show(pinterest, client_id="77", redirect_uri=there)
    assert "Other &lt;app&gt;" in page.text
    _, answer = landing(click(pinterest, "allow", page))
    form = {
        "grant_type": "authorization_code",
        "code": answer["code"],
        "redirect_uri": there,
    }
    assert pinterest.token(form, app=("77", "other-secret")).ok


def test_a_code_belongs_to_its_app_and_dies_after_ten_minutes(pinterest: Caller) -> None:
    pinterest.simulator.apps.register(App("77", "other-secret"))
    _, answer = landing(click(pinterest, "allow", show(pinterest)))
    form = {"grant_type": "authorization_code", "code": answer["code"], "redirect_uri": REDIRECT}
    assert refusal(pinterest.token(form, app=("77", "other-secret"))) == (401, 2)
    _, answer = landing(click(pinterest, "allow", show(pinterest)))
    pinterest.clock.now += 600
    assert refusal(exchange(pinterest, answer["code"])) == (401, 2)


def test_a_person_may_give_less_than_was_asked_for(pinterest: Caller) -> None:
    pinterest.behaviour.granted_scopes = ("ads:read",)
    _, answer = landing(click(pinterest, "allow", show(pinterest)))
    tokens = exchange(pinterest, answer["code"]).json()
    assert tokens["scope"] == "ads:read"
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    body = {"name": "VIP", "records": "a"}
    assert refusal(pinterest.lists("POST", json=body, headers=bearer)) == (401, 3)


def test_the_login_is_that_of_the_person_who_sits_at_the_browser(pinterest: Caller) -> None:
    pinterest.simulator.accounts.set_roles("77", "ADMIN", person="ann")
    pinterest.behaviour.signed_in = "ann"
    page = show(pinterest)
    assert '<b id="person">ann</b>' in page.text
    _, answer = landing(click(pinterest, "allow", page))
    token = exchange(pinterest, answer["code"]).json()["access_token"]
    accounts = pinterest.call("GET", "/ad_accounts", headers={"Authorization": f"Bearer {token}"})
    assert [(each["id"], each["permissions"]) for each in accounts.json()["items"]] == [
        ("77", ["ADMIN"])
    ]


@pytest.mark.parametrize("decision", ["allow", "deny"])
def test_the_page_can_click_its_own_button(pinterest: Caller, decision: str) -> None:
    assert "<script>" not in show(pinterest).text
    pinterest.behaviour.consent = decision  # type: ignore[assignment] # parametrised
    assert f'getElementById("{decision}").click()' in show(pinterest).text
