"""Mixed precision: when it is used, and float16 with its scaled losses through the whole loop, on the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from plugins.fitting import fit, loop, read_checkpoint
from plugins.fitting.precision import Precision, precision_of
from tests.plugins.test_fitting import PLAN, Line, memory


def test_a_cpu_computes_in_float32() -> None:
    chosen = precision_of("cpu")
    assert chosen.half is None and not chosen.scaler().is_enabled()
    with chosen.autocast():
        assert torch.nn.Linear(1, 1)(torch.ones(1, 1)).dtype == torch.float32


@pytest.mark.parametrize("native, half", [(True, torch.bfloat16), (False, torch.float16)])
def test_a_gpu_computes_in_bfloat16_if_it_can_and_else_in_float16(
    monkeypatch: pytest.MonkeyPatch, native: bool, half: torch.dtype
) -> None:
    def supported(*, including_emulation: bool) -> bool:
        assert not including_emulation
        return native

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert precision_of("cuda").half == half


class Halves(Line):
    """A line whose network is seen to compute in float16."""

    def loss(self, batch: list[float]) -> Tensor:
        assert self.model(torch.ones(1, 1)).dtype == torch.float16
        return super().loss(batch)


@pytest.fixture
def float16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "precision_of", lambda device: Precision(device, torch.float16))


@pytest.mark.usefixtures("float16")
def test_gradients_too_large_for_float16_cost_a_step_and_no_more(tmp_path: Path) -> None:
    context = memory(tmp_path)
    fitted = fit(context, Halves(), PLAN)
    _, record = read_checkpoint(tmp_path / "checkpoint.safetensors")
    assert record["scaler"]["scale"] < 65536, "the first scale is too large for these gradients"
    assert not any("not a number" in line or "half the learning rate" in line for line in context.lines)
    assert fitted.score > Line().score(Line().model).value


@pytest.mark.usefixtures("float16")
@pytest.mark.parametrize("fault_at", [5, 28])
def test_resuming_goes_on_with_the_same_scale(tmp_path: Path, fault_at: int) -> None:
    def crash(step: int, loss: Tensor) -> Tensor:
        if step == fault_at:
            raise RuntimeError("power cut")
        return loss

    (tmp_path / "whole").mkdir()
    whole = fit(memory(tmp_path / "whole"), Halves(), PLAN)
    with pytest.raises(RuntimeError, match="power cut"):
        fit(memory(tmp_path), Halves(crash), PLAN)
    resumed = fit(memory(tmp_path), Halves(), PLAN)
    for name, value in whole.last.items():
        assert torch.equal(resumed.last[name], value)
    ends = [
        read_checkpoint(folder / "checkpoint.safetensors")[1] for folder in (tmp_path, tmp_path / "whole")
    ]
    assert ends[0]["scaler"] == ends[1]["scaler"]
