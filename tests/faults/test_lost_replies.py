"""Connections to Postgres that break at a commit: whether it was made, nobody can know."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
import sqlalchemy as sa

from app import turn
from app.errors import Unavailable
from app.quota import charge
from tests.integration.processes import eventually
from tests.workshop import Workshop, address, emails, sha1_hex


def end_session(workshop: Workshop, tx: sa.Connection) -> None:
    """The server ends the session: nothing of it is committed."""
    session = tx.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
    workshop.execute("SELECT pg_terminate_backend(:pid, 10000)", pid=session)


def go_deaf(_workshop: Workshop, tx: sa.Connection) -> None:
    """What is sent from now on still arrives, and no reply comes back."""
    with closing(socket.socket(fileno=os.dup(tx.connection.dbapi_connection.fileno()))) as way:  # type: ignore[union-attr]
        way.shutdown(socket.SHUT_RD)


@pytest.mark.parametrize(
    ("break_off", "committed"), [(end_session, False), (go_deaf, True)], ids=["not made", "made"]
)
def test_a_charge_in_doubt_sends_nothing(
    workshop: Workshop,
    monkeypatch: pytest.MonkeyPatch,
    break_off: Callable[[Workshop, sa.Connection], None],
    committed: bool,
) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    workshop.stage(*emails(range(3)))
    assert workshop.flush(audience_id) is not None

    def charge_and_break_off(tx: sa.Connection, *given: Any, **more: Any) -> Any:
        made = charge(tx, *given, **more)
        break_off(workshop, tx)
        return made

    with monkeypatch.context() as patch:
        patch.setattr(turn, "charge", charge_and_break_off)
        with pytest.raises(Unavailable):
            workshop.deliver(audience_id)
    assert workshop.patches() == []
    charged = 4 if committed else 1
    assert eventually(lambda: workshop.list_row(audience_id).charged == charged)
    workshop.end_leases()
    workshop.deliver_all()
    assert workshop.patches() == [("ADD", 3)]
    assert workshop.list_row(audience_id).charged == charged + 3
    assert workshop.members() == {sha1_hex(address(number)) for number in range(3)}
    workshop.assert_books_balance()
