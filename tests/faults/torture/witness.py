"""The witness: triggers that write down what was committed, in the same transactions.

Rows of the product come and go; the witness keeps that they were, in which transaction, and when by
a clock that no test turns. It also makes intake dawdle: some commits are slow, some end with their
session, as the number of the receipt and the seed decide.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import sqlalchemy as sa

from app.database import transaction
from app.deployment import Deployment

_KEPT_IN_WHOLE = ("receipt", "message_key", "upload", "attempt")
_SET_UP = """
CREATE SCHEMA witness;
CREATE TABLE witness.seen (
    id bigint GENERATED ALWAYS AS IDENTITY, what text, tx text DEFAULT pg_current_xact_id()::text,
    at double precision DEFAULT extract(epoch FROM clock_timestamp()), fields jsonb);
CREATE TABLE witness.mood (slow int, broken int);
INSERT INTO witness.mood VALUES (0, 0);
CREATE FUNCTION witness.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO witness.seen (what, fields)
        SELECT TG_TABLE_NAME || ' ' || TG_OP, to_jsonb(touched) - 'body' - 'answer' - 'content'
          FROM touched;
    RETURN NULL;
END $$;
CREATE FUNCTION witness.note_settled() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO witness.seen (what, fields)
        VALUES ('attempt ' || NEW.state, jsonb_build_object('id', NEW.id));
    RETURN NULL;
END $$;
CREATE TRIGGER settled AFTER UPDATE ON attempt FOR EACH ROW
    WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION witness.note_settled();
CREATE TRIGGER taken AFTER DELETE ON staged_chunk REFERENCING OLD TABLE AS touched
    FOR EACH STATEMENT EXECUTE FUNCTION witness.note();
CREATE FUNCTION witness.dawdle() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    roll int := hashint8extended(NEW.id, {seed}) & 1023;
    mood witness.mood := (SELECT m FROM witness.mood m);
BEGIN
    IF roll < mood.broken THEN PERFORM pg_terminate_backend(pg_backend_pid());
    ELSIF roll < mood.broken + mood.slow THEN PERFORM pg_sleep((roll & 31) / 60.0);
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT ON receipt DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION witness.dawdle();
"""
_ON_INSERT = """
CREATE TRIGGER seen AFTER INSERT ON {table} REFERENCING NEW TABLE AS touched
    FOR EACH STATEMENT EXECUTE FUNCTION witness.note();
"""


class Seen(NamedTuple):
    """A row that was committed: what became of which table, in which transaction, when."""

    what: str
    tx: str
    at: float
    fields: dict[str, Any]


def set_up(deployment: Deployment, seed: int) -> None:
    tables = (*_KEPT_IN_WHOLE, "staged_chunk")
    with transaction(deployment.engine) as tx:
        tx.exec_driver_sql(_SET_UP.format(seed=seed))
        for table in tables:
            tx.exec_driver_sql(_ON_INSERT.format(table=table))


def let_dawdle(deployment: Deployment, slow: int, broken: int) -> None:
    """So many of 1,024 commits of intake are slow from now on, and so many end with a broken
    session.
    """
    with transaction(deployment.engine) as tx:
        tx.execute(
            sa.text("UPDATE witness.mood SET slow = :slow, broken = :broken"),
            {"slow": slow, "broken": broken},
        )


def testimony(deployment: Deployment) -> list[Seen]:
    """All that was committed, in the order of the ids that were drawn."""
    query = sa.text("SELECT what, tx, at, fields FROM witness.seen ORDER BY id")
    with transaction(deployment.engine) as tx:
        return [Seen(*row) for row in tx.execute(query)]
