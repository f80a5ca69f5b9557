"""Bodies: unpacked and decoded within limits, whatever the bytes."""

import gzip
import time
import tracemalloc
import zlib
from functools import partial
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.api.body import Limits, NotJson, decode, decode_lines, unpack
from app.api.problems import Refusal

LIMITS = Limits(bytes=10_000, seconds=1)
SMALL = st.binary(max_size=LIMITS.bytes)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


decode_all_lines = partial(decode_lines, most=10_000)


def status_of(call: Any, *arguments: object) -> int:
    """With what a call is refused; 200 where it is not."""
    try:
        call(*arguments)
    except Refusal as refusal:
        return refusal.status_code
    return 200


@given(SMALL)
def test_what_gzip_packed_is_unpacked(content: bytes) -> None:
    assert unpack(gzip.compress(content), LIMITS) == content


@given(st.lists(st.binary(max_size=1_000), min_size=1, max_size=8))
def test_members_one_after_another_are_one_body(pieces: list[bytes]) -> None:
    assert unpack(b"".join(map(gzip.compress, pieces)), LIMITS) == b"".join(pieces)


@given(SMALL, st.data())
def test_gzip_that_is_cut_off_is_refused(content: bytes, data: st.DataObject) -> None:
    packed = gzip.compress(content)
    cut = data.draw(st.integers(1, len(packed) - 1))
    assert status_of(unpack, packed[:cut], LIMITS) == 400


@given(st.binary(min_size=1, max_size=200))
@example(b"\x1f\x8b")
@example(zlib.compress(b"of another wrapping"))
def test_any_bytes_are_unpacked_or_refused(packed: bytes) -> None:
    assert status_of(unpack, packed, LIMITS) in (200, 400, 413)


@given(st.binary(max_size=200), st.binary(min_size=1, max_size=50))
def test_what_follows_gzip_and_is_none_is_refused(content: bytes, more: bytes) -> None:
    if not more.startswith(b"\x1f\x8b"):
        assert status_of(unpack, gzip.compress(content) + more, LIMITS) == 400


def test_exactly_as_long_as_the_limit_is_not_too_long() -> None:
    assert len(unpack(gzip.compress(bytes(LIMITS.bytes)), LIMITS)) == LIMITS.bytes
    assert status_of(unpack, gzip.compress(bytes(LIMITS.bytes + 1)), LIMITS) == 413


def test_the_limit_holds_for_all_members_together() -> None:
    half = gzip.compress(bytes(LIMITS.bytes // 2))
    assert len(unpack(half * 2, LIMITS)) == LIMITS.bytes
    assert status_of(unpack, half * 2 + gzip.compress(b"x"), LIMITS) == 413


def test_a_bomb_takes_no_more_memory_than_the_limit() -> None:
    bomb = gzip.compress(bytes(64 << 20))
    tracemalloc.start()
    try:
        assert status_of(unpack, bomb, LIMITS) == 413
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_members_without_end_take_no_time_without_end() -> None:
    """Where the rest is copied for each, a body of 8 MiB holds the whole service for minutes."""
    packed = gzip.compress(b"") * (1 << 23 >> 5)
    began = time.process_time()
    assert status_of(unpack, packed, Limits(8 << 20, 1)) in (200, 400, 413)
    assert time.process_time() - began < 4


@given(JSON)
def test_json_is_decoded_as_it_is(value: object) -> None:
    body = orjson.dumps(value)
    assert decode(body) == decode_all_lines(body) == value


@given(st.lists(JSON, min_size=2, max_size=6), st.sampled_from([b"\n", b"\r\n", b"\n \n"]))
def test_a_value_in_each_line_is_an_array_of_them(values: list[object], line_end: bytes) -> None:
    assert decode_all_lines(line_end.join(map(orjson.dumps, values))) == values


@given(st.lists(JSON | st.just(NotJson), min_size=2, max_size=6))
def test_a_line_that_is_no_json_keeps_its_place_and_costs_no_other(values: list[object]) -> None:
    lines = [b"{no" if value is NotJson else orjson.dumps(value) for value in values]
    decoded = decode_all_lines(b"\n".join(lines))
    assert isinstance(decoded, list)
    assert [NotJson if isinstance(each, NotJson) else each for each in decoded] == values


@given(st.binary(max_size=300))
@example(b"")
@example(b"\n\n")
@example(b"\xef\xbb\xbf{}")
@example(b'"\\ud800"')
def test_any_bytes_are_decoded_or_refused(body: bytes) -> None:
    for call in (decode, decode_all_lines):
        assert status_of(call, body) in (200, 400, 413)


@given(st.text(st.characters(codec="utf-8"), min_size=8, max_size=60))
def test_a_refusal_repeats_nothing_of_the_body(text: str) -> None:
    with pytest.raises(Refusal) as refused:
        decode(b"{" + text.encode())
    assert text not in refused.value.detail


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b" " * 300 + b"["])
@pytest.mark.parametrize("levels", [1_100, 100_000])
def test_nesting_beyond_measure_is_refused(opening: bytes, levels: int) -> None:
    closing = b"}" if b"{" in opening else b"]"
    body = opening * levels + b"1" + closing * levels
    assert status_of(decode, body) in (400, 413)
    assert status_of(decode_all_lines, body) in (400, 413)


def test_objects_and_arrays_without_measure_are_refused_before_they_are_made() -> None:
    body = b"[" + b"{}," * 1_000_000 + b"{}]"
    tracemalloc.start()
    try:
        assert status_of(decode, body) == status_of(decode_all_lines, body) == 413
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_call_of_events_as_small_as_can_be_is_not_taken_for_one() -> None:
    event = {"audience": "1", "operation": "add", "email": ["a@b.cd"], "idfa": [], "gaid": []}
    assert status_of(decode, orjson.dumps([event] * 10_000)) == 200


@pytest.mark.parametrize(
    "body",
    [
        b'{"audience"' + b"\n10" * 2_000_000,
        b"[" + b"0.5," * 1_500_000 + b"1]",
        b"[" + b'"ab",' * 1_200_000 + b"1]",
        b"{" + b"\n" * 6_000_000,
        b'{"a":1}' + b"\n\n " * 2_000_000 + b"{}",
    ],
    ids=["lines", "numbers", "texts", "line ends", "blank lines"],
)
def test_what_is_decoded_takes_a_known_multiple_of_the_body(body: bytes) -> None:
    tracemalloc.start()
    try:
        assert status_of(decode_all_lines, body) in (200, 400, 413)
        assert tracemalloc.get_traced_memory()[1] < 32 * len(body)
    finally:
        tracemalloc.stop()
