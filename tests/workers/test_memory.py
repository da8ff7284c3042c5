"""A worker runs with the allocator settings that training is fast with."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from workers import memory

# Replaces itself once and then prints what it runs with and whether it is the same process.
_PROGRAM = """
import json, os, sys
sys.path.insert(0, {folder!r})
from workers import memory
before = os.environ.setdefault("FIRST_PROCESS", str(os.getpid()))
memory.restart_if_needed("again")
names = [*memory.ENVIRONMENT, "GLIBC_TUNABLES"]
print(json.dumps({{"same": before == str(os.getpid()), "arguments": sys.argv[1:],
                  "set": {{name: os.environ.get(name) for name in names}}}}))
"""


@pytest.fixture
def plain_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in memory.ENVIRONMENT}


def _run(tmp_path: object, environment: dict[str, str]) -> dict[str, object]:
    with open(f"{tmp_path}/again.py", "w", encoding="utf-8") as stream:
        stream.write(_PROGRAM.format(folder=os.getcwd()))
    done = subprocess.run(
        [sys.executable, "-m", "again", "--queues", "a b"],
        env=environment,
        cwd=str(tmp_path),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_the_process_is_replaced_by_one_with_the_settings(
    tmp_path: object, plain_environment: dict[str, str]
) -> None:
    answer = _run(tmp_path, plain_environment)
    assert answer == {"same": True, "arguments": ["--queues", "a b"], "set": dict(memory.ENVIRONMENT)}


def test_what_the_user_has_set_stays(tmp_path: object, plain_environment: dict[str, str]) -> None:
    answer = _run(tmp_path, {**plain_environment, "MALLOC_TOP_PAD_": "4096"})
    assert answer["set"] == {**memory.ENVIRONMENT, "MALLOC_TOP_PAD_": "4096"}
