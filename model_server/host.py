"""Keeps the services of one host as the backend wants them: `python -m model_server.host`.

The services run under supervisord, so they go on while this process or the backend is away. One thread asks
the backend for changes, the main loop takes one small step for every service and reports what has changed.

    <folder>/services.d/*.conf   program files; supervisord must include them
    <folder>/services/<key>/     record.json, the configuration and the run folder of each slot
    <folder>/bundles/<digest>/   verified bundles
    <folder>/logs/<key>.<n>.log
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace

import structlog

from model_server import logs
from model_server.assignments import Answer, Assignment, AssignmentError, Backend, BackendAway, Report, State
from model_server.deployment import Deployment, Record, read_record, write_record
from model_server.hostsettings import HostSettings, SettingsError, from_environment
from model_server.supervision import Program, Supervisor, SupervisorError, bindable
from plugins.bundle import BundleError
from plugins.bundle_cache import BundleCache

SOON = 0.1  # while something changes
LATER = 0.5
_BACK_OFF = (0.5, 1.0, 2.0, 5.0, 10.0)
_HELD_SECONDS = 30.0
_AWAY_SECONDS = 2.0

_log = structlog.get_logger(__name__)


class Host:
    """The services of this host."""

    def __init__(self, settings: HostSettings, backend: Backend, supervisor: Supervisor) -> None:
        self._settings = settings
        self._backend = backend
        self._supervisor = supervisor
        self._cache = BundleCache(settings.folder / "bundles", backend.fetch)
        self._deployments: dict[str, Deployment] = {}
        self._gone: set[str] = set()  # ids that the backend does not name any more
        self._reported: dict[str, Report] = {}
        self._faults: Mapping[str, Report] = {}  # of entries in the backend's answer that make no sense
        self._owed: dict[str, Report] = {}
        self._held: dict[str, tuple[Report, float]] = {}  # what went wrong, and when to try again
        self._offered: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._changed = threading.Event()
        self._tell_after = 0.0
        for name in ("services.d", "services", "logs"):
            (settings.folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in sorted((settings.folder / "services").iterdir()):
            if (record := read_record(folder)) is not None:
                self._deployments[record.assignment.id] = self._deployment(record)

    def offer(self, answer: Answer) -> None:
        """Hand over the backend's newest answer; may be called from another thread."""
        self._offered.put(answer)
        self._changed.set()

    def run(self, stopping: threading.Event) -> None:
        """Take steps until told to stop; the services go on running."""
        failures = 0
        while not stopping.is_set():
            try:
                settled = self.step()
                failures = 0
                pause = LATER if settled else SOON
            except SupervisorError as error:
                pause = _BACK_OFF[min(failures, len(_BACK_OFF) - 1)]
                failures += 1
                _log.error("cannot manage the services", reason=str(error))
            self._changed.wait(pause)
            self._changed.clear()

    def wake(self) -> None:
        """End the pause of the main loop."""
        self._changed.set()

    def step(self) -> bool:
        """One step for every service; True when nothing is under way. Raises `SupervisorError`."""
        self._take_over()
        states = self._supervisor.states()
        settled = True
        for service_id, deployment in list(self._deployments.items()):
            report = self._step(service_id, deployment, states)
            settled = settled and report is not None and report.state in ("ready", "failed", "stopped")
            if report is not None:
                fault = self._faults.get(service_id)
                self._owe(service_id, report if fault is None else _faulty(report, fault))
        self._tell()
        return settled

    def _take_over(self) -> None:
        answer = None
        while not self._offered.empty():
            answer = self._offered.get()
        if answer is None:
            return
        self._faults = answer.faults
        for service_id, fault in answer.faults.items():
            _log.error("an assignment is not used", service=service_id, reason=fault.message)
            self._owe(service_id, fault)
        named = {wanted.id for wanted in answer.services} | answer.faults.keys()
        self._gone = self._deployments.keys() - named
        for wanted in answer.services:
            deployment = self._deployments.get(wanted.id)
            if deployment is not None:
                deployment.assign(wanted)
            elif wanted.desired == "running":
                self._admit(wanted)
            else:  # it never ran here
                self._owe(wanted.id, Report(wanted.revision, _resting(wanted)))

    def _admit(self, wanted: Assignment) -> None:
        try:
            record = Record(wanted, self._free_port(wanted))
        except AssignmentError as error:
            self._owe(wanted.id, Report(wanted.revision, "failed", message=str(error)))
            return
        write_record(self._settings.folder / "services" / wanted.key, record)
        self._deployments[wanted.id] = self._deployment(record)

    def _deployment(self, record: Record) -> Deployment:
        settings, key = self._settings, record.assignment.key
        folder = settings.folder / "services" / key
        program = Program(key, folder, settings.folder / "logs", settings.bind, record.port)
        return Deployment(folder, self._supervisor, program, record)

    def _free_port(self, wanted: Assignment) -> int:
        """The port asked for, or the first free one of the range. Raises `AssignmentError`."""
        taken = {deployment.record.port for deployment in self._deployments.values()}
        first, last = self._settings.ports
        for port in [wanted.port] if wanted.port is not None else range(first, last + 1):
            if port not in taken and bindable(self._settings.bind, port):
                return port
        if wanted.port is not None:
            raise AssignmentError(f"port {wanted.port} is taken on this host")
        raise AssignmentError(f"no port from {first} to {last} is free on this host")

    def _step(self, service_id: str, deployment: Deployment, states: Mapping[str, str]) -> Report | None:
        """What to report, or None while nothing can be said."""
        wanted = deployment.record.assignment
        gone = service_id in self._gone
        if wanted.desired == "running" and not gone:
            return self._run(service_id, deployment, states)
        try:
            if wanted.desired == "stopped" and not gone:
                resting = Report(wanted.revision, "stopped", port=deployment.record.port)
                return resting if deployment.stop(states) else None
            if not deployment.remove(states):
                return None
        except SupervisorError as error:
            _log.error("a service cannot be stopped", service=service_id, reason=str(error))
            return None
        del self._deployments[service_id]
        self._cache.keep_only(set().union(*(other.digests() for other in self._deployments.values())))
        return None if gone else Report(wanted.revision, "deleted")

    def _run(self, service_id: str, deployment: Deployment, states: Mapping[str, str]) -> Report:
        wanted, port = deployment.record.assignment, deployment.record.port
        held, until = self._held.get(service_id, (None, 0.0))
        if held is not None and held.revision == wanted.revision and time.monotonic() < until:
            return held
        try:
            config = wanted.config(self._cache.folder_of(wanted.digest), self._settings.bind, port)
            url = f"http://{self._settings.name}:{port}/api/predict/{wanted.name}"
            return replace(deployment.run(config, states, self._cache.get), endpoint=url)
        except (BundleError, AssignmentError, SupervisorError, OSError) as error:
            report, pause = Report(wanted.revision, "failed", port=port, message=str(error)), _HELD_SECONDS
        except BackendAway as error:
            report, pause = Report(wanted.revision, "starting", port=port, message=str(error)), _AWAY_SECONDS
        self._held[service_id] = (report, time.monotonic() + pause)
        return report

    def _owe(self, service_id: str, report: Report) -> None:
        """Remember what differs from the last report; a newer one takes its place."""
        if self._reported.get(service_id) == report:
            self._owed.pop(service_id, None)
        else:
            self._owed[service_id] = report

    def _tell(self) -> None:
        """Report what is owed; on failure again later."""
        if time.monotonic() < self._tell_after:
            return
        for service_id, report in list(self._owed.items()):
            try:
                self._backend.report(service_id, report)
            except BackendAway as error:
                self._tell_after = time.monotonic() + _AWAY_SECONDS
                _log.warning("a report is kept for later", reason=str(error))
                return
            self._reported[service_id] = self._owed.pop(service_id)
            _log.info("reported", service=service_id, state=report.state, ready=report.ready_instances)


