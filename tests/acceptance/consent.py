"""A person logs in at the simulated Pinterest: starts the command, is asked, allows it."""

from __future__ import annotations

import re
import subprocess
from urllib.parse import parse_qsl

import requests

from tests.acceptance.fleet import PINFOLD, Fleet


def consent_address(line: str) -> str:
    found = re.search(r"http://\S+/oauth/\?\S+", line)
    assert found is not None, line
    return found.group()


def begin(fleet: Fleet, *arguments: str) -> tuple[subprocess.Popen[str], str]:
    """Start a command that logs in; the address of the consent page that it names."""
    process = subprocess.Popen(
        [*PINFOLD, *arguments],
        env=fleet.environment,
        cwd=fleet.directory,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process, consent_address(process.stdout.readline())


def allowed(address: str) -> str:
    """Where the consent page sends the browser after a click on Allow."""
    consent_url, _, query = address.partition("?")
    fields = dict(parse_qsl(query)) | {"decision": "allow"}
    reply = requests.post(consent_url, data=fields, timeout=10, allow_redirects=False)
    return reply.headers["Location"]
