"""Flower as its visitors see it, over HTTP."""

from __future__ import annotations

from typing import Any

import requests

PAGES = ("/", "/workers", "/tasks", "/broker", "/metrics")
COLUMNS = ("name", "uuid", "state", "args", "kwargs", "result", "worker", "exception")


def task_table(url: str) -> list[dict[str, Any]]:
    """The rows of Flower's table of tasks; empty while Flower does not answer."""
    asked = {"draw": 1, "start": 0, "length": 5_000, "search[value]": "", "order[0][column]": 0}
    asked |= {"order[0][dir]": "desc"}
    asked |= {f"columns[{number}][data]": name for number, name in enumerate(COLUMNS)}
    try:
        reply = requests.get(f"{url}/tasks/datatable", params=asked, timeout=10)
    except requests.ConnectionError:
        return []
    rows: list[dict[str, Any]] = reply.json()["data"] if reply.ok else []
    return rows


def all_pages(url: str) -> bytes:
    """Everything Flower shows, with the page of each task."""
    pages = [*PAGES, *(f"/task/{row['uuid']}" for row in task_table(url))]
    shown = [requests.get(url + page, timeout=10).content for page in pages]
    return b"\n".join([*shown, repr(task_table(url)).encode()])
