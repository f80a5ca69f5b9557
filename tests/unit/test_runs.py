"""Which neighbours are joined: small ones with small ones, in their order, and few remain."""

from itertools import chain, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from app.drafting import CHUNK_IDENTITIES
from app.folding import ChunkSize
from app.runs import GROWTH, LARGE, class_ends, runs

SIZES = st.lists(st.one_of(st.just(1), st.integers(1, 20), st.integers(1, 20_000)), max_size=400)
CLASS_ENDS = class_ends()


def chunks_of(sizes: list[int]) -> list[ChunkSize]:
    return [ChunkSize(number, size, size) for number, size in enumerate(sizes)]


def size_class(identities: int) -> int:
    return sum(identities >= end for end in CLASS_ENDS)


def compacted(sizes: list[int]) -> list[int]:
    """The sizes once the runs are joined."""
    chunks = chunks_of(sizes)
    joined = {chunk.id: run for run in runs(chunks) for chunk in run}
    kept: list[int] = []
    for chunk in chunks:
        run = joined.get(chunk.id)
        if run is None:
            kept.append(chunk.identities)
        elif run[0] is chunk:
            kept.append(sum(each.identities for each in run))
    return kept


@given(SIZES)
def test_a_run_is_of_neighbours_in_order_and_no_chunk_is_in_two(sizes: list[int]) -> None:
    chunks = chunks_of(sizes)
    taken = list(runs(chunks))
    for run in taken:
        assert len(run) > 1
        assert all(later.id == earlier.id + 1 for earlier, later in pairwise(run))
    ids = [chunk.id for chunk in chain.from_iterable(taken)]
    assert len(ids) == len(set(ids))


@given(SIZES)
def test_every_chunk_that_is_joined_rises_by_a_class_so_it_is_packed_four_times_at_most(
    sizes: list[int],
) -> None:
    for run in runs(chunks_of(sizes)):
        total = sum(chunk.identities for chunk in run)
        assert total < 2 * LARGE
        assert all(size_class(chunk.identities) < size_class(total) for chunk in run)


@given(st.integers(1, 30_000))
@settings(max_examples=30)
def test_of_single_events_a_few_dozen_chunks_remain_however_many_came(count: int) -> None:
    kept: list[int] = []
    for start in range(0, count, 100):  # as beat finds them, some more each time
        kept = compacted(kept + [1] * min(100, count - start))
    assert sum(kept) == count
    assert len(kept) <= (GROWTH - 1) * len(CLASS_ENDS) + count // LARGE


def test_chunks_that_are_large_already_are_left_alone() -> None:
    assert list(runs(chunks_of([LARGE] * 50))) == []
    assert list(runs(chunks_of([1, LARGE, 1, 1]))) == []


@given(SIZES, st.integers(1, 1_000))
def test_a_joined_chunk_has_no_more_identities_than_intake_puts_in_one(
    sizes: list[int], people: int
) -> None:
    chunks = [
        ChunkSize(number, size, min(size * people, CHUNK_IDENTITIES))
        for number, size in enumerate(sizes)
    ]
    for run in runs(chunks):
        assert sum(chunk.identities for chunk in run) <= CHUNK_IDENTITIES
        assert sum(chunk.messages for chunk in run) < 2 * LARGE


def test_events_with_several_identities_are_joined_by_their_messages() -> None:
    several = [ChunkSize(number, 1, 3) for number in range(3 * GROWTH)]
    assert [len(run) for run in runs(several)] == [GROWTH] * 3
