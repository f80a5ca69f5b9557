"""The key ring: what rests in Postgres about people and accounts rests sealed.

A sealed body is AES-256-GCM: 4 bytes key id, 12 bytes nonce, ciphertext with tag. The key id is
derived from the key, so a body names the key that opens it and keys can be rotated: the ring's
first key seals, every key of the ring opens. The purpose (what the body is and whose) is bound
as associated data, so that a body copied into another row cannot be opened there.

A check value per key stands in the database (``register``): a process with a wrong or missing
key is refused at its start, instead of writing what nobody else can read. A key that was dropped
(``app.keys``) stays remembered: a ring may hold it or not, and it never seals again.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app import tables
from app.errors import ConfigError, UnreadableBody
from app.sealed import KEY_ID_BYTES, NONCE_BYTES, in_words, needed_keys

KEY_BYTES = 32
CHECK_TEXT = b"pinfold key check"


def chunk_purpose(audience_id: int) -> str:
    """What a staged chunk's body is sealed to."""
    return f"staged_chunk of audience {audience_id}"


def batch_purpose(list_id: int) -> str:
    """What a batch's payload is sealed to."""
    return f"batch of list {list_id}"


def token_purpose(connection_id: int) -> str:
    """What a connection's token is sealed to."""
    return f"token of connection {connection_id}"


def signing_purpose(source_id: int) -> str:
    """What the signing keys of a source are sealed to."""
    return f"signing key of source {source_id}"


def dropped_key(key_id: str) -> str:
    """Why a ring whose first key is this one is refused."""
    return (
        f"key {key_id} was dropped and never seals again: take it out of PINFOLD_KEYS, or put the "
        "newest key before it"
    )


def new_key() -> str:
    """A fresh random key in the form that PINFOLD_KEYS takes."""
    return base64.b64encode(os.urandom(KEY_BYTES)).decode()


class KeyRing:
    """Seals and opens bodies. Safe to share; holds the keys only in memory."""

    def __init__(self, keys: list[bytes]) -> None:
        self._ciphers: dict[bytes, AESGCM] = {_key_id(key): AESGCM(key) for key in keys}
        self._fingerprint_keys = [hmac.digest(key, b"fingerprints", "sha256") for key in keys]
        self._newest_id = _key_id(keys[0])
        self._newest = self._ciphers[self._newest_id]

    @classmethod
    def parse(cls, text: str) -> KeyRing:
        """Read base64 keys of 32 bytes, newest first, between commas or line ends."""
        keys = []
        for position, part in enumerate(filter(None, re.split(r"[\s,]+", text)), start=1):
            try:
                key = base64.b64decode(part, validate=True)
            except binascii.Error:
                key = b""
            if len(key) != KEY_BYTES:
                raise ConfigError(
                    f"PINFOLD_KEYS: key {position} is not {KEY_BYTES} bytes in base64; "
                    "`pinfold keys new` prints a good one"
                )
            keys.append(key)
        if not keys:
            raise ConfigError("PINFOLD_KEYS holds no key; `pinfold keys new` prints one")
        return cls(keys)

    @property
    def key_ids(self) -> list[str]:
        """Short public names of the keys, newest first."""
        return [key_id.hex() for key_id in self._ciphers]

    def seal(self, plain: bytes, purpose: str) -> bytes:
        """Encrypt with the newest key, bound to its purpose."""
        nonce = os.urandom(NONCE_BYTES)
        return self._newest_id + nonce + self._newest.encrypt(nonce, plain, purpose.encode())

    def seal_each(self, plains: Iterable[bytes], purposes: Sequence[str]) -> Iterator[bytes]:
        """Seal many bodies, one when it is asked for; their nonces are drawn at once."""
        nonces = os.urandom(NONCE_BYTES * len(purposes))
        encrypt, end = self._newest.encrypt, 0
        for plain, purpose in zip(plains, purposes, strict=True):
            nonce = nonces[end : (end := end + NONCE_BYTES)]
            yield self._newest_id + nonce + encrypt(nonce, plain, purpose.encode())

    def open(self, sealed: bytes, purpose: str) -> bytes:
        """Decrypt. Raises ConfigError for a key that is not here, UnreadableBody for a body changed
        or moved.
        """
        if len(sealed) < KEY_ID_BYTES + NONCE_BYTES:
            raise UnreadableBody("a sealed body is cut short")
        key_id, nonce = sealed[:KEY_ID_BYTES], sealed[KEY_ID_BYTES : KEY_ID_BYTES + NONCE_BYTES]
        cipher = self._ciphers.get(bytes(key_id))
        if cipher is None:
            raise ConfigError(
                f"a stored body needs key {key_id.hex()}, which is not in PINFOLD_KEYS: add it back"
            )
        try:
            return cipher.decrypt(nonce, sealed[KEY_ID_BYTES + NONCE_BYTES :], purpose.encode())
        except InvalidTag:
            raise UnreadableBody("a sealed body was changed or belongs to another row") from None

    def fingerprints(self, plain: bytes) -> list[bytes]:
        """What tells equal texts without telling anything of them: by each key, newest first."""
        return [hmac.digest(key, plain, "sha256") for key in self._fingerprint_keys]

    def register(self, connection: sa.Connection) -> None:
        """Refuse a ring that does not fit the database; note down keys that are new to it.

        Raises ConfigError when a key this database uses is missing from the ring or differs, and
        when the key that would seal was dropped.
        """
        key = tables.encryption_key
        known = {row.key_id: row for row in connection.execute(sa.select(key))}
        newest = known.get(self.key_ids[0])
        if newest is not None and newest.dropped_at is not None:
            raise ConfigError(dropped_key(newest.key_id))
        missing = [
            row.key_id
            for row in known.values()
            if row.dropped_at is None and row.key_id not in self.key_ids
        ]
        if missing:
            raise ConfigError(self._what_needs(connection, missing))
        for key_id in self.key_ids:
            if key_id in known:
                self._verify(key_id, bytes(known[key_id].check_value))
            else:
                self._note_down(connection, key_id)

    def _what_needs(self, connection: sa.Connection, missing: list[str]) -> str:
        """The refusal; it alone costs a count of every sealed body."""
        needed = needed_keys(connection)
        keys = ", ".join(
            f"{key_id} ({in_words(needed[key_id])} need it)"
            if key_id in needed
            else f"{key_id} (nothing stored needs it: `pinfold keys drop {key_id}` gives it up)"
            for key_id in missing
        )
        return (
            f"wrong key: this database is sealed with key {keys}, and PINFOLD_KEYS holds "
            f"{', '.join(self.key_ids)}: add the missing key"
        )

    def _note_down(self, connection: sa.Connection, key_id: str) -> None:
        nonce = os.urandom(NONCE_BYTES)
        cipher = self._ciphers[bytes.fromhex(key_id)]
        tables.insert_if_absent(
            connection,
            tables.encryption_key,
            key_id=key_id,
            check_value=nonce + cipher.encrypt(nonce, CHECK_TEXT, None),
        )

    def _verify(self, key_id: str, check: bytes) -> None:
        cipher = self._ciphers[bytes.fromhex(key_id)]
        try:
            cipher.decrypt(check[:NONCE_BYTES], check[NONCE_BYTES:], None)
        except InvalidTag:
            raise ConfigError(f"wrong key: key {key_id} does not open this database") from None


def _key_id(key: bytes) -> bytes:
    return sha256(b"pinfold key id:" + key).digest()[:KEY_ID_BYTES]
