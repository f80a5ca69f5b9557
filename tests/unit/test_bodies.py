"""Bodies: what goes into a chunk or a batch comes out the same, or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.bodies import (
    KIND_BITS,
    ChunkBody,
    flag,
    form_of_flag,
    hex_records,
    kind_of_flag,
    pack_chunk,
    pack_digests,
    unpack_chunk,
    unpack_digests,
)
from app.errors import UnreadableBody
from app.events import Kind

VALUES = st.text(st.characters(exclude_characters="\n", exclude_categories=("Cs",)), max_size=30)
TIMES = st.integers(min_value=-(2**63), max_value=2**63 - 1)


Identities = tuple[bytes, list[int], list[str]]
IDENTITIES = st.lists(st.tuples(st.integers(0, 255), TIMES, VALUES), min_size=1, max_size=12).map(
    lambda rows: (bytes(row[0] for row in rows), [row[1] for row in rows], [row[2] for row in rows])
)
CLOSE = st.tuples(TIMES, st.lists(st.integers(0, 2**24), min_size=1, max_size=12)).map(
    lambda drawn: [min(drawn[0] + offset, 2**63 - 1) for offset in drawn[1]]
)


def content(body: ChunkBody) -> Identities:
    return body.flags, body.times.all_us(len(body.flags)), body.text.decode().split("\n")


DIGESTS = st.lists(
    st.one_of(*(st.binary(min_size=width, max_size=width) for width in (16, 20, 32))), max_size=20
)


@given(IDENTITIES)
def test_a_chunk_unpacks_to_what_was_packed(identities: Identities) -> None:
    assert content(unpack_chunk(pack_chunk(*identities))) == identities


@given(CLOSE)
def test_times_close_together_take_few_bytes_and_come_back_exactly(times: list[int]) -> None:
    body = pack_chunk(bytes(len(times)), times, ["a"] * len(times))
    unpacked = unpack_chunk(body).times
    assert unpacked.all_us(len(times)) == times
    assert unpacked.in_order == (times == sorted(times))
    assert unpacked.first_us == min(times)
    assert not unpacked.in_order or unpacked.last_us == max(times)
    assert unpacked.width <= 4
    assert unpacked.width > 0 or len(set(times)) == 1


@given(DIGESTS)
def test_digests_unpack_to_what_was_packed_ordered_within_each_width(digests: list[bytes]) -> None:
    expected = [digest for width in (16, 20, 32) for digest in digests if len(digest) == width]
    assert unpack_digests(pack_digests(digests)) == expected


@given(DIGESTS)
def test_the_hex_of_a_payload_is_that_of_its_digests(digests: list[bytes]) -> None:
    payload = pack_digests(digests)
    assert hex_records(payload) == b",".join(d.hex().encode() for d in unpack_digests(payload))


def test_records_look_as_pinterest_wants_them() -> None:
    digests = [bytes.fromhex("AB" * 20), bytes.fromhex("01" * 32), bytes.fromhex("02" * 16)]
    assert hex_records(pack_digests(digests)) == b",".join((b"02" * 16, b"ab" * 20, b"01" * 32))


def test_the_bytes_of_a_chunk_stay_what_they_were() -> None:
    golden = "920500000000000000" + "0200" + "0300" + "0506" + "0001" + "6140622e63640a63"
    assert pack_chunk(b"\x03\x00", [5, 262], ["a@b.cd", "c"]).hex() == golden


@given(IDENTITIES, st.data())
def test_a_chunk_cut_short_at_a_line_or_with_a_line_too_many_is_unreadable(
    identities: Identities, data: st.DataObject
) -> None:
    body = pack_chunk(*identities)
    columns = body[: len(body) - len("\n".join(identities[2]).encode())]
    cut = data.draw(st.integers(min_value=0, max_value=len(columns) - 1))
    for broken in (body[:cut], body + b"\n", columns + b"\n" * len(identities[2])):
        with pytest.raises(UnreadableBody):
            unpack_chunk(broken)


def test_a_chunk_of_an_unknown_version_says_so() -> None:
    with pytest.raises(UnreadableBody, match="version"):
        unpack_chunk(b"\x20" + bytes(16))


@pytest.mark.parametrize("cut", [0, 11, 12, 31, 51])
def test_a_payload_cut_short_is_unreadable(cut: int) -> None:
    payload = pack_digests([bytes(20), bytes(20)])
    for read in (unpack_digests, hex_records):
        with pytest.raises(UnreadableBody):
            read(payload[:cut])


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("add", [True, False])
@pytest.mark.parametrize("form", [1, 2, 3])
def test_a_flag_holds_the_operation_and_the_form(kind: Kind, add: bool, form: int) -> None:
    made = flag(add=add, form=form, kind=kind)
    assert made < 256
    assert bool(made & 1) is add
    assert form_of_flag(made) == form
    assert kind_of_flag(made) == KIND_BITS[kind]
