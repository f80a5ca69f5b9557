"""Mistakes at the way in: accepted and lost, accepted twice, or accepted behind a deactivation."""

from __future__ import annotations

from tests.mutants.mutation import Edit, Mutation

STAGING = "tests/integration/test_staging.py::"
FUNCTIONS = "migrations/versions/0002_intake_over_http.py"

MUTATIONS = (
    Mutation(
        "no gate in intake",
        "An intake does not hold the gate of its audiences while it commits.",
        (
            Edit(
                FUNCTIONS,
                "    PERFORM pg_advisory_xact_lock_shared(gate_class, gate)"
                " FROM unnest(gates) AS gate;\n",
                "",
            ),
        ),
        (STAGING + "test_a_cut_never_passes_an_intake_in_the_midst_of_its_call",),
    ),
    Mutation(
        "accepted behind a deactivation",
        "An intake does not ask whether its audiences were deactivated since it looked them up.",
        (
            Edit(
                FUNCTIONS,
                "    IF closed IS NOT NULL THEN\n"
                "        RAISE EXCEPTION 'an audience is deactivated'"
                " USING ERRCODE = 'PF001', DETAIL = closed;\n"
                "    END IF;\n",
                "",
            ),
        ),
        (STAGING + "test_nothing_lands_behind_a_deactivation",),
    ),
    Mutation(
        "no receipt",
        "A call without a key of its own leaves no receipt.",
        (
            Edit(
                FUNCTIONS,
                "    INSERT INTO receipt (source,",
                "    IF dedupe_key IS NULL THEN\n        RETURN;\n    END IF;\n"
                "    INSERT INTO receipt (source,",
            ),
        ),
        ("tests/integration/test_books.py::test_the_books_balance_after_a_mixed_day",),
    ),
    Mutation(
        "old receipts go without a trace",
        "What receipts past their use had counted is not carried over.",
        (
            Edit(
                "app/purging.py",
                "sum(CASE t.list_type WHEN 'EMAIL' THEN email ELSE maid END)\n",
                "0\n",
            ),
        ),
        (
            "tests/integration/test_books.py::"
            "test_receipts_past_their_use_go_and_the_books_still_balance",
        ),
    ),
    Mutation(
        "dedupe key ignored",
        "A call that comes a second time under its key is staged a second time.",
        (
            Edit(
                "app/staging.py",
                "head = (intake.source, dedupe_key, accepted,",
                "head = (intake.source, None, accepted,",
            ),
        ),
        (STAGING + "test_a_removal_that_was_uploaded_is_not_undone_by_an_add_delivered_again",),
    ),
    Mutation(
        "known messages staged again",
        "A message whose id was committed before is staged again.",
        (
            Edit(
                FUNCTIONS,
                "    IF remembered < cardinality(keys) THEN\n"
                "        RAISE EXCEPTION 'a message was received before'"
                " USING ERRCODE = 'PF003';\n"
                "    END IF;\n",
                "",
            ),
        ),
        ("tests/integration/test_remembering.py::test_a_message_counts_once_across_calls",),
    ),
    Mutation(
        "redelivered message ids not looked up",
        "A message that the broker delivers again is staged again.",
        (
            Edit(
                "workers/messages.py",
                "again = {_id(message) for message in messages"
                ' if message.delivery_info.get("redelivered")}',
                "again: set[bytes] = set()",
            ),
        ),
        (
            "tests/integration/test_messages.py::"
            "test_a_message_delivered_again_is_left_out_whatever_its_format",
        ),
    ),
    Mutation(
        "acknowledged before the commit",
        "Messages of the broker are acknowledged as they are read.",
        (
            Edit(
                "workers/intake.py",
                "                _bury(intake, producer, dead(channel), batch)\n"
                "                for message in batch.messages:\n"
                "                    message.ack()\n",
                "                _bury(intake, producer, dead(channel), batch)\n",
            ),
            Edit(
                "workers/intake.py",
                "                if _insist(partial(_commit, intake, batch), stopping) is None:\n",
                "                for message in batch.messages:\n"
                "                    message.ack()\n"
                "                if _insist(partial(_commit, intake, batch), stopping) is None:\n",
            ),
        ),
        (
            "tests/faults/test_acknowledging.py::"
            "test_a_message_stays_the_brokers_until_its_events_are_committed",
        ),
    ),
    Mutation(
        "answered before the commit",
        "A call over HTTP is answered while the commit that it shares is under way.",
        (
            Edit(
                "app/api/grouping.py",
                "        return await call.answer\n",
                "        return [Outcome(len(message.events)) for message in messages]\n",
            ),
        ),
        ("tests/integration/test_http_grouping.py::test_nobody_is_answered_before_the_commit",),
    ),
    Mutation(
        "another body under a known key",
        "A call under a key that was used for another body is answered as its repetition.",
        (
            Edit(
                "app/remembering.py",
                "same = before.content is None or before.content in message.contents",
                "same = True",
            ),
        ),
        (
            "tests/integration/test_remembering.py::"
            "test_other_content_under_the_same_key_is_a_conflict",
        ),
    ),
)
