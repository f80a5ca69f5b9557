"""Segment's signature: over the body of one event, over the first element of an array."""

import hashlib
import hmac
import json
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidEvent
from app.formats.signature import is_signed, signed_part

KEY = b"s3cret"
# The fact sheet's vector (event-formats, section 4.1).
EVENT = (
    '{"type":"track","event":"Audience Entered","messageId":"m-1",'
    '"properties":{"spring_sale":true,"city":"Köln"}}'
).encode()
SIGNATURE = "4c642d3a5c4d774e095fcfe478bb51b7254df459"
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def sign(text: bytes, key: bytes = KEY) -> str:
    return hmac.new(key, text, hashlib.sha1).hexdigest()


def test_the_vector_of_the_fact_sheet_holds() -> None:
    assert is_signed(EVENT, SIGNATURE, [KEY])


def test_of_an_array_the_first_element_alone_is_signed() -> None:
    """Trap 8."""
    body = b"[" + EVENT + b',{"type":"track","messageId":"m-2"}]'
    assert is_signed(body, SIGNATURE, [KEY])
    assert not is_signed(body, sign(body), [KEY])
    assert not is_signed(b'[{"type":"track"},' + EVENT + b"]", SIGNATURE, [KEY])


def test_any_of_several_keys_will_do_while_they_are_rotated() -> None:
    assert is_signed(EVENT, SIGNATURE, [b"next", KEY])
    assert is_signed(EVENT, sign(EVENT, b"next"), [b"next", KEY])
    assert not is_signed(EVENT, SIGNATURE, [b"next"])


@pytest.mark.parametrize(
    "header",
    [None, "", " ", "0" * 40, SIGNATURE[:-1], SIGNATURE + "0", "Köln", "\ud800", "sha1"],
)
def test_anything_else_is_no_signature(header: str | None) -> None:
    assert not is_signed(EVENT, header, [KEY])


def test_without_a_key_or_with_an_empty_one_nothing_is_signed() -> None:
    assert not is_signed(EVENT, SIGNATURE, [])
    assert not is_signed(EVENT, sign(EVENT, b""), [b""])


def test_a_changed_byte_is_noticed() -> None:
    assert not is_signed(EVENT.replace(b"true", b"false"), SIGNATURE, [KEY])
    assert not is_signed(EVENT.replace(b":", b": "), SIGNATURE, [KEY])


def test_blanks_around_a_single_event_may_be_signed_or_not() -> None:
    around = b"\n " + EVENT + b"\r\n"
    assert is_signed(around, SIGNATURE, [KEY])
    assert is_signed(around, sign(around), [KEY])
    assert is_signed(EVENT, f" {SIGNATURE.upper()} ", [KEY])


def test_blanks_around_the_first_element_are_not_signed() -> None:
    assert is_signed(b" [\n  " + EVENT + b"  ,\n {} ] ", SIGNATURE, [KEY])


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (b'[{"a":"]},["},2]', b'{"a":"]},["}'),
        (rb'["\"]",2]', rb'"\"]"'),
        (rb'["\\",2]', rb'"\\"'),
        (b"[[1,[2]],3]", b"[1,[2]]"),
        (b"[ 1.5e3 ]", b"1.5e3"),
        (b'[{"a":{"b":[{}]}}]', b'{"a":{"b":[{}]}}'),
        (b"{}", b"{}"),
        (b"", b""),
        (b"no JSON", b"no JSON"),
    ],
)
def test_the_signed_part_is_cut_out_as_it_came(body: bytes, part: bytes) -> None:
    assert signed_part(body) == part


@pytest.mark.parametrize(
    "body", [b"[]", b"[ ]", b"[", b"[,1]", b"[1", b'["a', b'["a\\"]', b"[{]", b"[[1]", b"[}"]
)
def test_an_array_without_a_first_element_has_no_signed_part(body: bytes) -> None:
    with pytest.raises(InvalidEvent) as refused:
        signed_part(body)
    assert refused.value.field == "body"
    assert not is_signed(body, sign(body), [KEY])


@given(st.lists(JSON_VALUES, min_size=1, max_size=3), st.booleans(), st.sampled_from([0, None]))
def test_the_signed_part_of_a_dumped_list_is_its_first_element_dumped(
    values: list[object], ascii_only: bool, indent: int | None
) -> None:
    def dumped(value: object) -> bytes:
        text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
        return text.encode(errors="surrogatepass")

    assert signed_part(dumped(values)) == dumped(values[0])


@given(st.binary() | st.binary().map(lambda body: b"[" + body))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with suppress(InvalidEvent):
        assert signed_part(body) in body


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 1_000_000,
        b'["' + b"\\" * 2_000_001,
        b'["' + b'\\"' * 1_000_000,
        b"[" + b'"' * 1_000_001,
        b'[{"a":' * 200_000 + b"1",
        b"[" + b" " * 2_000_000,
        b'["' + b"a" * 4_000_000,
    ],
    ids=["brackets", "escapes", "escaped quotes", "quotes", "nested", "blanks", "text"],
)
def test_a_hostile_body_is_read_once_from_its_start(body: bytes) -> None:
    began = time.process_time()
    with pytest.raises(InvalidEvent):
        signed_part(body)
    assert time.process_time() - began < 5
