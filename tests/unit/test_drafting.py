"""Drafting: the events of one call become chunks, junk becomes rejections."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import drafting
from app.bodies import KIND_BITS, form_of_flag, kind_of_flag
from app.drafting import (
    CHUNK_IDENTITIES,
    CHUNK_MESSAGES,
    Draft,
    Rejection,
    audiences_of,
    draft_chunks,
    sort_events,
)
from app.events import Identity, Kind, MembershipEvent, Operation
from app.identities import form_of

ARRIVED = 1_800_000_000_000_000
DEVICE = "3f1c0c6a-5d4e-4b8a-9f53-0d2a7e6b1c99"
GOOD = {Kind.EMAIL: "ana.ruiz@example.org", Kind.IDFA: DEVICE, Kind.GAID: DEVICE}


def event(
    *identities: tuple[Kind, str],
    audience: str = "a",
    operation: Operation = Operation.ADD,
    at: int | None = 5,
) -> MembershipEvent:
    people = tuple(Identity(kind, value) for kind, value in identities)
    return MembershipEvent(audience, operation, people, at)


def draft(*events: MembershipEvent) -> tuple[list[Draft], list[Rejection]]:
    return draft_chunks(sort_events(events), {"a": 1, "b": 2}, {"x": "is not activated"}, ARRIVED)


def test_each_identity_is_judged_alone() -> None:
    drafts, rejections = draft(
        event((Kind.EMAIL, "junk"), (Kind.EMAIL, GOOD[Kind.EMAIL]), (Kind.IDFA, "junk")),
        event((Kind.GAID, DEVICE)),
    )
    assert [each.values for each in drafts] == [[GOOD[Kind.EMAIL], DEVICE]]
    assert (drafts[0].messages, drafts[0].emails) == (2, 1)
    assert [(r.position, r.field, r.whole) for r in rejections] == [
        (0, "email", False),
        (0, "idfa", False),
    ]


def test_an_event_without_any_usable_identity_is_rejected_whole_once() -> None:
    drafts, rejections = draft(
        event((Kind.EMAIL, "junk"), (Kind.IDFA, "junk")),
        event(),
        event((Kind.EMAIL, GOOD[Kind.EMAIL])),
    )
    assert drafts[0].messages == 1
    whole = [r for r in rejections if r.whole]
    assert [r.position for r in whole] == [0, 1]
    assert "at least one identity" in whole[1].reason


def test_an_unusable_audience_rejects_its_events_and_no_others() -> None:
    drafts, rejections = draft(
        event((Kind.EMAIL, GOOD[Kind.EMAIL]), audience="x"), event((Kind.IDFA, DEVICE))
    )
    assert rejections == [Rejection(0, "audience", "is not activated", whole=True)]
    assert [each.messages for each in drafts] == [1]


def test_a_time_from_the_future_counts_as_now_and_no_time_as_well() -> None:
    drafts, _ = draft(
        event((Kind.EMAIL, "a@example.org"), at=ARRIVED + 1),
        event((Kind.EMAIL, "b@example.org"), at=None),
        event((Kind.EMAIL, "c@example.org"), at=ARRIVED - 1),
    )
    assert drafts[0].times == [ARRIVED, ARRIVED, ARRIVED - 1]


def test_a_time_before_1970_counts_as_1970_and_spoils_no_neighbour() -> None:
    drafts, rejections = draft(
        event((Kind.EMAIL, "a@example.org"), at=-(10**30)),
        event((Kind.EMAIL, "b@example.org"), at=ARRIVED - 1),
    )
    assert rejections == []
    assert drafts[0].times == [0, ARRIVED - 1]


def test_values_are_trimmed() -> None:
    drafts, _ = draft(event((Kind.EMAIL, "  a@example.org \n")))
    assert drafts[0].values == ["a@example.org"]


def test_flags_hold_operation_and_form() -> None:
    digest = "ab" * 20
    drafts, _ = draft(
        event((Kind.EMAIL, digest), operation=Operation.REMOVE), event((Kind.EMAIL, "a@b.example"))
    )
    flags = drafts[0].flags
    assert [flag & 1 for flag in flags] == [0, 1]
    assert [form_of_flag(flag) for flag in flags] == [2, 1]


def test_a_chunk_takes_ten_thousand_messages_and_the_next_one_the_rest() -> None:
    drafts, rejections = draft(*[event((Kind.IDFA, DEVICE))] * (CHUNK_MESSAGES + 1))
    assert [each.messages for each in drafts] == [CHUNK_MESSAGES, 1]
    assert rejections == []


def test_messages_with_many_identities_close_a_chunk_earlier() -> None:
    many = event(*[(Kind.EMAIL, f"p{number}@example.org") for number in range(500)])
    drafts, _ = draft(*[many] * 100)
    sizes = [len(each.values) for each in drafts]
    assert sum(sizes) == 50_000
    assert max(sizes) <= CHUNK_IDENTITIES


def test_no_empty_chunk_is_drafted() -> None:
    drafts, _ = draft(event((Kind.EMAIL, "junk"), audience="b"), event((Kind.IDFA, DEVICE)))
    assert [each.audience_id for each in drafts] == [1]


EVENTS = st.lists(
    st.builds(
        event,
        st.tuples(st.sampled_from(Kind), st.sampled_from([*GOOD.values(), "junk"])),
        st.tuples(st.sampled_from(Kind), st.sampled_from([*GOOD.values(), "junk", ""])),
        audience=st.sampled_from(["a", "b", "x"]),
        operation=st.sampled_from(Operation),
    ),
    max_size=40,
)


@given(EVENTS, st.integers(min_value=1, max_value=5))
def test_every_event_is_drafted_once_or_rejected_whole_once(
    events: list[MembershipEvent], size: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drafting, "CHUNK_MESSAGES", size)
        drafts, rejections = draft(*events)
    kept = sum(each.messages for each in drafts)
    lost = [rejection.position for rejection in rejections if rejection.whole]
    assert len(lost) == len(set(lost))
    assert kept + len(lost) == len(events)
    assert all(0 < each.messages <= size for each in drafts)
    assert [r.position for r in rejections] == sorted(r.position for r in rejections)


@given(EVENTS)
def test_what_is_drafted_is_what_was_good_in_order_of_arrival(
    events: list[MembershipEvent],
) -> None:
    drafts, _ = draft(*events)
    for audience, audience_id in (("a", 1), ("b", 2)):
        good = [
            (one.operation is Operation.ADD, kind, value)
            for one in events
            if one.audience == audience
            for kind, value in one.identities
            if form_of(kind, value)
        ]
        drafted = [
            (bool(flag & 1), kind_of_flag(flag), value)
            for each in drafts
            if each.audience_id == audience_id
            for flag, value in zip(each.flags, each.values, strict=True)
        ]
        assert drafted == [(add, KIND_BITS[kind], value) for add, kind, value in good]


def test_the_audiences_of_a_call_are_all_named_also_those_without_a_person() -> None:
    parts = sort_events([event((Kind.IDFA, DEVICE)), event(audience="b"), event(audience="x")])
    assert audiences_of(parts) == {"a", "b", "x"}
