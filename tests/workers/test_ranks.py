"""A training in two real processes under torchrun, over gloo: the same result as in one, whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import structlog
import torch.distributed as dist

from backend.errors import WorkerLost
from plugins import registry
from plugins.contract import AttemptLost, Draft, PluginError, Previous, TrainingContext, TrainingStopped
from plugins.images import decode
from plugins.ocr.params import OcrParams
from plugins.ocr.predictor import open_predictor
from tests.plugins import ocr_pages
from tests.plugins.context import MemoryContext, example
from tests.plugins.ocr_pages import page
from tests.valkey import until
from tests.workers import rank_trainers
from workers.ranks import launch, process
from workers.ranks.job import Job
from workers.ranks.process import FollowerContext, LeaderContext

NAME = "classification-high-performance"
# Most of these start three processes that load torch, which takes minutes on a busy machine.
pytestmark = pytest.mark.timeout(400)


def memory(folder: Path) -> MemoryContext:
    params = registry.parse_params(registry.algorithm(NAME)[1], {})
    shown = example("a.jpg", b"a", "a", "train")
    return MemoryContext(folder, params, ("a", "b"), [shown], {"a.jpg": b"a"}, threads=2)


def in_two(trainer: Callable[[TrainingContext], Draft], context: MemoryContext, processes: int = 2) -> Draft:
    dotted = f"{rank_trainers.__name__}:{trainer.__name__}"
    return launch.train(dotted, context, context.folder / "images", processes)


class Agent:
    """Stands for torchrun: the one rank is a thread of this process, so these tests load nothing anew."""

    def __init__(self, job: Path) -> None:
        self._thread = threading.Thread(target=process.main, args=(job, 0, 1, 0))
        self._thread.start()

    def poll(self) -> int | None:
        return None if self._thread.is_alive() else 0

    def wait(self, timeout: float | None = None) -> None:
        self._thread.join(timeout)

    def kill(self) -> None:
        """It ends when its wire does."""


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    @contextmanager
    def started(meeting: Path, processes: int, threads: int) -> Iterator[Agent]:
        agent = Agent(meeting / "job.json")
        try:
            yield agent
        finally:
            agent.wait()
            if dist.is_initialized():
                dist.destroy_process_group()

    monkeypatch.setattr(launch, "_agent", started)
    with structlog.testing.capture_logs():
        yield


def alone(trainer: Callable[[TrainingContext], Draft], folder: Path) -> Draft:
    folder.mkdir()
    return trainer(memory(folder))


def assert_alike(draft: Draft, expected: Draft) -> None:
    for got, wanted in zip(draft.facts["weights"], expected.facts["weights"], strict=True):
        assert got.keys() == wanted.keys()
        for name, values in wanted.items():
            assert got[name] == pytest.approx(values, rel=1e-4, abs=1e-5), name
    assert draft.facts["scores"] == pytest.approx(expected.facts["scores"], rel=1e-3, abs=1e-6)


def no_process_of(folder: Path) -> bool:
    """Whether no process has that folder on its command line."""
    return not [one for one in psutil.process_iter(["cmdline"]) if str(folder) in str(one.info["cmdline"])]


def test_two_fits_in_two_processes_end_where_one_process_does(tmp_path: Path) -> None:
    context = memory(tmp_path)
    draft = in_two(rank_trainers.twice, context)
    expected = alone(rank_trainers.twice, tmp_path / "alone")
    assert_alike(draft, expected)
    assert draft.folder == tmp_path
    assert any("half the learning rate" in line for line in context.lines)
    assert [row["epoch"] for row in context.rows if row["name"] == "loss"] == [*range(1, 7), *range(1, 7)]
    assert draft.facts["threads"] == 2, "outside the fit the leader has all threads"
    assert no_process_of(tmp_path) and not list(tmp_path.glob("ranks-*"))


def test_a_killed_process_costs_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    context = memory(tmp_path)
    draft = in_two(rank_trainers.hit, context)
    assert (tmp_path / "hit").exists()
    assert any("A process of the training was lost" in line for line in context.lines)
    assert any(line.startswith("Continuing after 2.0 of 6") for line in context.lines)
    assert_alike(draft, alone(rank_trainers.plain, tmp_path / "alone"))


def test_processes_that_are_always_killed_end_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "RESTARTS", 0)
    with pytest.raises(WorkerLost, match="killed 1 time;"):
        in_two(rank_trainers.hit_always, memory(tmp_path), processes=1)
    assert no_process_of(tmp_path)


def test_what_goes_wrong_in_the_second_process_is_the_outcome(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="more memory") as refusal:
        in_two(rank_trainers.second_out_of_memory, memory(tmp_path))
    assert refusal.value.code == "out_of_memory"
    assert no_process_of(tmp_path)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    "trainer, code, sentence",
    [
        (rank_trainers.refuses, "too_few_images", "label more"),
        (rank_trainers.breaks, "internal", "worker's log"),
    ],
)
def test_what_goes_wrong_is_the_outcome(
    tmp_path: Path, trainer: Callable[[TrainingContext], Draft], code: str, sentence: str
) -> None:
    with pytest.raises(PluginError, match=sentence) as refusal:
        in_two(trainer, memory(tmp_path))
    assert refusal.value.code == code and "swordfish" not in str(refusal.value)


@pytest.mark.usefixtures("one_thread")
def test_a_trainer_that_gives_up_says_why(tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped, match="before there was a model"):
        in_two(rank_trainers.gives_up, memory(tmp_path))


@pytest.mark.usefixtures("one_thread")
def test_a_number_that_is_none_is_refused_across_processes(tmp_path: Path) -> None:
    assert "loss is nan" in in_two(rank_trainers.bad_number, memory(tmp_path)).facts["refused"]


@pytest.mark.usefixtures("one_thread")
def test_discarding_ends_it_at_the_next_question(tmp_path: Path) -> None:
    context = memory(tmp_path)
    context.stop_at, context.discard = 20, True
    with pytest.raises(TrainingStopped, match="nothing is kept"):
        in_two(rank_trainers.endless, context)


@pytest.mark.usefixtures("one_thread")
def test_the_time_budget_is_that_of_the_job_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = memory(tmp_path)
    monkeypatch.setattr(MemoryContext, "time_left", lambda self: 50.0 - self.asked)
    in_two(rank_trainers.endless, context)
    assert context.asked == 50


def test_stopping_keeps_what_there_is(tmp_path: Path) -> None:
    context = memory(tmp_path)
    context.stop_at = 20
    assert in_two(rank_trainers.endless, context).facts["scores"][0] > -10
    assert no_process_of(tmp_path)


def test_a_lost_attempt_ends_every_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def over(self: MemoryContext) -> bool:
        if (tmp_path / "pid-1").exists():
            raise AttemptLost("another attempt owns it")
        return False

    monkeypatch.setattr(MemoryContext, "should_stop", over)
    with pytest.raises(AttemptLost):
        in_two(rank_trainers.endless, memory(tmp_path))
    assert no_process_of(tmp_path)


_JOB_PROCESS = """
import sys
from pathlib import Path
from tests.workers import rank_trainers, test_ranks
test_ranks.in_two(rank_trainers.endless, test_ranks.memory(Path(sys.argv[1])))
"""


def test_killing_the_job_process_kills_all(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _JOB_PROCESS, str(tmp_path)]) as job:
        marks = [tmp_path / "pid-0", tmp_path / "pid-1"]
        until(lambda: all(mark.exists() and mark.read_text() for mark in marks), "both processes", seconds=90)
        os.kill(job.pid, signal.SIGKILL)
        job.wait()
    until(lambda: no_process_of(tmp_path), "the death of all processes", seconds=60)


def test_the_leader_asks_for_everything_that_the_contract_has(tmp_path: Path) -> None:
    members = {name for name in vars(TrainingContext) if not name.startswith("_")}
    context = memory(tmp_path)
    job = launch._job("x:y", context, tmp_path, tmp_path, tmp_path)
    job.write(tmp_path / "job.json")
    read = Job.read(tmp_path / "job.json")
    assert read == job

    @dataclass
    class Wire:
        asked: list[str]

        def ask(self, name: str, *args: Any, **options: Any) -> float:
            self.asked.append(name)
            return 0.0

    wire = Wire([])
    for kind in (LeaderContext, FollowerContext):
        made: Any = kind(read, wire)  # type: ignore[arg-type]
        assert all(hasattr(made, name) for name in members)
        assert made.params == context.params and list(made.examples("train")) == context.snapshot
        for name in launch._ASKABLE:
            arguments = {"report": ("loss", 1.0), "fact": ("a", 1), "log": ("a",)}.get(name, ())
            getattr(made, name)(*arguments, **({"epoch": 1} if name == "report" else {}))
        assert sorted(wire.asked) == sorted(launch._ASKABLE), kind
    calls = {name for name in members if callable(vars(TrainingContext)[name])}
    assert calls - {"examples", "read"} == launch._ASKABLE


def test_the_previous_model_reaches_the_ranks(tmp_path: Path) -> None:
    context = memory(tmp_path)
    context.previous = Previous(
        "m", "d", tmp_path, {"labels": ["a"]}, {}, {}, {}, {"x": None}, lineage=("s",)
    )
    launch._job("x:y", context, tmp_path, tmp_path, tmp_path).write(tmp_path / "job.json")
    assert Job.read(tmp_path / "job.json").previous == context.previous


def test_a_reader_is_trained_in_two_processes(tmp_path: Path) -> None:
    """What the second process learns from is what the first one has found and cut out."""
    made = [page(number, "train" if number < 4 else "validation") for number in range(6)]
    quick = OcrParams(detector_epochs=1, recogniser_epochs=1, input_side=256)
    context = ocr_pages.context_of(tmp_path, made, quick)
    images = tmp_path / "images"
    images.mkdir()
    for one, data in made:
        (images / one.content_hash).write_bytes(data)
    draft = launch.train("plugins.ocr.trainer:train", context, images, 2)
    assert (context.facts["detector_epochs"], context.facts["recogniser_epochs"]) == (1, 1)
    predictor = open_predictor(draft.folder, draft.model, threads=1)
    (answer,) = predictor.predict([decode(made[5][1])])
    assert [output.label for output in answer.outputs] == ["A57", "B 5"]
    assert not (tmp_path / "lines").exists()
