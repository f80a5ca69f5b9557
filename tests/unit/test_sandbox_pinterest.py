"""The simulated Pinterest keeps the rules of API facts section 11, seen over its socket."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pinterest_caller import ACCOUNT, Caller, calling, refusal


@pytest.fixture
def pinterest() -> Iterator[Caller]:
    with calling() as caller:
        yield caller


# Admission.


@pytest.mark.parametrize("header", [None, "Bearer nobody", "Basic pina_test", "pina_test"])
def test_a_call_without_a_known_bearer_is_answered_401_code_2(
    pinterest: Caller, header: str | None
) -> None:
    reply = pinterest.lists("GET", headers={"Authorization": header})
    assert refusal(reply) == (401, 2)


def test_a_missing_scope_is_answered_401_code_3(pinterest: Caller) -> None:
    pinterest.simulator.set_token_state("pina_test", "valid", scopes=["ads:read"])
    assert pinterest.lists("GET").status_code == 200
    assert refusal(pinterest.lists("POST", json={"name": "VIP", "records": "a"})) == (401, 3)


@pytest.mark.parametrize(
    ("state", "answer"), [("expired", (401, 2)), ("revoked", (401, 2)), ("restricted", (403, 29))]
)
def test_a_token_can_be_put_out_of_force(
    pinterest: Caller, state: str, answer: tuple[int, int]
) -> None:
    pinterest.simulator.set_token_state("pina_test", state)  # type: ignore[arg-type] # parametrised
    assert refusal(pinterest.lists("GET")) == answer


def test_a_foreign_ad_account_is_answered_403_code_29(pinterest: Caller) -> None:
    assert refusal(pinterest.call("GET", "/ad_accounts/549770000099/customer_lists")) == (403, 29)


@pytest.mark.parametrize("path", ["/customer_lists/4180000", "/audiences/2540000000000"])
def test_an_unknown_list_or_audience_is_answered_404(pinterest: Caller, path: str) -> None:
    assert pinterest.call("GET", f"/ad_accounts/{ACCOUNT}{path}").status_code == 404


@pytest.mark.parametrize("path", ["/customer_lists/abc", "/audiences/1234567890123456789"])
def test_an_id_that_is_not_at_most_18_digits_is_answered_400(pinterest: Caller, path: str) -> None:
    assert refusal(pinterest.call("GET", f"/ad_accounts/{ACCOUNT}{path}")) == (400, 1)


def test_a_wrong_method_is_answered_405_code_5(pinterest: Caller) -> None:
    assert refusal(pinterest.lists("DELETE")) == (405, 5)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"[" * 100_000,
        b'{"records":"a"}',
        b'{"name":"VIP"}',
        b'{"name":"VIP","records":" , "}',
        b'{"name":"VIP","records":["a"]}',
        b'{"name":"VIP","records":"a","records_v2":[]}',
        b'{"name":"VIP","records":"a","list_type":"email"}',
    ],
)
def test_a_create_that_breaks_the_rules_is_answered_400_code_1_and_makes_nothing(
    pinterest: Caller, body: bytes
) -> None:
    assert refusal(pinterest.lists("POST", data=body)) == (400, 1)
    assert pinterest.books.lists() == []


@pytest.mark.parametrize("operation", ["add", "", "REPLACE"])
def test_a_patch_knows_only_add_and_remove(pinterest: Caller, operation: str) -> None:
    list_id = pinterest.create("a")
    assert refusal(pinterest.patch(list_id, operation, "b")) == (400, 1)
    assert pinterest.books.membership(list_id) == {"a"}


def test_every_reply_names_its_request(pinterest: Caller) -> None:
    replies = [pinterest.lists("GET"), pinterest.lists("PUT"), pinterest.call("GET", "/nowhere")]
    assert len({reply.headers["x-pinterest-rid"] for reply in replies}) == 3


# Customer lists.


def test_a_create_is_answered_with_the_whole_list_and_nothing_else(pinterest: Caller) -> None:
    body = {"name": "VIP-EMAIL", "records": "a,b,,b, ,", "list_type": "MAID", "surprise": 1}
    reply = pinterest.lists("POST", json=body)
    assert reply.status_code == 200
    assert reply.json() == {
        "ad_account_id": ACCOUNT,
        "created_time": 1_800_000_000,
        "exceptions": {},
        "id": "4189001",
        "name": "VIP-EMAIL",
        "num_batches": 1,
        "num_removed_user_records": 0,
        "num_uploaded_user_records": 3,
        "status": "PROCESSING",
        "type": "customerlist",
        "updated_time": 1_800_000_000,
    }
    assert pinterest.books.membership("4189001") == {"a", "b"}
    assert pinterest.books.list_named("VIP-EMAIL")["list_type"] == "MAID"


def test_names_may_repeat_and_ids_ascend(pinterest: Caller) -> None:
    first, second = pinterest.create(), pinterest.create()
    assert int(first) < int(second)
    assert len(first) == 7
    with pytest.raises(LookupError, match="2 lists"):
        pinterest.books.list_named("VIP")


def test_counters_count_duplicates_and_strangers(pinterest: Caller) -> None:
    list_id = pinterest.create("a,b")
    pinterest.clock.now += 5
    pinterest.patch(list_id, "ADD", "b,c,c,")
    reply = pinterest.patch(list_id, "REMOVE", "a,nobody").json()
    assert reply["num_batches"] == 3
    assert reply["num_uploaded_user_records"] == 5
    assert reply["num_removed_user_records"] == 2
    assert reply["updated_time"] - reply["created_time"] == 5
    assert pinterest.books.membership(list_id) == {"b", "c"}
    assert pinterest.books.records_applied(list_id) == 7
    assert pinterest.lists("GET", f"/{list_id}").json() == reply


def test_records_v2_and_the_other_fields_of_5_28_are_accepted(pinterest: Caller) -> None:
    body = {"name": "New", "records_v2": [{"email": "a"}, {"maid": "b"}, {}], "is_nca": True}
    reply = pinterest.lists("POST", json=body).json()
    assert reply["num_uploaded_user_records"] == 2
    assert "is_nca" not in reply
    assert pinterest.books.membership(reply["id"]) == {"a", "b"}
    assert [each["is_nca"] for each in pinterest.lists("GET").json()["items"]] == [True]
    assert pinterest.lists("GET", params={"exclude_nca": "true"}).json()["items"] == []


def test_an_empty_create_can_be_allowed(pinterest: Caller) -> None:
    pinterest.behaviour.refuse_empty_create = False
    reply = pinterest.lists("POST", json={"name": "VIP"}).json()
    assert (reply["num_batches"], reply["num_uploaded_user_records"]) == (1, 0)


@pytest.mark.parametrize(("matching", "status"), [(0.5, "TOO_SMALL"), (1.0, "READY")])
def test_a_list_is_ready_or_too_small_after_a_while_and_again_after_a_patch(
    pinterest: Caller, matching: float, status: str
) -> None:
    pinterest.behaviour.match_rate = matching
    list_id = pinterest.create(",".join(map(str, range(100))))
    assert pinterest.lists("GET", f"/{list_id}").json()["status"] == "PROCESSING"
    pinterest.clock.now += 60
    assert pinterest.lists("GET", f"/{list_id}").json()["status"] == status
    assert pinterest.patch(list_id, "ADD", "1").json()["status"] == "PROCESSING"


def test_a_body_or_a_request_that_is_too_large_is_answered_413(pinterest: Caller) -> None:
    list_id = pinterest.create()
    pinterest.behaviour.max_records = 2
    assert pinterest.patch(list_id, "ADD", "c,d,e").status_code == 413
    assert pinterest.patch(list_id, "ADD", "c,d").status_code == 200
    pinterest.behaviour.max_body_bytes = 10
    assert pinterest.patch(list_id, "ADD", "e").status_code == 413
    assert pinterest.books.membership(list_id) == {"a", "b", "c", "d"}


def test_replies_can_take_the_less_usual_forms(pinterest: Caller) -> None:
    pinterest.behaviour.created_status = 201
    pinterest.behaviour.float_counters = True
    pinterest.behaviour.unknown_status = "EXPIRED"
    pinterest.behaviour.exceptions = {"code": 1}
    reply = pinterest.lists("POST", json={"name": "VIP", "records": "a"})
    assert reply.status_code == 201
    assert '"num_batches":1.0' in reply.text
    assert (reply.json()["status"], reply.json()["exceptions"]) == ("EXPIRED", {"code": 1})


def test_lists_belong_to_one_ad_account() -> None:
    with calling(ad_accounts=(ACCOUNT, "549770000002")) as pinterest:
        list_id = pinterest.create()
        elsewhere = "/ad_accounts/549770000002/customer_lists"
        assert pinterest.call("GET", f"{elsewhere}/{list_id}").status_code == 404
        assert pinterest.call("GET", elsewhere).json()["items"] == []
        accounts = pinterest.call("GET", "/ad_accounts?page_size=1").json()
        assert accounts["items"][0]["id"] == ACCOUNT
        assert accounts["bookmark"] is not None


# Audiences.


def test_an_audience_grows_up_with_its_list(pinterest: Caller) -> None:
    list_id = pinterest.create(",".join(map(str, range(150))))
    rule = {"customer_list_id": list_id}
    body = {"name": "VIP-EMAIL", "audience_type": "CUSTOMER_LIST", "rule": rule}
    made = pinterest.audiences("POST", json=body).json()
    assert len(made["id"]) == 13
    assert (made["status"], made["size"], made["rule"]) == ("INITIALIZING", 0, rule)
    assert made["created_by_company_name"] is None
    pinterest.clock.now += 60
    later = pinterest.audiences("GET", f"/{made['id']}").json()
    assert (later["status"], later["size"]) == ("READY", 150)
    assert later["created_by_company_name"]


def test_an_audience_is_renamed_and_removed_but_its_list_stays(pinterest: Caller) -> None:
    list_id = pinterest.create()
    body = {"audience_type": "CUSTOMER_LIST", "rule": {"customer_list_id": list_id}, "name": "Old"}
    path = "/" + pinterest.audiences("POST", json=body).json()["id"]
    assert pinterest.audiences("PATCH", path, json={"name": "New"}).json()["name"] == "New"
    assert pinterest.audiences("PATCH", path, json={"operation_type": "REMOVE"}).ok
    assert pinterest.audiences("GET", path).status_code == 404
    assert pinterest.audiences("GET").json() == {"items": [], "bookmark": None}
    assert pinterest.lists("GET", f"/{list_id}").ok


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"audience_type": "PERSONA"}, 400),
        ({"name": None}, 400),
        ({"rule": None}, 400),
        ({"rule": {}}, 400),
        ({"rule": {"customer_list_id": "4180000"}}, 404),
    ],
)
def test_an_audience_needs_a_name_a_type_and_a_list_that_exists(
    pinterest: Caller, change: dict[str, object], status: int
) -> None:
    rule = {"customer_list_id": pinterest.create()}
    body = {"name": "VIP", "audience_type": "CUSTOMER_LIST", "rule": rule} | change
    assert pinterest.audiences("POST", json=body).status_code == status


def test_an_audience_of_a_small_list_can_be_refused(pinterest: Caller) -> None:
    rule = {"customer_list_id": pinterest.create()}
    body = {"name": "VIP", "audience_type": "CUSTOMER_LIST", "rule": rule}
    assert pinterest.audiences("POST", json=body).ok
    pinterest.behaviour.refuse_small_audience = True
    assert refusal(pinterest.audiences("POST", json=body)) == (400, 1)


# Pages.


@pytest.mark.parametrize("order", ["ASCENDING", "DESCENDING"])
@pytest.mark.parametrize("page_size", [1, 3, 7, 250])
def test_pages_show_every_list_once_in_the_order_asked_for(
    pinterest: Caller, order: str, page_size: int
) -> None:
    made = [pinterest.create() for _ in range(7)]
    query = {"order": order, "page_size": str(page_size)}
    seen = []
    while True:
        page = pinterest.lists("GET", params=query).json()
        assert len(page["items"]) <= page_size
        seen += [each["id"] for each in page["items"]]
        if page["bookmark"] is None:
            break
        query["bookmark"] = page["bookmark"]
    assert seen == (made if order == "ASCENDING" else made[::-1])


@pytest.mark.parametrize(
    "query", ["page_size=0", "page_size=251", "page_size=x", "order=UP", "bookmark=%%%"]
)
def test_a_page_out_of_bounds_is_answered_400(pinterest: Caller, query: str) -> None:
    assert refusal(pinterest.lists("GET", f"?{query}")) == (400, 1)


# Membership.

_RECORDS = st.lists(st.sampled_from(["", " ", *"abcdefgh"]), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["ADD", "REMOVE"]), _RECORDS), max_size=8))
def test_a_list_holds_what_a_set_would_hold(writes: list[tuple[str, list[str]]]) -> None:
    with calling(writes_per_minute=None) as pinterest:
        list_id, model, counted = pinterest.create("z"), {"z"}, 1
        for operation, records in writes:
            real = [record for record in records if record.strip()]
            reply = pinterest.patch(list_id, operation, ",".join(records))
            assert reply.status_code == (200 if real else 400)
            model = model | set(real) if operation == "ADD" else model - set(real)
            counted += len(real)
            assert pinterest.books.membership(list_id) == model
        assert pinterest.books.records_applied(list_id) == counted
        assert pinterest.books.records_seen(list_id) == counted
