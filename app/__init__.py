"""Pinfold: what it means to keep Pinterest audiences in step with your own.

The way of an event, one module a step:

    upstream -> staging -> staged_chunk -> due -> flush -> batch (lane) -> delivery -> books

1. ``staging``   checks the events of one call, seals them and commits them with a receipt.
2. ``due``       finds, from what stands in Postgres alone, what has to be flushed or delivered.
3. ``flush``     reads a prefix of an audience's chunks, hashes, folds and cuts it into batches.
4. ``delivery``  posts the batches of one customer list in order; ``quota`` charges before each
                 request and settles after it, so that the cap holds through any crash.
5. ``books``     shows that received = waiting + not forwarded + folded + sent + over the cap
                 + quarantined, from two sides that were written independently.

Beside it: ``connecting`` logs in, ``expiring`` and ``renewing`` keep logins alive, ``observing``
asks what Pinterest makes of each list, ``rotation`` replaces the keys that everything stored is
sealed with. After a loss, ``recovering`` tells a restored database what Pinterest knows, and
``forgetting`` goes on without a lost key. What an answer of Pinterest means stands in one place,
``pinterest.error_book``.

Nothing here knows of Celery: ``workers`` decides when a step happens. The broker is only a
doorbell, Postgres is the only state.
"""
