"""Encryption at rest of stored credentials with the key of `Settings.secret_key` (Fernet)."""

from __future__ import annotations

import base64
import os

from cryptography.fernet import Fernet, InvalidToken

from backend.settings import SettingsError


def new_key() -> str:
    """A fresh key in the form that `SIGHTLOOP_SECRET_KEY` takes."""
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


class Sealer:
    """Seals and opens short texts. Raises `SettingsError` when the key is missing, malformed or wrong."""

    def __init__(self, key: str) -> None:
        try:
            self._fernet = Fernet(key)
        except ValueError:
            raise SettingsError(
                "SIGHTLOOP_SECRET_KEY must be 32 bytes in URL-safe base64; `sightloop up` makes one"
            ) from None

    def seal(self, text: str) -> str:
        """Encrypt; the same text gives another result each time."""
        return self._fernet.encrypt(text.encode()).decode()

    def open(self, sealed: str) -> str:
        """Decrypt what `seal` gave."""
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken:
            raise SettingsError(
                "a stored credential was sealed with another SIGHTLOOP_SECRET_KEY; bring back the old key"
            ) from None
