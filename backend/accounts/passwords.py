"""Passwords: how they are kept, compared and made, and which are taken."""

from __future__ import annotations

import secrets
import unicodedata
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from backend.errors import InvalidRequest

SHORTEST, LONGEST = 12, 200  # characters
_TELLING = 4  # characters of a name that a password must not hold
_ONE_TIME_BYTES = 15  # 20 characters
# Argon2id as OWASP asks for at the least: 19 MiB and about 30 ms, so that sixteen people who sign in at once
# do not fill a small machine.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def hashed(password: str) -> str:
    """What is kept of a password; the same one gives another text each time."""
    return _HASHER.hash(_plain(password))


def matches(kept: str | None, password: str) -> bool:
    """Whether it is the password. Takes as long where there is none: time does not tell who exists."""
    try:
        _HASHER.verify(kept or _nobodys(), _plain(password[: LONGEST + 1]))
    except VerifyMismatchError:
        return False
    return kept is not None


def random() -> str:
    """A password for somebody who has to get in once."""
    return secrets.token_urlsafe(_ONE_TIME_BYTES)


def check(password: str, name: str) -> None:
    """Whether a user of that name may choose it. Raises `InvalidRequest`."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise InvalidRequest(f"a password has {SHORTEST} to {LONGEST} characters")
    own = name.partition("@")[0]
    if (len(own) >= _TELLING and own in password.lower()) or len(set(password)) < SHORTEST // 2:
        raise InvalidRequest("this password is guessed quickly: leave out your name, and repeat less")


@cache
def _nobodys() -> str:
    return hashed(random())


def _plain(password: str) -> str:
    """The same letters may be typed as other code points on another keyboard."""
    return unicodedata.normalize("NFKC", password)
