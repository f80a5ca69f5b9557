"""Bodies: what goes into a chunk or a batch comes out the same, or not at all."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.bodies import (
    Column,
    flag,
    form_of_flag,
    hex_records,
    pack_chunk,
    pack_digests,
    unpack_chunk,
    unpack_digests,
)
from app.errors import UnreadableBody
from app.events import Kind

VALUES = st.text(st.characters(exclude_characters="\n", exclude_categories=("Cs",)), max_size=30)
TIMES = st.integers(min_value=-(2**63), max_value=2**63 - 1)


@st.composite
def columns(draw: st.DrawFn) -> Column:
    values = draw(st.lists(VALUES, max_size=12))
    flags = draw(st.binary(min_size=len(values), max_size=len(values)))
    times = draw(st.lists(TIMES, min_size=len(values), max_size=len(values)))
    return Column(flags, array("q", times), values)


DIGESTS = st.lists(
    st.one_of(*(st.binary(min_size=width, max_size=width) for width in (16, 20, 32))), max_size=20
)


@given(columns(), columns())
def test_a_chunk_unpacks_to_what_was_packed(email: Column, maid: Column) -> None:
    assert unpack_chunk(pack_chunk(email, maid)) == (email, maid)


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
    email = Column(bytes((3,)), array("q", [1]), ["a@b.cd"])
    maid = Column(b"", array("q"), [])
    golden = "010000000001000000" + "03" + "01000000" + "6140622e63640a"
    assert pack_chunk(email, maid).hex() == golden


@given(columns(), columns(), st.data())
def test_a_chunk_cut_short_or_too_long_is_unreadable(
    email: Column, maid: Column, data: st.DataObject
) -> None:
    body = pack_chunk(email, maid)
    cut = data.draw(st.integers(min_value=0, max_value=len(body) - 1))
    for broken in (body[:cut], body + b"\x00"):
        with pytest.raises(UnreadableBody):
            unpack_chunk(broken)


def test_a_chunk_of_an_unknown_version_says_so() -> None:
    with pytest.raises(UnreadableBody, match="version"):
        unpack_chunk(b"\x03" + bytes(16))


def test_a_chunk_whose_text_is_no_utf8_is_unreadable_and_not_repeated() -> None:
    body = pack_chunk(Column(b"\x03", array("q", [1]), ["ana@b.cd"]), Column(b"", array("q"), []))
    with pytest.raises(UnreadableBody) as caught:
        unpack_chunk(body.replace(b"@", b"\xff"))
    assert "ana" not in str(caught.value)


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
