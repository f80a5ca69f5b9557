"""What a step that fails tells Celery: all of an error of ours, of a mistake its kind and place."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import Refused
from app.identities import hash_values
from workers.mistakes import Mistake, Step


class Read(Step):
    def run(self, bodies: dict[str, Any], name: str) -> list[bytes]:
        return hash_values([bodies[name]])


class Refuse(Step):
    def run(self) -> None:
        raise Refused("the audience is deactivated")


read, refuse = Read(), Refuse()


def test_a_mistake_is_told_by_its_kind_and_place_and_never_by_its_text() -> None:
    with pytest.raises(Mistake) as told:
        read({}, "canary@example.org")
    assert str(told.value).startswith("KeyError at ")
    assert "canary" not in repr(told.value)
    assert told.value.__cause__ is None
    assert told.value.__context__ is None  # whoever logs it would log that too


def test_the_place_is_the_last_one_in_our_code() -> None:
    with pytest.raises(Mistake, match=r"^TypeError at \S*app/identities\.py:\d+"):
        read({"canary": "canary"}, "canary")


def test_what_is_raised_on_purpose_goes_on_as_it_is() -> None:
    with pytest.raises(Refused, match="the audience is deactivated"):
        refuse()
