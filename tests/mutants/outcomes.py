"""Mistakes about what became of a request, by which charges are given back that were spent."""

from __future__ import annotations

from tests.mutants.mutation import Edit, Mutation

DELIVERY = "tests/integration/test_delivery.py::"

MUTATIONS = (
    Mutation(
        "refund on unknown",
        "A request of which nobody knows whether it was processed gets its charge back.",
        (
            Edit(
                "app/quota.py",
                "made.records if settlement is Settlement.REFUSED else 0",
                "made.records if settlement is not Settlement.SENT else 0",
            ),
        ),
        (
            DELIVERY
            + "test_an_unknown_outcome_keeps_its_charge_and_the_batch_goes_again[drop_after]",
        ),
    ),
    Mutation(
        "HTTP library retries on",
        "The HTTP library sends again on its own what got no answer or a 5xx.",
        (
            Edit(
                "app/pinterest/wire.py",
                "max_retries=0",
                "max_retries=urllib3.Retry(2, allowed_methods=None, status_forcelist=(502, 503))",
            ),
        ),
        (
            DELIVERY
            + "test_an_unknown_outcome_keeps_its_charge_and_the_batch_goes_again[drop_after]",
        ),
    ),
    Mutation(
        "redirects followed",
        "A redirect is followed, with the token and the records.",
        (Edit("app/pinterest/wire.py", "allow_redirects=False", "allow_redirects=True"),),
        (
            "tests/integration/test_pinterest_client.py::"
            "test_no_redirect_is_followed_and_no_token_carried_elsewhere",
        ),
    ),
    Mutation(
        "no look first after unknowns",
        "Unknown outcomes in a row are not counted, so nothing is asked before the next charge.",
        (
            Edit(
                "app/turn.py",
                '"unknown_streak": customer_list.c.unknown_streak + 1,',
                '"unknown_streak": customer_list.c.unknown_streak,',
            ),
        ),
        (DELIVERY + "test_after_two_unknown_outcomes_a_read_must_succeed_before_the_next_charge",),
    ),
    Mutation(
        "a dead worker's attempt taken for refused",
        "What a dead worker left in flight counts as refused and gets its charge back.",
        (
            Edit(
                "app/quota.py",
                '"""Settle what an earlier worker left in flight as unknown; returns upload id'
                ' and purpose."""\n',
                "tx.execute(\n"
                "        sa.update(customer_list)\n"
                "        .where(customer_list.c.id == claim.id)\n"
                "        .values(\n"
                "            charged=customer_list.c.charged\n"
                "            - sa.select(\n"
                "                sa.func.coalesce(sa.func.sum(attempt.c.record_count), 0)\n"
                "            )\n"
                "            .where(attempt.c.customer_list_id == claim.id,"
                ' attempt.c.state == "in_flight")\n'
                "            .scalar_subquery()\n"
                "        )\n"
                "    )\n",
            ),
            Edit(
                "app/quota.py",
                '.values(state="unknown", settled_at=NOW, detail="its worker died")',
                '.values(state="refused", settled_at=NOW, detail="its worker died")',
            ),
        ),
        (
            DELIVERY
            + "test_what_a_dead_worker_left_in_flight_becomes_unknown_once_its_lease_is_over",
        ),
    ),
    Mutation(
        "a lost answer taken for never sent",
        "A connection that broke after the request counts as one that was never made.",
        (
            Edit(
                "app/pinterest/wire.py",
                "left=not _never_left(problem)",
                "left=not isinstance(problem, requests.ConnectionError)",
            ),
        ),
        (
            DELIVERY
            + "test_an_unknown_outcome_keeps_its_charge_and_the_batch_goes_again[drop_after]",
        ),
    ),
    Mutation(
        "5xx taken for refused",
        "A server error in Pinterest's own words counts as certainly not processed.",
        (
            Edit(
                "app/pinterest/outcomes.py",
                "if 400 <= answer.status < 500 and answer.own_words:",
                "if answer.status >= 400 and answer.own_words:",
            ),
        ),
        (
            DELIVERY
            + "test_an_unknown_outcome_keeps_its_charge_and_the_batch_goes_again"
            + "[server_error_after]",
        ),
    ),
    Mutation(
        "a proxy's page taken for Pinterest's refusal",
        "Any 4xx counts as certainly not processed, whoever said it.",
        (
            Edit(
                "app/pinterest/outcomes.py",
                "if 400 <= answer.status < 500 and answer.own_words:",
                "if 400 <= answer.status < 500:",
            ),
        ),
        ("tests/unit/test_outcomes.py::test_the_golden_table",),
    ),
    Mutation(
        "fresh unknowns given back",
        "Charges of unknown outcomes are given back however lately they were made.",
        (
            Edit(
                "app/quota.py",
                "            attempt.c.settled_at < NOW - seconds(older_than),\n",
                "",
            ),
        ),
        ("tests/integration/test_observing.py::test_nothing_is_given_back_in_doubt[younger]",),
    ),
    Mutation(
        "an unreadable 2xx taken for unknown",
        "What Pinterest accepted in a reply that cannot be read is sent, and charged, again.",
        (
            Edit(
                "app/pinterest/outcomes.py",
                "    if answer.ok:\n        return Verdict(Settlement.SENT",
                "    if answer.ok and answer.body:\n        return Verdict(Settlement.SENT",
            ),
        ),
        (DELIVERY + "test_a_2xx_counts_as_sent_whatever_its_body_says[truncated]",),
    ),
)
