"""The only module that knows supervisord: its program files and its XML-RPC interface."""

from __future__ import annotations

import http.client
import socket
import sys
import xml.parsers.expat
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xmlrpc.client import Error, Fault, ProtocolError, ServerProxy

from supervisor.xmlrpc import Faults, SupervisorTransport

from model_server import slot

START_SECONDS = 10  # longer than loading a model takes: ending sooner counts as a failed start
START_RETRIES = 2
STOP_SECONDS = 45  # longer than an instance may take to finish its requests

RUNNING = frozenset({"STARTING", "RUNNING", "BACKOFF", "STOPPING"})


class SupervisorError(Exception):
    """supervisord cannot be reached or refuses; the message is a sentence."""


class SupervisorBroke(SupervisorError):
    """supervisord failed over what it was asked, as it does where it cannot listen on a group's port."""


@dataclass(frozen=True)
class Program:
    """The processes of one service: group `key`, processes `0`, `1` and `2` (see `model_server.slot`)."""

    key: str
    folder: Path
    logs: Path
    host: str
    port: int

    def text(self) -> str:
        """The program file. `%` is doubled because supervisord expands it."""
        command = f"{_quoted(sys.executable)} -m model_server.slot {_quoted(str(self.folder))}"
        return f"""[fcgi-program:{self.key}]
socket=tcp://{self.host}:{self.port}
socket_backlog=256
command={command} %(process_num)d
process_name=%(process_num)d
numprocs={slot.KEEPER + 1}
directory={_escaped(str(Path(__file__).resolve().parents[1]))}
autostart=false
autorestart=true
startsecs={START_SECONDS}
startretries={START_RETRIES}
stopsignal=TERM
stopwaitsecs={STOP_SECONDS}
killasgroup=true
redirect_stderr=true
stdout_logfile={_escaped(str(self.log_pattern()))}.%(process_num)d.log
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=2
"""

    def log_pattern(self) -> Path:
        """The log files of this program, without number and suffix."""
        return self.logs / self.key

    def log(self, number: int) -> Path:
        """The log file of one process."""
        return Path(f"{self.log_pattern()}.{number}.log")


def bindable(host: str, port: int) -> bool:
    """Whether a server can listen there: nobody else does, and the address is one of this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    return '"' + _escaped(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


class Supervisor:
    """A client of the supervisord that listens on a unix socket. Every method raises `SupervisorError`."""

    def __init__(self, path: Path) -> None:
        self._socket = path

    def states(self) -> dict[str, str]:
        """The state of every process, by `group:process`."""
        return {
            f"{info['group']}:{info['name']}": info["statename"] for info in self._call("getAllProcessInfo")
        }

    def add(self, key: str) -> None:
        """Read the program files again and add a group; nothing happens if it is there."""
        self._call("reloadConfig")
        self._call("addProcessGroup", key, but={Faults.ALREADY_ADDED})

    def remove(self, key: str) -> None:
        """Forget a group whose processes are stopped and whose program file is gone or another one."""
        self._call("reloadConfig")
        self._call("removeProcessGroup", key, but={Faults.BAD_NAME})

    def start(self, key: str, number: int) -> None:
        """Start a process without waiting for it."""
        self._call("startProcess", f"{key}:{number}", False, but={Faults.ALREADY_STARTED})

    def stop(self, key: str, number: int) -> None:
        """Ask a process to stop without waiting for it."""
        self._call("stopProcess", f"{key}:{number}", False, but={Faults.NOT_RUNNING, Faults.BAD_NAME})

    def _call(self, method: str, *arguments: Any, but: set[int] | None = None) -> Any:
        transport = SupervisorTransport(None, None, serverurl=f"unix://{self._socket}")
        try:
            with ServerProxy("http://127.0.0.1", transport=transport) as proxy:
                return getattr(proxy.supervisor, method)(*arguments)
        except Fault as fault:
            if fault.faultCode in (but or ()):
                return None
            raise SupervisorError(f"supervisord refused {method}: {fault.faultString}") from None
        except ProtocolError as error:
            raise SupervisorBroke(f"supervisord failed at {method}: {error.errmsg}") from None
        except (OSError, Error, http.client.HTTPException, xml.parsers.expat.ExpatError) as error:
            raise SupervisorError(f"supervisord at {self._socket} does not answer: {error}") from None
        finally:
            transport.close()
