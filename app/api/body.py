"""The body of a request, read within limits and before any work is done for it.

Limits: bytes as sent, bytes unpacked (gzip), time to arrive, objects and arrays, nesting (the
JSON parser's own, 1,024 levels). They bound what one request can make this process hold.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import NamedTuple

import orjson
from fastapi import Request
from starlette.requests import ClientDisconnect

from app.api.problems import Refusal
from app.settings import Settings

BESIDE_THE_LOOP = 64 << 10
"""Bytes from which a body is worked on beside the event loop, so that others are not held up."""
GZIP_MAGIC = b"\x1f\x8b"
GZIP_WINDOW = 31
GZIP_PIECE = 16 << 10
"""Unpacked at a time: the rest of a piece is copied for every member that ends in it."""
CONTAINERS_PER_KIB = 100
"""Objects and arrays in a KiB of JSON: more is no message of anybody, but takes memory."""
CONTAINERS_AT_LEAST = 1_000


class Limits(NamedTuple):
    bytes: int
    seconds: float

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        return cls(settings.body_limit, settings.body_timeout)


async def read_body(request: Request, limits: Limits) -> bytes:
    """The unpacked body. Raises Refusal: 408 too slow, 413 too large, 415 or 400 badly packed."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise Refusal(415, "content-encoding: gzip or none", {"Accept-Encoding": "gzip"})
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limits.bytes:
        raise _too_large(limits)
    packed = bytearray()
    try:
        async with asyncio.timeout(limits.seconds):
            async for piece in request.stream():
                packed += piece
                if len(packed) > limits.bytes:
                    raise _too_large(limits)
    except TimeoutError:
        raise Refusal(
            408, f"the body took longer than {limits.seconds:g} s", {"Connection": "close"}
        ) from None
    except ClientDisconnect:
        raise Refusal(400, "the sender hung up before the body was whole") from None
    if not encoding.endswith("gzip") and not packed.startswith(GZIP_MAGIC):
        return bytes(packed)
    if len(packed) < BESIDE_THE_LOOP:
        return unpack(bytes(packed), limits)
    return await asyncio.to_thread(unpack, bytes(packed), limits)


def unpack(packed: bytes, limits: Limits) -> bytes:
    """What gzip packed, never more than a little over the limit in memory."""
    unpacked = bytearray()
    member = zlib.decompressobj(GZIP_WINDOW)
    for at in range(0, len(packed), GZIP_PIECE):
        piece = packed[at : at + GZIP_PIECE]
        while piece:
            if member.eof:  # another one follows
                member = zlib.decompressobj(GZIP_WINDOW)
            try:
                unpacked += member.decompress(piece, limits.bytes + 1 - len(unpacked))
            except zlib.error:
                raise Refusal(400, "the body is not gzip, or damaged") from None
            if len(unpacked) > limits.bytes:
                raise _too_large(limits)
            piece = member.unused_data
    if packed and not member.eof:
        raise Refusal(400, "the body is gzip, but cut off")
    return bytes(unpacked)


def _too_large(limits: Limits) -> Refusal:
    return Refusal(
        413,
        f"the body is longer than {limits.bytes:,} bytes: send smaller ones",
        {"Connection": "close"},
    )


def decode(body: bytes) -> object:
    """The JSON value of a body. Raises Refusal (400, 413) for what is none, or too much of one."""
    _check_containers(body)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as problem:
        raise Refusal(400, f"the body is not JSON: {_place(problem)}") from None


def decode_lines(body: bytes, most: int) -> object:
    """A JSON value, or one in every line; a line that is no JSON becomes an empty message.

    Raises Refusal (413) for more than ``most`` lines, blank ones apart within reason.
    """
    _check_containers(body)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as problem:
        if body.count(b"\n") > 2 * most:
            raise Refusal(
                413, f"the body holds too many lines, {most:,} may come at once"
            ) from None
        lines = [line for line in body.split(b"\n") if line.strip()]
        if len(lines) < 2:
            raise Refusal(400, f"the body is not JSON: {_place(problem)}") from None
    return [_line(line) for line in lines]


class NotJson:
    """Stands for a line that is no JSON: no format takes it for a message."""


def _line(line: bytes) -> object:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return NotJson()


def _check_containers(body: bytes) -> None:
    most = CONTAINERS_AT_LEAST + len(body) * CONTAINERS_PER_KIB // 1_024
    if body.count(b"{") + body.count(b"[") > most:
        raise Refusal(413, "the body holds too many objects and arrays for its size")


def _place(problem: orjson.JSONDecodeError) -> str:
    """Where it breaks; the parser's own text may name a piece of it."""
    return f"line {problem.lineno}, column {problem.colno}"
