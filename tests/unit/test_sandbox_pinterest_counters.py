"""Counters of the simulated Pinterest that lie, other writers, and how lists and audiences age."""

from collections.abc import Iterator

import pytest

from tests.pinterest_caller import Caller, calling

DAY = 86_400


@pytest.fixture
def pinterest() -> Iterator[Caller]:
    with calling() as caller:
        yield caller


def counters(pinterest: Caller, list_id: str) -> tuple[int, int, int]:
    """Batches, uploaded and removed records, as Pinterest shows them."""
    shown = pinterest.lists("GET", f"/{list_id}").json()
    return (
        shown["num_batches"],
        shown["num_uploaded_user_records"],
        shown["num_removed_user_records"],
    )


def make_audience(pinterest: Caller, list_id: str) -> str:
    rule = {"customer_list_id": list_id}
    body = {"name": "VIP", "audience_type": "CUSTOMER_LIST", "rule": rule}
    return str(pinterest.audiences("POST", json=body).json()["id"])


def look(pinterest: Caller, audience_id: str) -> tuple[str, int]:
    shown = pinterest.audiences("GET", f"/{audience_id}").json()
    return shown["status"], shown["size"]


def people(start: int, count: int) -> str:
    return ",".join(str(number) for number in range(start, start + count))


def test_counters_can_lag_behind_writes_but_not_behind_the_creation(pinterest: Caller) -> None:
    pinterest.behaviour.counter_delay = 30
    list_id = pinterest.create("a,b")
    reply = pinterest.patch(list_id, "ADD", "c,d,e").json()
    assert (reply["num_batches"], reply["num_uploaded_user_records"]) == (1, 2)
    pinterest.clock.now += 20
    pinterest.patch(list_id, "REMOVE", "a")
    assert counters(pinterest, list_id) == (1, 2, 0)
    pinterest.clock.now += 10
    assert counters(pinterest, list_id) == (2, 5, 0)
    pinterest.clock.now += 20
    assert counters(pinterest, list_id) == (3, 5, 1)
    assert pinterest.books.membership(list_id) == {"b", "c", "d", "e"}


def test_late_counters_settle_when_told_to(pinterest: Caller) -> None:
    pinterest.behaviour.counter_delay = float("inf")
    first, second = pinterest.create("a"), pinterest.create("a")
    for list_id in (first, second):
        pinterest.patch(list_id, "ADD", "b")
    pinterest.clock.now += 365 * DAY
    pinterest.books.settle_counters(first)
    assert counters(pinterest, first) == (2, 2, 0)
    assert counters(pinterest, second) == (1, 1, 0)
    pinterest.books.settle_counters()
    assert counters(pinterest, second) == (2, 2, 0)


def test_writes_can_take_effect_without_being_counted(pinterest: Caller) -> None:
    list_id = pinterest.create("a")
    pinterest.books.skip_counting(list_id, times=2)
    pinterest.patch(list_id, "ADD", "b,c")
    pinterest.patch(list_id, "REMOVE", "a")
    pinterest.patch(list_id, "ADD", "d")
    assert counters(pinterest, list_id) == (2, 2, 0)
    assert pinterest.books.membership(list_id) == {"b", "c", "d"}
    assert pinterest.books.records_applied(list_id) == 5


def test_counters_can_jump_at_once_even_while_others_lag(pinterest: Caller) -> None:
    pinterest.behaviour.counter_delay = 30
    list_id = pinterest.create("a")
    pinterest.patch(list_id, "ADD", "b")
    pinterest.books.nudge_counters(list_id, batches=1, uploaded=7, removed=2)
    assert counters(pinterest, list_id) == (2, 8, 2)
    assert pinterest.books.membership(list_id) == {"a", "b"}


def test_another_writer_changes_list_and_counters_but_stands_in_no_history_of_ours(
    pinterest: Caller,
) -> None:
    list_id = pinterest.create("a,b")
    pinterest.clock.now += 100
    assert pinterest.lists("GET", f"/{list_id}").json()["status"] == "TOO_SMALL"
    requests = len(pinterest.books.requests())
    pinterest.books.write_as_another(list_id, add=["c", "a"], remove=["a", "x", "b"])
    assert pinterest.books.membership(list_id) == {"a", "c"}
    assert len(pinterest.books.requests()) == requests
    assert pinterest.books.records_applied(list_id) == 2
    assert pinterest.books.records_seen(list_id) == 2
    assert counters(pinterest, list_id) == (3, 4, 3)
    shown = pinterest.lists("GET", f"/{list_id}").json()
    assert shown["status"] == "PROCESSING"
    assert shown["updated_time"] - shown["created_time"] == 100


