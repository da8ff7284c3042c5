"""What the ranks are told, as a file; and the messages between them and the job process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any

from plugins.contract import Draft, Example, Previous, Region


@dataclass(frozen=True)
class Job:
    """One training. `trainer` is a dotted path, `params` are those of the algorithm, `images` holds one file
    a content hash; `meeting` is a new folder in which the ranks find each other, and `address` the job
    process's socket.
    """

    trainer: str
    algorithm: str
    params: dict[str, Any]
    labels: tuple[str, ...]
    device: str
    threads: int
    folder: Path
    images: Path
    examples: Sequence[Example]
    previous: Previous | None
    weights: Path
    offline: bool
    meeting: Path
    address: Path

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self), default=str), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Job:
        """What `write` wrote."""
        values = json.loads(path.read_text(encoding="utf-8"))
        for name in ("folder", "images", "weights", "meeting", "address"):
            values[name] = Path(values[name])
        values["labels"] = tuple(values["labels"])
        values["examples"] = [
            Example(**{**one, "regions": tuple(map(_region, one["regions"]))}) for one in values["examples"]
        ]
        if values["previous"] is not None:
            given = values["previous"]
            changed = {"folder": Path(given["folder"]), "lineage": tuple(given["lineage"])}
            values["previous"] = Previous(**{**given, **changed})
        return cls(**values)


def _region(values: dict[str, Any]) -> Region:
    return Region(**{**values, "points": tuple(map(tuple, values["points"]))})


class Wire:
    """One end of a connection that carries JSON lists."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @classmethod
    def to(cls, address: Path) -> Wire:
        """Connect. Raises `OSError` when nobody listens."""
        connection = Client(str(address), "AF_UNIX")
        assert isinstance(connection, Connection)
        return cls(connection)

    def send(self, *message: Any) -> None:
        """Send one message. Raises `OSError` when the other end is gone."""
        self.connection.send_bytes(json.dumps(message).encode())

    def receive(self) -> list[Any]:
        """Wait for one message. Raises `EOFError` or `OSError` when the other end is gone."""
        message: list[Any] = json.loads(self.connection.recv_bytes())
        return message

    def ask(self, name: str, *args: Any, **options: Any) -> Any:
        """Ask for a call of the training context in the job process.

        Raises `ValueError` when the context refuses what it was given, `EOFError` when the job process has
        ended this training.
        """
        self.send("ask", name, args, options)
        kind, value = self.receive()
        if kind == "refused":
            raise ValueError(value)
        if kind == "over":
            raise EOFError(value)
        return value


def draft_to_json(draft: Draft) -> dict[str, Any]:
    """The draft as JSON values."""
    return {
        "folder": str(draft.folder),
        "model": dict(draft.model),
        "base": dict(draft.base),
        "facts": dict(draft.facts),
    }


def draft_from_json(values: dict[str, Any]) -> Draft:
    """What `draft_to_json` gave."""
    return Draft(**{**values, "folder": Path(values["folder"])})
