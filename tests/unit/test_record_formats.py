"""Records of files, Segment's rows and mParticle's: whatever comes, only what is sure is taken."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidEvent
from app.formats import Read, mparticle_kinesis, mparticle_storage, segment_csv
from app.formats.mparticle_storage import audience_in
from app.formats.reading import Dialect, Reading

CANARY = "canary-6f1e@example.org"
SOURCE = Dialect(audience="31001")
GUID = "5b0e6d11-90ac-4f37-8e42-7a1b3c5d9e20"


@pytest.mark.parametrize(
    ("file_name", "audience", "name"),
    [
        (f"Lapsed-buyers_31001_20260203_081530_{GUID}.txt", "31001", "Lapsed-buyers"),
        (f"Lapsed-buyers_31001_2026-02-03_08:15:30_{GUID}.txt", "31001", "Lapsed-buyers"),
        (f"a_b_7_c_31001_20260203_081530_{GUID}.txt", "31001", "a_b_7_c"),
        (f"Käufer-春_31001_20260203_081530_{GUID.upper()}.TXT", "31001", "Käufer-春"),
        (f"VIP_31001_20260203_081530_{GUID}.txt.gz", "31001", "VIP"),
        (f"VIP_-31001_20260203_081530_{GUID.replace('-', '')}.txt", "-31001", "VIP"),
    ],
)
def test_a_file_name_tells_the_audience(file_name: str, audience: str, name: str) -> None:
    mention = audience_in(file_name)
    assert mention is not None
    assert (mention.references, mention.name) == ((audience,), name)


@pytest.mark.parametrize(
    "file_name",
    [
        "",
        "events.ndjson",
        f"mparticle-validation-{GUID}.txt",
        f"VIP_20260203_081530_{GUID}.txt",
        f"_31001_20260203_081530_{GUID}.txt",
        f"VIP_x31001_20260203_081530_{GUID}.txt",
        f"VIP_31001_20260203_081530_{GUID}.csv",
        f"VIP_31001_20260203_081530_{GUID}.txt.rejects.ndjson",
        "VIP_31001_20260203_081530_guid.txt",
        "VIP_" + "1" * 400 + f"_20260203_081530_{GUID}.txt",
    ],
)
def test_another_file_name_tells_none(file_name: str) -> None:
    assert audience_in(file_name) is None


def kinesis(**fields: Any) -> dict[str, Any]:
    return {
        "MembershipChangedTimestamp": "1767265200",
        "AudienceId": 31001,
        "AudienceName": "VIP",
        "IsMember": True,
        "UserIdentities": {"Email": CANARY},
    } | fields


def storage(**fields: Any) -> dict[str, Any]:
    return {
        "MembershipChangedTimestamp": 1767265200123,
        "IsAddRequest": True,
        "IdentityValues": {"email": CANARY},
    } | fields


def row(**fields: Any) -> dict[str, Any]:
    return {
        "audience_action": "true",
        "audience_id": "31001",
        "audience_name": "VIP",
        "email": CANARY,
        "timestamp": "2026-02-03T08:15:30Z",
        "message_id": "m-1",
        "context": "{}",
        "traits": "{}",
        "properties": "{}",
    } | fields


FORMATS: list[Any] = [
    pytest.param(mparticle_kinesis.read, kinesis, id="kinesis"),
    pytest.param(mparticle_storage.read, storage, id="storage"),
    pytest.param(segment_csv.read, row, id="segment-csv"),
]
Make = Callable[..., dict[str, Any]]
TEXT = st.text() | st.sampled_from(["", " ", "\x00", "\ud800", "true", "9" * 5_000, CANARY])
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | TEXT
    | st.builds(
        lambda value: orjson.dumps(value).decode(),
        st.dictionaries(st.just("email"), st.integers(0, 9)),
    )
    | st.just({"email": CANARY}),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def said_of(read: Read, message: object) -> tuple[Reading | None, str]:
    """The reading, if there is one, and all texts that people get to see of it."""
    try:
        reading = read(message, SOURCE)
    except InvalidEvent as problem:
        return None, str(problem)
    texts = [f"{fault.field} {fault.reason}" for fault in reading.faults]
    return reading, " ".join([*texts, *reading.ignored, *reading.noted])


@pytest.mark.parametrize(("read", "make"), FORMATS)
def test_the_message_they_are_tried_with_is_good(read: Read, make: Make) -> None:
    reading, said = said_of(read, make())
    assert reading is not None
    assert ([event.audience for event in reading.events], said) == (["31001"], "")


@pytest.mark.parametrize(("read", "make"), FORMATS)
@given(message=JSON)
def test_any_json_is_read_or_refused_and_nothing_else(
    read: Read, make: Make, message: object
) -> None:
    said_of(read, message)


@pytest.mark.parametrize(("read", "make"), FORMATS)
@given(data=st.data())
def test_any_field_of_any_kind_is_read_or_refused_without_repeating_it(
    read: Read, make: Make, data: st.DataObject
) -> None:
    field = data.draw(st.sampled_from(sorted(make())))
    reading, said = said_of(read, make(**{field: data.draw(JSON)}))
    assert "canary" not in said
    for event in reading.events if reading else []:
        assert event.identities
        assert all(isinstance(value, str) for _, value in event.identities)


@pytest.mark.parametrize(("read", "make"), FORMATS)
def test_an_identity_counts_once_however_often_it_stands_there(read: Read, make: Make) -> None:
    twice = {"Email": [CANARY, CANARY]}
    fields = {
        "UserIdentities": twice,
        "IdentityValues": twice,
        "traits": orjson.dumps(twice).decode(),
    }
    known = {name: value for name, value in fields.items() if name in make()}
    (event,) = read(make(**known), SOURCE).events
    assert [identity.value for identity in event.identities] == [CANARY]


def test_a_row_carries_its_message_id() -> None:
    assert segment_csv.read(row()).message_id == "m-1"
    assert segment_csv.read(row(message_id=" ")).message_id is None
