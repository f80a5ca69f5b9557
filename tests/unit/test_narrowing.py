"""Narrowing down a refused batch: the steps, and that they end with the bad records alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.narrowing import Step, next_step


@pytest.mark.parametrize(
    ("records", "sibling_refused", "proved", "step"),
    [
        (8, False, False, Step.HALVE),
        (8, True, False, Step.PROBE),
        (8, True, True, Step.HALVE),
        (8, False, True, Step.HALVE),
        (1, False, False, Step.PROBE),
        (1, True, False, Step.PROBE),
        (1, False, True, Step.QUARANTINE),
        (1, True, True, Step.QUARANTINE),
    ],
)
def test_the_table(records: int, sibling_refused: bool, proved: bool, step: Step) -> None:
    taken = next_step(records=records, sibling_refused=sibling_refused, list_proved_well=proved)
    assert taken is step


@given(st.integers(1, 200), st.data())
def test_narrowing_leaves_exactly_the_bad_records_in_quarantine(
    size: int, data: st.DataObject
) -> None:
    bad = data.draw(st.sets(st.integers(0, size - 1), max_size=5))
    lane: list[tuple[list[int], int | None]] = [(list(range(size)), None)]
    refused: dict[int | None, int] = {}
    sent, quarantined, proved, probes, requests = [], [], False, 0, 0
    parents = 0
    while lane:
        records, parent = lane.pop(0)
        requests += 1
        assert requests < 4 * size + 10, "narrowing does not end"
        if bad.isdisjoint(records):
            sent += records
            continue
        step = next_step(
            records=len(records),
            sibling_refused=refused.get(parent, 0) > 0,
            list_proved_well=proved,
        )
        if step is Step.PROBE:
            proved, probes = True, probes + 1
            lane.insert(0, (records, parent))
            continue
        if parent is not None:
            refused[parent] = refused.get(parent, 0) + 1
        if step is Step.HALVE:
            parents += 1
            half = len(records) // 2
            lane += [(records[:half], parents), (records[half:], parents)]
        else:
            quarantined += records
    assert set(quarantined) == bad
    assert sorted(sent + quarantined) == list(range(size))
    assert probes <= 1
