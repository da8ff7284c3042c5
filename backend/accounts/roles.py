"""What each role may do: the one table for the REST API and for the console.

A viewer reads and predicts, an editor works, an owner also decides who else does and holds the keys
of stores.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from backend.errors import Forbidden


class Role(StrEnum):
    """Of a member or of a token; model hosts have one of their own."""

    VIEWER = "viewer"
    EDITOR = "editor"
    OWNER = "owner"
    HOST = "host"


MEMBERS = (Role.VIEWER, Role.EDITOR, Role.OWNER)  # each may do what those before it may

# The role that an address asks for, by the longest of these beginnings. What is not named falls to "/", so a
# new address can be changed by editors and read by all members.
_READING: Mapping[str, Role] = {
    "/": Role.VIEWER,
    "/new": Role.EDITOR,
    "/new/storage": Role.OWNER,
    "/host": Role.HOST,
}
_CHANGING: Mapping[str, Role] = {
    "/": Role.EDITOR,
    "/host": Role.HOST,
    "/members": Role.OWNER,
    "/workspaces": Role.OWNER,
    "/storage-connections": Role.OWNER,
    "/storage-connections/<name>/test": Role.EDITOR,
    "/storage-connections/<name>/uploads": Role.EDITOR,
    "/storage": Role.OWNER,
    "/storage/<name>/test": Role.EDITOR,
    "/services/<name>/try": Role.VIEWER,
    "/new/storage": Role.OWNER,
    # Everybody's own: what is somebody else's is not found there.
    "/tokens": Role.VIEWER,
    "/account": Role.VIEWER,
    "/sign-out": Role.VIEWER,
}
_READS = ("GET", "HEAD", "OPTIONS")


def may(role: Role, wanted: Role) -> bool:
    """Whether a role is enough where `wanted` is asked for."""
    if Role.HOST in (role, wanted):
        return role is wanted
    return MEMBERS.index(role) >= MEMBERS.index(wanted)


def lesser(one: Role, other: Role) -> Role:
    """The one that may do less; both are of members."""
    return min(one, other, key=MEMBERS.index)


def needed(method: str, address: str) -> Role:
    """The role that a request needs. `address` is the route's pattern without the API's prefix."""
    table = _READING if method in _READS else _CHANGING
    return table[max((start for start in table if _within(address, start)), key=len)]


def require(role: Role, method: str, address: str) -> None:
    """Raises `Forbidden` unless the role may send this request."""
    wanted = needed(method, address)
    if may(role, wanted):
        return
    if Role.HOST in (role, wanted):
        raise Forbidden(f"a token of the role {role.value!r} may not use this address")
    raise Forbidden(f"this takes the role {wanted.value} in the workspace, and yours is {role.value}")


def _within(address: str, start: str) -> bool:
    return address == start or address.startswith(f"{start.rstrip('/')}/")