def test_a_size_follows_a_write_only_when_it_was_processed(pinterest: Caller) -> None:
    pinterest.behaviour.processing_seconds = DAY
    list_id = pinterest.create(people(0, 120))
    pinterest.clock.now += 600
    audience_id = make_audience(pinterest, list_id)
    pinterest.clock.now += DAY - 1
    assert look(pinterest, audience_id) == ("INITIALIZING", 0)
    pinterest.clock.now += 1
    assert look(pinterest, audience_id) == ("READY", 120)
    for start in (120, 150):
        pinterest.patch(list_id, "ADD", people(start, 30))
        pinterest.clock.now += DAY / 2
    assert look(pinterest, audience_id) == ("READY", 150)
    assert pinterest.lists("GET", f"/{list_id}").json()["status"] == "PROCESSING"
    pinterest.clock.now += DAY / 2
    assert look(pinterest, audience_id) == ("READY", 180)
    assert pinterest.lists("GET", f"/{list_id}").json()["status"] == "READY"


def test_fewer_than_100_matches_are_too_small_and_may_grow_and_shrink(pinterest: Caller) -> None:
    pinterest.behaviour.match_rate = 0.5
    list_id = pinterest.create(people(0, 199))
    audience_id = make_audience(pinterest, list_id)
    pinterest.clock.now += 60
    assert look(pinterest, audience_id) == ("TOO_SMALL", 99)
    pinterest.patch(list_id, "ADD", people(199, 1))
    assert look(pinterest, audience_id) == ("TOO_SMALL", 99)
    pinterest.clock.now += 60
    assert look(pinterest, audience_id) == ("READY", 100)
    pinterest.patch(list_id, "REMOVE", people(0, 200))
    pinterest.clock.now += 60
    assert look(pinterest, audience_id) == ("TOO_SMALL", 0)


def test_a_list_that_vanishes_takes_its_audience_with_it(pinterest: Caller) -> None:
    list_id, other = pinterest.create(), pinterest.create()
    audience_id, stays = make_audience(pinterest, list_id), make_audience(pinterest, other)
    pinterest.books.delete_list(list_id)
    assert pinterest.lists("GET", f"/{list_id}").status_code == 404
    assert pinterest.patch(list_id, "ADD", "c").status_code == 404
    assert pinterest.audiences("GET", f"/{audience_id}").status_code == 404
    listed = pinterest.audiences("GET").json()["items"]
    assert [each["id"] for each in listed] == [stays]


def test_an_audience_can_be_removed_by_a_person_and_its_list_stays(pinterest: Caller) -> None:
    list_id = pinterest.create()
    audience_id = make_audience(pinterest, list_id)
    pinterest.books.remove_audience(audience_id)
    assert pinterest.audiences("GET", f"/{audience_id}").status_code == 404
    assert pinterest.patch(list_id, "ADD", "c").ok
    with pytest.raises(KeyError):
        pinterest.books.remove_audience("1")


def test_all_of_it_can_be_done_over_the_inspection_route(pinterest: Caller) -> None:
    list_id = pinterest.create("a")
    audience_id = make_audience(pinterest, list_id)
    assert pinterest.inspect("PATCH", "/behaviour", json={"counter_delay": 30}).status_code == 204
    write = {"add": ["b", "c"], "remove": ["a"]}
    assert pinterest.inspect("POST", f"/lists/{list_id}/write", json=write).ok
    assert pinterest.books.membership(list_id) == {"b", "c"}
    assert counters(pinterest, list_id) == (1, 1, 0)
    assert pinterest.inspect("POST", "/lists/settle").ok
    assert counters(pinterest, list_id) == (3, 3, 1)
    assert pinterest.inspect("POST", f"/lists/{list_id}/skip", json={"times": 1}).ok
    pinterest.patch(list_id, "ADD", "d")
    pinterest.clock.now += 30
    assert counters(pinterest, list_id) == (3, 3, 1)
    assert pinterest.inspect("DELETE", f"/audiences/{audience_id}").ok
    assert pinterest.audiences("GET", f"/{audience_id}").status_code == 404
    assert pinterest.inspect("POST", "/lists/1/write", json=write).status_code == 404
