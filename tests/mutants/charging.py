"""Mistakes by which more is sent than is charged, or records are lost where the cap ends."""

from __future__ import annotations

from tests.mutants.mutation import Edit, Mutation

DELIVERY = "tests/integration/test_delivery.py::"
CAP = "tests/integration/test_cap.py::"

MUTATIONS = (
    Mutation(
        "charge after send",
        "The charge is committed once the answer is there.",
        (
            Edit(
                "app/turn.py",
                "        with transaction(self.deployment.engine) as tx:\n"
                "            made = charge(",
                "        answer = self._call_in_time(call, leased_at)\n"
                "        with transaction(self.deployment.engine) as tx:\n"
                "            made = charge(",
            ),
            Edit(
                "app/turn.py",
                "            return None\n        answer = self._call_in_time(call, leased_at)\n",
                "            return None\n",
            ),
        ),
        (DELIVERY + "test_a_charge_is_committed_before_its_request_arrives",),
    ),
    Mutation(
        "sent without a committed charge",
        "A reply lost at the charge's commit is taken for a success, and the request goes out.",
        (
            Edit("app/turn.py", "import time\n", "import time\nfrom contextlib import suppress\n"),
            Edit(
                "app/turn.py",
                "from app.errors import LeaseLost\n",
                "from app.errors import LeaseLost, Unavailable\n",
            ),
            Edit(
                "app/turn.py",
                "        with transaction(self.deployment.engine) as tx:\n"
                "            made = charge(",
                "        with suppress(Unavailable), transaction(self.deployment.engine) as tx:\n"
                "            made = charge(",
            ),
        ),
        ("tests/faults/test_lost_replies.py::test_a_charge_in_doubt_sends_nothing",),
    ),
    Mutation(
        "cap check outside of the UPDATE",
        "The room under the cap is read and compared, then the charge is written.",
        (
            Edit(
                "app/quota.py",
                '            customer_list.c.charged + more <= sa.bindparam("most"),\n',
                "",
            ),
            Edit(
                "app/quota.py",
                "    updated = tx.execute(_charging(),",
                "    if _charged(tx, claim) + records > limit:\n"
                "        return None\n"
                '    named.pop("most")\n'
                "    updated = tx.execute(_charging(),",
            ),
            Edit(
                "migrations/versions/0001_the_first_schema.py",
                '        sa.CheckConstraint("charged BETWEEN 0 AND 300000000",'
                ' name=op.f("customer_list_cap_check")),\n',
                "",
            ),
        ),
        (CAP + "test_of_two_charges_at_once_for_the_last_room_one_is_made",),
    ),
    Mutation(
        "second half of a split lost",
        "Of a batch that is cut in two only the first part is kept.",
        (
            Edit(
                "app/lots.py",
                "parts = (digests[:first], digests[first:])",
                "parts = (digests[:first],)",
            ),
        ),
        (DELIVERY + "test_a_batch_that_is_too_large_is_halved_until_it_fits[413]",),
    ),
    Mutation(
        "a paused audience is charged",
        "The charge does not ask whether the audience is active.",
        (
            Edit(
                "app/quota.py",
                'audience.c.id == customer_list.c.audience_id, audience.c.state == "active",'
                " forwarded()",
                "audience.c.id == customer_list.c.audience_id, forwarded()",
            ),
        ),
        (
            CAP
            + "test_nothing_is_charged_without_the_right_to_send"
            + "[UPDATE audience SET state = 'paused']",
        ),
    ),
    Mutation(
        "no second wall",
        "The database lets a list be charged for more than Pinterest's cap.",
        (
            Edit(
                "migrations/versions/0001_the_first_schema.py",
                '        sa.CheckConstraint("charged BETWEEN 0 AND 300000000",'
                ' name=op.f("customer_list_cap_check")),\n',
                "",
            ),
        ),
        (CAP + "test_the_database_is_a_second_wall[300000001]",),
    ),
    Mutation(
        "sent again under one charge",
        "A request without an answer is made once more, at once and on the same charge.",
        (
            Edit(
                "app/turn.py",
                "        answer = self._call_in_time(call, leased_at)\n",
                "        answer = self._call_in_time(call, leased_at)\n"
                "        if answer.status is None and answer.left:\n"
                "            answer = self._call_in_time(call, leased_at)\n",
            ),
        ),
        (
            DELIVERY
            + "test_an_unknown_outcome_keeps_its_charge_and_the_batch_goes_again[drop_after]",
        ),
    ),
)
