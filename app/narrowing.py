"""Narrowing down: what to do with a batch that Pinterest refused with 400. Pure.

Halve it; when both halves are refused, one placeholder record shows whether it is the list that
is refused or the records: if the placeholder passes, narrowing goes on until the bad records
stand alone in quarantine; if not, the list is held (design section 5).
"""

from __future__ import annotations

from enum import StrEnum


class Step(StrEnum):
    HALVE = "halve"
    PROBE = "probe with a placeholder"
    QUARANTINE = "quarantine the record"


def next_step(*, records: int, sibling_refused: bool, list_proved_well: bool) -> Step:
    """The step after a refusal. ``sibling_refused``: the other half was refused as well.

    >>> next_step(records=8, sibling_refused=False, list_proved_well=False).name
    'HALVE'
    """
    if not list_proved_well and (sibling_refused or records == 1):
        return Step.PROBE
    return Step.QUARANTINE if records == 1 else Step.HALVE
