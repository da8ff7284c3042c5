"""How long the embedded stack takes to start, stop and start again, and what each program holds in memory.

    python -m benchmarks.stack [--rounds 3]

Uses a data directory of its own in the temporary folder and removes it. `first` is `up` on an empty data
directory, `warm` after `down`, `crash` after a `kill -9` of supervisord, `again` on a running stack.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from backend.cli.embedded.home import Home

PROGRAM = str(Path(sys.executable).with_name("sightloop"))
PORT = 29100


def main() -> None:
    """Print seconds for each kind of start, then the memory of each program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds: int = parser.parse_args().rounds
    seconds: dict[str, list[float]] = {kind: [] for kind in ("first", "again", "down", "warm", "crash")}
    programs: list[dict[str, object]] = []
    for _ in range(rounds):
        folder = Path(tempfile.mkdtemp(prefix="sightloop-bench-"))
        home = Home(folder / "data")
        try:
            seconds["first"].append(_timed(home, "up", "--port", str(PORT)))
            seconds["again"].append(_timed(home, "up"))
            programs = json.loads(_run(home, "status", "--json"))["programs"]
            seconds["down"].append(_timed(home, "down"))
            seconds["warm"].append(_timed(home, "up"))
            os.kill(int(home.pid_file.read_text()), signal.SIGKILL)
            seconds["crash"].append(_timed(home, "up"))
        finally:
            _run(home, "down")
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{'':<14}{'median s':>10}{'worst s':>10}")
    for kind, values in seconds.items():
        print(f"{kind:<14}{statistics.median(values):>10.1f}{max(values):>10.1f}")
    for program in programs:
        print(f"{program['name']!s:<14}{int(str(program['memory'])) / 1024**2:>10.0f} MB")


def _timed(home: Home, *arguments: str) -> float:
    start = time.monotonic()
    _run(home, *arguments)
    return time.monotonic() - start


def _run(home: Home, *arguments: str) -> str:
    command = [PROGRAM, "--data-dir", str(home.path), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main()
