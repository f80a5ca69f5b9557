"""Drills for docs/recovery.md: an encryption key is lost, the only one or one of several."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from pydantic import SecretStr

from app.connections import find_connection, replace_token
from app.deployment import Deployment
from app.doors import read_doors
from app.errors import ConfigError
from app.forgetting import forget_key
from app.keyring import KeyRing, new_key
from app.keys import drop_key
from app.processes import Presence
from app.receipts import received_before
from app.remembering import Message, key_of, stage_messages
from app.rotation import rotate
from app.sealed import needed_keys
from app.sources import add_signing_key, add_source, find_source
from app.staging import Intake, stage
from tests.acceptance.fleet import run_for
from tests.service import Service
from tests.workshop import (
    KEY,
    REMOVE,
    TOKEN,
    Workshop,
    address,
    email_event,
    emails,
    sha1_hex,
)

KEY_ID = KeyRing.parse(KEY).key_ids[0]
NEW = new_key()


def pinfold(
    workshop: Workshop, directory: Path, keys: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    return run_for(workshop, directory, *arguments, PINFOLD_KEYS=keys)


def use_keys(workshop: Workshop, keys: str) -> None:
    """Go on as processes that were started with another ring."""
    workshop.deployment.engine.dispose()
    settings = workshop.deployment.settings.model_copy(update={"keys": SecretStr(keys)})
    workshop.deployment = Deployment(settings)


@pytest.fixture
def audience_id(workshop: Workshop) -> int:
    """Members 0 to 4; a removal waits in the lane, and an addition in staging."""
    audience_id = workshop.ready(forward_device_id=False)
    workshop.upload(audience_id, *emails(range(5)))
    workshop.stage(*emails(range(2), REMOVE))
    assert workshop.flush(audience_id) is not None
    workshop.stage(email_event(5))
    nothing_runs(workshop)
    return audience_id


def nothing_runs(workshop: Workshop) -> None:
    """Whoever staged was not heard of for five minutes."""
    workshop.execute("DELETE FROM process")


def test_without_its_only_key_nothing_starts_and_the_guide_leads_out_of_it(
    workshop: Workshop, audience_id: int, tmp_path: Path
) -> None:
    received = workshop.book(audience_id).received
    refused = pinfold(workshop, tmp_path, NEW, "connection", "show", "main")
    assert refused.returncode == 1
    assert f"sealed with key {KEY_ID} (1 tokens, 1 staged chunks, 1 batches need it)" in (
        refused.stderr
    )
    done = pinfold(workshop, tmp_path, NEW, "keys", "forget", KEY_ID, "--yes")
    assert done.returncode == 0, done.stderr
    assert "1 staged messages cannot be sent, with the lanes 3 identities" in done.stdout
    assert "pinfold connection replace-login main" in done.stdout
    book = workshop.book(audience_id)
    assert (book.received, book.waiting, book.not_forwarded) == (received, 0, 3)
    assert book.balanced
    use_keys(workshop, NEW)
    assert pinfold(workshop, tmp_path, NEW, "connection", "list").returncode == 0
    assert find_connection(workshop.deployment, "main").held_reason == "log in again"
    replace_token(workshop.deployment, "main", TOKEN)
    workshop.upload(audience_id, *emails(range(2), REMOVE), email_event(5))  # upstream, again
    assert workshop.members() == {sha1_hex(address(number)) for number in range(2, 6)}
    workshop.assert_books_balance()
    workshop.assert_charges_cover_what_was_sent()


def test_only_what_the_lost_one_of_several_keys_sealed_is_lost(
    workshop: Workshop, audience_id: int, tmp_path: Path
) -> None:
    use_keys(workshop, f"{NEW},{KEY}")
    workshop.stage(email_event(6))
    replace_token(workshop.deployment, "main", TOKEN)
    nothing_runs(workshop)
    done = pinfold(workshop, tmp_path, NEW, "keys", "forget", KEY_ID, "--yes")
    assert done.returncode == 0, done.stderr
    assert "replace-login" not in done.stdout
    use_keys(workshop, NEW)
    assert workshop.book(audience_id).waiting == 1
    assert workshop.flush(audience_id) is not None
    workshop.deliver_all()
    assert sha1_hex(address(6)) in workshop.members()
    workshop.assert_books_balance()


def test_nothing_is_left_that_needs_a_forgotten_key(
    workshop: Workshop, audience_id: int, tmp_path: Path
) -> None:
    workshop.execute("UPDATE batch SET state = 'quarantined', settled_at = now() WHERE id = 2")
    assert workshop.book(audience_id).quarantined == 2
    done = pinfold(workshop, tmp_path, NEW, "keys", "forget", KEY_ID, "--yes")
    assert "so are 2 quarantined records" in done.stdout
    with workshop.transaction() as tx:
        assert needed_keys(tx).keys() == {KeyRing.parse(NEW).key_ids[0]}
    book = workshop.book(audience_id)
    assert (book.quarantined, book.not_forwarded, book.balanced) == (0, 3, True)


def test_a_key_that_somebody_still_has_is_not_forgotten(
    workshop: Workshop, audience_id: int, tmp_path: Path
) -> None:
    both = pinfold(workshop, tmp_path, f"{NEW},{KEY}", "keys", "forget", KEY_ID, "--yes")
    assert (both.returncode, "it is not lost" in both.stderr) == (1, True)
    with Presence(workshop.deployment, "worker") as worker:
        worker.renew()
        held = pinfold(workshop, tmp_path, NEW, "keys", "forget", KEY_ID, "--yes")
        assert (held.returncode, f"{worker.name} still holds key" in held.stderr) == (1, True)
    unknown = pinfold(workshop, tmp_path, NEW, "keys", "forget", "00000000", "--yes")
    assert (unknown.returncode, "knows no key" in unknown.stderr) == (1, True)
    assert workshop.book(audience_id).waiting == 3


def test_forgetting_a_key_says_what_is_lost_before_a_person_says_yes(
    workshop: Workshop, audience_id: int, tmp_path: Path
) -> None:
    done = pinfold(workshop, tmp_path, NEW, "keys", "forget", KEY_ID)
    assert done.returncode == 1
    assert "1 staged messages cannot be sent, with the lanes 3 identities" in done.stdout
    assert workshop.book(audience_id).waiting == 3
    assert workshop.deployment.keyring.key_ids == [KEY_ID]


def post(service: Service, token: str, **event: Any) -> requests.Response:
    """A call under a key of its own."""
    body = {"audience": "31001", "operation": "add", "email": address(5)} | event
    return service.post("/v1/events", token, json=body, headers={"Idempotency-Key": "call-1"})


def test_a_call_that_is_lost_can_come_again_under_its_own_key(
    workshop: Workshop, serve: Callable[[Workshop], Service], tmp_path: Path
) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    service = serve(workshop)
    token = service.token()
    assert post(service, token).json()["accepted"] == 1
    nothing_runs(workshop)
    pinfold(workshop, tmp_path, NEW, "keys", "forget", KEY_ID, "--yes")
    use_keys(workshop, NEW)
    again = post(serve(workshop), token)
    assert (again.status_code, again.json()["accepted"]) == (200, 1)
    replace_token(workshop.deployment, "main", TOKEN)
    assert workshop.flush(audience_id) is not None
    workshop.deliver_all()
    assert workshop.members() == {sha1_hex(address(5))}
    book = workshop.book(audience_id)
    assert (book.received, book.not_forwarded, book.sent, book.balanced) == (2, 1, 1, True)


def test_a_file_that_is_lost_can_be_staged_again_and_a_message_of_the_broker_come_again(
    workshop: Workshop, tmp_path: Path
) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    file = tmp_path / "events.csv"
    file.write_text(f"audience,operation,email\n31001,add,{address(5)}\n")
    assert pinfold(workshop, tmp_path, KEY, "stage", str(file)).returncode == 0
    stage(Intake(workshop.deployment, "queue"), [email_event(6)], message_ids=b"broker's")
    nothing_runs(workshop)
    pinfold(workshop, tmp_path, NEW, "keys", "forget", KEY_ID, "--yes")
    use_keys(workshop, NEW)
    done = pinfold(workshop, tmp_path, NEW, "stage", str(file), "--resume")
    assert (done.returncode, workshop.book(audience_id).waiting) == (0, 1), done.stderr
    assert received_before(workshop.deployment, "queue", {b"broker's"}) == set()
    workshop.assert_books_balance()


def test_however_many_messages_there_were_all_may_come_again(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.ready(forward_device_id=False)
    intake = Intake(workshop.deployment, "source shop")
    messages = [Message([email_event(number)], key_of(number)) for number in range(5)]
    stage_messages(intake, messages)
    for number in range(5, 10):
        workshop.stage(email_event(number), key=f"call {number}")
    nothing_runs(workshop)
    monkeypatch.setattr("app.writing_off.SLICE", 2)
    use_keys(workshop, NEW)
    assert forget_key(workshop.deployment, KEY_ID).waiting.messages == 10
    intake = Intake(workshop.deployment, "source shop")
    assert [each.accepted for each in stage_messages(intake, messages)] == [1] * 5
    for number in range(5, 10):
        assert not workshop.stage(email_event(number), key=f"call {number}").duplicate
    workshop.assert_books_balance()


@pytest.mark.parametrize("given_up", ["forget", "drop"])
def test_where_nothing_is_lost_with_a_key_a_call_still_counts_once(
    workshop: Workshop, serve: Callable[[Workshop], Service], tmp_path: Path, given_up: str
) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    service = serve(workshop)
    token = service.token()
    first = post(service, token)
    assert workshop.flush(audience_id) is not None
    workshop.deliver_all()
    nothing_runs(workshop)
    if given_up == "forget":
        pinfold(workshop, tmp_path, NEW, "keys", "forget", KEY_ID, "--yes")
    else:
        use_keys(workshop, f"{NEW},{KEY}")
        rotate(workshop.deployment)
        drop_key(workshop.deployment, KEY_ID)
    use_keys(workshop, NEW)
    service = serve(workshop)
    again = post(service, token)
    assert (again.status_code, again.content) == (200, first.content)
    assert workshop.book(audience_id).received == 1


def test_another_body_under_a_key_is_still_refused_after_a_key_was_dropped(
    workshop: Workshop, serve: Callable[[Workshop], Service]
) -> None:
    workshop.ready(forward_device_id=False)
    use_keys(workshop, f"{NEW},{KEY}")
    rotate(workshop.deployment)
    drop_key(workshop.deployment, KEY_ID)
    service = serve(workshop)
    token = service.token()
    assert post(service, token).status_code == 200
    assert post(service, token, email=address(6)).status_code == 409


def test_a_source_whose_signing_key_is_lost_still_lets_nobody_in_unsigned(
    open_with: Callable[..., Workshop], tmp_path: Path
) -> None:
    workshop: Any = open_with()
    workshop.connect()
    source = add_source(workshop.deployment, "segment", "segment", None)
    key = add_signing_key(workshop.deployment, find_source(workshop.deployment, "segment"))
    done = pinfold(workshop, tmp_path, NEW, "keys", "forget", KEY_ID, "--yes")
    assert "pinfold source add-secret segment --signing" in done.stdout, done.stderr
    use_keys(workshop, NEW)
    (signing_key,) = read_doors(workshop.deployment)[source.name].signing_keys
    assert len(signing_key) == 32
    assert signing_key != key.encode()


def test_a_forgotten_key_never_seals_again(workshop: Workshop, tmp_path: Path) -> None:
    workshop.connect()
    assert pinfold(workshop, tmp_path, NEW, "keys", "forget", KEY_ID, "--yes").returncode == 0
    use_keys(workshop, KEY)
    with pytest.raises(ConfigError, match="never seals again"):
        assert workshop.deployment.keyring
