"""A deterministic stopwatch, and the functions for which it stands in while it runs.

A step has the time in its functions without that in other steps. A call of a watched function costs
a fraction of a microsecond more, mostly charged to its caller.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from time import perf_counter, process_time
from typing import Any

Steps = Mapping[str, str]
"""For each function, as "module:name" or "module:class.name", the step that its time is."""
_SEAL = {"app.keyring:KeyRing.seal": "seal"}
_OPEN = {"app.keyring:KeyRing.open": "open"}
_COMMIT = {"sqlalchemy.engine.default:DefaultDialect.do_commit": "commit"}
STAGING: Steps = {
    "app.processes:Presence.renew": "be present",
    "app.staging:sort_events": "sort by audience",
    "app.staging:_look_up": "look up the audiences",
    "app.staging:draft_chunks": "check and draft",
    "app.staging:pack_chunk": "pack",
    "app.staging:_commit": "word the query",
    "app.staging:copy_rows": "seal, send, receipt, COPY, commit",
}
FLUSH: Steps = {
    "app.flush:_claim": "lease and plan",
    "app.flush:fix_window": "fix the window",
    "app.window:_slices": "fix the window",
    "app.window:_bodies": "read the bodies",
    **_OPEN,
    "app.window:unpack_chunk": "unpack",
    "app.folding:Folder.take": "gather",
    "app.folding:cased": "lower case",
    "app.folding:hash_values": "SHA-1",
    "app.folding:Folder.fold": "fold",
    "app.flush:cut_batches": "cut",
    "app.flush:pack_digests": "pack",
    **_SEAL,
    "app.flush:_pack_batch": "frame the batches",
    "app.flush:_commit": "write the upload",
    "app.flush:copy_rows": "COPY the batches",
    "app.flush:_delete_exactly": "delete the chunks",
    **_COMMIT,
}
DELIVERY: Steps = {
    "app.delivery:_begin": "begin the turn",
    "app.turn:Turn.look": "look at the list",
    "app.delivery:_next_lot": "read the batch",
    **_OPEN,
    "app.delivery:hex_records": "write in hex",
    "app.turn:take_slot": "take a slot",
    "app.turn:charge": "charge",
    "app.pinterest.client:PinterestClient.change_list": "write the body",
    "app.pinterest.wire:Wire.call": "send, and Pinterest",
    "app.delivery:settle_batch": "settle",
    "app.delivery:_and_then": "whose turn is next",
    "app.delivery:_end": "end the turn",
    **_COMMIT,
}


class Stopwatch:
    """Seconds by step, in all, and of this process's processor; for one thread."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.calls = 0
        self.wall = self.processor = 0.0
        self._inner = [0.0]

    @contextmanager
    def running(self) -> Iterator[None]:
        """What is measured in all; watched functions are to be called in here only."""
        wall, processor = perf_counter(), process_time()
        yield
        self.wall += perf_counter() - wall
        self.processor += process_time() - processor

    @contextmanager
    def watching(self, steps: Steps) -> Iterator[None]:
        """Stand in for those of the functions that there are; at the end all is as it was."""
        found = [(step, *_found(name)) for name, step in steps.items()]
        watched = [each for each in found if each[-1] is not None]
        try:
            for step, owner, attribute, function in watched:
                setattr(owner, attribute, self.timed(step, function))
            yield
        finally:
            for _, owner, attribute, function in watched:
                setattr(owner, attribute, function)

    def timed(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function with its time noted; of a generator, that of each item."""
        if inspect.isgeneratorfunction(function):
            return self._timed_generator(step, function)
        seconds, inner = self.seconds, self._inner

        @wraps(function)
        def timed(*values: Any, **named: Any) -> Any:
            start = perf_counter()
            inner.append(0.0)
            try:
                return function(*values, **named)
            finally:
                took = perf_counter() - start
                seconds[step] += took - inner.pop()
                inner[-1] += took
                self.calls += 1

        return timed

    def _timed_generator(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        end = object()
        advance = self.timed(step, lambda items: next(items, end))

        @wraps(function)
        def timed(*values: Any, **named: Any) -> Iterator[Any]:
            items = function(*values, **named)
            while (item := advance(items)) is not end:
                yield item

        return timed


def seconds_a_call() -> float:
    """What watching costs a call, about."""
    calls = range(10_000)
    nothing = Stopwatch().timed("", lambda: None)
    start = perf_counter()
    for _ in calls:
        nothing()
    return (perf_counter() - start) / len(calls)


def missing(steps: Steps) -> list[str]:
    """Those of the functions that this checkout does not have."""
    return [name for name in steps if _found(name)[-1] is None]


def _found(name: str) -> tuple[Any, str, Any]:
    """Where a function stands and what stands there itself, None where nothing does."""
    module, _, path = name.partition(":")
    *classes, attribute = path.split(".")
    try:
        owner: Any = import_module(module)
    except ModuleNotFoundError:
        return None, attribute, None
    for each in classes:
        owner = getattr(owner, each, None)
    return owner, attribute, getattr(owner, "__dict__", {}).get(attribute)
