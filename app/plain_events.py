"""Plain events: many events of one plain identity each, in columns instead of objects.

Nearly all events of a large call are of this kind, and intake only ever sorts them: making two
objects of each would cost as much as sorting them does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from app.bodies import flag
from app.events import Identity, Kind, MembershipEvent, Operation
from app.identities import RAW

RAW_FLAGS = {
    operation: {kind: flag(add=operation is Operation.ADD, form=RAW, kind=kind) for kind in Kind}
    for operation in Operation
}
"""In two steps, which is quicker than a pair as the key."""
_MEANING = {
    number: (operation, kind)
    for operation, flags in RAW_FLAGS.items()
    for kind, number in flags.items()
}


class PlainEvents(Sequence[MembershipEvent]):
    """Events in parallel columns; each becomes an object when it is looked at."""

    def __init__(
        self, audiences: list[str], moments: list[int | None], flags: list[int], values: list[str]
    ) -> None:
        self.audiences, self.moments, self.flags, self.values = audiences, moments, flags, values

    def __len__(self) -> int:
        return len(self.audiences)

    @overload
    def __getitem__(self, place: int) -> MembershipEvent: ...
    @overload
    def __getitem__(self, place: slice) -> PlainEvents: ...
    def __getitem__(self, place: int | slice) -> MembershipEvent | PlainEvents:
        if isinstance(place, slice):
            return PlainEvents(
                self.audiences[place], self.moments[place], self.flags[place], self.values[place]
            )
        operation, kind = _MEANING[self.flags[place]]
        identity = Identity(kind, self.values[place])
        return MembershipEvent(self.audiences[place], operation, (identity,), self.moments[place])
