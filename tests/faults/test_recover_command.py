"""`pinfold recover` itself: what it asks, what it refuses, what it holds, what it never lowers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from app.audiences import deactivate
from app.connections import add_connection, replace_token
from app.errors import LeaseLost
from app.lease import try_claim, write_under
from app.logins import Tokens
from app.observing import observe_due_once
from app.processes import Presence
from app.remembering import Message, key_of, stage_messages
from app.renewing import Renewal, renew
from app.rolling import roll_over
from app.sandbox.embedded_postgres import PostgresServer
from app.sandbox.pinterest import DEFAULT_APP_ID, DEFAULT_APP_SECRET
from app.staging import Intake
from app.tables import customer_list
from tests.faults.doomed import die_in
from tests.faults.hands_of_time import let_pass
from tests.faults.restored import BATCH, Installation
from tests.workshop import ACCOUNT, TOKEN, Workshop, digests, email_event, emails


def test_what_waited_at_the_backup_can_be_given_up_by_name(lost: Installation) -> None:
    workshop = lost.workshop
    book = workshop.book(1)
    printed = lost.recover("--give-up-waiting")
    assert f"{book.waiting} waiting identities are booked as not forwarded" in printed
    after = workshop.book(1)
    assert (after.waiting, after.not_forwarded) == (0, book.not_forwarded + book.waiting)
    before = workshop.patches()
    lost.work()
    assert workshop.patches() == before
    lost.assert_sound()


def test_what_is_given_up_can_be_sent_again_under_the_ids_it_had(
    installation: Installation,
) -> None:
    workshop = installation.workshop
    audience_id = workshop.ready(forward_device_id=False)
    message = Message(emails(range(3)), key_of("a message"))
    intake = Intake(workshop.deployment, "source shop")
    stage_messages(intake, [message])
    workshop.stage(email_event(3), key="a call")
    installation.back_up()
    installation.lose_and_restore()
    installation.recover()
    assert stage_messages(intake, [message])[0].duplicate  # it waits still
    workshop.execute("DELETE FROM process")
    installation.recover("--give-up-waiting")
    assert workshop.book(audience_id).waiting == 0
    assert stage_messages(intake, [message])[0].accepted == 3
    assert not workshop.stage(email_event(3), key="a call").duplicate
    installation.work()
    assert workshop.members() == digests(range(4))
    installation.assert_sound()


def test_recovering_twice_changes_no_charge_and_loses_nothing(lost: Installation) -> None:
    charged = "SELECT sum(charged) FROM customer_list"
    lost.recover()
    once = lost.workshop.value(charged)
    assert "0 lists charged with 0 records more" in lost.recover()
    assert lost.workshop.value(charged) == once
    lost.workshop.activate("31002", "New")
    lost.send_again()
    lost.work()
    assert lost.workshop.members() == lost.due()
    lost.assert_sound()


def test_a_worker_from_the_lost_time_has_no_say_any_more(installation: Installation) -> None:
    workshop = installation.workshop
    s, list_id = workshop.deployment.settings, workshop.list_id(workshop.ready())
    installation.back_up()
    for _ in range(2):
        workshop.end_leases()
        with workshop.transaction() as tx:
            stale = try_claim(tx, customer_list, list_id, s)
    assert stale is not None
    installation.lose_and_restore()
    installation.recover()
    with workshop.transaction() as tx:
        assert try_claim(tx, customer_list, list_id, s) is not None
    with pytest.raises(LeaseLost), workshop.transaction() as tx:
        write_under(tx, customer_list, stale, charged=0)


def test_nothing_changes_before_a_person_says_yes(lost: Installation) -> None:
    before = lost.workshop.rows("SELECT * FROM customer_list")
    done = lost.pinfold("recover", "--backup-taken", lost.taken)
    assert done.returncode == 1
    assert "recover?" in done.stdout
    assert lost.workshop.rows("SELECT * FROM customer_list") == before


def test_later_looks_compare_with_what_was_counted_at_the_recovery(lost: Installation) -> None:
    workshop = lost.workshop
    lost.recover()
    lost.send_again()
    lost.work()
    workshop.execute("UPDATE customer_list SET observe_not_before = NULL")
    observe_due_once(workshop.deployment)
    finding = workshop.value(
        "SELECT finding->>'cause' FROM observation WHERE finding IS NOT NULL"
        " ORDER BY id DESC LIMIT 1"
    )
    assert finding == "exact"


def test_counters_that_come_late_still_raise_the_charge(installation: Installation) -> None:
    workshop = installation.workshop
    audience_id = workshop.ready(forward_device_id=False)
    installation.back_up()
    workshop.simulator.behaviour.counter_delay = 3_600.0
    installation.send(*emails(range(40)))
    installation.work()
    installation.lose_and_restore()
    installation.recover("--allowance", "0")
    assert workshop.list_row(audience_id).charged == 1
    workshop.simulator.books.settle_counters()
    observe_due_once(workshop.deployment)
    assert workshop.list_row(audience_id).charged == 41
    installation.assert_sound()


def test_counters_that_come_late_raise_the_charge_of_a_list_that_was_rolled_over(
    installation: Installation,
) -> None:
    workshop = installation.workshop
    audience_id = workshop.ready(forward_device_id=False)
    installation.send(*emails(range(40)))
    assert workshop.flush(audience_id) is not None
    older_id = workshop.list_id(audience_id)
    roll_over(workshop.deployment, audience_id)
    installation.back_up()
    workshop.simulator.behaviour.counter_delay = 3_600.0
    workshop.deliver_all()
    installation.lose_and_restore()
    installation.recover("--allowance", "0")
    workshop.simulator.books.settle_counters()
    installation.observe()
    charged = "SELECT charged FROM customer_list WHERE id = :l"
    assert workshop.value(charged, l=older_id) == 41  # before its lane goes out once more
    installation.assert_sound()


def test_counters_that_come_late_raise_the_charge_of_a_deactivated_audience(
    installation: Installation,
) -> None:
    workshop = installation.workshop
    audience_id = workshop.ready(forward_device_id=False)
    installation.back_up()
    workshop.simulator.behaviour.counter_delay = 3_600.0
    installation.send(*emails(range(40)))
    installation.work()
    installation.lose_and_restore()
    installation.recover("--allowance", "0")
    deactivate(workshop.deployment, audience_id)  # as was done since the backup
    workshop.simulator.books.settle_counters()
    installation.observe()
    assert workshop.list_row(audience_id).charged == 41  # it may be activated again
    let_pass(workshop, 8 * 86_400)
    assert installation.observe() == 0


def test_what_is_gone_and_takes_no_uploads_waits_for_nobody(installation: Installation) -> None:
    workshop = installation.workshop
    audience_id = workshop.ready(forward_device_id=False)
    installation.back_up()
    installation.lose_and_restore()
    installation.recover()
    deactivate(workshop.deployment, audience_id)
    installation.vanish()
    installation.observe()
    assert workshop.list_row(audience_id).held_reason is None


def test_no_proof_ever_gives_back_what_a_recovery_charged(
    open_with: Callable[..., Workshop], postgres: PostgresServer, tmp_path: Path
) -> None:
    workshop = open_with(records_per_request=BATCH, give_back_unknown=True)
    installation = Installation(workshop, postgres, tmp_path)
    audience_id = workshop.ready(forward_device_id=False)
    installation.send(*emails(range(3)))
    assert workshop.flush(audience_id) is not None
    list_id = workshop.list_id(audience_id)
    die_in(workshop.deployment.settings, "deliver", list_id, ("request", "unanswered"))
    installation.back_up()
    installation.lose_and_restore()
    installation.recover("--allowance", "0")
    let_pass(workshop, 8 * 86_400)  # when a look does not raise charges any more
    workshop.execute("UPDATE customer_list SET observe_not_before = NULL")
    assert observe_due_once(workshop.deployment) == 1
    workshop.assert_charges_cover_what_was_sent()
    assert workshop.list_row(audience_id).charged == 4


def test_a_list_that_pinterest_does_not_show_gets_nothing_until_it_does(
    lost: Installation,
) -> None:
    workshop = lost.workshop
    workshop.simulator.set_token_state(TOKEN, "revoked")
    printed = lost.recover()
    assert "held until this is run again: VIP-EMAIL" in printed
    assert "pinfold connection replace-login main" in printed
    assert lost.pinfold("retry").returncode == 0
    before = workshop.patches()
    lost.work()
    assert workshop.patches() == before
    assert workshop.list_row(1).held_reason == "not recovered"
    workshop.simulator.set_token_state(TOKEN, "valid")
    replace_token(workshop.deployment, "main", TOKEN)
    lost.recover()
    assert workshop.list_row(1).held_reason is None
    workshop.activate("31002", "New")
    lost.send_again()
    lost.work()
    assert workshop.members() == lost.due()
    lost.assert_sound()


@pytest.mark.parametrize("renewed_since", [False, True], ids=["not renewed", "renewed since"])
def test_a_login_that_died_since_the_backup_is_renewed_or_asked_for_by_name(
    open_with: Callable[..., Workshop],
    postgres: PostgresServer,
    tmp_path: Path,
    renewed_since: bool,
) -> None:
    workshop = open_with(app_id=DEFAULT_APP_ID, app_secret=DEFAULT_APP_SECRET)
    installation = Installation(workshop, postgres, tmp_path)
    tokens = Tokens(TOKEN, refresh=TOKEN.replace("pina_", "pinr_"))
    connection_id = add_connection(workshop.deployment, "main", ACCOUNT, tokens)
    audience_id = workshop.activate()
    workshop.deliver_all()
    installation.back_up()
    if renewed_since:
        assert renew(workshop.deployment, connection_id) is Renewal.RENEWED
    installation.lose_and_restore()
    workshop.simulator.tokens.expire()
    printed = installation.recover()
    if renewed_since:  # Pinterest took the old refresh token once, and never again
        assert "pinfold connection replace-login main" in printed
        assert workshop.list_row(audience_id).held_reason == "not recovered"
    else:
        assert "connection main: Pinterest accepts the login" in printed
        assert workshop.list_row(audience_id).held_reason is None


def test_a_person_who_knows_the_count_can_name_it(lost: Installation) -> None:
    lost.workshop.simulator.set_token_state(TOKEN, "revoked")
    lost.recover("--charged", "VIP-EMAIL=5000")
    row = lost.workshop.list_row(1)
    assert (row.charged, row.held_reason) == (5_000, None)
    lost.recover("--charged", "VIP-EMAIL=10")
    assert lost.workshop.list_row(1).charged == 5_000
    done = lost.pinfold("recover", "--backup-taken", lost.taken, "--charged", "Nobody-EMAIL=1")
    assert (done.returncode, "no list is called Nobody-EMAIL" in done.stderr) == (1, True)


def test_a_list_deleted_since_the_backup_is_held_for_a_rebuild(lost: Installation) -> None:
    workshop = lost.workshop
    workshop.simulator.books.delete_list(workshop.list_row(1).pinterest_list_id)
    assert "gone at Pinterest, pinfold audience rebuild: VIP-EMAIL" in lost.recover()
    assert workshop.list_row(1).held_reason == "gone at Pinterest"


def test_it_refuses_while_a_process_runs_that_does_not_know_of_the_loss(
    lost: Installation,
) -> None:
    with Presence(lost.workshop.deployment, "worker") as worker:
        worker.renew()
        done = lost.pinfold("recover", "--backup-taken", lost.taken, "--yes")
        assert (done.returncode, f"stop everything first: {worker.name}" in done.stderr) == (
            1,
            True,
        )
        assert "recovered" in lost.recover("--while-running")


def test_a_backup_without_any_connection_is_recovered_once_one_is_made(
    installation: Installation,
) -> None:
    workshop = installation.workshop
    installation.back_up()
    workshop.ready(forward_device_id=False)
    installation.send(*emails(range(7)))
    installation.work()
    installation.lose_and_restore()
    done = installation.pinfold("recover", "--backup-taken", installation.taken, "--yes")
    assert (done.returncode, "`pinfold connect NAME`" in done.stderr) == (1, True)
    workshop.connect(forward_device_id=False)
    installation.recover()
    audience_id = workshop.activate()
    workshop.end_quarantine()
    workshop.deliver_all()
    assert workshop.list_row(audience_id).charged == 1 + 7 + BATCH
    installation.assert_sound()


@pytest.mark.parametrize("time", ["yesterday", "2026-02-03T04:00", "2999-01-01T00:00Z"])
def test_a_time_that_cannot_be_meant_is_refused(installation: Installation, time: str) -> None:
    done = installation.pinfold("recover", "--backup-taken", time, "--yes")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
