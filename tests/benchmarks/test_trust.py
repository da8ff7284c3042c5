"""What the benchmark of decisions counts; it trains nothing here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.trust import Asked, held_out
from plugins.contract import Decision, Prediction
from tests.plugins.context import example


def test_decisions_are_counted_by_what_they_lead_to() -> None:
    images = [example(f"{number}.jpg", b"", label, "test") for number, label in enumerate("aabb")]
    decided = [Decision("a"), Decision(None, "not_sure"), Decision("a"), Decision(None, "unlike_training")]
    found = Asked.of(images, [Prediction((), one) for one in decided])
    assert found == Asked(images=4, acted=2, right=1, unlike=1)


def test_each_seed_holds_out_another_class_where_two_remain() -> None:
    assert [held_out(["a", "b", "c"], seed) for seed in range(4)] == ["a", "b", "c", "a"]
    assert held_out(["a", "b"], 0) is None


def test_without_the_sets_it_says_where_they_are_looked_for(tmp_path: Path) -> None:
    environment = {**os.environ, "SIGHTLOOP_BENCH_DATA": str(tmp_path)}
    for arguments, missing in (([], "any set"), (["--sets", "nuts"], "nuts")):
        command = [sys.executable, "-m", "benchmarks.trust", *arguments]
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert answer.returncode == 2 and "Traceback" not in answer.stderr
        assert f"lacks {missing}; SIGHTLOOP_BENCH_DATA" in answer.stderr
