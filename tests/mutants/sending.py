"""Mistakes by which an older request can land after a newer one, or two are under way at once."""

from __future__ import annotations

from tests.mutants.mutation import Edit, Mutation

DELIVERY = "tests/integration/test_delivery.py::"
DEADMAN = "tests/integration/test_deadman.py::"
ACTIVATION = "tests/integration/test_activation.py::"

MUTATIONS = (
    Mutation(
        "no quarantine",
        "After an unknown outcome a later upload goes out at once.",
        (
            Edit(
                "app/delivery.py",
                "quiet_since = _quarantined_since(view, lot, s.quarantine)",
                "quiet_since = None",
            ),
        ),
        (DELIVERY + "test_after_an_unknown_outcome_a_later_upload_waits_the_quarantine",),
    ),
    Mutation(
        "no quarantine after a death",
        "What a dead worker left in flight begins no quarantine.",
        (
            Edit(
                "app/delivery.py",
                "turn.update(tx, **unknown_values(NOW, orphan.upload_id))",
                "pass",
            ),
        ),
        (
            DELIVERY
            + "test_what_a_dead_worker_left_in_flight_becomes_unknown_once_its_lease_is_over",
        ),
    ),
    Mutation(
        "ADDs before REMOVEs",
        "Of an upload of a list the additions go first.",
        (
            Edit(
                "app/delivery.py",
                "batch.c.upload_id, batch.c.operation.desc(), batch.c.id",
                "batch.c.upload_id, batch.c.operation, batch.c.id",
            ),
        ),
        (DELIVERY + "test_removes_of_an_upload_go_before_its_adds",),
    ),
    Mutation(
        "two requests of a list at once",
        "A lease is claimed whether or not another worker holds it.",
        (
            Edit(
                "app/lease.py",
                "            has_passed(table.c.lease_until, lease),\n",
                "",
            ),
        ),
        (DELIVERY + "test_two_workers_called_to_one_list_send_one_request_after_another",),
    ),
    Mutation(
        "no epoch in write_under",
        "Whoever writes under a lease does not name its epoch.",
        (
            Edit(
                "app/lease.py",
                ".where(table.c.id == claim.id, table.c.epoch == claim.epoch, *also)",
                ".where(table.c.id == claim.id, *also)",
            ),
        ),
        (DELIVERY + "test_a_worker_that_was_overtaken_settles_nothing",),
    ),
    Mutation(
        "no epoch at the charge",
        "A worker whose list was taken over charges and sends all the same.",
        (
            Edit(
                "app/quota.py",
                '            customer_list.c.epoch == sa.bindparam("claimed"),\n'
                "            customer_list.c.lease_until > NOW,\n",
                "            customer_list.c.lease_until > NOW,\n",
            ),
            Edit("app/quota.py", '"claimed": claim.epoch, "more"', '"more"'),
        ),
        (DELIVERY + "test_a_worker_that_is_late_for_its_charge_sends_nothing[another one has it]",),
    ),
    Mutation(
        "no lease check at the charge",
        "A worker whose lease ran out charges and sends all the same.",
        (Edit("app/quota.py", "            customer_list.c.lease_until > NOW,\n", ""),),
        (DELIVERY + "test_a_worker_that_is_late_for_its_charge_sends_nothing[its lease is over]",),
    ),
    Mutation(
        "settle by state instead of epoch",
        "An answer settles its attempt as long as that is in flight, whoever has the list by now.",
        (
            Edit(
                "app/quota.py",
                "    write_under(tx, customer_list, claim, **values)\n",
                "    tx.execute(\n"
                "        sa.update(customer_list)\n"
                "        .where(customer_list.c.id == claim.id)\n"
                "        .values(**values)\n"
                "    )\n",
            ),
            Edit(
                "app/quota.py",
                '            attempt.c.state == "in_flight",\n'
                "            attempt.c.epoch == claim.epoch,\n",
                '            attempt.c.state == "in_flight",\n',
            ),
        ),
        (
            "tests/integration/test_cap.py::"
            "test_an_answer_that_comes_after_another_worker_took_over_settles_nothing",
        ),
    ),
    Mutation(
        "a lease far ahead freezes",
        "A lease that ends impossibly far ahead, after a clock jumped back, is waited for.",
        (
            Edit(
                "app/lease.py",
                "return sa.or_(column.is_(None), column <= now, column > absurd)",
                "return sa.or_(column.is_(None), column <= now)",
            ),
        ),
        (DELIVERY + "test_a_lease_impossibly_far_ahead_counts_as_over",),
    ),
    Mutation(
        "no dead-man timer",
        "Nothing ends a process that was frozen past its lease.",
        (
            Edit(
                "app/deadman.py",
                "    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))\n",
                "",
            ),
        ),
        (DEADMAN + "test_a_process_that_was_stopped_past_its_time_never_goes_on",),
    ),
    Mutation(
        "the dead-man timer trusts the handler it finds",
        "SIGALRM keeps the handler that a library has set, and does not end the process.",
        (
            Edit(
                "app/deadman.py",
                "    signal.signal(signal.SIGALRM, signal.SIG_DFL)\n",
                "",
            ),
        ),
        (DEADMAN + "test_the_timer_kills_whatever_was_set_to_happen_instead",),
    ),
    Mutation(
        "requests without the dead-man timer",
        "The timer is not armed around a request.",
        (
            Edit(
                "app/turn.py",
                "        with armed(leased_at + s.dead_man - time.monotonic()):\n"
                "            # once more: the process may have been frozen before the timer was"
                " armed\n"
                "            return",
                "        return",
            ),
        ),
        (DELIVERY + "test_a_request_is_out_only_while_the_dead_mans_timer_runs",),
    ),
    Mutation(
        "no look at the clock once the timer is armed",
        "A process that was frozen just before it armed the timer sends late.",
        (
            Edit(
                "app/turn.py",
                "            return too_late if time.monotonic() > last_moment else call()\n",
                "            return call()\n",
            ),
        ),
        (DELIVERY + "test_a_worker_that_froze_before_its_timer_was_armed_sends_nothing",),
    ),
    Mutation(
        "a second list after an unknown creation",
        "A list whose creation was not confirmed is made again, as if it had been refused.",
        (
            Edit(
                "app/creation.py",
                "        if is_unknown(sent) or sent.answer.ok:"
                "  # accepted, but the reply was unreadable\n"
                "            turn.update(tx, create_unknown_at=NOW)\n",
                "",
            ),
        ),
        (
            ACTIVATION
            + "test_a_list_whose_creation_was_not_confirmed_is_adopted_after_the_quarantine"
            "[drop_after]",
        ),
    ),
    Mutation(
        "any list of the name adopted",
        "After an unknown creation a list of that name is taken for ours, whoever is on it.",
        (
            Edit(
                "app/creation.py",
                'return item.get("num_batches") == 1'
                ' and item.get("num_uploaded_user_records") == 1',
                "return True",
            ),
        ),
        (ACTIVATION + "test_a_foreign_list_of_the_same_name_is_not_adopted_when_it_has_members",),
    ),
    Mutation(
        "a retry ends the quarantine",
        "A person who asks for another try ends the quarantine of the lists as well.",
        (
            Edit(
                "app/lists.py",
                '    "probe_upload_id": None,\n',
                '    "probe_upload_id": None,\n    "unknown_at": None,\n',
            ),
        ),
        (DELIVERY + "test_a_retry_by_a_person_does_not_end_the_quarantine",),
    ),
    Mutation(
        "lease not renewed at the charge",
        "A request goes out under what is left of the lease, which may end before it does.",
        (
            Edit(
                "app/quota.py",
                '            lease_until=NOW + sa.bindparam("leased_for", type_=sa.Interval()),\n',
                "",
            ),
            Edit("app/quota.py", ' | {"leased_for": timedelta(seconds=s.lease)}', ""),
        ),
        (DELIVERY + "test_a_request_is_out_only_while_its_lease_outlasts_the_dead_mans_timer",),
    ),
)
