"""The training loop on a network of a few numbers."""

from __future__ import annotations

import errno
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from plugins.contract import AttemptLost, PluginError
from plugins.fitting import Plan, Score, Share, fit, read_checkpoint, whole_file
from tests.plugins.context import MemoryContext

PLAN = Plan(epochs=6, batches=5, average=0.5, checkpoint_seconds=0)


class Line:
    """Learn y = 3 x - 1; `disturb` may change a loss or raise."""

    def __init__(self, disturb: Callable[[int, Tensor], Tensor] = lambda step, loss: loss) -> None:
        torch.manual_seed(0)
        self.model = nn.Linear(1, 1)
        self.disturb, self.steps = disturb, 0

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.model.parameters(), lr=0.2)

    def batches(self, epoch: int, first: int, share: Share) -> Iterator[list[float]]:
        for number in range(first, PLAN.batches):
            yield [float(epoch), float(number), 1.0]

    def loss(self, batch: list[float]) -> Tensor:
        x = torch.rand(len(batch), 1)
        self.steps += 1
        return self.disturb(self.steps, (self.model(x) - (3 * x - 1)).square().mean())

    def score(self, model: nn.Module) -> Score:
        x = torch.linspace(0, 1, 8)[:, None]
        loss = float((model(x) - (3 * x - 1)).square().mean().detach())
        return Score(-loss, {"validation_loss": loss})


def memory(folder: Path) -> MemoryContext:
    return MemoryContext(folder, None, (), [], {})


def test_it_learns_and_reports(tmp_path: Path) -> None:
    context, work = memory(tmp_path), Line()
    fitted = fit(context, work, replace(PLAN, epochs=40))
    assert fitted.ending == "finished" and fitted.epochs == 40
    assert fitted.score > -0.01
    assert {row["name"] for row in context.rows} == {
        "loss",
        "validation_loss",
        "learning_rate",
        "images_per_second",
    }


def test_the_start_is_kept_when_nothing_is_better(tmp_path: Path) -> None:
    work = Line()
    with torch.no_grad():
        work.model.weight.fill_(3)
        work.model.bias.fill_(-1)
    fitted = fit(memory(tmp_path), work, PLAN)
    assert fitted.best_epoch == 0 and fitted.best["weight"].item() == 3


@pytest.mark.parametrize("fault_at", [3, 5, 12, 28])
def test_resuming_after_a_crash_ends_where_it_would_have(tmp_path: Path, fault_at: int) -> None:
    def crash(step: int, loss: Tensor) -> Tensor:
        if step == fault_at:
            raise RuntimeError("power cut")
        return loss

    (tmp_path / "whole").mkdir()
    whole = fit(memory(tmp_path / "whole"), Line(), PLAN)
    with pytest.raises(RuntimeError, match="power cut"):
        fit(memory(tmp_path), Line(crash), PLAN)
    resumed = fit(memory(tmp_path), Line(), PLAN)
    assert resumed.last.keys() == whole.last.keys()
    for name, value in whole.last.items():
        assert torch.equal(resumed.last[name], value)
    assert resumed.score == whole.score


def test_a_finished_training_is_not_done_again(tmp_path: Path) -> None:
    first = fit(memory(tmp_path), Line(), PLAN)
    work = Line()
    again = fit(memory(tmp_path), work, PLAN)
    assert work.steps == 0 and again.score == first.score


def test_a_loss_that_is_not_a_number_once_goes_back_and_on(tmp_path: Path) -> None:
    context = memory(tmp_path)
    fitted = fit(context, Line(lambda step, loss: loss * (math.nan if step == 8 else 1)), PLAN)
    assert fitted.ending == "finished"
    assert all(value.isfinite().all() for value in fitted.last.values())
    assert any("half the learning rate" in line for line in context.lines)


def test_a_loss_that_stays_no_number_is_refused(tmp_path: Path) -> None:
    work = Line(lambda step, loss: loss * (math.inf if step > 8 else 1))
    with pytest.raises(PluginError, match="lower learning rate") as refusal:
        fit(memory(tmp_path), work, PLAN)
    assert refusal.value.code == "loss_not_finite"


