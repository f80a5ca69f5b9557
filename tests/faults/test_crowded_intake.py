"""Eight writers at once, with commits that are slow or fail: row 33 of the fault matrix.

Who comes last is decided by arrival alone: every event has the same time. What arrived, and what
was cut, is written down by triggers, in the transactions of those who do so.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import sqlalchemy as sa

from app.bodies import unpack_chunk
from app.deployment import Deployment
from app.keyring import chunk_purpose
from app.staging import Intake, stage
from tests.workshop import ADD, REMOVE, Workshop, email_event, sha1_hex

WRITERS = 8
CALLS = 25
AUDIENCES = 6
IN_A_CALL = 4
PEOPLE = 10
STUMBLING = """
    CREATE TABLE arrived (LIKE staged_chunk);
    CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO arrived SELECT NEW.*; RETURN NULL; END $$;
    CREATE TRIGGER keep AFTER INSERT ON staged_chunk FOR EACH ROW EXECUTE FUNCTION keep();
    CREATE TABLE cut (audience_id bigint, chunk_id bigint, upload xid8);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO cut VALUES (OLD.audience_id, OLD.id, pg_current_xact_id());
        RETURN NULL;
    END $$;
    CREATE TRIGGER note AFTER DELETE ON staged_chunk FOR EACH ROW EXECUTE FUNCTION note();
    CREATE FUNCTION stumble() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM pg_sleep(random() * 0.05);
        IF random() < 0.1 THEN RAISE 'stumbled'; END IF;
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER stumble AFTER INSERT ON receipt DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION stumble()
"""

OVERTAKEN = """
    SELECT count(*) FROM cut a JOIN cut b USING (audience_id)
     WHERE a.upload < b.upload AND a.chunk_id > b.chunk_id
"""


def write(intake: Intake, number: int) -> int:
    """Call after call over audiences in any order, each until it is committed; how many failed."""
    chance = random.Random(number)
    failed = 0
    for turn in range(CALLS):
        events = [
            email_event(
                chance.randrange(PEOPLE), chance.choice((ADD, REMOVE)), audience=audience, at=1
            )
            for audience in map(str, chance.sample(range(AUDIENCES), IN_A_CALL))
        ]
        while True:
            try:
                staged = stage(intake, events, dedupe_key=f"{number} {turn}")
            except psycopg2.errors.RaiseException:  # a deadlock would be another
                failed += 1
            else:
                assert staged.accepted == len(events)
                break
    return failed


def members_by_arrival(workshop: Workshop) -> dict[str, set[str]]:
    """Who must be a member of each audience, by the last that arrived of everybody."""
    found: dict[str, set[str]] = {str(number): set() for number in range(AUDIENCES)}
    query = (
        "SELECT a.upstream_id, c.audience_id, c.body FROM arrived c"
        " JOIN audience a ON a.id = c.audience_id ORDER BY c.id"
    )
    for upstream_id, audience_id, body in workshop.rows(query):
        opened = workshop.deployment.keyring.open(bytes(body), chunk_purpose(audience_id))
        chunk = unpack_chunk(opened)
        for flags, value in zip(chunk.flags, chunk.text.decode().split("\n"), strict=True):
            change = set.add if flags & 1 else set.discard
            change(found[upstream_id], sha1_hex(value))
    return found


def test_writers_that_stumble_over_shuffled_audiences_neither_deadlock_nor_break_the_order(
    open_with: Callable[..., Workshop],
) -> None:
    workshop = open_with(records_per_request=4)
    workshop.connect(forward_device_id=False)
    audience_ids = [workshop.activate(str(n), f"A{n}") for n in range(AUDIENCES)]
    workshop.deliver_all()
    with workshop.transaction() as tx:
        tx.execute(sa.text(STUMBLING))
    writers = Deployment(workshop.deployment.settings, connections=WRITERS)
    with ThreadPoolExecutor(WRITERS) as threads:
        runs = [threads.submit(write, Intake(writers, f"writer {n}"), n) for n in range(WRITERS)]
        while not all(run.done() for run in runs):
            for audience_id in audience_ids:
                workshop.flush(audience_id)
            workshop.deliver_all()
    assert sum(run.result() for run in runs) > 0, "no commit failed"
    writers.engine.dispose()
    for audience_id in audience_ids:
        workshop.flush(audience_id)
    workshop.deliver_all()
    assert workshop.value(OVERTAKEN) == 0, "an upload left out what had arrived before"
    due = members_by_arrival(workshop)
    assert due != {str(number): set() for number in range(AUDIENCES)}
    assert {n: workshop.members(f"A{n}-EMAIL") for n in due} == due
    assert workshop.value("SELECT sum(accepted) FROM receipt") == WRITERS * CALLS * IN_A_CALL
    workshop.assert_books_balance()
