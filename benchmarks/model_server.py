"""The model server beside a bare loop of decoding and ONNX Runtime in as many processes.

    python -m benchmarks.model_server --rounds 5 --seconds 6

Both are measured by turns in one run on the photographs of $SIGHTLOOP_BENCH_DATA/classification/trashnet
(default ../shared/data), the server with 4 clients on the same cores, which send the request and read the
answer. The model is EfficientNet-Lite0 as its exporter writes it.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import multiprocessing
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from plugins import bundle as bundles
from plugins import images
from plugins.bundle import Bundle
from tests.model_server.hosts import machine
from tests.model_server.servers import TOKEN, Server, plugin_path, running

DATA = Path(os.environ.get("SIGHTLOOP_BENCH_DATA", "../shared/data")) / "classification" / "trashnet"
CLIENTS = 4
SIZE = 224
LABELS = ("cardboard", "glass", "metal", "paper", "plastic", "trash")


@dataclass(frozen=True)
class Load:
    """What one round gave; `cpu` is in milliseconds an image, the client's included."""

    per_second: float
    cpu: float
    latencies: Sequence[float]
    failures: int


def make_bundle(folder: Path, photograph: bytes) -> Bundle:
    """A bundle with the pretrained network; its head knows nothing, which costs the same."""
    from plugins.classification import bases, exporter  # noqa: PLC0415 - loads torch, here only
    from plugins.classification.predictor import open_predictor  # noqa: PLC0415

    model = exporter.export(bases.load(bases.LITE0, len(LABELS)), LABELS, SIZE, folder)
    (folder / "test_vectors").mkdir()
    (folder / "test_vectors" / "0.jpg").write_bytes(photograph)
    predictor = open_predictor(folder, model, threads=1)
    outputs = predictor.predict([images.decode(photograph, wanted_side=SIZE)])[0].outputs
    expected = [{"file": "0.jpg", "outputs": [{"label": o.label, "conf": o.conf} for o in outputs]}]
    (folder / "test_vectors" / "expected.json").write_text(json.dumps(expected))
    empty: dict[str, Any] = {}
    manifest = bundles.Manifest(
        plugin="classification",
        algorithm="classification-high-performance",
        name="benchmark",
        created_at="2026-01-01T00:00:00Z",
        model=model,
        metrics=empty,
        details=empty,
        base=empty,
        facts=empty,
        parameters=empty,
        snapshot="",
        libraries={},
        files={},
    )
    return bundles.write(folder, manifest)


def bare(bundle: Path, photographs: Sequence[bytes], threads: int, commands: Any, results: Any) -> None:
    """One process of the bare loop: for each number of seconds it is sent, how many images it answered."""
    from plugins.classification.predictor import open_predictor  # noqa: PLC0415

    predictor = open_predictor(bundle, bundles.read_manifest(bundle).model, threads=threads)
    while (seconds := commands.get()) is not None:
        count, end, spent = 0, time.monotonic() + seconds, time.process_time()
        while time.monotonic() < end:
            decoded = images.decode(photographs[count % len(photographs)], wanted_side=predictor.wanted_side)
            predictor.predict([decoded])
            count += 1
        results.put((count, time.process_time() - spent))


