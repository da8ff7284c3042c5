"""How often a password may be wrong: `PER_MINUTE` times for a name from an address, over all processes."""

from __future__ import annotations

import hashlib

from redis import Redis
from redis.exceptions import RedisError

from backend.errors import QueueUnavailable, TooManyAttempts

PER_MINUTE = 5
_SECONDS = 60


def count(redis: Redis, name: str, address: str) -> None:
    """Count an attempt before it is looked at, so that many at once are no way around.

    Raises `TooManyAttempts`, and `QueueUnavailable` when nothing can count: then nobody may guess.
    """
    key = _key(name, address)
    try:
        pipe = redis.pipeline()
        pipe.set(key, 0, ex=_SECONDS, nx=True)
        pipe.incr(key)
        number = pipe.execute()[1]
    except RedisError as error:
        raise QueueUnavailable(f"the queue does not answer ({type(error).__name__})") from None
    if number > PER_MINUTE:
        raise TooManyAttempts(f"the password was wrong {PER_MINUTE} times; wait a minute and try again")


def forget(redis: Redis, name: str, address: str) -> None:
    """The password was right."""
    try:
        redis.delete(_key(name, address))
    except RedisError as error:
        raise QueueUnavailable(f"the queue does not answer ({type(error).__name__})") from None


def _key(name: str, address: str) -> str:
    who = f"{address} {name}".encode(errors="replace")
    return f"sightloop:attempts:{hashlib.sha256(who).hexdigest()[:32]}"
