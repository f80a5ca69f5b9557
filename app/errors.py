"""Every error Pinfold raises on purpose. Each answers: retry, stop, or drop?

    PinfoldError                  one line for people: what is wrong, and the fix
    ├── ConfigError               stop: a setting, a key or a file must be mended by a person
    ├── NotFound                  stop: a named connection or audience does not exist
    ├── Refused                   stop: the request contradicts the state; nothing was changed
    ├── Unavailable               retry: Postgres or the broker cannot be reached now
    ├── InvalidEvent              drop this event or identity, keep its neighbours
    ├── UnreadableBody            hold the row it names: a sealed body cannot be opened or read
    └── LeaseLost                 drop: another worker took over, and its word counts

What Pinterest answers is not an exception: see ``app.pinterest.outcomes``. Messages name the
field, the line, the fix; never an identity, a token or a payload. What is raised by mistake may
name one: of that only ``kind_and_place`` is told.
"""

import traceback
from pathlib import Path

_OURS = str(Path(__file__).parent)


class PinfoldError(Exception):
    """The base of what ends a command with one line instead of a traceback."""


class ConfigError(PinfoldError):
    """A setting, a key or a file that a person has to mend before anything can go on."""


class NotFound(PinfoldError):
    """A connection or an audience that was named does not exist."""


class Refused(PinfoldError):
    """The request contradicts the present state; nothing was changed."""


class Unavailable(PinfoldError):
    """Postgres or the broker cannot be reached now; the same call may succeed later."""


class InvalidEvent(PinfoldError):
    """An event or an identity that cannot be used. ``field`` says where, ``reason`` why."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class UnreadableBody(PinfoldError):
    """A sealed body that cannot be opened or read; its row is held by name, never dropped."""


class LeaseLost(PinfoldError):
    """Another worker holds the lease now: whatever this one still wanted to write is void."""


def kind_and_place(problem: Exception) -> str:
    """What the log is told of a mistake: its kind, for one of Postgres the driver's, and where."""
    kind = type(getattr(problem, "orig", None) or problem).__name__
    frames = traceback.extract_tb(problem.__traceback__)
    ours = [frame for frame in frames if frame.filename.startswith(_OURS)] or frames
    places = [f"{frame.filename}:{frame.lineno}" for frame in ours[-3:]]
    return f"{kind} at {' < '.join(reversed(places))}"
