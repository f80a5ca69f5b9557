"""Renewing logins: in time, by one process, once for all workers, and never lost on the way."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from app.connections import add_connection, find_connection, hold_connection, replace_token
from app.expiring import renew_due_once
from app.logins import read_login
from app.pinterest.oauth import read_tokens
from app.renewing import Renewal, renew, renew_refused
from app.sandbox.pinterest import DEFAULT_APP_ID, DEFAULT_APP_SECRET, App
from tests.integration.processes import eventually
from tests.workshop import ACCOUNT, TOKEN, Workshop, email_event, environment_of

REFRESH = TOKEN.replace("pina_", "pinr_")


@pytest.fixture
def logged_in(open_with: Any) -> Workshop:
    """An installation with an app, and a connection whose login can be renewed."""
    workshop: Workshop = open_with(app_id=DEFAULT_APP_ID, app_secret=DEFAULT_APP_SECRET)
    connect(workshop)
    return workshop


def connect(workshop: Workshop) -> int:
    now = workshop.value("SELECT clock_timestamp()")
    body = {"access_token": TOKEN, "refresh_token": REFRESH, "expires_in": "2592000"}
    tokens = read_tokens(body | {"refresh_token_expires_in": 5_184_000}, now)
    assert tokens is not None
    return add_connection(workshop.deployment, "main", ACCOUNT, tokens)


def login(workshop: Workshop) -> Any:
    (row,) = workshop.rows("SELECT * FROM login")
    return row


def tokens_of(workshop: Workshop) -> Any:
    with workshop.transaction() as tx:
        return read_login(tx, workshop.deployment.keyring, login(workshop).id)


def age(workshop: Workshop, days: float) -> None:
    """Let so many days pass for the login, here and at Pinterest."""
    for column in ("obtained_at", "access_expires_at", "refresh_expires_at", "not_before"):
        workshop.execute(f"UPDATE login SET {column} = {column} - :d", d=timedelta(days=days))
    clock = workshop.simulator.behaviour.clock
    workshop.simulator.behaviour.clock = lambda: clock() + days * 86_400


def held(workshop: Workshop) -> Any:
    return find_connection(workshop.deployment, "main").held_reason


def grants(workshop: Workshop) -> list[int | None]:
    """The statuses of the token calls that the simulator answered."""
    return [call.status for call in workshop.simulator.books.grants()]


def set_secret(workshop: Workshop, secret: str) -> None:
    """Let Pinterest know the app by another secret than we do, or by the same again."""
    workshop.simulator.apps.register(App(DEFAULT_APP_ID, secret, set()))


def expire_access(workshop: Workshop) -> None:
    workshop.simulator.tokens.expire()


def test_a_login_is_renewed_at_half_of_its_life_and_not_before(logged_in: Workshop) -> None:
    age(logged_in, 13)
    assert renew_due_once(logged_in.deployment) == 0
    age(logged_in, 2.1)
    assert renew_due_once(logged_in.deployment) == 1
    assert renew_due_once(logged_in.deployment) == 0
    row = login(logged_in)
    assert row.version == 2
    assert row.access_expires_at - row.obtained_at > timedelta(days=29)
    assert tokens_of(logged_in).access != TOKEN


def test_the_refresh_token_just_used_is_kept_until_its_successor_has_worked(
    logged_in: Workshop,
) -> None:
    assert renew(logged_in.deployment, login(logged_in).id) is Renewal.RENEWED
    first = tokens_of(logged_in)
    assert first.refresh != REFRESH
    assert first.previous_refresh == REFRESH
    assert renew(logged_in.deployment, login(logged_in).id) is Renewal.RENEWED
    assert tokens_of(logged_in).previous_refresh == first.refresh


def test_a_reply_without_a_refresh_token_keeps_the_old_one(logged_in: Workshop) -> None:
    logged_in.simulator.behaviour.return_refresh = False
    logged_in.simulator.behaviour.rotate_refresh = False
    assert renew(logged_in.deployment, login(logged_in).id) is Renewal.RENEWED
    kept = tokens_of(logged_in)
    assert (kept.refresh, kept.previous_refresh) == (REFRESH, None)
    assert kept.refresh_expires_at is not None


def test_a_commit_lost_after_the_answer_works_again_where_the_old_token_lives(
    logged_in: Workshop,
) -> None:
    logged_in.simulator.behaviour.old_refresh_dies = False
    logged_in.simulator.faults.script("drop_after", operation="token")
    assert renew(logged_in.deployment, login(logged_in).id) is Renewal.LATER
    logged_in.execute("UPDATE login SET not_before = NULL")
    assert renew(logged_in.deployment, login(logged_in).id) is Renewal.RENEWED
    assert held(logged_in) is None


def test_a_commit_lost_after_the_answer_says_so_where_the_old_token_died(
    logged_in: Workshop,
) -> None:
    logged_in.simulator.faults.script("drop_after", operation="token")
    assert renew(logged_in.deployment, login(logged_in).id, refused=1) is Renewal.LATER
    logged_in.execute("UPDATE login SET not_before = NULL")
    assert renew(logged_in.deployment, login(logged_in).id, refused=1) is Renewal.HELD
    assert held(logged_in) == "login revoked"


def test_the_token_before_is_tried_when_the_newest_is_refused(logged_in: Workshop) -> None:
    logged_in.simulator.behaviour.old_refresh_dies = False
    renew(logged_in.deployment, login(logged_in).id)
    newest = tokens_of(logged_in).refresh
    logged_in.simulator.tokens.revoke_refresh(newest)
    assert renew(logged_in.deployment, login(logged_in).id) is Renewal.RENEWED
    assert grants(logged_in) == [200, 401, 200]


def test_an_expired_access_token_is_renewed_and_the_delivery_goes_on(logged_in: Workshop) -> None:
    audience_id = logged_in.activate()
    logged_in.deliver_all()
    expire_access(logged_in)
    logged_in.upload(audience_id, email_event(1))
    assert len(logged_in.members()) == 1
    assert held(logged_in) is None
    assert grants(logged_in) == [200]
    assert logged_in.list_row(audience_id).charged == 2  # the refused attempt was given back


FLEET = """
import os, sys
from app.delivery import deliver_once
from app.deployment import Deployment
from app.settings import load_settings

