"""The HTTP service: membership events in, audiences administered, health and metrics out.

The way of a call, one module a step:

    access    who calls: an API token, a source's secret, a sender's signature
    body      the body, within its limits, before any work is done for it
    taking    the messages in it read by their format, their audiences met
    grouping  many small calls, one commit; the answer comes after it
    answers   what is said of each message

``events`` and ``sources`` (with ``mparticle`` and ``subscriptions``) are the ways in, ``audiences``
administers, ``health`` watches. ``service`` puts them together.
"""
