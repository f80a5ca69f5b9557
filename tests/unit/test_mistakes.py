"""What a step that fails tells Celery: all of an error of ours, of a mistake its kind and place."""

from __future__ import annotations

import pytest
from celery import Celery

from app.errors import Refused
from app.identities import hash_values
from workers.mistakes import Mistake, Step

app = Celery("steps", task_cls=Step, set_as_current=False)


@app.task  # type: ignore[untyped-decorator]
def read(bodies: dict[str, bytes], name: str) -> list[bytes]:
    return hash_values([bodies[name], name])  # type: ignore[list-item]


@app.task  # type: ignore[untyped-decorator]
def refuse() -> None:
    raise Refused("the audience is deactivated")


def test_a_mistake_is_told_by_its_kind_and_place_and_never_by_its_text() -> None:
    with pytest.raises(Mistake) as told:
        read({}, "canary@example.org")
    assert str(told.value).startswith("KeyError at ")
    assert "canary" not in repr(told.value)
    assert told.value.__cause__ is None
    assert told.value.__context__ is None  # whoever logs it would log that too


def test_the_place_is_the_last_one_in_our_code() -> None:
    with pytest.raises(Mistake, match=r"^TypeError at \S*app/identities\.py:\d+"):
        read({"canary": b""}, "canary")


def test_what_is_raised_on_purpose_goes_on_as_it_is() -> None:
    with pytest.raises(Refused, match="the audience is deactivated"):
        refuse()
