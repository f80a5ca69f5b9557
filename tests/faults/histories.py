"""What histories are made up of: calls, deliveries, and what befalls them.

Few people and few lists, so that whatever happens concerns the same ones again and again.
"""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st

from tests.faults.doomed import COMMITS_OF
from tests.faults.mortal_workers import Fate, Interruption
from tests.faults.reckoning import FUTURE_US, PEOPLE, Said
from tests.workshop import ADD, REMOVE

SIDES = ("before", "after")
TROUBLE = st.sampled_from(
    [
        "late",
        "drop_after",
        "drop_before",
        "reset_after",
        "server_error",
        "server_error_after",
        "unavailable",
        "rate_limited",
        "too_large",
        "conflict",
        "expired_token",
        "forbidden",
        "transient_400",
        "html",
        "garbage",
    ]
)


@st.composite
def calls(draw: st.DrawFn) -> list[Said]:
    """A few events, of several audiences, about few people: they contradict one another."""
    said = []
    for _ in range(draw(st.integers(1, 4))):
        whom = draw(st.sampled_from(sorted(PEOPLE)))
        people = [draw(st.sampled_from(PEOPLE[whom]))]
        if draw(st.booleans()):
            people.append(draw(st.sampled_from(PEOPLE["MAID", 1])))
        said.append(
            Said(
                audience=draw(st.integers(0, 1)),
                operation=draw(st.sampled_from([ADD, REMOVE])),
                people=tuple(people),
                occurred_at_us=draw(st.sampled_from([None, None, 2, 1, FUTURE_US])),
            )
        )
    return said


class Delivery(NamedTuple):
    """Which list gets its turn, if possible one with something in its lane."""

    which: int
    retried: bool
    """A person lets everything go on before."""
    said: list[Said]
    """What is staged and cut before, when all lanes are empty."""


def deliveries() -> st.SearchStrategy[Delivery]:
    return st.builds(Delivery, st.integers(0, 9), st.booleans(), calls())


def interruptions(step: str) -> st.SearchStrategy[Interruption]:
    commits = list(COMMITS_OF[step])
    places = [*((name, side) for name in commits for side in SIDES)]
    requests = [("request", side) for side in SIDES] if step == "deliver" else []
    by_fate = {
        Fate.DIES: [*places, *requests],
        Fate.FREEZES: [*((name, "after") for name in commits), *requests],
        Fate.CUT_OFF: places,
    }
    met = [(fate, *place) for fate, possible in by_fate.items() for place in possible]
    return st.builds(
        lambda met, nth: Interruption(*met, nth),
        st.sampled_from(met),
        st.sampled_from([1, 1, 1, 2]),
    )
