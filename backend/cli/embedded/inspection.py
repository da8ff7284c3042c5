"""How the stack is, and where everything of it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psutil

from backend import addresses
from backend.cli.embedded import health, labelstudio, ports, programs, supervision
from backend.cli.embedded.home import Choices, Home
from backend.cli.embedded.supervision import Process, full_name
from backend.settings import Settings


@dataclass(frozen=True)
class ProgramStatus:
    """One line of `sightloop status`."""

    name: str
    state: str
    pid: int | None
    uptime: int | None
    memory: int | None


def status(home: Home) -> tuple[str, list[ProgramStatus]]:
    """`running`, `partly` or `stopped`, and a line for each program."""
    choices = home.choices()
    supervisor = supervision.find(home) if choices else None
    if supervisor is None:
        return "stopped", [ProgramStatus(name, "stopped", None, None, None) for name in _names(choices)]
    # A service has more processes than run at a time: the rest take over at an update.
    found = [p for p in supervisor.processes() if p["group"] in programs.NAMES or p["statename"] != "STOPPED"]
    lines = [_line(process) for process in sorted(found, key=_rank)]
    running = all(process["statename"] in _well(process) for process in found)
    return ("running" if running else "partly"), lines


def _names(choices: Choices | None) -> tuple[str, ...]:
    return programs.names(choices) if choices else programs.NAMES


def _well(process: Process) -> set[str]:
    """A service's process counts as starting for its first 10 s, during which it answers already."""
    return {"RUNNING"} if process["group"] in programs.NAMES else {"RUNNING", "STARTING", "STOPPING"}


def _rank(process: Process) -> tuple[int, str]:
    group = process["group"]
    number = programs.NAMES.index(group) if group in programs.NAMES else len(programs.NAMES)
    return number, full_name(process)


def _line(process: Process) -> ProgramStatus:
    pid = process["pid"] or None
    uptime = process["now"] - process["start"] if pid else None
    return ProgramStatus(full_name(process), process["statename"].lower(), pid, uptime, _memory(pid))


def _memory(pid: int | None) -> int | None:
    """Bytes that the program and its children hold; shared pages count once where the system tells."""
    if pid is None:
        return None
    total = 0
    try:
        top = psutil.Process(pid)
        for process in (top, *top.children(recursive=True)):
            total += _own_memory(process)
    except psutil.Error:
        return total or None
    return total


def _own_memory(process: psutil.Process) -> int:
    try:
        found: Any = process.memory_full_info()
    except (psutil.Error, OSError):
        return int(process.memory_info().rss)
    return int(getattr(found, "pss", 0) or found.rss)


def describe(home: Home, choices: Choices) -> dict[str, Any]:
    """Where everything of a running stack is: the object that `up --json` prints."""
    plan = ports.Ports(choices.port)
    url = programs.api_url(choices)
    return {
        "console": url,
        "https": programs.https_url(choices) or None,
        "phone": addresses.for_phones(_told(choices), url),
        "api": f"{url}/api/v1",
        "label_studio": _label_studio(home, choices),
        "s3": {
            "endpoint": f"http://{ports.LOOPBACK}:{plan.s3}",
            "access_key": home.secret("s3-access-key"),
            "secret_key": home.secret("s3-secret-key"),
        },
        "token_file": str(home.token_file),
        "data_dir": str(home.path),
    }


def _told(choices: Choices) -> Settings:
    """What the API of this stack goes by."""
    inward = addresses.is_loopback(choices.host)
    url = "" if inward else programs.https_url(choices)
    return Settings(host=choices.host, port=choices.port, phone_url=url)


def _label_studio(home: Home, choices: Choices) -> dict[str, str] | None:
    """Where Label Studio is and whether it answers already; None when there is none."""
    url = programs.label_studio_url(choices)
    if not url:
        return None
    state = {"url": url, "state": "starting" if health.label_studio_answers(url) else "running"}
    if not choices.label_studio:
        return state if state["state"] == "running" else {**state, "state": "unreachable"}
    return {
        **state,
        "user": labelstudio.USER,
        "password_file": str(home.path / "secrets" / "label-studio-password"),
    }
