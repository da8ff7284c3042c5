"""The job process's side: start the ranks, answer them, take their outcome."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from backend.errors import WorkerLost
from plugins.contract import Draft, Example, PluginError, Previous, Split, TrainingContext, TrainingStopped
from workers.ranks.job import Job, Wire, draft_from_json

RESTARTS = 3
_LOOK_SECONDS = 0.5  # between two looks at whether to stop, when the ranks say nothing
_LEAVE_SECONDS = 10.0  # to end by themselves after the draft
_ASKABLE = frozenset({"report", "fact", "log", "should_stop", "stop_requested", "time_left", "checkpoint"})
_SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def train(trainer: str, context: TrainingContext, images: Path, processes: int) -> Draft:
    """Train as the trainer of this dotted path would in this process, but in several.

    `images` holds one file a content hash. The draft is what the first rank returned. Raises what the
    trainer raised (`PluginError` also for what was not foreseen) and what the context raises to end the work,
    within a second; `WorkerLost` when ranks were killed too often.
    """
    with ExitStack() as ending:
        meeting = Path(
            ending.enter_context(
                tempfile.TemporaryDirectory(prefix="ranks-", dir=context.folder, ignore_cleanup_errors=True)
            )
        )
        # Not in the task's folder: the path of a socket has 107 characters at most.
        place = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="sightloop-")))
        address = place / "job"
        _job(trainer, context, images, meeting, address).write(meeting / "job.json")
        listener = ending.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(address))
        listener.listen(processes)
        agent = ending.enter_context(_agent(meeting, processes, context.threads))
        return _Desk(context, listener, agent).draft()


def _job(trainer: str, context: TrainingContext, images: Path, meeting: Path, address: Path) -> Job:
    examples: Sequence[Example] = [one for split in _SPLITS for one in context.examples(split)]
    previous: Previous | None = context.previous
    return Job(
        trainer=trainer,
        algorithm=context.algorithm,
        params=asdict(context.params),
        labels=context.labels,
        device=context.device,
        threads=context.threads,
        folder=context.folder,
        images=images,
        examples=examples,
        previous=previous,
        weights=context.weights,
        offline=context.offline,
        meeting=meeting,
        address=address,
    )


@contextmanager
def _agent(meeting: Path, processes: int, threads: int) -> Iterator[subprocess.Popen[bytes]]:
    """torchrun; killed at the end, and the ranks with it, unless it has ended. They meet by files in the
    folder and talk over the loopback interface, so nothing listens to the network.
    """
    command = [sys.executable, "-m", "workers.ranks.agent"]
    command += ["--nnodes=1", f"--nproc-per-node={processes}", f"--max-restarts={RESTARTS}"]
    command += ["--rdzv-backend=c10d", f"--rdzv-endpoint={meeting / 'rendezvous'}"]
    command += ["--rdzv-conf=store_type=file", "--rdzv-id=training", "--local-addr=127.0.0.1"]
    command += [f"--log-dir={meeting}", "-m", "workers.ranks.process", str(meeting / "job.json")]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "GLOO_SOCKET_IFNAME": "lo",
        "NCCL_SOCKET_IFNAME": "lo",
    }
    agent = subprocess.Popen(command, env=environment)
    try:
        yield agent
    finally:
        agent.kill()
        agent.wait()


@dataclass
class _Desk:
    """Where the ranks are answered."""

    context: TrainingContext
    listener: socket.socket
    agent: subprocess.Popen[bytes]
    wires: dict[Connection, Wire] = field(default_factory=dict)

    def draft(self) -> Draft:
        """Answer until the draft is there; whatever way this ends, no rank is left."""
        try:
            draft = self._serve()
            self._close()
            with suppress(subprocess.TimeoutExpired):
                self.agent.wait(_LEAVE_SECONDS)
            return draft
        except BaseException:
            self.agent.kill()
            self._see_off()
            raise

    def _serve(self) -> Draft:
        while True:
            ready = wait([self.listener, *self.wires], _LOOK_SECONDS)
            for one in ready:
                draft = self._hear(one)
                if draft is not None:
                    return draft
            if not ready:
                self.context.should_stop()  # raises when nothing is to be kept or the task is another's
                if self.agent.poll() is not None:
                    times = "1 time" if RESTARTS == 0 else f"{RESTARTS + 1} times"
                    raise WorkerLost(
                        f"processes of the training were killed {times}; if it was for their memory, choose "
                        "a smaller image size or fewer processes"
                    )

    def _hear(self, source: Any) -> Draft | None:
        if source is self.listener:
            connection = Connection(self.listener.accept()[0].detach())
            self.wires[connection] = Wire(connection)
            return None
        try:
            kind, *rest = self.wires[source].receive()
        except (EOFError, OSError):  # that rank is gone; the agent sees to it
            del self.wires[source]
            source.close()
            return None
        if kind == "drafted":
            return draft_from_json(rest[0])
        if kind == "failed":
            raise PluginError(*rest)
        if kind == "stopped":
            raise TrainingStopped(*rest)
        if kind == "hello":
            self._greet(*rest)
        else:
            self._answer(self.wires[source], *rest)
        return None

    def _greet(self, rank: int, restarts: int) -> None:
        if rank == 0 and restarts:
            self.context.log("A process of the training was lost: all of them start again where they can.")

    def _answer(self, wire: Wire, name: str, args: list[Any], options: dict[str, Any]) -> None:
        if name not in _ASKABLE:
            raise ValueError(f"a rank asked for {name!r}")
        try:
            answer = ("answer", getattr(self.context, name)(*args, **options))
        except ValueError as error:
            answer = ("refused", str(error))
        try:
            wire.send(*answer)
        except OSError:  # it was killed meanwhile
            return

    def _close(self) -> None:
        for connection in self.wires:
            connection.close()
        self.wires.clear()

    def _see_off(self) -> None:
        """Wait until the killed ranks are gone, so that they write no more into the task's folder."""
        for wire in self.wires.values():
            with suppress(OSError):
                wire.send("over", "")
        until = time.monotonic() + _LEAVE_SECONDS
        while self.wires and time.monotonic() < until:
            for connection in wait([*self.wires], _LOOK_SECONDS):
                assert isinstance(connection, Connection)
                with suppress(EOFError, OSError):
                    while True:
                        connection.recv_bytes()
                del self.wires[connection]
                connection.close()
