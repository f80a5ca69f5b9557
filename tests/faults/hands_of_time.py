"""Time that passes, and clocks that jump, without waiting: the times in the database are moved.

Every time that Pinfold keeps is Postgres's, and is only ever compared with Postgres's clock. To
move all of them by an hour one way is therefore to move that clock by an hour the other way, while
the server's own clock stands.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import sqlalchemy as sa

from app.tables import metadata
from tests.workshop import Workshop

_MOVED = {
    table.name: [column.name for column in table.columns if isinstance(column.type, sa.DateTime)]
    for table in metadata.sorted_tables
}
_MOVE = ";".join(
    f"UPDATE {table} SET " + ", ".join(f"{name} = {name} + %(by)s" for name in columns)
    for table, columns in _MOVED.items()
    if columns
)
_NEXT_CHANGE = """
    SELECT extract(epoch FROM min(at) - clock_timestamp()) FROM (
        SELECT not_before AS at FROM customer_list
        UNION ALL SELECT audience_not_before FROM customer_list
        UNION ALL SELECT lease_until FROM customer_list
        UNION ALL SELECT not_before FROM connection
        UNION ALL SELECT not_before FROM budget
        UNION ALL SELECT next_slot_at FROM budget
    ) AS times WHERE at > clock_timestamp()
"""


def move_stored_times(workshop: Workshop, seconds: float) -> None:
    """Move every time in the database, into the past where ``seconds`` is negative."""
    with workshop.transaction() as tx:
        tx.exec_driver_sql(_MOVE, {"by": timedelta(seconds=seconds)})


def let_pass(workshop: Workshop, seconds: float) -> None:
    """So much time has gone by."""
    move_stored_times(workshop, -seconds)


def outlast(workshop: Workshop, seconds: float, over: Callable[[], bool] = lambda: False) -> float:
    """Let a time pass, in which whatever is due is delivered as soon as it is due.

    It ends early where ``over`` says so; returns the seconds that passed.
    """
    passed = 0.0
    while passed < seconds:
        workshop.deliver_all()
        if over():
            break
        rest = workshop.value(_NEXT_CHANGE)
        step = seconds - passed if rest is None else float(rest) + 0.001
        let_pass(workshop, step)
        passed += step
    return passed
