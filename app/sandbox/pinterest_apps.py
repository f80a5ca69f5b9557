"""Apps registered with the simulated Pinterest: who may ask people for a login, and from where."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field

from app.sandbox.pinterest_messages import Refusal, unauthenticated

DEFAULT_APP_ID = "1500000"
DEFAULT_APP_SECRET = "sandbox-secret"  # noqa: S105 - opens only the simulator
DEFAULT_REDIRECT_URI = "http://localhost:8085/"


@dataclass(slots=True)
class App:
    """One app; a restricted one may log people in, but use neither lists nor audiences."""

    id: str = DEFAULT_APP_ID
    secret: str = field(default=DEFAULT_APP_SECRET, repr=False)
    redirect_uris: set[str] = field(default_factory=lambda: {DEFAULT_REDIRECT_URI})
    name: str = "Sandbox app"
    restricted: bool = False


class Apps:
    """The apps by id; the first is meant where none is named.

    Raises KeyError where a test names one that is not registered.
    """

    def __init__(self, apps: Sequence[App]) -> None:
        self._apps = {app.id: app for app in apps}
        self.first = apps[0].id

    def register(self, app: App) -> None:
        """Add an app, or put it in the place of the one with its id."""
        self._apps[app.id] = app

    def register_redirect(self, redirect_uri: str, app_id: str | None = None) -> None:
        """Let the consent page send people back to one more address, compared character by
        character.
        """
        self._apps[app_id or self.first].redirect_uris.add(redirect_uri)

    def restrict(self, app_id: str | None = None, *, restricted: bool = True) -> None:
        """Take lists and audiences away from an app, or give them back."""
        self._apps[app_id or self.first].restricted = restricted

    def find(self, app_id: str) -> App | None:
        return self._apps.get(app_id)

    def admit(self, app_id: str) -> None:
        """Let an app come near lists and audiences, or raise the `Refusal`."""
        if self._apps[app_id].restricted:
            message = "Your application does not have access to this restricted feature."
            raise Refusal(403, 29, message)

    def authenticate(self, authorization: str) -> App:
        """The app behind a Basic authorization, or the `Refusal`."""
        app_id, secret = _basic(authorization)
        app = self._apps.get(app_id)
        if app is None or app.secret != secret:
            raise unauthenticated()
        return app

    def named_in(self, authorization: str) -> str:
        """The id that a Basic authorization claims, true or not: whose quota a grant is."""
        return _basic(authorization)[0]


def _basic(authorization: str) -> tuple[str, str]:
    scheme, _, encoded = authorization.partition(" ")
    try:
        app_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return (app_id, secret) if scheme.lower() == "basic" else ("", "")
