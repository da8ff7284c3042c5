"""Making, testing and changing storage connections: each time the store itself is asked first.

It is asked outside of any transaction: a silent store must not hold up other writers.
"""

from __future__ import annotations

import re

from backend.db import transaction
from backend.errors import InvalidRequest, WrongState
from backend.runtime import Runtime
from backend.workspaces import registry
from backend.workspaces.registry import ConnectionRequest
from backend.workspaces.tables import DEFAULT_CONNECTION, StorageConnection

PATIENCE = 8.0  # seconds without an answer after which a store that somebody waits for is given up
_REGION = re.compile(r"[A-Za-z0-9-]{1,60}")
_LONGEST = {"endpoint": 500, "public_endpoint": 500, "access_key": 200, "secret_key": 500}


def connect(runtime: Runtime, workspace_id: int, request: ConnectionRequest) -> StorageConnection:
    """A new connection, tested with its credentials; nothing is saved when the store refuses.

    Raises `InvalidRequest`, `NameTaken`, `StorageDenied`, `StorageUnreachable`.
    """
    for name, most in _LONGEST.items():
        _check_length(name, getattr(request, name), most)
    if not _REGION.fullmatch(request.region):
        raise InvalidRequest(f"{request.region[:60]!r} is no region: letters, digits and hyphens, up to 60")
    row = registry.new_connection(runtime.sealer, workspace_id, request)
    with runtime.sessions() as session:
        registry.require_free_connection(session, workspace_id, request.name)
    runtime.store(row, read_timeout=PATIENCE).check()
    with transaction(runtime.sessions) as session:
        registry.require_free_connection(session, workspace_id, request.name)
        session.add(row)
    return row


def test(runtime: Runtime, workspace_id: int, name: str) -> StorageConnection:
    """Ask the store with the saved credentials. Raises `NotFound`, `StorageDenied`, `StorageUnreachable`."""
    with runtime.sessions() as session:
        row = registry.connection(session, workspace_id, name)
    runtime.store(row, read_timeout=PATIENCE).check()
    return row


def change_credentials(
    runtime: Runtime, workspace_id: int, name: str, *, access_key: str, secret_key: str
) -> StorageConnection:
    """Other credentials for the same store, tested first; the old ones stay when it refuses them.

    Raises `NotFound`, `InvalidRequest`, `StorageDenied`, `StorageUnreachable`, and `WrongState` for the
    connection that every start sets up from the settings.
    """
    _check_length("access_key", access_key, _LONGEST["access_key"])
    _check_length("secret_key", secret_key, _LONGEST["secret_key"])
    sealed = runtime.sealer.seal(secret_key) if secret_key else ""
    with runtime.sessions() as session:
        row = registry.connection(session, workspace_id, name)
        if is_built_in(runtime, row):
            raise WrongState(
                f"storage connection {name!r} is set up at every start from SIGHTLOOP_S3_ACCESS_KEY and "
                "SIGHTLOOP_S3_SECRET_KEY; change it there"
            )
        row.access_key, row.secret_encrypted = access_key, sealed
        session.expunge(row)
    runtime.store(row, read_timeout=PATIENCE).check()
    with transaction(runtime.sessions) as session:
        row = registry.connection(session, workspace_id, name)
        row.access_key, row.secret_encrypted = access_key, sealed
    return row


def is_built_in(runtime: Runtime, row: StorageConnection) -> bool:
    """Whether each start writes this connection anew from the settings."""
    return row.name == DEFAULT_CONNECTION and bool(runtime.settings.s3_access_key)


def _check_length(name: str, value: str, most: int) -> None:
    if len(value) > most:
        raise InvalidRequest(f"{name} has at most {most} characters")
