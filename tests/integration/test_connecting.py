"""Logging in: consent, code, ad account, checked before anything is kept."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from app import connecting, connections
from app.audiences import find_audience
from app.callback import Callback, read_answer
from app.connecting import Consent
from app.errors import ConfigError, NotFound, Refused
from app.flush import flush_once
from app.logins import Tokens
from app.resuming import check_held_once
from app.sandbox.pinterest import DEFAULT_APP_ID, DEFAULT_APP_SECRET, PinterestSimulator
from tests.integration.processes import eventually
from tests.workshop import ACCOUNT, Workshop, email_event

PORT = 8085


@pytest.fixture
def app(open_with: Callable[..., Workshop], simulator: PinterestSimulator) -> Workshop:
    """An installation with an app, and nobody logged in yet."""
    return open_with(
        app_id=DEFAULT_APP_ID, app_secret=DEFAULT_APP_SECRET, consent_url=simulator.consent_url
    )


def allow(consent: Consent, decision: str = "allow") -> str:
    """Click on the consent page; where the browser is sent."""
    address, _, query = consent.address.partition("?")
    form = dict(pair.split("=", 1) for pair in query.split("&"))
    fields = {name: requests.utils.unquote(value) for name, value in form.items()}
    reply = requests.post(
        address, data=fields | {"decision": decision}, timeout=10, allow_redirects=False
    )
    return str(reply.headers["Location"])


def log_in(workshop: Workshop) -> Tokens:
    consent = connecting.begin(workshop.deployment, PORT)
    return connecting.redeem(
        workshop.deployment, consent, read_answer(allow(consent), consent.state)
    )


def connect(workshop: Workshop, name: str = "main") -> int:
    tokens = log_in(workshop)
    account = connecting.account_named(connecting.ad_accounts(workshop.deployment, tokens), ACCOUNT)
    return connecting.connect(workshop.deployment, name, account, tokens)


def test_a_consent_becomes_a_connection_that_delivers(app: Workshop) -> None:
    connect(app)
    audience_id = app.activate()
    app.upload(audience_id, email_event(1))
    assert len(app.members()) == 1
    row = connections.find_connection(app.deployment, "main")
    told = connections.describe(app.deployment, row)
    assert told["scopes"] == "ads:read ads:write"
    assert told["login"].startswith("renewed by itself, good for")
    assert "pina_" not in repr(told)


def test_the_browsers_way_over_the_loopback_address(app: Workshop) -> None:
    with Callback(0, "unused") as free:
        port = free.port
    app.simulator.register_redirect(f"http://localhost:{port}/")
    consent = connecting.begin(app.deployment, port)
    with Callback(port, consent.state) as callback, ThreadPoolExecutor(1) as pool:
        browser = pool.submit(lambda: requests.get(allow(consent), timeout=10).status_code)
        tokens = connecting.redeem(app.deployment, consent, callback.wait(10))
        assert browser.result() == 200
    assert tokens.refresh is not None


def test_a_denied_login_stores_nothing(app: Workshop) -> None:
    consent = connecting.begin(app.deployment, PORT)
    with pytest.raises(Refused, match="denied"):
        read_answer(allow(consent, "deny"), consent.state)
    with pytest.raises(NotFound):
        connections.find_connection(app.deployment, None)


def test_a_code_is_good_once(app: Workshop) -> None:
    consent = connecting.begin(app.deployment, PORT)
    code = read_answer(allow(consent), consent.state)
    connecting.redeem(app.deployment, consent, code)
    with pytest.raises(Refused, match="answers 401 to the code") as caught:
        connecting.redeem(app.deployment, consent, code)
    assert code not in str(caught.value)


def test_a_missing_scope_is_named(app: Workshop) -> None:
    app.simulator.behaviour.granted_scopes = ("ads:read",)
    with pytest.raises(Refused, match="lacks the scope ads:write"):
        log_in(app)


def test_without_an_app_nobody_is_sent_to_the_browser(workshop: Workshop) -> None:
    with pytest.raises(ConfigError, match="PINFOLD_APP_ID"):
        connecting.begin(workshop.deployment, PORT)


def test_a_login_without_an_ad_account_says_who_can_help(app: Workshop) -> None:
    app.simulator.accounts.set_roles(ACCOUNT)
    tokens = log_in(app)
    with pytest.raises(Refused, match="reaches no ad account"):
        connecting.ad_accounts(app.deployment, tokens)


def test_an_account_without_the_role_is_refused_by_name_and_in_a_list(app: Workshop) -> None:
    app.simulator.accounts.set_roles(ACCOUNT, "ANALYST")
    accounts = connecting.ad_accounts(app.deployment, log_in(app))
    with pytest.raises(Refused, match="it is analyst there"):
        connecting.account_named(accounts, ACCOUNT)
    with pytest.raises(Refused, match="your Pinterest admin gives roles"):
        connecting.only_usable(accounts)


def test_of_several_accounts_the_only_usable_one_is_taken_and_of_two_a_person_chooses(
    app: Workshop,
) -> None:
    app.simulator.accounts.set_roles("549770000002", "ANALYST")
    accounts = connecting.ad_accounts(app.deployment, log_in(app))
    assert len(accounts) == 2
    only = connecting.only_usable(accounts)
    assert only is not None
    assert only.id == ACCOUNT
    app.simulator.accounts.set_roles("549770000002", "AUDIENCE_MANAGER")
    accounts = connecting.ad_accounts(app.deployment, log_in(app))
    assert connecting.only_usable(accounts) is None
    with pytest.raises(Refused, match="does not reach ad account 123; it reaches 549770000001"):
        connecting.account_named(accounts, "123")


def test_more_accounts_than_fit_on_a_page_are_all_listed(app: Workshop) -> None:
    for number in range(300):
        app.simulator.accounts.set_roles(str(600_000_000_000 + number), "ADMIN")
    assert len(connecting.ad_accounts(app.deployment, log_in(app))) == 301


def test_a_new_login_takes_over_and_what_was_held_goes_on(app: Workshop) -> None:
    connect(app)
    audience_id = app.activate()
    app.simulator.tokens.revoke()
    app.deliver_all()
    assert connections.find_connection(app.deployment, "main").held_reason == "login revoked"
    connecting.replace_login(app.deployment, "main", log_in(app))
    app.deliver_all()
    assert app.list_row(audience_id).pinterest_list_id is not None


def test_a_new_login_for_another_account_changes_nothing(app: Workshop) -> None:
    connect(app)
    before = app.rows("SELECT * FROM login")
    app.simulator.accounts.set_roles("549770000002", "ADMIN", person="ann")
    app.simulator.behaviour.signed_in = "ann"
    with pytest.raises(Refused, match="does not reach ad account 549770000001"):
        connecting.replace_login(app.deployment, "main", log_in(app))
    assert app.rows("SELECT * FROM login") == before


def test_what_is_under_way_ends_with_the_old_login(app: Workshop) -> None:
    connect(app)
    row = connections.find_connection(app.deployment, "main")
    with app.transaction() as tx:
        under_way = connections.open_client(app.deployment, tx, row)
    connecting.replace_login(app.deployment, "main", log_in(app))
    assert under_way.get_account().ok
    under_way.close()


def test_a_connection_is_removed_only_when_nothing_of_it_is_left_to_do(app: Workshop) -> None:
    connect(app)
    audience_id = app.activate()
    app.deliver_all()
    with pytest.raises(Refused, match="still forwards VIP"):
        connections.remove_connection(app.deployment, "main")
    app.stage(email_event(1))
    app.execute("UPDATE audience SET state = 'deactivated'")
    with pytest.raises(Refused, match="something to be booked"):
        connections.remove_connection(app.deployment, "main")
    flush_once(app.deployment, audience_id)
    app.deliver_all()
    connections.remove_connection(app.deployment, "main")
    assert app.rows("SELECT * FROM login") == []
    assert connections.list_connections(app.deployment) == []
    assert len(app.simulator.books.lists()) == 2
    app.assert_books_balance()
    assert check_held_once(app.deployment) == 0
    connect(app, "main")  # the name is free again, and the audience's id as well
    again = app.activate()
    assert find_audience(app.deployment, "31001").id == again
    assert app.stage(email_event(1)).accepted == 1


def test_a_removed_connection_that_was_held_is_looked_at_no_more(app: Workshop) -> None:
    connect(app)
    app.execute("UPDATE connection SET held_reason = 'role lost', held_at = clock_timestamp()")
    connections.remove_connection(app.deployment, "main")
    assert check_held_once(app.deployment) == 0
    assert app.value("SELECT count(*) FROM connection WHERE held_reason IS NOT NULL") == 0


def test_a_look_that_ends_after_the_login_was_mended_changes_nothing(app: Workshop) -> None:
    connect(app)
    app.execute("UPDATE connection SET held_reason = 'role lost', held_at = clock_timestamp()")
    app.simulator.faults.script("slow", operation="any", seconds=0.5)
    app.simulator.accounts.set_roles(ACCOUNT, "ANALYST")
    with ThreadPoolExecutor(1) as pool:
        seen = len(app.simulator.books.requests())
        look = pool.submit(check_held_once, app.deployment)
        assert eventually(lambda: len(app.simulator.books.requests()) > seen)
        app.execute("UPDATE connection SET held_reason = NULL, held_at = NULL")
        look.result()
    row = connections.find_connection(app.deployment, "main")
    assert (row.held_reason, row.not_before) == (None, None)


def test_tokens_are_nowhere_in_the_database_in_the_clear(app: Workshop) -> None:
    connect(app)
    stored = repr([list(row) for row in app.rows("SELECT * FROM login")])
    assert "pina_" not in stored
    assert "pinr_" not in stored


def test_a_lost_role_is_told_apart_and_goes_on_when_it_is_given_back(app: Workshop) -> None:
    connect(app)
    audience_id = app.activate()
    app.simulator.accounts.set_roles(ACCOUNT, "ANALYST")
    app.deliver_all()
    assert connections.find_connection(app.deployment, "main").held_reason == "not permitted"
    assert check_held_once(app.deployment) == 0  # the account may still be seen
    assert connections.find_connection(app.deployment, "main").held_reason == "role lost"
    app.simulator.accounts.set_roles(ACCOUNT, "AUDIENCE_MANAGER")
    app.end_pauses()
    assert check_held_once(app.deployment) == 1
    app.deliver_all()
    assert app.list_row(audience_id).pinterest_list_id is not None
