"""The model in int8: made, compared with fp32 on this machine, and served where it is faster and as good.

`plugins.quantisation` makes it, `comparison` holds the rule. First all convolutions are quantised; where the
answers then differ too much, those whose outputs are hurt most stay in fp32, a tenth and then a quarter of
them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from plugins.classification.int8 import comparison
from plugins.classification.int8.comparison import Comparison, Floats, Targets
from plugins.classification.preprocess import Pixels
from plugins.contract import AttemptLost, TrainingStopped
from plugins.quantisation import SPARED, Stopped, quantiser, sensitivity, write
from plugins.sessions import open_session
from plugins.spread import spread

FILE = "model-int8.onnx"

_CALIBRATION = 16  # images; 8 to 128 gave the same answers
_SHOWN = 4  # of them show which convolutions suffer
_CHUNK = 4  # images between two questions whether to stop
_STOPPED = "the training was stopped, or its time was over, before int8 was compared with it"


@dataclass(frozen=True)
class Outcome:
    """`model` is the manifest's model part, whose `file` names what is served; `facts` (JSON) say why."""

    model: Mapping[str, Any]
    facts: Mapping[str, Any]


def offer(
    folder: Path,
    model: Mapping[str, Any],
    *,
    calibration: Pixels,
    validation: Pixels,
    targets: Targets,
    threads: int,
    stop: Callable[[], bool],
    log: Callable[[str], None],
) -> Outcome:
    """Put `model-int8.onnx` beside the fp32 file of a draft and serve it, if it is faster and as good.

    `calibration` are training images and `validation` validation images (n, size, size, 3), `targets` (n,)
    the classes of the latter; there may be none of these. `comparison` holds the rule. Whatever goes wrong,
    fp32 stays and the facts say why. Raises only what `stop` raises.
    """
    work = _Work(folder, model, calibration, validation, targets, threads, stop)
    (folder / FILE).unlink(missing_ok=True)  # of an earlier attempt
    try:
        outcome = work.run()
    except (TrainingStopped, AttemptLost):
        raise
    except Stopped:
        outcome = work.refused(_STOPPED)
    except OSError as error:
        outcome = work.refused(f"{FILE} could not be written: {error.strerror or error}")
    except Exception as error:  # of ONNX and ONNX Runtime, which have no common base class
        outcome = work.refused(f"the model could not be quantised: {str(error).splitlines()[0][:200]}")
    log(_in_words(outcome.facts))
    return outcome


def _in_words(facts: Mapping[str, Any]) -> str:
    sizes = f"{facts['bytes_fp32'] / 1e6:.1f} MB"
    if facts["served"] == "fp32":
        return f"Served in fp32 ({sizes}): {facts['reason']}."
    return f"Served in int8 ({facts['bytes_int8'] / 1e6:.1f} instead of {sizes}): {facts['reason']}."


@dataclass
class _Work:
    """One offer; `facts` grow as things become known."""

    folder: Path
    model: Mapping[str, Any]
    calibration: Pixels
    validation: Pixels
    targets: Targets
    threads: int
    stop: Callable[[], bool]

    def __post_init__(self) -> None:
        self.graph = (self.folder / self.model["file"]).read_bytes()
        self.facts: dict[str, Any] = {"bytes_fp32": len(self.graph), "bytes_int8": None}

    def refused(self, reason: str) -> Outcome:
        """Fp32 stays."""
        return Outcome(self.model, {"served": "fp32", "reason": reason, **self.facts})

    def run(self) -> Outcome:
        """Try the candidates in order, and keep the first that passes."""
        if not len(self.calibration):
            return self.refused("there is no training image to calibrate int8 with")
        network = quantiser.read(self.graph)
        names = quantiser.convolutions(network)
        if not names:
            return self.refused("the network has no convolution to quantise")
        some = self.calibration[spread(len(self.calibration), _CALIBRATION)]
        batches = [some[start : start + _CHUNK] for start in range(0, len(some), _CHUNK)]
        statistics = quantiser.observe(network, batches, threads=self.threads, stop=self.stop)
        order: list[str] = []
        reason = ""
        for share in SPARED:
            self._ask()
            if share and not order:
                shown = [row[None] for row in some[:_SHOWN]]
                order = sensitivity.order(network, statistics, shown, threads=self.threads, stop=self.stop)
            without = order[: round(share * len(names))]
            candidate = quantiser.quantise(network, statistics, without=without).SerializeToString()
            compared = self._compare(candidate)
            self.facts |= {"bytes_int8": len(candidate), "in_fp32": without, **compared.facts()}
            if not compared.faster:
                return self.refused(reason or "int8 is not faster on this machine")
            fault = compared.fault()
            if not fault:
                return self._serve(candidate, compared)
            reason = f"in int8 {fault}"
        return self.refused(reason)

    def _compare(self, candidate: bytes) -> Comparison:
        fp32, int8 = (open_session(graph, threads=1) for graph in (self.graph, candidate))
        speed = comparison.measure_speed(fp32, int8, self.calibration, stop=self.stop)
        most = comparison.affordable(speed, self.threads)
        sessions = [open_session(graph, threads=self.threads) for graph in (self.graph, candidate)]
        some = spread(len(self.validation), most)  # of all classes: images are in order of their keys
        validation, targets = self.validation[some], self.targets[some]
        mirrored = validation[: most // 4, :, ::-1]
        plain = self._answers(sessions, validation)
        turned = self._answers(sessions, mirrored)
        trained = self._answers(sessions, self.calibration[spread(len(self.calibration), most // 2)])
        compared = Comparison(speed, comparison.agreement(*trained), None, None)
        if not plain:
            return compared
        accuracy = [comparison.accuracy(answers, targets) for answers in plain]
        both = [np.concatenate(pair) for pair in zip(plain, turned, strict=True)]
        return replace(compared, validation=comparison.agreement(*both), accuracy=(accuracy[0], accuracy[1]))

    def _answers(self, sessions: list[Any], rows: Pixels) -> list[Floats]:
        if not len(rows):
            return []
        return [comparison.probabilities(session, rows, stop=self.stop) for session in sessions]

    def _serve(self, candidate: bytes, compared: Comparison) -> Outcome:
        self._ask()
        write(self.folder / FILE, candidate)
        reason = f"{compared.speed.ratio[1]:.1f} times faster on one thread of this machine"
        if compared.accuracy is not None:
            reason += (
                f", {compared.accuracy[1]:.1%} instead of {compared.accuracy[0]:.1%} right on validation"
            )
        facts = {"served": "int8", "reason": reason, **self.facts}
        return Outcome({**self.model, "file": FILE}, facts)

    def _ask(self) -> None:
        if self.stop():
            raise Stopped
