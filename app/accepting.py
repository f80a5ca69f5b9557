"""Accepting: from what a format read of one call to messages that are staged.

The same step for every way in that speaks a format: an audience that a message knows by several
references is found, and one that nobody activated is activated where the source says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress

import sqlalchemy as sa

from app.audiences import LONGEST_NAME, activate_over
from app.database import transaction
from app.errors import ConfigError, Refused
from app.events import is_storable
from app.formats import CallRead
from app.formats.reading import Mention
from app.keyring import KeyRing
from app.remembering import Message, key_of
from app.staging import Intake
from app.tables import audience, connection

Ring = Callable[[int], None]
"""Says that a list is to be made at Pinterest, by its id."""
ACTIVATED_AT_ONCE = 100
"""Audiences in one call; a call with more is to be sent again for the others."""


def messages_of(call: CallRead, scope: object, keyring: KeyRing) -> list[Message]:
    """What was read, each message with a key of its sender's id, within the scope of that id.

    A sender may use an id twice, so what the message says belongs to the key: it counts once as
    long as it says the same.
    """
    return [
        Message(
            read.events,
            None
            if read.message_id is None
            else key_of(
                scope, read.message_id, keyring.fingerprints(repr(read.events).encode())[0]
            ),
            refused=read.refused,
            noted=read.noted,
        )
        for read in call.messages
    ]


def unmet_mentions(intake: Intake, call: CallRead) -> list[Mention]:
    """The audiences of a call that the intake has not met yet, however the messages name them."""
    named = {event.audience for read in call.messages for event in read.events}
    return [
        call.mentions.get(reference) or Mention((reference,), None)
        for reference in sorted(named - intake.audience_ids.keys())
    ]


def meet_audiences(
    intake: Intake, mentions: Iterable[Mention], activating: Ring | None
) -> list[Mention]:
    """Teach the intake audiences by any of their references; returns those that stay unknown.

    ``activating``: those that nobody activated are, under their names, up to ``ACTIVATED_AT_ONCE``.
    """
    unknown = _find(intake, list(mentions))
    if activating is None or intake.connection_id is None:
        return unknown
    for mention in unknown[:ACTIVATED_AT_ONCE]:
        activate_mentioned(intake, intake.connection_id, mention, activating)
    return unknown[ACTIVATED_AT_ONCE:]


def _find(intake: Intake, mentions: list[Mention]) -> list[Mention]:
    """Learn the ids of audiences by any of their references; returns the mentions without one."""
    references = {reference for mention in mentions for reference in mention.references}
    if not references:
        return []
    activated = _activated(intake, references)
    unknown = []
    for mention in mentions:
        found = [activated[each] for each in mention.references if each in activated]
        if not found:
            unknown.append(mention)
        elif (first := mention.references[0]) not in activated:
            intake.audience_ids[first] = found[0]
    return unknown


def _activated(intake: Intake, references: set[str]) -> dict[str, int]:
    """Audiences, in whatever state, by those of their upstream ids that are asked for.

    An id that several connections know names none of their audiences.
    """
    query = (
        sa.select(audience.c.upstream_id, audience.c.id)
        .join(connection, connection.c.id == audience.c.connection_id)
        .where(
            audience.c.upstream_id.in_([each for each in references if is_storable(each)]),
            connection.c.removed_at.is_(None),
        )
    )
    if intake.connection_id is not None:
        query = query.where(audience.c.connection_id == intake.connection_id)
    with transaction(intake.deployment.engine) as tx:
        rows = tx.execute(query).all()
    times_found = Counter(row.upstream_id for row in rows)
    return {row.upstream_id: row.id for row in rows if times_found[row.upstream_id] == 1}


def activate_mentioned(intake: Intake, connection_id: int, mention: Mention, ring: Ring) -> None:
    """Activate an audience under its name; another process may have done so under another one."""
    upstream_id = mention.references[0]
    with suppress(ConfigError, Refused):
        name = usable_name(mention.name, upstream_id)
        made = activate_over(intake.deployment, connection_id, name, upstream_id)
        for list_id in made.list_ids:
            ring(list_id)


def usable_name(name: str | None, upstream_id: str) -> str:
    """An upstream name as Pinterest can have it; where nothing is left of it, the audience's id."""
    return _printable(name or "") or _printable(upstream_id) or "Unnamed"


def _printable(text: str) -> str:
    words = " ".join(text.split())
    return "".join(filter(str.isprintable, words))[:LONGEST_NAME].strip()