def _faulty(report: Report, fault: Report) -> Report:
    """A service goes on as it was while what the backend wants of it cannot be understood."""
    return replace(report, revision=fault.revision, state="failed", message=fault.message)


def _resting(wanted: Assignment) -> State:
    return "deleted" if wanted.desired == "deleted" else "stopped"


def poll(backend: Backend, host: Host, stopping: threading.Event) -> None:
    """Ask the backend for changes until told to stop; with growing pauses while it is away."""
    revision, failures = -1, 0
    while not stopping.is_set():
        try:
            answer = backend.poll(revision)
        except BackendAway as error:
            pause = _BACK_OFF[min(failures, len(_BACK_OFF) - 1)]
            failures += 1
            _log.warning("no assignments; the services go on", reason=str(error), again_in=pause)
            stopping.wait(pause)
            continue
        failures = 0
        if answer is not None:
            revision = answer.revision
            host.offer(answer)


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    logs.configure()
    try:
        settings = from_environment(os.environ)
    except SettingsError as error:
        sys.exit(str(error))
    stopping = threading.Event()
    backend = Backend(settings.api_url, settings.token)
    host = Host(settings, backend, Supervisor(settings.supervisor_socket))

    def stop(*_: object) -> None:
        stopping.set()
        host.wake()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    threading.Thread(target=poll, args=(backend, host, stopping), daemon=True).start()
    host.run(stopping)


if __name__ == "__main__":
    main()
