"""Mutants: the code broken on purpose, one mistake at a time, to see that a test notices.

A mutation is data (``mutation``): what a tired engineer could have written, and the tests of which
one is expected to fail for it. They stand by what they break: ``intake``, ``cutting``,
``charging``, ``sending``, ``outcomes``, ``secrecy``. `python -m tests.mutants` tries them, one
after another, on a copy of the project (``trial``).
"""
