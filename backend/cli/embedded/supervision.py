"""supervisord: its configuration, starting it, speaking to it, and what a killed one left behind."""

from __future__ import annotations

import contextlib
import http.client
import os
import shlex
import subprocess
import time
import xmlrpc.client
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
from supervisor.xmlrpc import SupervisorTransport

from backend.cli.embedded import binaries
from backend.cli.embedded.home import Home, write_private
from backend.cli.embedded.programs import Program
from backend.cli.errors import StartFailed, StopFailed

# Every process under a stack's supervisord inherits this, so that what outlives a killed one is found.
_MARK = "SIGHTLOOP_SUPERVISOR_SOCKET"
_PAUSE = 0.1
Process = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Supervisor:
    """A running supervisord, spoken to over its private unix socket."""

    socket: Path

    def _call(self, method: str, *arguments: Any) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{self.socket}")
        try:
            proxy = xmlrpc.client.ServerProxy("http://localhost", transport=transport)
            return getattr(proxy, method)(*arguments)
        finally:
            transport.close()

    def processes(self) -> list[Process]:
        """All programs with their states, in no order."""
        found: list[Process] = self._call("supervisor.getAllProcessInfo")
        return found

    def start(self, name: str) -> None:
        """Start a program without waiting; one that runs already is left alone."""
        self._tolerate({"ALREADY_STARTED"}, "supervisor.startProcess", name, False)

    def stop(self, name: str) -> None:
        """Ask a program to stop without waiting; one that does not run is left alone."""
        self._tolerate({"NOT_RUNNING", "BAD_NAME"}, "supervisor.stopProcess", name, False)

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a program, if it is there."""
        self._tolerate({"NOT_RUNNING", "BAD_NAME"}, "supervisor.signalProcess", name, str(number))

    def shut_down(self) -> None:
        """Stop everything that is left, last started first, and end."""
        self._tolerate({"SHUTDOWN_STATE"}, "supervisor.shutdown")

    def _tolerate(self, faults: set[str], method: str, *arguments: Any) -> None:
        try:
            self._call(method, *arguments)
        except xmlrpc.client.Fault as fault:
            if not any(name in fault.faultString for name in faults):
                raise


def full_name(process: Process) -> str:
    """A program's name as supervisord takes it: with its group, where that differs."""
    group, name = process["group"], process["name"]
    return str(name) if group == name else f"{group}:{name}"


def find(home: Home) -> Supervisor | None:
    """The stack's supervisord, or None when none answers."""
    supervisor = Supervisor(home.socket)
    try:
        supervisor.processes()
    except (OSError, http.client.HTTPException, xmlrpc.client.Error):
        return None
    return supervisor


def launch(home: Home, programs: Iterable[Program], shell: Mapping[str, str]) -> Supervisor:
    """Start supervisord with the programs configured and not started. Raises `StartFailed`.

    Services are forgotten: the model host defines its own again, while supervisord would not start at all
    over one whose port somebody else has by now, or whose log was where the data directory lay before.
    """
    for service in home.host_dir.glob("services.d/*.conf"):
        service.unlink()
    write_private(home.config, _configuration(home, programs))
    environment = {name: value for name, value in shell.items() if not name.startswith("SIGHTLOOP_")}
    home.empty_scratch()
    # Not the shell's: what a killed job leaves there would fill it, and one of a login ends with it.
    environment |= {"TMPDIR": str(home.scratch)}
    environment |= {_MARK: str(home.socket), "SIGHTLOOP_SUPERVISOR_HOME": str(home.path)}
    command = [*binaries.supervisord(), "-c", str(home.config)]
    done = subprocess.run(
        command, cwd=home.path, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise StartFailed(f"supervisord does not start: {_reason(done.stderr or done.stdout)}")
    found = wait_for(lambda: find(home), 10)
    if found is None:
        raise StartFailed(f"supervisord does not answer; see {home.logs / 'supervisord.log'}")
    return found


def _reason(output: str) -> str:
    """What went wrong: after it, supervisord tells how to call it."""
    lines = output.strip().splitlines()
    said = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]
    return (said or lines or ["no message"])[-1]


def _configuration(home: Home, programs: Iterable[Program]) -> str:
    # The path of the services is relative to this file: supervisord splits the setting at blanks.
    head = f"""\
[supervisord]
logfile = {home.logs / "supervisord.log"}
logfile_maxbytes = 10MB
logfile_backups = 3
pidfile = {home.pid_file}
childlogdir = {home.logs}
umask = 077

[unix_http_server]
file = {home.socket}
chmod = 0600

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[include]
files = host/services.d/*.conf
"""
    return "\n".join([head, *(_section(home, program) for program in programs)])


def _section(home: Home, program: Program) -> str:
    command = _escaped(shlex.join(program.command))
    environment = _escaped(
        ",".join(f"{name}={_quoted(value)}" for name, value in program.environment.items())
    )
    return f"""\
[program:{program.name}]
command = {command}
environment = {environment}
directory = {program.folder}
priority = {program.order}
autostart = false
autorestart = true
startsecs = 1
startretries = 5
stopsignal = TERM
stopwaitsecs = {program.stop_seconds}
killasgroup = true
redirect_stderr = true
stdout_logfile = {home.logs / program.name}.log
stdout_logfile_maxbytes = 10MB
stdout_logfile_backups = 3
"""


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(value: str) -> str:
    if '"' in value or "\n" in value or " ;" in value or " #" in value:
        raise StartFailed(
            'a SIGHTLOOP_* variable holds a quotation mark, a line break, " ;" or " #"; take it out'
        )
    return f'"{value}"'


def wait_for(ask: Callable[[], T | None], seconds: float) -> T | None:
    """Ask until there is an answer, for at most so many seconds."""
    end = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer is not None or time.monotonic() > end:
            return answer
        time.sleep(_PAUSE)


def survivors(home: Home) -> list[psutil.Process]:
    """Every process of this stack, supervisord included, except this one and its parents."""
    mine = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid not in mine and process.environ().get(_MARK) == str(home.socket):
                found.append(process)
        except psutil.Error:
            continue  # another user's, or gone
    return found


def sweep(home: Home) -> int:
    """End what a killed supervisord left behind; how many there were. Raises `StopFailed`."""
    left = survivors(home)
    for process in left:
        _quietly(process.terminate)
    _, stubborn = psutil.wait_procs(left, timeout=5)
    for process in stubborn:
        _quietly(process.kill)
    _, stuck = psutil.wait_procs(stubborn, timeout=10)
    if stuck:
        raise StopFailed(
            f"process {stuck[0].pid} of the stack does not end; stop it with `kill -9 {stuck[0].pid}`"
        )
    return len(left)


def _quietly(action: Callable[[], None]) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        action()
