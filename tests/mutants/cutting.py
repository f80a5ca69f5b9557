"""Mistakes by which a cut takes the wrong chunks, loses some, or lets the wrong one decide."""

from __future__ import annotations

from tests.mutants.mutation import Edit, Mutation

FLUSH = "tests/integration/test_flush.py::"
COMPACTING = "tests/integration/test_compacting.py::"
STAGING = "tests/integration/test_staging.py::"

MUTATIONS = (
    Mutation(
        "SKIP LOCKED",
        "The cut takes the chunks that nobody has locked, and leaves an older one for later.",
        (
            Edit(
                "app/window.py",
                "    .order_by(staged_chunk.c.id)\n",
                "    .order_by(staged_chunk.c.id)\n    .with_for_update(skip_locked=True)\n",
            ),
        ),
        (FLUSH + "test_a_cut_never_passes_over_a_chunk_that_somebody_has_locked",),
    ),
    Mutation(
        "no gate at the cut",
        "The cut reads which chunks there are while an intake is half committed.",
        (Edit("app/window.py", "        close_gate(tx, audience_id)\n", ""),),
        (STAGING + "test_a_half_committed_intake_makes_the_cut_wait_and_order_holds",),
    ),
    Mutation(
        "window newest first",
        "A bounded window takes the newest chunks and leaves the oldest behind.",
        (
            Edit(
                "app/window.py",
                "    .order_by(staged_chunk.c.id)\n",
                "    .order_by(staged_chunk.c.id.desc())\n",
            ),
        ),
        (FLUSH + "test_a_bounded_window_takes_the_oldest_chunks",),
    ),
    Mutation(
        "chunks deleted by highest id",
        "The cut deletes every chunk up to the highest that it read.",
        (
            Edit(
                "app/flush.py",
                '"DELETE FROM staged_chunk WHERE audience_id = %s AND id = ANY(%s::bigint[])",\n'
                "        (audience_id, array_text(ids)),\n",
                '"DELETE FROM staged_chunk WHERE audience_id = %s AND id <= %s",\n'
                "        (audience_id, max(ids)),\n",
            ),
            Edit("app/flush.py", "    if deleted != len(ids):\n", "    if deleted < len(ids):\n"),
        ),
        (FLUSH + "test_a_chunk_that_arrives_with_a_smaller_id_during_the_cut_stays",),
    ),
    Mutation(
        "deleted chunks not counted",
        "The cut does not ask whether the chunks that it read were still there to be deleted.",
        (Edit("app/flush.py", "    if deleted != len(ids):\n", "    if deleted > len(ids):\n"),),
        (FLUSH + "test_when_a_chunk_of_the_cut_is_gone_nothing_is_written",),
    ),
    Mutation(
        "unfenced cut",
        "The cut updates the audience without naming its epoch.",
        (
            Edit(
                "app/flush.py",
                "            plan.claim,\n            audience.c.state == state,\n",
                "            plan.claim._replace(epoch=audience.c.epoch),\n"
                "            audience.c.state == state,\n",
            ),
        ),
        (FLUSH + "test_a_worker_whose_audience_was_taken_over_but_not_yet_cut_changes_nothing",),
    ),
    Mutation(
        "cut behind a deactivation",
        "The cut does not ask whether the audience is still active.",
        (Edit("app/flush.py", "            audience.c.state == state,\n", ""),),
        (FLUSH + "test_a_deactivation_during_the_cut_wins",),
    ),
    Mutation(
        "cut onto a lane that moves",
        "An audience is cut again while batches of its last upload still wait.",
        (
            Edit(
                "app/flush_rule.py",
                "    if facts.lane_records or facts.held_records",
                "    if facts.held_records",
            ),
        ),
        (
            "tests/integration/test_delivery.py::"
            "test_nothing_is_cut_while_a_lane_that_can_move_has_something",
        ),
    ),
    Mutation(
        "fold: the first wins",
        "Of several operations on one identity the first decides.",
        (
            Edit(
                "app/folding.py",
                "deciding = dict(zip(compress(digests, mine), adding, strict=True))",
                "deciding = dict([*zip(compress(digests, mine), adding, strict=True)][::-1])",
            ),
        ),
        (FLUSH + "test_an_id_that_came_as_idfa_and_as_gaid_is_one_identity",),
    ),
    Mutation(
        "fold: only the order of arrival",
        "The operation that arrived last decides, whenever it happened.",
        (Edit("app/folding.py", "if not self._in_order:", "if False:"),),
        (FLUSH + "test_two_spellings_in_different_chunks_are_one_identity_and_the_latest_wins",),
    ),
    Mutation(
        "fold before hash",
        "Identities are folded as they are spelled, so two spellings of an address stay two.",
        (
            Edit(
                "app/folding.py",
                'values = cased(text, "lower")',
                'values = text.split(b"\\n")',
            ),
            Edit(
                "app/folding.py",
                "self._digests += _digests(values, forms)",
                "self._digests += zip(values, forms, strict=True)",
            ),
            Edit(
                "app/folding.py",
                "            adds=list(compress(deciding, adds)),\n"
                "            removes=list(compress(deciding, adds.translate(_NOT))),\n",
                "            adds=_hash_each(compress(deciding, adds)),\n"
                "            removes=_hash_each(compress(deciding, adds.translate(_NOT))),\n",
            ),
            Edit(
                "app/folding.py",
                "def _digests(values: list[bytes], forms: bytes) -> list[bytes]:\n",
                "def _hash_each(spelled):\n"
                "    return [\n"
                "        _digests([value.lower()], bytes([form]))[0] for value, form in spelled\n"
                "    ]\n\n\n"
                "def _digests(values: list[bytes], forms: bytes) -> list[bytes]:\n",
            ),
        ),
        ("tests/unit/test_folding.py::test_three_spellings_and_a_digest_are_one_identity",),
    ),
    Mutation(
        "left behind until its time comes",
        "What a bounded window leaves behind waits for the next threshold or the next age.",
        (
            Edit(
                "app/window.py",
                "    drain_to = newest if chunks and newest != chunks[-1].id else None\n",
                "    drain_to = None\n",
            ),
        ),
        (FLUSH + "test_what_a_bounded_window_leaves_behind_follows_at_once",),
    ),
    Mutation(
        "a wish during the cut forgotten",
        "A cut takes back every wish for a flush, also one that came since it began.",
        (
            Edit(
                "app/flush.py",
                "            flush_requested_at=sa.case(\n"
                "                (audience.c.flush_requested_at == plan.asked_at, None),\n"
                "                else_=audience.c.flush_requested_at,\n"
                "            ),\n",
                "            flush_requested_at=None,\n",
            ),
        ),
        (FLUSH + "test_a_request_that_comes_during_a_cut_is_not_forgotten",),
    ),
    Mutation(
        "poison chunk dropped",
        "A chunk whose flush failed again and again is deleted instead of set aside.",
        (
            Edit(
                "app/flush.py",
                "SELECT id, audience_id, message_count, email_count, maid_count, arrived_at, body,"
                " :reason FROM chunk\n",
                "SELECT id, audience_id, message_count, email_count, maid_count, arrived_at, body,"
                " :reason FROM held_chunk\n",
            ),
        ),
        (FLUSH + "test_a_row_of_poison_chunks_takes_no_good_one_with_it[4]",),
    ),
    Mutation(
        "joined under the newest id",
        "Chunks are joined under the id of the newest of them, behind what came in between.",
        (
            Edit(
                "app/joining.py",
                "array_text(ids[0] for _, ids in runs_of for _ in ids),",
                "array_text(ids[-1] for _, ids in runs_of for _ in ids),",
            ),
            Edit(
                "app/joining.py",
                "(*sums[each.ids[0]][:6], each.body)",
                "(*sums[each.ids[-1]][:6], each.body)",
            ),
        ),
        (COMPACTING + "test_what_was_left_behind_for_the_next_cut_still_follows_at_once",),
    ),
    Mutation(
        "no gate where chunks are joined",
        "Chunks are joined while an intake between them is half committed.",
        (Edit("app/compacting.py", "        close_gate(tx, ids[0])\n", ""),),
        (
            COMPACTING
            + "test_a_half_committed_intake_is_waited_for_and_nothing_is_joined_across_it",
        ),
    ),
    Mutation(
        "chunks joined without a lease",
        "Chunks are joined while a cut has the audience's lease.",
        (
            Edit(
                "app/compacting.py",
                "            has_passed(audience.c.lease_until, s.lease),\n",
                "",
            ),
        ),
        (COMPACTING + "test_an_audience_that_is_being_flushed_is_passed_over",),
    ),
    Mutation(
        "joined chunks not counted",
        "Nobody asks whether the chunks that were joined were still there to be deleted.",
        (
            Edit(
                "app/joining.py",
                "    if sum(row.gone for row in sums.values()) !=",
                "    if sum(row.gone for row in sums.values()) >",
            ),
        ),
        (COMPACTING + "test_a_chunk_that_somebody_took_meanwhile_undoes_the_whole_step",),
    ),
)
