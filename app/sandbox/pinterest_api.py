"""The operations of the simulated Pinterest: from a request to a reply, over the books."""

import re
import secrets
from collections.abc import Callable
from typing import Any

from app.sandbox.pinterest_accounts import Accounts
from app.sandbox.pinterest_apps import Apps
from app.sandbox.pinterest_behaviour import Behaviour
from app.sandbox.pinterest_books import Books
from app.sandbox.pinterest_faults import Faults, play
from app.sandbox.pinterest_grants import TokenEndpoint
from app.sandbox.pinterest_history import RequestRecord
from app.sandbox.pinterest_limits import RateLimits, too_many
from app.sandbox.pinterest_messages import (
    UNKNOWN,
    Call,
    Records,
    Refusal,
    Reply,
    bad_request,
    choice,
    not_found,
    understand,
)
from app.sandbox.pinterest_pages import page
from app.sandbox.pinterest_tokens import Tokens

_LIST_TYPES = ("EMAIL", "IDFA", "MAID", "LR_ID", "DLX_ID", "HASHED_PINNER_ID")
_AUDIENCE_TYPES = ("CUSTOMER_LIST", "VISITOR", "ENGAGEMENT", "ACTALIKE")
_ID = re.compile(r"[0-9]{1,18}")


class PinterestApi:
    """What stands below /v5. Thread-safe, as its parts are."""

    def __init__(
        self,
        behaviour: Behaviour,
        books: Books,
        faults: Faults,
        *,
        apps: Apps,
        accounts: Accounts,
        tokens: Tokens,
        wait: Callable[[float], bool],
    ) -> None:
        self._behaviour, self._books, self._faults = behaviour, books, faults
        self._apps, self._accounts, self._tokens = apps, accounts, tokens
        self._token_endpoint = TokenEndpoint(behaviour, apps, tokens)
        self._limits = RateLimits(behaviour)
        self._wait = wait
        self._operations: dict[str, Callable[[Call, RequestRecord], Reply]] = {
            "create_list": self._create_list,
            "list_lists": self._list_lists,
            "get_list": self._get_list,
            "patch": self._patch,
            "create_audience": self._create_audience,
            "list_audiences": self._list_audiences,
            "get_audience": self._get_audience,
            "patch_audience": self._patch_audience,
            "list_ad_accounts": self._list_ad_accounts,
            "get_ad_account": self._get_ad_account,
            "get_user_account": self._get_user_account,
            "token": self._token,
        }

    def answer(self, method: str, target: str, authorization: str, body: bytes) -> Reply:
        """Answer one request; `target` is path and query below /v5. Its books are closed."""
        behaviour = self._behaviour
        call = understand(
            method,
            target,
            authorization,
            body,
            count_only=behaviour.count_only,
            limit=behaviour.max_body_bytes,
        )
        entry = self._books.received(call)
        rate_headers: dict[str, str | None] = {}
        try:
            self._admit(call, rate_headers)
            reply = self._play_or_apply(call, entry)
        except Refusal as refusal:
            reply = refusal.reply()
        reply.headers = {"x-pinterest-rid": _request_id()} | rate_headers | reply.headers
        self._books.answered(entry, reply.status)
        return reply

    def _admit(self, call: Call, rate_headers: dict[str, str | None]) -> None:
        """Token and scope, the quota, then app and account. Raises the refusal."""
        if call.route is UNKNOWN:
            raise call.problem or not_found("Route")
        if call.route.operation == "token":  # knows no bearer, only an app
            app_id = self._apps.named_in(call.authorization)
        else:
            login = self._tokens.admit(call.token, call.route)
            app_id, call.person = login.app_id, login.person
        standing = self._limits.take(call.route.category, app_id, call.person)
        if standing is not None and self._behaviour.rate_headers:
            rate_headers.update(standing.headers())
        if standing is not None and standing.exceeded:
            raise too_many()
        for name, value in call.ids.items():
            if not _ID.fullmatch(value):
                raise bad_request(f"{name} must be a string of at most 18 digits.")
        if call.route.concerns_audiences:
            self._apps.admit(app_id)
        if ad_account := call.ids.get("ad_account_id"):
            self._accounts.admit(call.person, ad_account, call.route)

    def _play_or_apply(self, call: Call, entry: RequestRecord) -> Reply:
        script = self._faults.next_for(call)
        if script is None:
            return self._apply(call, entry)
        entry.fault = script.fault
        return play(script, call, lambda: self._apply(call, entry), self._wait)

    def _apply(self, call: Call, entry: RequestRecord) -> Reply:
        """Do what the call asks; the honest reply, a refusal included."""
        try:
            if call.problem is not None:
                raise call.problem
            return self._operations[call.route.operation](call, entry)
        except Refusal as refusal:
            return refusal.reply()

    # Customer lists.

    def _create_list(self, call: Call, entry: RequestRecord) -> Reply:
        name, records = _text(call.fields, "name"), call.records
        list_type = choice(call.fields, "list_type", _LIST_TYPES, "EMAIL")
        if self._behaviour.refuse_empty_create and not (records and records.count):
            raise bad_request("records is required.")
        self._check_size(records)
        is_nca = call.fields.get("is_nca") is True
        account = call.ids["ad_account_id"]
        made = self._books.create_list(
            entry, account, name, list_type=list_type, is_nca=is_nca, records=records
        )
        return Reply.of(self._behaviour.created_status, made)

    def _patch(self, call: Call, entry: RequestRecord) -> Reply:
        operation = choice(call.fields, "operation_type", ("ADD", "REMOVE"))
        if call.records is None or not call.records.count:
            raise bad_request("records is required.")
        self._check_size(call.records)
        account, list_id = call.ids["ad_account_id"], call.ids["customer_list_id"]
        changed = self._books.change_list(entry, account, list_id, operation, call.records)
        return Reply.of(200, changed)

    def _check_size(self, records: Records | None) -> None:
        limit = self._behaviour.max_records
        if limit is not None and records is not None and records.count > limit:
            raise Refusal(413, 413, "Too many records.")

    def _get_list(self, call: Call, _: RequestRecord) -> Reply:
        found = self._books.get_list(call.ids["ad_account_id"], call.ids["customer_list_id"])
        return Reply.of(200, found)

    def _list_lists(self, call: Call, _: RequestRecord) -> Reply:
        exclude_nca = call.query.get("exclude_nca", "false").lower() == "true"
        account = call.ids["ad_account_id"]
        return page(call.query, self._books.list_lists(account, exclude_nca=exclude_nca))

    # Audiences.

    def _create_audience(self, call: Call, entry: RequestRecord) -> Reply:
        _text(call.fields, "name")
        kind = choice(call.fields, "audience_type", _AUDIENCE_TYPES)
        rule = _rule(call.fields)
        account = call.ids["ad_account_id"]
        if kind == "CUSTOMER_LIST":
            list_id = rule.get("customer_list_id")
            if not isinstance(list_id, str) or not _ID.fullmatch(list_id):
                raise bad_request("rule.customer_list_id must be a string of digits.")
            matched = self._books.matched(account, list_id)
            if self._behaviour.refuse_small_audience and matched < self._behaviour.minimum_matched:
                raise bad_request("The customer list is too small.")
        made = self._books.create_audience(entry, account, call.fields)
        return Reply.of(self._behaviour.created_status, made)

    def _patch_audience(self, call: Call, entry: RequestRecord) -> Reply:
        choice(call.fields, "operation_type", ("UPDATE", "REMOVE"), "UPDATE")
        if "name" in call.fields:
            _text(call.fields, "name")
        if "rule" in call.fields:
            _rule(call.fields)
        account, audience_id = call.ids["ad_account_id"], call.ids["audience_id"]
        return Reply.of(200, self._books.change_audience(entry, account, audience_id, call.fields))

    def _get_audience(self, call: Call, _: RequestRecord) -> Reply:
        found = self._books.get_audience(call.ids["ad_account_id"], call.ids["audience_id"])
        return Reply.of(200, found)

    def _list_audiences(self, call: Call, _: RequestRecord) -> Reply:
        ownership = choice(call.query, "ownership_type", ("OWNED", "RECEIVED"), "OWNED")
        account = call.ids["ad_account_id"]
        owned = [each for each in self._books.audiences() if each["ad_account_id"] == account]
        if call.query.get("exclude_nca", "false").lower() == "true":
            owned = [each for each in owned if not each["is_nca"]]
        return page(call.query, owned if ownership == "OWNED" else [])

    # Accounts and tokens.

    def _list_ad_accounts(self, call: Call, _: RequestRecord) -> Reply:
        return page(call.query, self._accounts.listed(call.person))

    def _get_ad_account(self, call: Call, _: RequestRecord) -> Reply:
        return Reply.of(200, self._accounts.shown(call.person, call.ids["ad_account_id"]))

    def _get_user_account(self, call: Call, _: RequestRecord) -> Reply:
        account = {
            "account_type": "BUSINESS",
            "business_name": "Sandbox Company",
            "id": "549770000000000001",
            "profile_image": "",
            "username": call.person,
            "website_url": "",
        }
        return Reply.of(200, account)

    def _token(self, call: Call, entry: RequestRecord) -> Reply:
        issued = self._token_endpoint.exchange(call.authorization, call.fields)
        self._books.took_effect(entry)
        return Reply.of(self._behaviour.created_status, issued)


def _request_id() -> str:
    return str(10**15 + secrets.randbelow(9 * 10**15))


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value.strip():
        raise bad_request(f"{name} is required.")
    return value


def _rule(fields: dict[str, Any]) -> dict[str, Any]:
    rule = fields.get("rule")
    if not isinstance(rule, dict):
        raise bad_request("rule must be an object.")
    return rule
