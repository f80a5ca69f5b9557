"""What people do meanwhile: pause, resume, switch settings, log in again, retry what is held."""

from __future__ import annotations

import random
from collections.abc import Callable

import sqlalchemy as sa

from app.audiences import pause, resume
from app.connections import change_settings, replace_token
from app.database import transaction
from app.renewing import LOGIN_REASONS
from app.resuming import retry
from tests.faults.torture.conditions import AUDIENCES, BATCH, TOKEN
from tests.faults.torture.ground import Ground

Later = Callable[[float, Callable[[], None]], None]
Note = Callable[..., None]
USUAL = {"forward_device_id": True, "records_per_request": BATCH}


class PeopleInCharge:
    def __init__(self, ground: Ground, chance: random.Random, later: Later, note: Note) -> None:
        self._ground, self._chance = ground, chance
        self._later, self._note = later, note

    def faults(self) -> list[tuple[float, Callable[[], None]]]:
        return [
            (2.0, lambda: let_go_on(self._ground, self._note)),
            (9.0, self.pause_for_a_while),
            (9.0, self.switch),
            (60.0, self.let_tokens_expire),
        ]

    def pause_for_a_while(self) -> None:
        audience_id = self._chance.choice(audience_ids(self._ground))
        pause(self._ground.deployment, audience_id)
        self._note("pause", audience_id)
        self._later(
            1 + 4 * self._chance.random(), lambda: resume(self._ground.deployment, audience_id)
        )

    def switch(self) -> None:
        """Forward no device ids for a while, or send requests of another size."""
        name = self._chance.choice(sorted(set(AUDIENCES.values())))
        change = self._chance.choice(
            ({"forward_device_id": False}, {"records_per_request": 1 + self._chance.randrange(30)})
        )
        change_settings(self._ground.deployment, name, **change)
        self._note("switch", f"{name} {change}")
        self._later(
            2 + 4 * self._chance.random(),
            lambda: change_settings(self._ground.deployment, name, **USUAL),
        )

    def let_tokens_expire(self) -> None:
        self._ground.simulator.tokens.expire()
        self._note("tokens-expired")


def audience_ids(ground: Ground) -> list[int]:
    with transaction(ground.deployment.engine) as tx:
        return list(tx.execute(sa.text("SELECT id FROM audience ORDER BY id")).scalars())


def let_go_on(ground: Ground, note: Note) -> None:
    """Log in again where that is what a connection waits for, and let all that is held go on."""
    held = "SELECT name, held_reason FROM connection WHERE held_reason IS NOT NULL"
    with transaction(ground.deployment.engine) as tx:
        rows = tx.execute(sa.text(held)).all()
    for row in rows:
        if row.held_reason in LOGIN_REASONS:
            token = f"{TOKEN}_{len(ground.simulator.tokens.issued())}"
            ground.simulator.set_token_state(token, "valid")
            replace_token(ground.deployment, row.name, token)
            note("logged-in", row.name)
    retry(ground.deployment)


def back_to_usual(ground: Ground) -> None:
    """Whatever was paused or switched."""
    for name in sorted(set(AUDIENCES.values())):
        change_settings(ground.deployment, name, **USUAL)
    for audience_id in audience_ids(ground):
        resume(ground.deployment, audience_id)
