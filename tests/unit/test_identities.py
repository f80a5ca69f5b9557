"""Identities: what is an address, a device id or a digest, and what its SHA-1 is."""

from hashlib import md5, sha1, sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.events import Kind
from app.identities import (
    CASES,
    OTHER_DIGEST,
    RAW,
    SHA1,
    all_addresses,
    all_device_ids,
    cased,
    form_of,
    hash_values,
    why_junk,
)

LINES = st.text(st.characters(exclude_characters="\n", exclude_categories=("Cs",)))
ANA = "ana.ruiz@example.org"
ANA_SHA1 = "7ac429373cf077cc6f61eb587d3e66c108a21716"
DEVICE = "3f1c0c6a-5d4e-4b8a-9f53-0d2a7e6b1c99"


def hashed(values: list[str], case: str) -> list[bytes]:
    return hash_values(cased("\n".join(values).encode(), case))


def test_the_known_vector_holds() -> None:
    assert hashed([ANA], "lower")[0].hex() == ANA_SHA1


def test_spellings_that_differ_in_case_are_one_identity() -> None:
    spellings = [ANA, "Ana.Ruiz@Example.org", "ANA.RUIZ@EXAMPLE.ORG"]
    assert {digest.hex() for digest in hashed(spellings, "lower")} == {ANA_SHA1}


@pytest.mark.parametrize(
    ("case", "expected"),
    [("lower", DEVICE.lower()), ("upper", DEVICE.upper()), ("as_is", "3F1C0c6a")],
)
def test_device_ids_are_hashed_in_the_case_that_is_set(case: str, expected: str) -> None:
    value = expected if case == "as_is" else DEVICE
    assert hashed([value], case) == [sha1(expected.encode()).digest()]


@pytest.mark.parametrize(
    ("kind", "value", "form"),
    [
        (Kind.EMAIL, ANA, RAW),
        (Kind.EMAIL, "a+b@sub.example.co.uk", RAW),
        (Kind.EMAIL, "ana@bücher.example", RAW),
        (Kind.EMAIL, ANA_SHA1, SHA1),
        (Kind.EMAIL, ANA_SHA1.upper(), SHA1),
        (Kind.EMAIL, md5(b"x").hexdigest(), OTHER_DIGEST),
        (Kind.EMAIL, sha256(b"x").hexdigest(), OTHER_DIGEST),
        (Kind.IDFA, DEVICE, RAW),
        (Kind.GAID, DEVICE.upper(), RAW),
        (Kind.IDFA, ANA_SHA1, SHA1),
        (Kind.GAID, DEVICE.replace("-", ""), OTHER_DIGEST),
    ],
)
def test_usable_values_are_told_by_their_shape(kind: Kind, value: str, form: int) -> None:
    assert form_of(kind, value) == form


JUNK = [
    (Kind.EMAIL, "", "zeros"),
    (Kind.EMAIL, "ana.ruiz", "neither"),
    (Kind.EMAIL, "ana@localhost", "neither"),
    (Kind.EMAIL, "@example.org", "neither"),
    (Kind.EMAIL, "ana@", "neither"),
    (Kind.EMAIL, "ana@@example.org", "neither"),
    (Kind.EMAIL, "ana@example..org", "neither"),
    (Kind.EMAIL, "ana@example.org.", "neither"),
    (Kind.EMAIL, "ana ruiz@example.org", "neither"),
    (Kind.EMAIL, "ana@exa\nmple.org", "neither"),
    (Kind.EMAIL, "ana\x00@example.org", "NUL"),
    (Kind.EMAIL, "ana\ud800@example.org", "neither"),
    (Kind.EMAIL, '"ana"@example.org', "neither"),
    (Kind.EMAIL, "'ana@example.org'", "neither"),
    (Kind.EMAIL, "a@example.org,b@example.org", "neither"),
    (Kind.EMAIL, ANA_SHA1[:-1], "neither"),
    (Kind.EMAIL, ANA_SHA1 + "0", "neither"),
    (Kind.EMAIL, ANA_SHA1[:-1] + "g", "neither"),
    (Kind.EMAIL, "0" * 40, "zeros"),
    (Kind.EMAIL, DEVICE, "neither"),
    (Kind.IDFA, "00000000-0000-0000-0000-000000000000", "zeros"),
    (Kind.GAID, "0" * 32, "zeros"),
    (Kind.GAID, "0" * 64, "zeros"),
    (Kind.IDFA, ANA, "neither"),
    (Kind.IDFA, DEVICE[:-1], "neither"),
    (Kind.IDFA, DEVICE.replace("f", "g"), "neither"),
    (Kind.IDFA, "{" + DEVICE + "}", "neither"),
    (Kind.IDFA, "\uff13" + DEVICE[1:], "neither"),
    (Kind.GAID, DEVICE + "\x00", "NUL"),
]


@pytest.mark.parametrize(("kind", "value", "reason"), JUNK)
def test_junk_is_refused_with_a_reason_that_never_repeats_it(
    kind: Kind, value: str, reason: str
) -> None:
    assert form_of(kind, value) == 0
    said = why_junk(kind, value)
    assert reason in said
    assert not value or value not in said


@given(
    st.lists(LINES, min_size=1, max_size=8),
    st.sampled_from(sorted(CASES)),
)
def test_casing_in_bulk_equals_casing_each_value(values: list[str], case: str) -> None:
    alone = [sha1(CASES[case](value).encode()).digest() for value in values]
    assert hashed(values, case) == alone


@given(st.lists(st.text(alphabet="ΑΣσςİIß.'", max_size=4), min_size=1, max_size=6))
def test_letters_whose_case_depends_on_their_neighbours_stay_apart(values: list[str]) -> None:
    alone = [sha1(value.lower().encode()).digest() for value in values]
    assert hashed(values, "lower") == alone


PLAIN = {
    Kind.EMAIL: st.sampled_from([ANA, "a+b@sub.example.co.uk", ".o'k@x_y.z", "-@a.b.c.d.e.f.g.h"]),
    Kind.IDFA: st.sampled_from([DEVICE, DEVICE.upper(), "0" * 8 + DEVICE[8:]]),
}
ODD = st.sampled_from([value for _, value, _ in JUNK] + [ANA_SHA1, "ana@bücher.example", "a" * 65])
LOOK = {Kind.EMAIL: all_addresses, Kind.IDFA: all_device_ids}


@given(st.data(), st.sampled_from(sorted(LOOK)))
def test_one_look_at_all_values_never_passes_what_a_look_at_each_would_not(
    data: st.DataObject, kind: Kind
) -> None:
    values = data.draw(st.lists(PLAIN[kind] | ODD | st.text(max_size=40), max_size=6))
    all_plain = all(form_of(kind, value) == RAW for value in values)
    assert all_plain or not LOOK[kind]("\n".join(values), len(values))


@given(st.data(), st.sampled_from(sorted(LOOK)))
def test_one_look_passes_plain_values_of_any_number(data: st.DataObject, kind: Kind) -> None:
    values = data.draw(st.lists(PLAIN[kind], max_size=6))
    assert LOOK[kind]("\n".join(values), len(values))


@given(st.sampled_from(Kind), st.text(max_size=80))
def test_whatever_is_accepted_can_be_packed_a_line_each(kind: Kind, value: str) -> None:
    if form_of(kind, value) == RAW:
        assert "\n" not in value
        assert value.encode()
