"""What is most likely to go wrong in life goes wrong at the simulator, and status says it right."""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
import requests
from typer.testing import CliRunner

from app.cli import root
from app.connections import add_connection, change_settings
from app.expiring import renew_due_once
from app.logins import Tokens
from app.pinterest.error_book import entry
from app.renewing import renew_refused
from app.resuming import retry
from app.status import read_status
from tests.workshop import ACCOUNT, TOKEN, Workshop, device_event, email_event, emails, sha1_hex

REFRESH = TOKEN.replace("pina_", "pinr_")
REFUSALS = {
    "rate_limited": (429, 8),
    "server_error": (500, 500),
    "transient_400": (400, 12),
    "expired_token": (401, 2),
    "missing_scope": (401, 3),
    "forbidden": (403, 29),
    "gone": (404, 404),
    "conflict": (409, 409),
    "teapot": (418, 7418),
}


@dataclass(frozen=True)
class Case:
    """An entry of the book, a fault of the simulator that leads to it, and what status must say."""

    slug: str
    says: str
    """Words of the fix that must stand in status."""
    fault: str
    options: dict[str, Any]
    of_connection: bool = False
    held: bool = True


WAITS = [
    Case("rate limited", "Nothing is to be done", "rate_limited", {}, held=False),
    Case(
        "flagged as spam",
        "Ask Pinterest's support",
        "rate_limited",
        {"message": "This was flagged as spam."},
        held=False,
    ),
    Case("server error", "until Pinterest is well", "server_error", {}, held=False),
    Case("transient refusal", "tried again by itself", "transient_400", {}, held=False),
    Case("conflict", "Stop other tools that write to this list", "conflict", {}, held=False),
    Case("timed out", "the same batch goes again", "drop_after", {}, held=False),
]
HELD_CONNECTIONS = [
    Case("log in again", "`pinfold connection replace-login main`", "expired_token", {}, True),
    Case("scope missing", "token main --token-file FILE`", "missing_scope", {}, True),
    Case("not permitted", "the person's role in the business", "forbidden", {}, True),
    Case(
        "role lost",
        "made Owner, Admin or Audience Manager",
        "forbidden",
        {"message": "Your role on this ad account does not allow it."},
        True,
    ),
    Case(
        "app restricted",
        "Ask for the access at developers.pinterest.com",
        "forbidden",
        {"message": "Your application does not have access to this restricted feature."},
        True,
    ),
    Case(
        "account disapproved",
        "Appeal at Pinterest",
        "forbidden",
        {"code": 2625, "message": "The ad account was disapproved."},
        True,
    ),
    Case(
        "account under review",
        "until Pinterest has decided",
        "forbidden",
        {"code": 2626, "message": "The ad account is under review."},
        True,
    ),
    Case(
        "ad account not found",
        "Restore the account or the access",
        "gone",
        {"code": 2, "message": "AdAccount not found."},
        True,
    ),
]
HELD_LISTS = [
    Case("gone at Pinterest", "`pinfold audience rebuild VIP`", "gone", {}),
    Case("unknown answer", "report it with what `pinfold status --json`", "teapot", {}),
    Case("refuses every record", "Mend at Pinterest what the message names", "bad_request", {}),
    Case("too large", "`pinfold retry VIP`", "too_large", {}),
]


def troubles(workshop: Workshop) -> list[tuple[str, Any]]:
    """All that status has to tell, with the name of the list or connection it is about."""
    told = []
    for status in read_status(workshop.deployment).audiences:
        told.append((f"connection {status.connection}", status.trouble))
        told += [(item.name, item.trouble) for item in status.lists]
    return [(name, trouble) for name, trouble in told if trouble is not None]