def test_stopping_keeps_the_best_at_once(tmp_path: Path) -> None:
    context, work = memory(tmp_path), Line()
    context.stop_at = 13
    fitted = fit(context, work, PLAN)
    assert fitted.ending == "stopped" and work.steps == 13
    assert fitted.score > Line().score(Line().model).value


def test_the_time_budget_ends_training_with_a_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context, work = memory(tmp_path), Line()
    # A clock that the steps move: each takes a second, and 12 seconds are there, 2 of them reserved.
    monkeypatch.setattr(MemoryContext, "time_left", lambda self: 12.0 - work.steps)
    fitted = fit(context, work, replace(PLAN, epochs=1000, reserve=2.0))
    assert work.steps == 10 and fitted.ending == "finished"
    rates = [row["value"] for row in context.rows if row["name"] == "learning_rate"]
    assert rates == sorted(rates, reverse=True), "the rate falls with the time that is left"
    assert fitted.best_epoch > 0


def test_an_epoch_that_the_time_cut_short_counts_as_its_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, work = memory(tmp_path), Line()
    monkeypatch.setattr(MemoryContext, "time_left", lambda self: 9.0 - work.steps)
    fitted = fit(context, work, replace(PLAN, epochs=1000, reserve=2.0))
    assert work.steps == 7 and fitted.ending == "finished" and fitted.epochs == fitted.best_epoch == 1.4
    assert "Epoch 1.4 of 1000" in context.lines[-1]
    assert fit(memory(tmp_path), work, replace(PLAN, epochs=1000, reserve=2.0)).epochs == 1.4
    assert work.steps == 7


def test_a_long_epoch_tells_how_it_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plugins.fitting.loop._LIVELY_SECONDS", -1.0)
    context = memory(tmp_path)
    context.budget = 1000.0
    fit(context, Line(), replace(PLAN, epochs=1))
    names = {row["name"] for row in context.rows if 0 < row["epoch"] < 1}
    assert names == {"loss", "images_per_second", "learning_rate", "time_left"}


def test_without_time_nothing_is_trained(tmp_path: Path) -> None:
    context, work = memory(tmp_path), Line()
    context.budget = -1.0
    assert fit(context, work, PLAN).best_epoch == 0 and work.steps == 0


def test_patience_ends_training(tmp_path: Path) -> None:
    work = Line()
    work.score = lambda model: Score(0.0)  # type: ignore[method-assign]
    fitted = fit(memory(tmp_path), work, replace(PLAN, epochs=50, patience=3))
    assert (fitted.ending, fitted.epochs) == ("no longer improving", 4)


def test_a_full_disk_is_a_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    # Writing to this device fails as a full disk does.
    (tmp_path / ".checkpoint.safetensors.part").symlink_to("/dev/full")
    with pytest.raises(PluginError, match="no space left") as refusal:
        fit(memory(tmp_path), Line(), PLAN)
    assert refusal.value.code == "disk_full"
    assert list(tmp_path.iterdir()) == []


def test_other_faults_of_the_disk_are_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(OSError) as fault, whole_file(tmp_path / "x"):
        raise OSError(errno.EIO, "input/output error")
    assert fault.value.errno == errno.EIO and list(tmp_path.iterdir()) == []


def test_a_lost_attempt_writes_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(self: MemoryContext) -> None:
        raise AttemptLost("another attempt owns it")

    monkeypatch.setattr(MemoryContext, "checkpoint", lost)
    with pytest.raises(AttemptLost):
        fit(memory(tmp_path), Line(), PLAN)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x02\0\0\0\0\0\0\0{}"])
def test_a_damaged_checkpoint_is_not_used(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(content)
    context = memory(tmp_path)
    assert fit(context, Line(), PLAN).ending == "finished"
    assert any("not used" in line for line in context.lines)


def test_a_checkpoint_is_one_file_without_pickle(tmp_path: Path) -> None:
    fit(memory(tmp_path), Line(), PLAN)
    tensors, record = read_checkpoint(tmp_path / "checkpoint.safetensors")
    assert record["epoch"] == PLAN.epochs and record["batch"] == 0
    assert {name.split(".")[0] for name in tensors} == {"model", "average", "optimizer", "best"}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]
