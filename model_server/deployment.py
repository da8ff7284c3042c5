"""One service on this host: brings its processes to what the backend wants, one small step at a time.

A service has two slots on one listening socket (see `model_server.slot`). A change of the model, of the
number of instances or of the quota starts the other slot; when all its instances answer, the first one is
told to finish its requests and end. No request is refused meanwhile, and a model that cannot start changes
nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from model_server import config as configuration
from model_server import instance, slot
from model_server.assignments import Assignment, AssignmentError, Report, State, assignment
from model_server.config import ConfigError, ServiceConfig
from model_server.logtail import last_reason
from model_server.supervision import (
    RUNNING,
    Program,
    Supervisor,
    SupervisorBroke,
    SupervisorError,
    bindable,
)

AGAIN_SECONDS = 60.0
FAILED = frozenset({"FATAL", "EXITED", "UNKNOWN"})


@dataclass(frozen=True)
class Record:
    """What must survive a restart of the host. `serving` is the slot that answers, `incoming` the one that is
    to follow it, `tried` the revision for which a slot was last started.
    """

    assignment: Assignment
    port: int
    serving: int | None = None
    incoming: int | None = None
    tried: int = -1


class Deployment:
    """The folder and the processes of one service. Every method raises `SupervisorError`."""

    def __init__(self, folder: Path, supervisor: Supervisor, program: Program, record: Record) -> None:
        self.record = record
        self._failed_at: float | None = None
        self._folder = folder
        self._supervisor = supervisor
        self._program = program

    @property
    def key(self) -> str:
        """The name of its process group."""
        return self._program.key

    def assign(self, wanted: Assignment) -> None:
        """Take over what the backend wants now."""
        if wanted != self.record.assignment:
            self._save(replace(self.record, assignment=wanted))

    def digests(self) -> set[str]:
        """The bundles that a slot may still be reading."""
        return {config.digest for number in slot.SERVERS if (config := self._config(number)) is not None}

    def run(self, wanted: ServiceConfig, states: Mapping[str, str], fetch: Callable[[str], object]) -> Report:
        """One step towards the wanted configuration; `fetch` brings a bundle before it is first needed.

        Raises what `fetch` raises.
        """
        record = self.record
        newest = record.incoming if record.incoming is not None else record.serving
        if newest is None or self._outdated(newest, wanted, states):
            fetch(wanted.digest)
            return self._start_other(wanted, states)
        self._renew_tokens(wanted)
        refusing = record.serving in (None, newest) and self._state(newest, states) in FAILED
        if self._state(slot.KEEPER, states) not in RUNNING and not refusing:
            self._hold_port(states)
        if record.incoming is not None:
            return self._watch_incoming(record.incoming, wanted, states)
        return self._watch_serving(newest, wanted, states)

    def stop(self, states: Mapping[str, str]) -> bool:
        """One step towards standing still; True when no process is left."""
        running = [n for n in (*slot.SERVERS, slot.KEEPER) if self._state(n, states) in RUNNING]
        for number in running:
            if self._state(number, states) != "STOPPING":
                self._supervisor.stop(self.key, number)
        if not running and (self.record.serving, self.record.incoming) != (None, None):
            self._save(replace(self.record, serving=None, incoming=None))
        return not running

    def remove(self, states: Mapping[str, str]) -> bool:
        """One step towards leaving no trace; True when done."""
        if not self.stop(states):
            return False
        program_file(self._program).unlink(missing_ok=True)
        if self._state(slot.KEEPER, states) != "MISSING":
            self._supervisor.remove(self.key)
        for log in self._program.logs.glob(f"{self.key}.*.log*"):
            log.unlink(missing_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)
        return True

    def _outdated(self, number: int, wanted: ServiceConfig, states: Mapping[str, str]) -> bool:
        """Whether to start a slot: the newest one runs something else, or failed at an earlier order."""
        config = self._config(number)
        if config is None or _shape(config) != _shape(wanted):
            return True
        asked_again = self.record.tried < self.record.assignment.revision
        return self._state(number, states) in FAILED and asked_again

    def _start_other(self, wanted: ServiceConfig, states: Mapping[str, str]) -> Report:
        number = 0 if self.record.serving is None else 1 - self.record.serving
        state = self._state(number, states)
        if state in RUNNING:  # it still finishes requests of the version before the last
            if state != "STOPPING":
                self._supervisor.stop(self.key, number)
            return self._report("starting", "the version before is still finishing its requests")
        configuration.write(slot.config_file(self._folder, number), wanted)
        self._program.log(number).unlink(missing_ok=True)
        self._save(replace(self.record, incoming=number, tried=self.record.assignment.revision))
        return self._start(number, states)

    def _start(self, number: int, states: Mapping[str, str]) -> Report:
        # Files of an earlier run name processes that are gone, or whose numbers others have now.
        instance.clear(instance.run_folder(slot.config_file(self._folder, number)))
        self._hold_port(states)
        self._supervisor.start(self.key, number)
        return self._report("starting", "")

    def _hold_port(self, states: Mapping[str, str]) -> None:
        """Make the group known and start the process that keeps the socket open."""
        try:
            self._define(states)
            self._supervisor.start(self.key, slot.KEEPER)
        except SupervisorBroke:
            host, port = self._program.host, self._program.port
            if bindable(host, port):
                raise
            raise SupervisorError(
                f"port {port} of {host} is taken by another program, or {host} is no longer of this machine; "
                "free it, or delete the service and deploy it again"
            ) from None

    def _define(self, states: Mapping[str, str]) -> None:
        """Make the group known. One that an installation at another place has defined is defined anew as soon
        as none of its processes runs: its interpreter may be gone.
        """
        file, text = program_file(self._program), self._program.text()
        known = self._state(slot.KEEPER, states) != "MISSING"
        if known and file.is_file() and file.read_text(encoding="utf-8") == text:
            return
        if known and any(self._state(n, states) in RUNNING for n in (*slot.SERVERS, slot.KEEPER)):
            return
        file.write_text(text, encoding="utf-8")
        if known:
            self._supervisor.remove(self.key)
        self._supervisor.add(self.key)

    def _watch_incoming(self, number: int, wanted: ServiceConfig, states: Mapping[str, str]) -> Report:
        count = instance.ready_count(slot.config_file(self._folder, number))
        if count >= wanted.instances:
            before = self.record.serving
            self._save(replace(self.record, serving=number, incoming=None))
            if before is not None:
                self._supervisor.stop(self.key, before)
            return self._report("ready", "", count)
        if self._state(number, states) in FAILED:
            return self._failed(number, states)
        if self._state(number, states) not in RUNNING:  # ordered, but the host ended before it was started
            return self._start(number, states)
        return self._report("starting", f"{count} of {wanted.instances} instances answer", count)

    def _watch_serving(self, number: int, wanted: ServiceConfig, states: Mapping[str, str]) -> Report:
        other, state = 1 - number, self._state(number, states)
        if self._state(other, states) in RUNNING - {"STOPPING"}:  # told to stop by a host that then ended
            self._supervisor.stop(self.key, other)
        if state in FAILED:
            # It has answered before, so what stopped it may pass: memory, a disk that was full.
            self._failed_at = self._failed_at or time.monotonic()
            if time.monotonic() - self._failed_at < AGAIN_SECONDS:
                return self._failed(number, states)
        self._failed_at = None
        if state not in RUNNING - {
            "STOPPING"
        }:  # supervisord itself was started anew, or somebody stopped it by hand
            return self._start(number, states)
        count = instance.ready_count(slot.config_file(self._folder, number))
        if count >= wanted.instances:
            return self._report("ready", "", count)
        return self._report("starting", f"{count} of {wanted.instances} instances answer", count)

    def _failed(self, number: int, states: Mapping[str, str]) -> Report:
        reason = last_reason(self._program.log(number))
        serving = self.record.serving
        if serving is None or serving == number:
            if self._state(slot.KEEPER, states) in RUNNING - {"STOPPING"}:
                self._supervisor.stop(self.key, slot.KEEPER)  # so that clients are refused, not left waiting
            return self._report("failed", reason)
        count = instance.ready_count(slot.config_file(self._folder, serving))
        return self._report("failed", f"{reason}; the version before keeps answering", count)

    def _renew_tokens(self, wanted: ServiceConfig) -> None:
        """Tokens and the rate limit reach running processes through their files."""
        for number in slot.SERVERS:
            now = self._config(number)
            if now is not None:
                renewed = replace(now, tokens=wanted.tokens, rate_limit=wanted.rate_limit)
                if renewed != now:
                    configuration.write(slot.config_file(self._folder, number), renewed)

    def _config(self, number: int) -> ServiceConfig | None:
        """What a slot was told last; None if it never was, or if the file was damaged."""
        try:
            return configuration.read(slot.config_file(self._folder, number))
        except ConfigError:
            return None

    def _state(self, number: int, states: Mapping[str, str]) -> str:
        return states.get(f"{self.key}:{number}", "MISSING")

    def _report(self, state: State, message: str, count: int = 0) -> Report:
        revision = self.record.assignment.revision
        return Report(revision, state, count, port=self._program.port, message=message)

    def _save(self, record: Record) -> None:
        self.record = record
        write_record(self._folder, record)


def _shape(config: ServiceConfig) -> ServiceConfig:
    """What a running process cannot take over."""
    return replace(config, tokens=(), rate_limit=0.0)


def program_file(program: Program) -> Path:
    """Where supervisord reads about a service: `services.d/<key>.conf` in the host's folder."""
    return program.folder.parent.parent / "services.d" / f"{program.key}.conf"


def write_record(folder: Path, record: Record) -> None:
    """Replace the record in one step; it holds signing keys, so only the owner may read it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = folder / ".record.part"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(asdict(record), stream)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(folder / "record.json")


def read_record(folder: Path) -> Record | None:
    """The record in a folder, or None if there is none that can be read."""
    try:
        values = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        return Record(**{**values, "assignment": assignment(values["assignment"])})
    except (OSError, ValueError, KeyError, TypeError, AssignmentError):
        return None
