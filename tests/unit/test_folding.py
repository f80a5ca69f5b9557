"""Fold and cut against a plain model."""

from hashlib import sha1

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.bodies import ChunkBody, flag, pack_chunk, pack_digests, unpack_chunk, unpack_digests
from app.errors import UnreadableBody
from app.events import Kind, ListType
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
Occurrence = tuple[bool, int, tuple[int, str], Kind]
OCCURRENCES = st.lists(
    st.tuples(
        st.booleans(),
        st.integers(min_value=0, max_value=3),
        st.sampled_from(VALUES),
        st.sampled_from(Kind),
    ),
    min_size=1,
    max_size=12,
)
LIST_OF = {Kind.EMAIL: ListType.EMAIL, Kind.IDFA: ListType.MAID, Kind.GAID: ListType.MAID}
FORWARD = st.fixed_dictionaries({name: st.booleans() for name in ListType})
BOTH = dict.fromkeys(ListType, True)


def chunk(occurrences: list[Occurrence]) -> ChunkBody:
    return unpack_chunk(
        pack_chunk(
            bytes(flag(add=add, form=form, kind=kind) for add, _, (form, _), kind in occurrences),
            [at for _, at, _, _ in occurrences],
            [value for _, _, (_, value), _ in occurrences],
        )
    )


def digest_of(form: int, value: str) -> bytes:
    return sha1(value.lower().encode()).digest() if form == RAW else bytes.fromhex(value)


@given(
    st.lists(OCCURRENCES, max_size=4), st.lists(st.booleans(), max_size=4), FORWARD, st.booleans()
)
def test_the_last_occurrence_decides_and_every_identity_is_booked(
    chunks: list[list[Occurrence]],
    together: list[bool],
    forward: dict[ListType, bool],
    others: bool,
) -> None:
    folder = Folder(forward=forward, forward_other_digests=others, case="lower")
    for taken in _grouped([chunk(occurrences) for occurrences in chunks], together):
        folder.take(taken)
    folded = folder.fold()

    for name in ListType:
        read = [o for occurrences in chunks for o in occurrences if LIST_OF[o[3]] is name]
        kept = [o for o in read if forward[name] and (others or o[2][0] != OTHER_DIGEST)]
        deciding: dict[bytes, bool] = {}
        best: dict[bytes, int] = {}
        for add, at, (form, value), _ in kept:
            digest = digest_of(form, value)
            if at >= best.get(digest, -1):  # ties: the later arrival
                deciding[digest], best[digest] = add, at
        mine = folded[name]
        assert set(mine.adds) == {digest for digest, add in deciding.items() if add}
        assert set(mine.removes) == {digest for digest, add in deciding.items() if not add}
        assert set(mine.adds).isdisjoint(mine.removes)
        assert mine.read == len(read)
        assert mine.not_forwarded == len(read) - len(kept)
        assert mine.read == (mine.not_forwarded + mine.folded + len(mine.adds) + len(mine.removes))


def _grouped(chunks: list[ChunkBody], together: list[bool]) -> list[list[ChunkBody]]:
    """The chunks as they may be taken: one at a time, or some at once."""
    groups: list[list[ChunkBody]] = []
    for place, one in enumerate(chunks):
        if groups and together[place : place + 1] == [True]:
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups


def folded_once(*occurrences: Occurrence, case: str = "lower") -> dict[ListType, Folded]:
    folder = Folder(forward=BOTH, forward_other_digests=True, case=case)
    folder.take([chunk(list(occurrences))])
    return folder.fold()


def test_three_spellings_and_a_digest_are_one_identity() -> None:
    digest = sha1(b"ana.ruiz@example.org").hexdigest()
    spellings = [
        (RAW, "ana.ruiz@example.org"),
        (RAW, "Ana.Ruiz@example.org"),
        (RAW, "ANA.RUIZ@EXAMPLE.ORG"),
        (SHA1, digest.upper()),
    ]
    folded = folded_once(*[(True, 0, spelling, Kind.EMAIL) for spelling in spellings])
    assert folded[ListType.EMAIL] == Folded(4, 0, 3, [bytes.fromhex(digest)], [], only_sha1=True)
    assert folded[ListType.MAID] == Folded(0, 0, 0, [], [], only_sha1=True)


def test_device_ids_keep_their_case_where_it_is_set_so_and_addresses_never_do() -> None:
    values = [(RAW, "AbC@example.org"), (RAW, "abc@example.org")]
    folded = folded_once(
        *[(True, 0, value, kind) for kind in (Kind.EMAIL, Kind.IDFA) for value in values],
        case="as_is",
    )
    assert len(folded[ListType.EMAIL].adds) == 1
    assert len(folded[ListType.MAID].adds) == 2


def test_letters_beyond_ascii_are_lowered_too() -> None:
    folded = folded_once((True, 0, (RAW, "JOSÉ@example.org"), Kind.EMAIL))
    assert folded[ListType.EMAIL].adds == [sha1("josé@example.org".encode()).digest()]


def test_a_chunk_whose_text_is_no_utf8_is_unreadable_and_not_repeated() -> None:
    body = chunk([(True, 0, (RAW, "ana@b.cd"), Kind.EMAIL)])
    folder = Folder(forward=BOTH, forward_other_digests=True, case="lower")
    with pytest.raises(UnreadableBody) as caught:
        folder.take([body._replace(text=b"ana\xffb.cd")])
    assert "ana" not in str(caught.value)


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


@pytest.mark.parametrize(
    ("value", "only_sha1"), [((SHA1, HASHED[1]), True), ((OTHER_DIGEST, "AB" * 16), False)]
)
def test_a_fold_knows_whether_all_its_digests_are_of_one_width(
    value: tuple[int, str], only_sha1: bool
) -> None:
    folder = Folder(forward=BOTH, forward_other_digests=True, case="lower")
    folder.take([chunk([(True, 0, each, Kind.EMAIL) for each in (VALUES[0], value)])])
    folded = folder.fold()[ListType.EMAIL]
    assert folded.only_sha1 is only_sha1
    assert len(folded.adds) == 2
    packed = pack_digests(folded.adds, only_sha1=folded.only_sha1)
    assert packed == pack_digests(folded.adds)
    assert sorted(unpack_digests(packed)) == sorted(folded.adds)
