"""Mistakes by which a person can be read where nobody should be."""

from __future__ import annotations

from tests.mutants.mutation import Edit, Mutation

MUTATIONS = (
    Mutation(
        "identities in task arguments",
        "A flush hands the digests that it cut to the delivering task, to spare a query.",
        (
            Edit(
                "app/flush.py",
                "    more: bool\n",
                "    digests: list[str]\n    more: bool\n",
            ),
            Edit(
                "app/flush.py",
                "    return Flushed(upload_id, plan.reason, messages, len(sealed),"
                " sorted(list_ids), more)\n",
                "    digests = [digest.hex() for _, _, cut, _ in sealed for digest in cut]\n"
                "    return Flushed(\n"
                "        upload_id, plan.reason, messages, len(sealed), sorted(list_ids),"
                " digests, more\n"
                "    )\n",
            ),
            Edit(
                "workers/tasks.py",
                "    for list_id in flushed.list_ids:\n        doorbell().deliver(list_id)\n",
                "    for list_id in flushed.list_ids:\n"
                "        deliver.apply_async((list_id,), {'digests': flushed.digests})\n",
            ),
            Edit(
                "workers/tasks.py",
                "def deliver(list_id: int) -> str:\n",
                "def deliver(list_id: int, digests: list[str] | None = None) -> str:\n",
            ),
        ),
        ("tests/acceptance/test_workers.py::test_every_task_argument_is_a_row_id",),
    ),
    Mutation(
        "payload kept after settling",
        "The digests of a batch stay in the database once it is sent.",
        (
            Edit(
                "app/lots.py",
                'kept = {} if state == "quarantined" else {"payload": None}',
                "kept: dict[str, None] = {}",
            ),
            Edit(
                "migrations/versions/0001_the_first_schema.py",
                "        sa.CheckConstraint(\n"
                "            \"(state IN ('waiting', 'quarantined')) = (payload IS NOT NULL)\",\n"
                '            name=op.f("batch_payload_check"),\n'
                "        ),\n",
                "",
            ),
        ),
        (
            "tests/integration/test_delivery.py::"
            "test_what_a_list_waits_for_is_gone_once_it_is_delivered",
        ),
    ),
    Mutation(
        "log of an address",
        "Intake logs the events that were rejected.",
        (
            Edit(
                "workers/intake.py",
                'log.warning("%s events or identities were rejected", len(staged.rejections))',
                'log.warning("rejected: %s", [batch.events[r.position] for r in'
                " staged.rejections])",
            ),
        ),
        ("tests/integration/test_messages.py::test_what_intake_logs_names_nobody",),
    ),
    Mutation(
        "parameters in database errors",
        "An error of the database shows the values that were sent to it.",
        (Edit("app/database.py", "hide_parameters=True", "hide_parameters=False"),),
        ("tests/integration/test_staging.py::test_an_error_of_the_database_shows_no_value",),
    ),
    Mutation(
        "Pinterest's texts kept as they are",
        "What Pinterest said is stored and shown with the people in it.",
        (
            Edit(
                "app/pinterest/outcomes.py",
                'return _SECRETS.sub("[removed]", text.replace("\\x00", ""))[:LONGEST_MESSAGE]',
                'return text.replace("\\x00", "")[:LONGEST_MESSAGE]',
            ),
        ),
        (
            "tests/integration/test_delivery.py::"
            "test_an_answer_nobody_knows_holds_the_list_with_what_was_seen",
        ),
    ),
)
