"""One supervised process of a service: `python -m model_server.slot <folder of the service> <number>`.

All processes of a service get the service's listening socket as file descriptor 0 from supervisord.

    0, 1   run the server with the configuration `<number>.json`; usually one of them runs. To change the
           service the other one is started on the same socket, and the first ends when the new one answers.
    2      only keeps the socket open. A listening socket that its last holder closes refuses the clients
           that are just connecting, and could not be opened again while a dying instance still holds it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

from model_server import config as configuration

SERVERS = (0, 1)
KEEPER = 2
_PR_SET_PDEATHSIG = 1  # prctl(2): kept across execve
_SECRET_PREFIX = "SIGHTLOOP_"  # what configures the host is not the business of a service


def config_file(folder: Path, number: int) -> Path:
    """The configuration of one slot."""
    return folder / f"{number}.json"


def log_file(folder: Path, number: int) -> Path:
    """The log of one slot, where `supervision.Program` lets supervisord write it."""
    return folder.parents[1] / "logs" / f"{folder.name}.{number}.log"


def main(arguments: list[str]) -> None:
    """Become the process of the slot."""
    folder, number = Path(arguments[0]), int(arguments[1])
    # Without its supervisor nobody would stop this process, and the next one could not have the port.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if number == KEEPER:
        while True:
            signal.pause()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_SECRET_PREFIX)}
    environment[configuration.ENVIRONMENT] = str(config_file(folder, number))
    environment[configuration.LOG_ENVIRONMENT] = str(log_file(folder, number))
    environment["SIGHTLOOP_LISTEN_FD"] = "0"
    settings = Path(__file__).with_name("gunicorn.conf.py")
    command = [sys.executable, "-m", "gunicorn", "--config", str(settings)]
    os.execve(sys.executable, command, environment)


if __name__ == "__main__":
    main(sys.argv[1:])
