"""The form of an entry of the error book: which answers it explains, who must act, what happens."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Action(StrEnum):
    """What happens to the batch, the list or the connection."""

    GO_ON = "go on"
    WAIT = "wait"
    WAIT_CONNECTION = "wait with the connection"
    HALVE = "halve"
    NARROW = "narrow down"
    RENEW_LOGIN = "renew the login"
    HOLD_LIST = "hold the list"
    HOLD_CONNECTION = "hold the connection"


class Who(StrEnum):
    """Who must act."""

    NOBODY = "nobody"
    YOU = "you"
    ADMIN = "your Pinterest admin"
    PINTEREST = "Pinterest"


class Retried(StrEnum):
    """Whether Pinfold tries again by itself."""

    YES = "yes"
    LOOKED_AT = "each hour"
    """A look at Pinterest shows whether the cause is gone."""
    NO = "no"


@dataclass(frozen=True)
class Words:
    """What a message may say: a pattern, and how the book shows it."""

    shown: str
    pattern: re.Pattern[str]


@dataclass(frozen=True)
class Seen:
    """A kind of answer: a status or a range of them, maybe with codes, maybe with words."""

    status: int
    codes: tuple[int, ...] = ()
    """Pinterest's own numbers that are known with it."""
    words: Words | None = None
    any_code: bool = False
    """True when other numbers, or none at all, mean the same."""
    up_to: int | None = None
    """The last status of a range."""

    def covers(self, status: int, code: int | None, message: str) -> bool:
        return (
            self.has_status(status)
            and (self.any_code or code in self.codes)
            and (self.words is None or bool(self.words.pattern.search(message)))
        )

    def has_status(self, status: int) -> bool:
        return self.status <= status <= (self.up_to or self.status)

    def __str__(self) -> str:
        status = f"{self.status // 100}xx" if self.up_to else str(self.status)
        codes = f" code {', '.join(map(str, self.codes))}" if self.codes else ""
        others = " or any" if self.codes and self.any_code else ""
        said = f' "{self.words.shown}"' if self.words else ""
        return f"{status}{codes}{others}{said}"


@dataclass(frozen=True)
class Entry:
    """One thing that Pinterest may say, or that may become of a list or a login."""

    slug: str
    """Its name, and the reason that a held list or connection carries."""
    action: Action
    who: Who
    retried: Retried
    cause: str
    fix: str
    """One sentence that names the exact command, with {connection} and {audience} to fill in."""
    answers: tuple[Seen, ...] = ()
    """None for what has no HTTP status."""

    def fix_for(self, connection: str = "NAME", audience: str = "NAME") -> str:
        """The sentence with the names filled in, quoted for a shell."""
        return self.fix.format(connection=shlex.quote(connection), audience=shlex.quote(audience))

    def is_about(self, asked: str) -> bool:
        """True when ``asked`` is its slug, a status or a code it explains."""
        if not asked.isdecimal():
            return asked.casefold() == self.slug.casefold()
        number = int(asked)
        return any(seen.has_status(number) or number in seen.codes for seen in self.answers)

    def as_json(self) -> dict[str, Any]:
        """For programs; ranges and words are told in words."""
        return {
            "reason": self.slug,
            "answers": [str(seen) for seen in self.answers],
            "cause": self.cause,
            "who": self.who,
            "retried": self.retried,
            "action": self.action,
            "fix": self.fix_for(),
        }
