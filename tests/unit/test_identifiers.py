"""Names of identifiers: what each stands for, and that a name judges no value."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.events import Fault, Identity, Kind
from app.formats.identifiers import CERTAIN_NAMES, MOST_VALUES, identities_in, kind_of_name
from app.formats.reading import DEVICE, GUESSED, PLAIN, Dialect

ADDRESS = "ana.ruiz@example.org"
IDFA = "3F1C9A52-7D40-4B8E-9A61-0C2D5E7F8A90"
GAID = "c1d2e3f4-0a1b-4c2d-8e3f-405162738495"
NAMES = {
    Kind.EMAIL: "email EMAIL Email EMAIL_SHA256 EMAIL_MD5 EMAIL_SHA1 email_sha256 hashedEmail"
    " hashed_email email_hash emailSha256 email_address md5_email",
    Kind.IDFA: "idfa IDFA IDFA_SHA256 IDFA_MD5 ios_idfa ios.idfa ios-idfa iosIdfa"
    " ios_advertising_id AppleAdvertisingIdentifier IOSAdvertisingIdentifier",
    Kind.GAID: "gaid aaid AAID AAID_SHA256 AAID_MD5 android_idfa android.idfa googleaid"
    " google_advertising_id android_advertising_id GoogleAdvertisingIdentifier"
    " AndroidAdvertisingIdentifier",
    DEVICE: "MADID madid maid MAID_SHA256 mobileId DAID daid device_id deviceId advertising_id",
}
OTHERS = (
    "android_id ios_vendor_id ios_idfv idfv google customer_id user_id phone PHONE_SHA256 hash"
    " sha256 ga_id ma_id device name e emails_sent last_email_at roku_advertising_id"
    " fire_advertising_id microsoft_advertising_id deviceType"
)


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for kind, names in NAMES.items() for name in names.split()]
)
def test_a_name_tells_its_kind_in_any_case(name: str, kind: str) -> None:
    for spelled in (name, name.upper(), name.lower(), f" {name} "):
        assert kind_of_name(spelled, PLAIN) == kind


@pytest.mark.parametrize(
    "name", [*OTHERS.split(), "", " ", "email" * 20, "email" + " " * 64, "e\x00mail", "\ud800"]
)
def test_look_alikes_are_no_identifiers(name: str) -> None:
    assert kind_of_name(name, PLAIN) is None


@pytest.mark.parametrize("name", ["mobileId", "DAID", "device_id", "deviceId", "DAID_MD5"])
def test_loose_names_count_only_where_all_names_are_identifiers(name: str) -> None:
    assert kind_of_name(name, PLAIN) == DEVICE
    assert kind_of_name(name, PLAIN, CERTAIN_NAMES) is None


def test_a_source_adds_names_and_knows_better_than_we() -> None:
    dialect = Dialect(identifiers={"contact": Kind.EMAIL, "device_id": Kind.GAID, "aid": DEVICE})
    assert kind_of_name("Contact", dialect, CERTAIN_NAMES) is Kind.EMAIL
    assert kind_of_name("DEVICE_ID", dialect, CERTAIN_NAMES) is Kind.GAID
    assert kind_of_name("aid", dialect) == DEVICE
    assert kind_of_name("idfa", dialect) is Kind.IDFA


def test_a_suffix_says_nothing_about_the_value() -> None:
    """Trap 12: the keys say SHA-256, the value is plain."""
    found = identities_in({"EMAIL_SHA256": ADDRESS}, PLAIN, "x")
    assert found == ([Identity(Kind.EMAIL, ADDRESS)], [], [])


def test_values_are_texts_or_lists_of_texts_and_the_rest_are_faults() -> None:
    identities, faults, noted = identities_in(
        {"email": [ADDRESS, "", None, 5, [ADDRESS]], "idfa": None, "gaid": " ", "aaid": {"a": 1}},
        PLAIN,
        "people[3]",
    )
    assert identities == [Identity(Kind.EMAIL, ADDRESS)]
    assert faults == [
        Fault("people[3].email[3]", "must be text"),
        Fault("people[3].email[4]", "must be text"),
        Fault("people[3].aaid", "must be text"),
    ]
    assert noted == []


def test_without_a_place_the_field_is_the_name_alone() -> None:
    assert identities_in({"Email": 5}, PLAIN, "").faults == [Fault("Email", "must be text")]


def test_an_unknown_kind_is_guessed_by_its_letters_and_noted() -> None:
    identities, _, noted = identities_in({"MADID": [IDFA, GAID]}, PLAIN, "x")
    assert identities == [Identity(Kind.IDFA, IDFA), Identity(Kind.GAID, GAID)]
    assert noted == [GUESSED, GUESSED]


def test_values_are_handed_on_as_they_came() -> None:
    """What is junk is told once for all ways in, by the drafting."""
    junk = [f" {ADDRESS.upper()} ", "'quoted'", f"{ADDRESS},{ADDRESS}", "0" * 32, "\x00", "\ud800"]
    identities, faults, _ = identities_in({"email": junk}, PLAIN, "x")
    assert [identity.value for identity in identities] == junk
    assert faults == []


def test_a_list_without_end_is_one_fault() -> None:
    found = identities_in({"email": [5] * (MOST_VALUES + 1)}, PLAIN, "x")
    assert [fault.field for fault in found.faults] == ["x.email"]


@given(st.dictionaries(st.text(), st.text(min_size=1)))
def test_other_fields_are_passed_over(record: dict[str, str]) -> None:
    known = [value for name, value in record.items() if kind_of_name(name, PLAIN)]
    found = identities_in(record, PLAIN, "x")
    assert [identity.value for identity in found.identities] == [v for v in known if v.strip()]