children = []
for list_id in map(int, sys.argv[1:]):
    child = os.fork()
    if not child:
        delivered = deliver_once(Deployment(load_settings()), list_id)
        os._exit(0 if delivered is not None else 1)
    children.append(child)
statuses = [os.waitpid(child, 0)[1] for child in children]
print(statuses.count(0))
"""
"""Every list is delivered by a process of its own; says how many of them took their turn."""


def test_sixteen_workers_that_meet_an_expired_token_renew_it_once(logged_in: Workshop) -> None:
    audience_ids = [logged_in.activate(str(number), f"A{number}") for number in range(16)]
    logged_in.deliver_all()
    for number, audience_id in enumerate(audience_ids):
        logged_in.stage(email_event(number, audience=str(number)))
        logged_in.flush(audience_id)
    expire_access(logged_in)
    fleet = subprocess.run(
        [sys.executable, "-c", FLEET, *[str(logged_in.list_id(each)) for each in audience_ids]],
        env=os.environ | environment_of(logged_in.deployment.settings),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    refused = [call for call in logged_in.simulator.books.requests() if call.status == 401]
    assert len(refused) > 1
    assert int(fleet.stdout) == 16
    assert grants(logged_in) == [200]
    logged_in.deliver_all()
    assert {row.state for row in logged_in.rows("SELECT state FROM batch")} == {"sent"}
    assert held(logged_in) is None


def test_workers_that_come_late_with_an_old_version_ask_nobody(logged_in: Workshop) -> None:
    renew(logged_in.deployment, login(logged_in).id)
    assert renew_refused(logged_in.deployment, login(logged_in).id, 1) is Renewal.RENEWED
    assert grants(logged_in) == [200]


def test_two_renewals_at_once_ask_once(logged_in: Workshop) -> None:
    connection_id = login(logged_in).id
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(
            pool.map(lambda _: renew_refused(logged_in.deployment, connection_id, 1), range(4))
        )
    assert outcomes == [Renewal.RENEWED] * 4
    assert grants(logged_in) == [200]


def test_a_refusal_to_renew_stops_nothing_while_the_access_token_works(
    logged_in: Workshop,
) -> None:
    set_secret(logged_in, "another")
    age(logged_in, 16)
    assert renew_due_once(logged_in.deployment) == 0
    assert held(logged_in) is None
    assert login(logged_in).failures == 1
    assert login(logged_in).problem == "Authentication failed."
    set_secret(logged_in, DEFAULT_APP_SECRET)
    logged_in.execute("UPDATE login SET not_before = NULL")
    assert renew_due_once(logged_in.deployment) == 1
    assert login(logged_in).problem is None


def test_a_revoked_login_is_held_as_revoked_and_an_old_one_as_expired(
    logged_in: Workshop,
) -> None:
    audience_id = logged_in.activate()
    logged_in.simulator.tokens.set_state(TOKEN, "revoked")
    logged_in.deliver_all()
    assert held(logged_in) == "login revoked"
    logged_in.execute("UPDATE connection SET held_reason = NULL, held_at = NULL")
    age(logged_in, 61)
    assert renew_due_once(logged_in.deployment) == 0
    assert held(logged_in) == "login expired"
    assert logged_in.list_row(audience_id).charged == 0


def test_a_held_login_goes_on_by_itself_when_pinterest_takes_it_again(
    logged_in: Workshop,
) -> None:
    logged_in.activate()
    set_secret(logged_in, "another")
    expire_access(logged_in)
    logged_in.deliver_all()
    assert held(logged_in) == "login revoked"
    set_secret(logged_in, DEFAULT_APP_SECRET)
    logged_in.execute("UPDATE login SET not_before = NULL")
    assert renew_due_once(logged_in.deployment) == 1
    assert held(logged_in) is None


def test_new_tokens_that_are_refused_at_once_are_not_renewed_for_ever(
    logged_in: Workshop,
) -> None:
    connection_id = login(logged_in).id
    assert renew(logged_in.deployment, connection_id, refused=1) is Renewal.RENEWED
    assert renew(logged_in.deployment, connection_id, refused=2) is Renewal.HELD
    assert held(logged_in) == "login revoked"
    assert grants(logged_in) == [200]


def test_a_refusal_from_before_the_clock_was_set_back_is_not_taken_for_one_of_late(
    logged_in: Workshop,
) -> None:
    connection_id = login(logged_in).id
    assert renew(logged_in.deployment, connection_id, refused=1) is Renewal.RENEWED
    logged_in.execute("UPDATE login SET refused_at = refused_at + interval '2 h'")
    assert renew(logged_in.deployment, connection_id, refused=2) is Renewal.RENEWED
    assert held(logged_in) is None


def test_a_token_from_a_file_that_is_refused_asks_for_a_login(workshop: Workshop) -> None:
    workshop.connect()
    workshop.activate()
    workshop.simulator.tokens.set_state(TOKEN, "expired")
    workshop.deliver_all()
    assert held(workshop) == "log in again"


def test_while_the_token_endpoint_is_away_the_connection_waits_and_is_not_held(
    logged_in: Workshop,
) -> None:
    audience_id = logged_in.activate()
    expire_access(logged_in)
    logged_in.simulator.faults.script("unavailable", operation="token")
    logged_in.deliver(audience_id)
    assert held(logged_in) is None
    assert find_connection(logged_in.deployment, "main").not_before is not None
    assert logged_in.deliver(audience_id) is not None
    logged_in.end_pauses()
    logged_in.execute("UPDATE login SET not_before = NULL")
    logged_in.deliver_all()
    assert logged_in.list_row(audience_id).pinterest_list_id is not None


@pytest.mark.parametrize("rotate", [True, False])
@pytest.mark.parametrize("away", [(), range(100, 120)])
def test_in_a_year_no_login_is_lost(logged_in: Workshop, rotate: bool, away: Any) -> None:
    """Tokens of 30 and 60 days, nothing else happening; the server may fail for 20 days."""
    behaviour = logged_in.simulator.behaviour
    behaviour.rotate_refresh = rotate
    for day in range(365):
        age(logged_in, 1)
        logged_in.simulator.faults.clear()
        if day in away:
            logged_in.simulator.faults.script("unavailable", times=None, operation="token")
        renew_due_once(logged_in.deployment)
    assert held(logged_in) is None
    row = login(logged_in)
    assert row.failures == 0
    assert row.access_expires_at > logged_in.value("SELECT clock_timestamp()")
    logged_in.activate()
    logged_in.deliver_all()
    assert held(logged_in) is None


def test_a_login_that_a_person_put_in_meanwhile_counts_more_than_a_renewal(
    logged_in: Workshop,
) -> None:
    logged_in.simulator.faults.script("slow", operation="token", seconds=1.0)
    connection_id = login(logged_in).id
    with ThreadPoolExecutor(1) as pool:
        renewal = pool.submit(renew, logged_in.deployment, connection_id)
        assert eventually(lambda: len(logged_in.simulator.books.grants()) == 1)
        replace_token(logged_in.deployment, "main", "pina_by_hand")
        assert renewal.result() is Renewal.RENEWED
    assert tokens_of(logged_in).access == "pina_by_hand"


def test_a_refusal_of_the_old_login_does_not_hold_the_one_a_person_put_in(
    logged_in: Workshop,
) -> None:
    set_secret(logged_in, "another")
    logged_in.simulator.faults.script("slow", operation="token", seconds=1.0)
    connection_id = login(logged_in).id
    with ThreadPoolExecutor(1) as pool:
        renewal = pool.submit(renew, logged_in.deployment, connection_id, 1)
        assert eventually(lambda: len(logged_in.simulator.books.grants()) == 1)
        replace_token(logged_in.deployment, "main", "pina_by_hand")
        renewal.result()
    assert held(logged_in) is None
    assert login(logged_in).problem is None


def test_one_login_that_cannot_be_read_stops_no_other(logged_in: Workshop) -> None:
    now = logged_in.value("SELECT clock_timestamp()")
    tokens = read_tokens({"access_token": "pina_2", "refresh_token": REFRESH}, now)
    assert tokens is not None
    add_connection(logged_in.deployment, "second", ACCOUNT, tokens)
    logged_in.execute("UPDATE login SET obtained_at = obtained_at - interval '20 days'")
    logged_in.execute(
        "UPDATE login SET access_sealed = substring(access_sealed for 20)"
        " WHERE id = (SELECT min(id) FROM login)"
    )
    assert renew_due_once(logged_in.deployment) == 1


@pytest.mark.parametrize("wait", ["999999999999999999", "Thu, 01 Jan 1970 00:00:00 GMT"])
def test_an_absurd_wait_is_a_sensible_pause(logged_in: Workshop, wait: str) -> None:
    logged_in.simulator.faults.script("unavailable", operation="token", retry_after=wait)
    assert renew(logged_in.deployment, login(logged_in).id) is Renewal.LATER
    now = logged_in.value("SELECT clock_timestamp()")
    assert timedelta(0) < login(logged_in).not_before - now <= timedelta(hours=1)


def test_while_a_renewal_rests_a_dead_token_is_not_sent_again_and_again(
    logged_in: Workshop,
) -> None:
    audience_id = logged_in.activate()
    set_secret(logged_in, "another")
    age(logged_in, 16)
    renew_due_once(logged_in.deployment)
    logged_in.simulator.tokens.expire()
    for _ in range(4):
        logged_in.deliver(audience_id)
    refused = [call for call in logged_in.simulator.books.requests() if call.operation != "token"]
    assert len(refused) == 1


def test_a_hold_for_tokens_that_do_not_work_is_not_undone_by_the_next_minute(
    logged_in: Workshop,
) -> None:
    connection_id = login(logged_in).id
    renew(logged_in.deployment, connection_id, refused=1)
    assert renew(logged_in.deployment, connection_id, refused=2) is Renewal.HELD
    assert renew_due_once(logged_in.deployment) == 0
    assert held(logged_in) == "login revoked"


def test_a_renewal_by_the_clock_leaves_the_first_refusal_its_own_renewal(
    logged_in: Workshop,
) -> None:
    age(logged_in, 31)
    assert renew_due_once(logged_in.deployment) == 1
    assert renew(logged_in.deployment, login(logged_in).id, refused=2) is Renewal.RENEWED


def test_tokens_that_came_after_the_lease_ran_out_are_kept(logged_in: Workshop) -> None:
    logged_in.simulator.faults.script("slow", operation="token", seconds=1.0)
    connection_id = login(logged_in).id
    with ThreadPoolExecutor(1) as pool:
        renewal = pool.submit(renew, logged_in.deployment, connection_id)
        assert eventually(lambda: len(logged_in.simulator.books.grants()) == 1)
        logged_in.execute("UPDATE login SET epoch = epoch + 1, lease_until = NULL")
        assert renewal.result() is Renewal.RENEWED
    assert login(logged_in).version == 2


def fail_once(workshop: Workshop, code: str) -> None:
    """Let Postgres end the next transaction that changes the tokens, for the reason of a code."""
    workshop.execute("CREATE SEQUENCE tries")
    workshop.execute(
        "CREATE FUNCTION fail_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF nextval('tries') = 1 THEN RAISE 'a test' USING ERRCODE = '{code}'; END IF;"
        " RETURN NEW; END $$"
    )
    workshop.execute(
        "CREATE TRIGGER failing BEFORE UPDATE OF version ON login"
        " FOR EACH ROW EXECUTE FUNCTION fail_once()"
    )


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("40P01", id="deadlock"),
        pytest.param("55P03", id="lock timeout"),
        pytest.param("57014", id="statement timeout"),
        pytest.param("53100", id="disk full"),
    ],
)
def test_new_tokens_outlive_a_transaction_that_postgres_ended(
    logged_in: Workshop, code: str
) -> None:
    """Pinterest has taken the old ones back already."""
    fail_once(logged_in, code)
    assert renew(logged_in.deployment, login(logged_in).id, refused=1) is Renewal.RENEWED
    assert grants(logged_in) == [200]
    assert tokens_of(logged_in).refresh != REFRESH


def test_what_will_not_pass_is_not_tried_again(logged_in: Workshop) -> None:
    fail_once(logged_in, "P0001")
    with pytest.raises(sa.exc.DBAPIError, match="a test"):
        renew(logged_in.deployment, login(logged_in).id)
    assert login(logged_in).version == 1


def test_a_disguised_refusal_of_the_token_endpoint_only_waits(logged_in: Workshop) -> None:
    logged_in.simulator.faults.script("transient_400", operation="token", code=1)
    assert renew(logged_in.deployment, login(logged_in).id, refused=1) is Renewal.LATER
    assert held(logged_in) is None


def test_a_refusal_that_met_the_old_login_does_not_hold_the_new_one(logged_in: Workshop) -> None:
    connection_id = login(logged_in).id
    with logged_in.transaction() as tx:
        hold_connection(tx, connection_id, "scope missing", "no scope", version=0)
    assert held(logged_in) is None
    with logged_in.transaction() as tx:
        hold_connection(tx, connection_id, "scope missing", "no scope", version=1)
    assert held(logged_in) == "scope missing"