class BareLoops:
    """The bare loop in several processes, started once."""

    def __init__(self, bundle: Path, photographs: Sequence[bytes], processes: int, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._results = context.Queue()
        self._commands = [context.Queue() for _ in range(processes)]
        self._processes = [
            context.Process(target=bare, args=(bundle, photographs, threads, commands, self._results))
            for commands in self._commands
        ]
        for process in self._processes:
            process.start()
        self.measure(1)

    def measure(self, seconds: float) -> Load:
        """Run all loops for some seconds."""
        for commands in self._commands:
            commands.put(seconds)
        counts, spent = zip(*(self._results.get() for _ in self._processes), strict=True)
        return Load(sum(counts) / seconds, 1000 * sum(spent) / sum(counts), (), 0)

    def close(self) -> None:
        """End the processes."""
        for commands in self._commands:
            commands.put(None)
        for process in self._processes:
            process.join()


def encoded(photograph: bytes) -> bytes:
    """The body of a request."""
    entry = {"name": "image", "type": "stream", "body": base64.b64encode(photograph).decode()}
    return json.dumps({"dataArray": [entry]}).encode()


def load(server: Server, photographs: Sequence[bytes], seconds: float) -> Load:
    """Ask with all clients for some seconds; each keeps its connection."""
    latencies: list[float] = []
    failures = [0]
    bodies = [encoded(photograph) for photograph in photographs]
    end = time.monotonic() + seconds

    def client(number: int) -> None:
        connection = http.client.HTTPConnection(*server.address, timeout=30)
        at = number
        while (started := time.monotonic()) < end:
            body = bodies[at % len(bodies)]
            connection.request("POST", "/api/predict/colours", body, {"Authorization": TOKEN})
            if not json.loads(connection.getresponse().read())["success"]:
                failures[0] += 1
            latencies.append(time.monotonic() - started)
            at += CLIENTS
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    started, spent = time.monotonic(), time.process_time() + cpu_seconds(server)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds, spent = time.monotonic() - started, time.process_time() + cpu_seconds(server) - spent
    return Load(len(latencies) / seconds, 1000 * spent / len(latencies), latencies, failures[0])


def compare(
    folder: Path,
    bundle: Bundle,
    photographs: Sequence[bytes],
    shape: tuple[int, int],
    options: argparse.Namespace,
) -> None:
    """Measure by turns and print for `shape` = (instances, quota)."""
    instances, quota = shape
    loops = BareLoops(bundle.folder, photographs, instances, quota)
    pairs: list[tuple[Load, Load]] = []
    with running(folder, plugin_path(folder / "site"), bundle, instances=instances, quota=quota) as server:
        load(server, photographs, 1)
        for number in range(options.rounds):
            if number % 2:  # by turns who goes first: the machine's speed drifts
                asked, plain = load(server, photographs, options.seconds), loops.measure(options.seconds)
            else:
                plain, asked = loops.measure(options.seconds), load(server, photographs, options.seconds)
            pairs.append((plain, asked))
        memory = [resident(pid) for pid in sorted(server.pids())]
    loops.close()
    show(f"{instances} x quota {quota}", pairs, memory)


def show(title: str, pairs: Sequence[tuple[Load, Load]], memory: Sequence[float]) -> None:
    """Print the medians over the rounds with their ranges."""
    latencies = [seconds for _, asked in pairs for seconds in asked.latencies]
    tails = [percentile(asked.latencies, 0.99) / statistics.median(asked.latencies) for _, asked in pairs]
    print(title)
    print(f"  images/s       bare {spread([plain.per_second for plain, _ in pairs])}")
    print(f"                 server {spread([asked.per_second for _, asked in pairs])}")
    print(f"                 ratio {spread([asked.per_second / plain.per_second for plain, asked in pairs])}")
    print(f"  CPU ms/image   bare {spread([plain.cpu for plain, _ in pairs])}")
    print(f"                 server and client {spread([asked.cpu for _, asked in pairs])}")
    print(f"                 ratio {spread([plain.cpu / asked.cpu for plain, asked in pairs])}")
    print(
        f"  latency        median {statistics.median(latencies) * 1000:.0f} ms, "
        f"p99 {percentile(latencies, 0.99) * 1000:.0f} ms, p99/median {spread(tails)}"
    )
    print(f"  failures       {sum(asked.failures for _, asked in pairs)} of {len(latencies)}")
    print(f"  RSS            {', '.join(f'{value:.0f}' for value in memory)} MB an instance")


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def spread(values: Sequence[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.3g} ({min(values):.3g}-{max(values):.3g})"


def cpu_seconds(server: Server) -> float:
    """What all processes of the server have used."""
    master = psutil.Process(server.process.pid)
    return float(sum(sum(p.cpu_times()[:2]) for p in (master, *master.children())))


def resident(pid: int) -> float:
    """Resident memory in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise ValueError(pid)


def deploy(folder: Path, bundle: Bundle, times: int) -> None:
    """Print how long the host takes from the wish to ready, the copy of the bundle included."""
    (folder / "backend").mkdir(parents=True)
    seconds = []
    with machine(folder / "backend", plugin_path(folder / "site")) as host:
        host.backend.offer(bundle)
        for number in range(times):
            started, name = time.monotonic(), f"try{number}"
            report = host.backend.wait(name, "ready", host.backend.want(name, bundle))
            seconds.append(report["at"] - started)
            host.backend.wait(name, "deleted", host.backend.want(name, desired="deleted"))
    print(f"deploy to ready: {spread(seconds)} s")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--deploys", type=int, default=5)
    options = parser.parse_args()
    photographs = [path.read_bytes() for path in sorted(DATA.glob("*/*.jpg"))[::4]]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = make_bundle(folder / "bundle", photographs[0])
        print(f"{len(photographs)} photographs, {CLIENTS} clients, load average {os.getloadavg()[0]:.1f}")
        for shape in ((1, 2), (2, 1)):
            compare(folder / "x".join(map(str, shape)), bundle, photographs, shape, options)
        deploy(folder / "deploy", bundle, options.deploys)


if __name__ == "__main__":
    main()
