"""Operations of datasets as commands see them: started, and followed with a bar."""

from __future__ import annotations

from backend.cli import show
from backend.cli.client import Resource, named
from backend.cli.errors import OperationFailed
from backend.cli.frame import Shell


def operate(shell: Shell, name: str, kind: str, no_wait: bool, body: Resource | None = None) -> Resource:
    """Start an operation of a dataset and, unless `no_wait`, follow it to its end.

    Raises `OperationFailed`.
    """
    started = shell.client.post(f"{named('datasets', name)}/{kind}", body)
    if no_wait:
        return started
    with show.bar(f"{kind} {name}") as advance:
        ended = shell.client.wait(
            f"/operations/{started['id']}",
            done=lambda found: found["state"] in ("succeeded", "failed"),
            watch=lambda found: advance(found["done"], found["total"], ""),
            pause=0.3,
        )
    if ended["state"] == "failed":
        raise OperationFailed(f"the {kind} of {name} failed: {ended['error'] or ended['error_code']}")
    return ended
