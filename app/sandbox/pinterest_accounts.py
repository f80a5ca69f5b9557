"""Ad accounts of the simulated Pinterest, and which person may do what with them."""

from collections.abc import Iterable
from typing import Any, Literal

from app.sandbox.pinterest_behaviour import DEFAULT_PERSON, Behaviour
from app.sandbox.pinterest_messages import Refusal, Route

AccountState = Literal["active", "disapproved", "under review"]
_STATES: dict[str, Refusal | None] = {
    "active": None,
    "disapproved": Refusal(403, 2625, "The ad account was disapproved."),
    "under review": Refusal(403, 2626, "The ad account is under review."),
}
_AUDIENCE_ROLES = {"OWNER", "ADMIN", "AUDIENCE_MANAGER"}
"""Any of them may use customer lists and audiences (API facts section 5)."""
_CREATED = 1_700_000_000


class Accounts:
    """The ad accounts. At the start the default person owns all of them, and nobody else any."""

    def __init__(self, behaviour: Behaviour, ad_accounts: Iterable[str]) -> None:
        self._behaviour = behaviour
        self._states: dict[str, AccountState] = {}
        self._roles: dict[tuple[str, str], tuple[str, ...]] = {}
        for ad_account in ad_accounts:
            self.set_roles(ad_account, "OWNER")

    def set_roles(self, ad_account: str, *roles: str, person: str = DEFAULT_PERSON) -> None:
        """Make these the roles of a person on an account, which may be a new one.

        Without roles the account disappears from the person's view. Known to Pinterest are OWNER,
        ADMIN, AUDIENCE_MANAGER, which may use lists and audiences, and lesser ones such as ANALYST.
        """
        self._states.setdefault(ad_account, "active")
        self._roles[person, ad_account] = roles

    def set_state(self, ad_account: str, state: AccountState) -> None:
        """`disapproved` and `under review` close lists and audiences: 403 with codes 2625, 2626."""
        if state not in _STATES:
            raise ValueError(f"unknown state of an account: {state}")
        if ad_account not in self._states:
            raise KeyError(ad_account)
        self._states[ad_account] = state

    def admit(self, person: str, ad_account: str, route: Route) -> None:
        """Let a person's call come near an account, or raise the `Refusal`."""
        roles = self._roles.get((person, ad_account), ())
        if not roles:
            raise self._not_permitted()
        if route.concerns_audiences:
            if not _AUDIENCE_ROLES.intersection(roles):
                raise self._not_permitted()
            if refusal := _STATES[self._states[ad_account]]:
                raise refusal

    def shown(self, person: str, ad_account: str) -> dict[str, Any]:
        """The account as a person sees it: `permissions` are the roles."""
        return {
            "country": "US",
            "created_time": _CREATED,
            "currency": "USD",
            "id": ad_account,
            "name": f"Sandbox account {ad_account[-4:]}",
            "owner": {"id": "549770000000000001", "username": DEFAULT_PERSON},
            "permissions": list(self._roles[person, ad_account]),
            "time_zone": "America/Los_Angeles",
            "updated_time": _CREATED,
        }

    def listed(self, person: str) -> list[dict[str, Any]]:
        """The accounts that a person has any role on, ascending by id."""
        ids = [
            account for (each, account), roles in self._roles.items() if each == person and roles
        ]
        return [self.shown(person, ad_account) for ad_account in sorted(ids, key=int)]

    def _not_permitted(self) -> Refusal:
        status = self._behaviour.not_permitted_status
        return Refusal(status, 29, "You are not permitted to access that resource.")
