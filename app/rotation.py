"""Rotation: seal anew, with the newest key, whatever rests sealed with an older one.

Everything goes on meanwhile (``app.resealing``). What was locked or changed while it was passed is
visited again, until nothing is left.

It can be stopped at any point and run again; two at once only share the work.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from app.database import transaction
from app.deployment import Deployment
from app.errors import Refused
from app.processes import Presence, running
from app.resealing import reseal, slices
from app.sealed import PLACES, needed_keys

KIND = "rotation"
PAUSE_S = 0.5
"""Between two passes, for whoever holds what was passed over."""


@dataclass
class Rotated:
    """What one run did. ``left`` is empty when nothing needs an older key any more."""

    resealed: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    unopened: list[str] = field(default_factory=list)
    """Rows that no key of the ring opens, or whose body was changed; they stay as they are."""
    sealing_older: list[str] = field(default_factory=list)
    """Running processes that seal with an older key, so that there is always something left."""


def rotate(
    deployment: Deployment, progress: Callable[[str, int], None] = lambda _kind, _count: None
) -> Rotated:
    """Seal everything with the first key of PINFOLD_KEYS; ``progress`` hears kind and count.

    Raises Refused while a running process could not open what is sealed with that key, or another
    rotation seals with another one.
    """
    done = Rotated()
    with Presence(deployment, KIND) as presence:
        presence.renew()
        _refuse_for_others(deployment)
        while True:
            _pass_once(presence, done, progress)
            _look_what_is_left(deployment, done)
            if done.left.total() <= len(done.unopened) or done.sealing_older:
                return done
            time.sleep(PAUSE_S)


def count_older(deployment: Deployment) -> Counter[str]:
    """How many bodies of each kind are not sealed with the newest key."""
    newest = deployment.keyring.key_ids[0]
    with transaction(deployment.engine) as tx:
        needed = needed_keys(tx)
    return sum((counts for key_id, counts in needed.items() if key_id != newest), Counter[str]())


def _refuse_for_others(deployment: Deployment) -> None:
    newest = deployment.keyring.key_ids[0]
    with transaction(deployment.engine) as tx:
        others = running(tx)
    blind = [other.name for other in others if newest not in other.key_ids]
    if blind:
        raise Refused(
            f"not every running process can open key {newest}: add it to the PINFOLD_KEYS of "
            f"{', '.join(blind)}, start that again, then rotate"
        )
    rivals = [other.key_ids[0] for other in others if other.kind == KIND]
    if set(rivals) - {newest}:
        raise Refused(f"another rotation is sealing with key {rivals[0]}: wait for its end")


def _pass_once(presence: Presence, done: Rotated, progress: Callable[[str, int], None]) -> None:
    done.unopened.clear()
    for place in PLACES:
        for rows in slices(presence.deployment, place):
            presence.renew()
            count = reseal(presence.deployment, place, rows, done.unopened)
            done.resealed[place.kind] += count
            progress(place.kind, count)


def _look_what_is_left(deployment: Deployment, done: Rotated) -> None:
    newest = deployment.keyring.key_ids[0]
    done.left = count_older(deployment)
    with transaction(deployment.engine) as tx:
        done.sealing_older = [other.name for other in running(tx) if other.key_ids[0] != newest]