def printed(workshop: Workshop, *options: str) -> str:
    outside = SimpleNamespace(deployment=workshop.deployment)
    done = CliRunner(env={"COLUMNS": "100", "NO_COLOR": "1"}).invoke(
        root, ["status", *options], obj=outside, catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    return done.stdout


def assert_status_tells(
    workshop: Workshop, name: str, slug: str, says: str, *, held: bool = True
) -> Any:
    """Status names the trouble, and nothing else, to programs and people, with cause and fix."""
    ((named, trouble),) = troubles(workshop)
    assert (named, trouble.reason, trouble.held) == (name, slug, held)
    known = entry(slug)
    assert (trouble.cause, trouble.who) == (known.cause, known.who)
    assert says in trouble.fix
    text = printed(workshop)
    assert f"{name} {'is held' if held else 'waits'}: {slug}" in text
    assert f"  {known.cause}\n" in text
    assert f"{trouble.fix}\n" in text
    assert "\x1b" not in text
    (item,) = orjson.loads(printed(workshop, "--json"))["audiences"]
    about = [item, *item["lists"]]
    (found,) = [part["trouble"] for part in about if part["trouble"]]
    assert (found["reason"], found["fix"]) == (slug, trouble.fix)
    return trouble


def queue(workshop: Workshop, audience_id: int, *events: Any) -> None:
    workshop.stage(*events)
    assert workshop.flush(audience_id) is not None


@pytest.mark.parametrize(
    "case", WAITS + HELD_CONNECTIONS + HELD_LISTS, ids=lambda case: str(case.slug)
)
def test_a_refused_upload_is_explained_until_the_cause_is_gone(
    workshop: Workshop, case: Case
) -> None:
    audience_id = workshop.ready()
    assert troubles(workshop) == []
    times = None if case.held else 1
    workshop.simulator.faults.script(case.fault, times=times, operation="patch", **case.options)
    queue(workshop, audience_id, *emails(range(3)))
    if case.held:
        workshop.deliver_all()
    else:
        workshop.deliver(audience_id)
    name = "connection main" if case.of_connection else "VIP-EMAIL"
    trouble = assert_status_tells(workshop, name, case.slug, case.says, held=case.held)
    if case.fault in REFUSALS and not case.of_connection:
        status, code = REFUSALS[case.fault]
        assert trouble.answer.startswith(f"HTTP {status}, code {code}")
    assert trouble.message
    workshop.simulator.faults.clear()
    workshop.end_pauses()
    retry(workshop.deployment)
    workshop.deliver_all()
    assert troubles(workshop) == []
    assert len(workshop.members()) == 3
    workshop.assert_books_balance()


def test_a_pinterest_that_cannot_be_reached_is_told(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    queue(workshop, audience_id, email_event(1))
    workshop.simulator.stop()
    workshop.deliver(audience_id)
    fix = "network, DNS, proxy and firewall"
    assert_status_tells(workshop, "VIP-EMAIL", "unreachable", fix, held=False)
    workshop.simulator.start()
    workshop.end_pauses()
    workshop.deliver_all()
    assert troubles(workshop) == []


def test_the_rest_of_later_uploads_after_an_unknown_outcome_is_told(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    workshop.simulator.faults.script("drop_after", operation="patch")
    queue(workshop, audience_id, email_event(1))
    workshop.deliver(audience_id)
    workshop.end_pauses()
    workshop.deliver_all()
    assert troubles(workshop) == []
    queue(workshop, audience_id, email_event(2))
    workshop.deliver_all()
    assert_status_tells(workshop, "VIP-EMAIL", "resting", "goes on by itself", held=False)


def test_a_list_that_waits_for_its_turn_is_told(open_with: Callable[..., Workshop]) -> None:
    workshop = open_with(writes_per_minute=1, patience=1)
    workshop.connect(forward_device_id=False)
    workshop.activate()
    workshop.deliver_all()
    assert_status_tells(workshop, "VIP-EMAIL", "pacing", "goes on by itself", held=False)


def test_all_lists_of_a_connection_that_is_rate_limited_say_so(workshop: Workshop) -> None:
    first = workshop.ready(forward_device_id=False)
    second = workshop.activate("31002", "Other")
    third = workshop.activate("31003", "Idle")
    workshop.deliver_all()
    queue(workshop, first, email_event(1))
    queue(workshop, second, email_event(1, audience="31002"))
    workshop.simulator.faults.script("rate_limited", times=1, reset=3_000)
    workshop.deliver(first)
    workshop.deliver_all()
    assert workshop.list_row(second).failures == workshop.list_row(third).failures == 0
    told = dict(troubles(workshop))
    assert set(told) == {"VIP-EMAIL", "Other-EMAIL"}  # nothing waits in the third
    (until,) = workshop.rows("SELECT not_before FROM budget WHERE category = 'ads_write'")[0]
    assert told["Other-EMAIL"].reason == "rate limited"
    assert f"{until:%H:%M}" in told["Other-EMAIL"].message
    workshop.end_pauses()
    workshop.deliver_all()
    assert troubles(workshop) == []


def test_a_spent_day_of_a_trial_app_is_told_of_all_its_lists(
    open_with: Callable[..., Workshop],
) -> None:
    workshop = open_with(trial_app=True)
    audience_id = workshop.ready(forward_device_id=False)
    workshop.execute(
        "UPDATE budget SET next_slot_at = now() + interval '5 min' WHERE connection_id = 0"
    )
    queue(workshop, audience_id, email_event(1))
    assert_status_tells(workshop, "VIP-EMAIL", "pacing", "goes on by itself", held=False)


@pytest.mark.parametrize(
    ("slug", "says"),
    [
        ("not permitted", "Check the person's role"),
        ("app restricted", "developers.pinterest.com"),
        ("account disapproved", "Appeal"),
        ("account under review", "Pinterest has decided"),
    ],
)
def test_what_pinterest_takes_away_is_told_apart(workshop: Workshop, slug: str, says: str) -> None:
    audience_id = workshop.ready()
    queue(workshop, audience_id, email_event(1))
    if slug == "not permitted":
        workshop.simulator.accounts.set_roles(ACCOUNT, "ANALYST")
    elif slug == "app restricted":
        workshop.simulator.apps.restrict()
    else:
        workshop.simulator.accounts.set_state(ACCOUNT, slug.removeprefix("account "))
    workshop.deliver_all()
    assert_status_tells(workshop, "connection main", slug, says)


def test_a_conflict_that_stays_is_held_and_told(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    workshop.simulator.faults.script("conflict", times=None, operation="patch")
    queue(workshop, audience_id, email_event(1))
    for _ in range(5):
        workshop.deliver(audience_id)
        workshop.end_pauses()
    assert_status_tells(workshop, "VIP-EMAIL", "conflict", "`pinfold retry VIP`")


def test_a_list_that_pinterest_does_not_make_is_told(workshop: Workshop) -> None:
    workshop.connect(forward_device_id=False)
    workshop.simulator.faults.script(
        "bad_request", operation="create_list", message="Name is not allowed."
    )
    workshop.activate(name="Lapsed buyers")
    workshop.deliver_all()
    trouble = assert_status_tells(
        workshop, "Lapsed buyers-EMAIL", "list refused", "`pinfold retry 'Lapsed buyers'`"
    )
    assert trouble.message == "Name is not allowed."


def test_several_lists_that_might_be_ours_are_told(workshop: Workshop) -> None:
    workshop.connect(forward_device_id=False)
    workshop.simulator.faults.script("drop_after", operation="create_list")
    workshop.activate()
    workshop.deliver_all()
    workshop.end_quarantine()
    requests.post(
        f"{workshop.simulator.base_url}/ad_accounts/{ACCOUNT}/customer_lists",
        json={"name": "VIP-EMAIL", "list_type": "EMAIL", "records": sha1_hex("x@example.org")},
        headers={"Authorization": f"Bearer {TOKEN}"},
        timeout=5,
    )
    workshop.deliver_all()
    fix = "no other tool makes lists of this name"
    assert_status_tells(workshop, "VIP-EMAIL", "several lists", fix)


def test_a_cap_without_room_for_a_first_record_is_told(workshop: Workshop) -> None:
    workshop.connect(record_cap=0, forward_device_id=False)
    workshop.activate()
    workshop.deliver_all()
    fix = "`pinfold connection settings main --record-cap N`"
    assert_status_tells(workshop, "VIP-EMAIL", "no room under the cap", fix)
    change_settings(workshop.deployment, "main", record_cap=100)
    retry(workshop.deployment)
    workshop.deliver_all()
    assert troubles(workshop) == []


def test_a_damaged_batch_is_told(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    queue(workshop, audience_id, email_event(1))
    workshop.execute(
        "UPDATE batch SET payload = set_byte(payload, 30, 255 - get_byte(payload, 30))"
    )
    workshop.deliver_all()
    trouble = assert_status_tells(workshop, "VIP-EMAIL", "unreadable batch", "PINFOLD_KEYS")
    assert trouble.answer is None  # Pinterest was not asked


def test_messages_that_were_set_aside_are_told(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    workshop.stage(email_event(1))
    workshop.execute(
        "WITH gone AS (DELETE FROM staged_chunk RETURNING *)"
        " INSERT INTO held_chunk SELECT id, audience_id, message_count, email_count, maid_count,"
        " arrived_at, body, 'UnreadableBody' FROM gone"
    )
    text = printed(workshop)
    assert "VIP: 1 messages are set aside" in text
    assert "-> you: Look at the worker's log for the reason, then `pinfold retry VIP`." in text
    retry(workshop.deployment, audience_id)
    assert "set aside" not in printed(workshop)


@pytest.fixture
def logged_in(open_with: Callable[..., Workshop]) -> Workshop:
    """An installation with an app, whose login can be renewed, with its lists made."""
    workshop = open_with(app_id="1500000", app_secret="sandbox-secret")
    end = workshop.value("SELECT clock_timestamp() + interval '60 days'")
    tokens = Tokens(TOKEN, refresh=REFRESH, refresh_expires_at=end)
    add_connection(workshop.deployment, "main", ACCOUNT, tokens)
    workshop.activate()
    workshop.deliver_all()
    return workshop


@pytest.mark.parametrize(
    ("slug", "age"), [("login revoked", "0 days"), ("login expired", "61 days")]
)
def test_a_login_that_pinterest_does_not_renew_any_more_is_told(
    logged_in: Workshop, slug: str, age: str
) -> None:
    logged_in.simulator.tokens.set_state(TOKEN, "revoked")
    logged_in.execute(
        "UPDATE login SET refresh_expires_at = refresh_expires_at - CAST(:age AS interval)", age=age
    )
    connection_id = logged_in.value("SELECT id FROM connection")
    renew_refused(logged_in.deployment, connection_id, version=1)
    fix = "`pinfold connection replace-login main`"
    assert_status_tells(logged_in, "connection main", slug, fix)


def test_a_renewal_that_fails_for_now_is_told_while_uploads_go_on(logged_in: Workshop) -> None:
    logged_in.simulator.faults.script("unavailable", operation="token")
    logged_in.execute("UPDATE login SET access_expires_at = now() + interval '1 hour'")
    logged_in.execute("UPDATE login SET obtained_at = now() - interval '30 days'")
    assert renew_due_once(logged_in.deployment) == 0
    (audience,) = read_status(logged_in.deployment).audiences
    logged_in.upload(audience.audience_id, email_event(1))
    assert len(logged_in.members()) == 1
    fix = "PINFOLD_APP_ID and PINFOLD_APP_SECRET"
    assert_status_tells(logged_in, "connection main", "login not renewed", fix, held=False)
    logged_in.execute("UPDATE login SET not_before = NULL")
    assert renew_due_once(logged_in.deployment) == 1
    assert troubles(logged_in) == []


def test_the_trouble_of_a_connection_is_told_once_for_all_its_audiences(
    workshop: Workshop,
) -> None:
    audience_id = workshop.ready()
    workshop.activate("31002", "Lapsed")
    workshop.deliver_all()
    workshop.simulator.faults.script("missing_scope", operation="patch")
    queue(workshop, audience_id, email_event(1), device_event(1))
    workshop.deliver_all()
    assert printed(workshop).count("connection main is held: scope missing") == 1


def test_lists_of_a_paused_audience_tell_no_old_failure(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    workshop.simulator.faults.script("server_error", operation="patch")
    queue(workshop, audience_id, email_event(1))
    workshop.deliver(audience_id)
    assert len(troubles(workshop)) == 1
    workshop.execute("UPDATE audience SET state = 'paused'")
    assert troubles(workshop) == []


def test_nothing_that_pinterest_repeats_of_a_person_reaches_status(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    workshop.simulator.faults.script("teapot", message="no ana.ruiz@example.org here")
    queue(workshop, audience_id, email_event(1))
    workshop.deliver(audience_id)
    assert "ana.ruiz" not in printed(workshop) + printed(workshop, "--json")
    assert "no [removed] here" in printed(workshop)
