"""Workers that stand still past their lease at every commit and in mid-request, and then go on.

Row 7 of the fault matrix. While a worker is frozen another one completes its work and an upload
with the opposite wishes; whatever the first does once it wakes must change nothing.
"""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable

import pytest

from app.runs import GROWTH
from app.settings import Settings
from tests.faults.doomed import COMMITS_OF, Frozen, Instant, frozen_in
from tests.workshop import REMOVE, Workshop, digests, email_event, emails

IN_MID_REQUEST: list[Instant] = [("request", "half sent"), ("request", "unanswered")]
BY_THE_CLOCK: list[Instant] = [("send", "after"), *IN_MID_REQUEST]
"""From the charge on only the time that has passed keeps a worker from sending; before it, that
another one has the lease."""
DEAD_MAN_S = 3.0
SHORT = {"connect_timeout": 0.2, "read_timeout": 0.4, "call_deadline": 0.5, "dead_man": DEAD_MAN_S}


def instants(step: str) -> list[Instant]:
    return list(itertools.product(COMMITS_OF[step], ("before", "after")))


@pytest.fixture
def workshop(open_with: Callable[..., Workshop]) -> Workshop:
    return open_with(records_per_request=2)


@pytest.fixture
def hasty(open_with: Callable[..., Workshop]) -> Settings:
    """The settings of a worker that soon has been frozen for too long."""
    return open_with(records_per_request=2, **SHORT).deployment.settings


@pytest.fixture
def audience_id(workshop: Workshop) -> int:
    return workshop.amid_changes()


def take_over(workshop: Workshop) -> None:
    """The frozen worker's lease is over; Postgres has ended the transaction it idled in."""
    workshop.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND state = 'idle in transaction'"
    )
    workshop.end_leases()
    workshop.end_quarantine()


def upload_the_opposite(workshop: Workshop, audience_id: int) -> None:
    """Complete what was cut or staged, then let back in who left and out who entered."""
    workshop.flush(audience_id)
    workshop.deliver_all()
    workshop.stage(*emails(range(2)), *emails(range(6, 9), REMOVE))
    workshop.end_quarantine()
    assert workshop.flush(audience_id) is not None
    workshop.deliver_all()
    assert workshop.members() == digests(range(6))


def assert_it_changes_nothing(workshop: Workshop, frozen: Frozen, instant: Instant) -> None:
    if instant in BY_THE_CLOCK:
        frozen.wait(DEAD_MAN_S)
    requests = len(workshop.simulator.books.writes())
    charges = workshop.rows("SELECT charged FROM customer_list")
    ended = frozen.thaw()
    if instant in IN_MID_REQUEST:
        assert ended == -signal.SIGALRM
    assert len(workshop.simulator.books.writes()) == requests
    assert workshop.rows("SELECT charged FROM customer_list") == charges
    workshop.assert_books_balance()
    workshop.assert_charges_cover_what_was_sent()


@pytest.mark.parametrize(
    ("step", "instant"),
    [
        *itertools.product(["flush"], instants("flush")),
        *itertools.product(["compact"], instants("compact")),
        *itertools.product(["deliver"], [*instants("deliver"), *IN_MID_REQUEST]),
    ],
    ids=lambda part: part if isinstance(part, str) else " ".join(part),
)
def test_a_worker_frozen_past_its_lease_sends_and_changes_nothing_when_it_wakes(
    workshop: Workshop, hasty: Settings, audience_id: int, step: str, instant: Instant
) -> None:
    if step == "compact":
        for _ in range(GROWTH):
            workshop.stage(email_event(8))
    elif step == "flush":
        workshop.execute("UPDATE audience SET flush_requested_at = now()")
    else:
        assert workshop.flush(audience_id) is not None
    row_id = workshop.list_id(audience_id) if step == "deliver" else audience_id
    with frozen_in(hasty, step, row_id, instant) as frozen:
        take_over(workshop)
        upload_the_opposite(workshop, audience_id)
        assert_it_changes_nothing(workshop, frozen, instant)
    assert workshop.members() == digests(range(6))
    assert workshop.book(audience_id).waiting == 0


@pytest.mark.parametrize("instant", [*instants("create"), *IN_MID_REQUEST], ids=" ".join)
def test_a_worker_frozen_while_it_makes_a_list_makes_no_second_one_when_it_wakes(
    workshop: Workshop, hasty: Settings, instant: Instant
) -> None:
    workshop.connect(forward_device_id=False)
    audience_id = workshop.activate()
    with frozen_in(hasty, "create", workshop.list_id(audience_id), instant) as frozen:
        for _ in range(2):  # the list, and what is made from it
            take_over(workshop)
            workshop.deliver_all()
        assert_it_changes_nothing(workshop, frozen, instant)
    assert len(workshop.simulator.books.lists()) == 1
    assert len(workshop.simulator.books.audiences()) == 1
    workshop.upload(audience_id, *emails(range(6)))
    assert workshop.members() == digests(range(6))
