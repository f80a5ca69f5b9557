"""Fold and cut against a plain model."""

from array import array
from hashlib import sha1

from hypothesis import given
from hypothesis import strategies as st

from app.bodies import Column, flag
from app.events import Kind
from app.folding import ChunkSize, Folded, Folder, cut_batches, prefix
from app.identities import OTHER_DIGEST, RAW, SHA1

PEOPLE = [f"p{number}@example.org" for number in range(4)]
HASHED = [sha1(person.encode()).hexdigest() for person in PEOPLE]
VALUES = (
    [(RAW, person) for person in PEOPLE]
    + [(RAW, person.upper()) for person in PEOPLE]
    + [(SHA1, digest) for digest in HASHED]
    + [(SHA1, digest.upper()) for digest in HASHED]
    + [(OTHER_DIGEST, "AB" * 16), (OTHER_DIGEST, "cd" * 32)]
)
OCCURRENCES = st.lists(
    st.tuples(st.booleans(), st.integers(min_value=0, max_value=3), st.sampled_from(VALUES)),
    max_size=12,
)


def column(occurrences: list[tuple[bool, int, tuple[int, str]]]) -> Column:
    return Column(
        bytes(flag(add=add, form=form, kind=Kind.EMAIL) for add, _, (form, _) in occurrences),
        array("q", [at for _, at, _ in occurrences]),
        [value for _, _, (_, value) in occurrences],
    )


def digest_of(form: int, value: str) -> bytes:
    return sha1(value.lower().encode()).digest() if form == RAW else bytes.fromhex(value)


@given(st.lists(OCCURRENCES, max_size=4), st.booleans(), st.booleans())
def test_the_last_occurrence_decides_and_every_identity_is_booked(
    chunks: list[list[tuple[bool, int, tuple[int, str]]]], forward: bool, others: bool
) -> None:
    folder = Folder(forward=forward, forward_other_digests=others, case="lower")
    for chunk in chunks:
        folder.take(column(chunk))
    folded = folder.fold()

    read = [occurrence for chunk in chunks for occurrence in chunk]
    kept = [o for o in read if forward and (others or o[2][0] != OTHER_DIGEST)]
    deciding: dict[bytes, bool] = {}
    best: dict[bytes, int] = {}
    for add, at, (form, value) in kept:
        digest = digest_of(form, value)
        if at >= best.get(digest, -1):  # ties: the later arrival
            deciding[digest], best[digest] = add, at
    assert set(folded.adds) == {digest for digest, add in deciding.items() if add}
    assert set(folded.removes) == {digest for digest, add in deciding.items() if not add}
    assert set(folded.adds).isdisjoint(folded.removes)
    assert folded.read == len(read)
    assert folded.not_forwarded == len(read) - len(kept)
    assert folded.read == (
        folded.not_forwarded + folded.folded + len(folded.adds) + len(folded.removes)
    )


def test_three_spellings_and_a_digest_are_one_identity() -> None:
    digest = sha1(b"ana.ruiz@example.org").hexdigest()
    folder = Folder(forward=True, forward_other_digests=True, case="lower")
    spellings = [
        (RAW, "ana.ruiz@example.org"),
        (RAW, "Ana.Ruiz@example.org"),
        (RAW, "ANA.RUIZ@EXAMPLE.ORG"),
        (SHA1, digest.upper()),
    ]
    folder.take(column([(True, 0, spelling) for spelling in spellings]))
    folded = folder.fold()
    assert folded == Folded(4, 0, 3, [bytes.fromhex(digest)], [])


def test_device_ids_keep_their_case_where_it_is_set_so() -> None:
    folder = Folder(forward=True, forward_other_digests=True, case="as_is")
    folder.take(column([(True, 0, (RAW, "AbC")), (True, 0, (RAW, "abc"))]))
    assert len(folder.fold().adds) == 2


DIGESTS = st.lists(st.binary(min_size=20, max_size=20), max_size=30)


@given(DIGESTS, DIGESTS, st.integers(min_value=1, max_value=10))
def test_batches_are_full_in_order_and_removes_come_first(
    adds: list[bytes], removes: list[bytes], size: int
) -> None:
    batches = list(cut_batches(Folded(0, 0, 0, adds, removes), size))
    operations = [operation for operation, _ in batches]
    assert operations == sorted(operations, reverse=True)  # REMOVE, then ADD
    for name, expected in (("REMOVE", removes), ("ADD", adds)):
        mine = [digests for operation, digests in batches if operation == name]
        assert [digest for digests in mine for digest in digests] == expected
        assert all(len(digests) == size for digests in mine[:-1])
        assert all(0 < len(digests) <= size for digests in mine)


CHUNKS = st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), max_size=12)


@given(CHUNKS, st.integers(1, 100), st.integers(1, 100))
def test_a_prefix_is_as_long_as_the_bounds_allow_and_never_empty(
    sizes: list[tuple[int, int]], messages: int, identities: int
) -> None:
    chunks = [ChunkSize(number, *size) for number, size in enumerate(sizes)]
    taken = prefix(iter(chunks), messages, identities)
    assert taken == chunks[: len(taken)]
    assert bool(taken) == bool(chunks)

    def fits(part: list[ChunkSize]) -> bool:
        return (
            sum(c.messages for c in part) <= messages
            and sum(c.identities for c in part) <= identities
        )

    assert len(taken) <= 1 or fits(taken)
    assert len(taken) == len(chunks) or not fits(chunks[: len(taken) + 1])


def test_a_prefix_reads_no_further_than_one_chunk_past_its_end() -> None:
    read = []

    def endless():  # type: ignore[no-untyped-def]
        number = 0
        while True:
            read.append(number)
            yield ChunkSize(number, 10, 10)
            number += 1

    assert len(prefix(endless(), 35, 1_000)) == 3
    assert len(read) == 4
