"""The Pinterest Ads API v5, as far as Pinfold speaks it (API facts, sections 1 to 3)."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from app.pinterest.outcomes import Answer
from app.pinterest.wire import Patience, Wire


class PinterestClient:
    """Calls for one ad account with one bearer token. Not shared between threads."""

    def __init__(
        self,
        base_url: str,
        ad_account_id: str,
        token: str,
        patience: Patience,
        login_version: int = 0,
    ) -> None:
        self.login_version = login_version
        """Which version of the connection's login the token is."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        account = f"{base_url.rstrip('/')}/ad_accounts/{ad_account_id}"
        self.wire = Wire(account, patience, headers, {token}, kept=True)

    def close(self) -> None:
        """Leave the connection to the next client that speaks for the same account and login."""
        self.wire.close()

    def create_list(self, name: str, list_type: str, records: bytes) -> Answer:
        head = orjson.dumps({"name": name, "list_type": list_type})
        return self.wire.call("POST", "/customer_lists", body=_with_records(head, records))

    def change_list(self, list_id: str, operation: str, records: bytes) -> Answer:
        """``operation`` is ADD or REMOVE; ``records`` are digests in hex between commas."""
        head = orjson.dumps({"operation_type": operation})
        body = _with_records(head, records)
        return self.wire.call("PATCH", f"/customer_lists/{list_id}", body=body)

    def get_list(self, list_id: str) -> Answer:
        return self.wire.call("GET", f"/customer_lists/{list_id}")

    def list_pages(self) -> Iterator[Answer]:
        """The account's customer lists, newest first, a page at a time until one fails."""
        return self.wire.pages("/customer_lists", order="DESCENDING")

    def create_audience(self, name: str, list_id: str) -> Answer:
        body = {
            "name": name,
            "audience_type": "CUSTOMER_LIST",
            "rule": {"customer_list_id": list_id},
        }
        return self.wire.call("POST", "/audiences", body=orjson.dumps(body))

    def get_audience(self, audience_id: str) -> Answer:
        return self.wire.call("GET", f"/audiences/{audience_id}")

    def audience_pages(self) -> Iterator[Answer]:
        """The account's audiences, newest first, a page at a time until one fails."""
        return self.wire.pages("/audiences", order="DESCENDING")

    def get_account(self) -> Answer:
        """The ad account itself: a call that shows whether the login works."""
        return self.wire.call("GET", "")


def _with_records(head: bytes, records: bytes) -> bytes:
    """JSON with the records appended as they are: hex and commas need no escaping."""
    return head[:-1] + b',"records":"' + records + b'"}'
