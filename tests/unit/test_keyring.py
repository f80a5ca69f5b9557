"""The key ring: sealed bodies open with the right key, for the right purpose, or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import ConfigError, UnreadableBody
from app.keyring import KeyRing, batch_purpose, chunk_purpose, new_key, token_purpose

OLD, NEW = new_key(), new_key()
RING = KeyRing.parse(OLD)


@given(st.binary(max_size=200))
def test_what_is_sealed_opens_again(plain: bytes) -> None:
    assert RING.open(RING.seal(plain, "x"), "x") == plain


def test_a_sealed_body_shows_nothing_and_never_looks_the_same_twice() -> None:
    plain = b"ana.ruiz@example.org"
    first, second = RING.seal(plain, "x"), RING.seal(plain, "x")
    assert plain not in first
    assert first != second


def test_a_body_that_was_moved_to_another_row_is_unreadable() -> None:
    sealed = RING.seal(b"body", chunk_purpose(1))
    for other in (chunk_purpose(2), chunk_purpose(11), batch_purpose(1), token_purpose(1)):
        with pytest.raises(UnreadableBody):
            RING.open(sealed, other)


@given(st.data())
def test_a_body_that_was_changed_or_cut_short_is_never_opened(data: st.DataObject) -> None:
    sealed = bytearray(RING.seal(b"some body", "x"))
    place = data.draw(st.integers(4, len(sealed) - 1))
    cut = bytes(sealed[:place])
    sealed[place] ^= data.draw(st.integers(1, 255))
    for broken in (bytes(sealed), cut):
        with pytest.raises(UnreadableBody):
            RING.open(broken, "x")


def test_after_a_rotation_old_bodies_open_and_new_ones_use_the_new_key() -> None:
    sealed = RING.seal(b"old", "x")
    ring = KeyRing.parse(f"{NEW},{OLD}")
    assert ring.open(sealed, "x") == b"old"
    assert KeyRing.parse(NEW).open(ring.seal(b"new", "x"), "x") == b"new"


def test_a_missing_key_is_asked_for_by_its_short_name() -> None:
    sealed = RING.seal(b"old", "x")
    with pytest.raises(ConfigError, match=RING.key_ids[0]):
        KeyRing.parse(NEW).open(sealed, "x")


@pytest.mark.parametrize("separator", [",", "\n", " ", ", ", "\r\n"])
def test_keys_may_stand_between_commas_or_line_ends(separator: str) -> None:
    ring = KeyRing.parse(f"{NEW}{separator}{OLD}\n")
    assert ring.key_ids == [*KeyRing.parse(NEW).key_ids, *RING.key_ids]


@pytest.mark.parametrize("text", ["", " , ", "not base64!", NEW[:-8], NEW + "AAAA"])
def test_a_bad_key_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ConfigError, match="PINFOLD_KEYS") as caught:
        KeyRing.parse(text)
    assert not text.strip(" ,") or text not in str(caught.value)


def test_key_ids_tell_nothing_of_the_key() -> None:
    assert RING.key_ids[0] not in OLD
    assert len(RING.key_ids[0]) == 8
