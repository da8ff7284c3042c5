"""Both networks of a reader in int8: each made, judged end to end, and served where it is faster and as good.

The detector first, then the recogniser beside whichever detector is served. First all convolutions of a
network are quantised; where the texts then come out worse, those whose outputs are hurt most stay in fp32.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from plugins.contract import AttemptLost, Example, PluginError, Prediction, TrainingContext, TrainingStopped
from plugins.images import ImageError
from plugins.ocr import geometry
from plugins.ocr.evaluate import HEADLINE, evaluate
from plugins.ocr.predictor import assembled
from plugins.ocr.predictor.breaks import open_breaks
from plugins.ocr.predictor.language import open_language
from plugins.ocr.predictor.network import Floats, Network, Pixels
from plugins.ocr.trainer.pages import Pages
from plugins.quantisation import SPARED, Stopped, quantiser, sensitivity, speed, write
from plugins.spread import spread

MOST_LOST = 0.005  # of F1 end to end
NETWORKS = ("detector", "recogniser")
_PAGES, _FEWEST, _SECONDS = 40, 8, 20.0  # validation images that judge: those read in these seconds of fp32
_CALIBRATION = 8  # training images, and inputs of each network
_TEXTS = 64  # of a training image
_PAIRS = 8  # runs that are timed
_SHOWN = 320  # pixels of an input's sides that show which convolutions suffer
_STOPPED = "the training was stopped before int8 was compared with it"


def offer(
    context: TrainingContext, folder: Path, model: Mapping[str, Any], side: Pages, validation: Pages
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Put `detector-int8.onnx` and `recogniser-int8.onnx` beside the fp32 files of a draft and serve each if
    it passes; the model that is served, and by network the facts (JSON) that say why.

    Ranges come from the training `side`. By no more than `MOST_LOST` may F1 end to end on the validation
    images, case and spaces ignored, fall below that of both networks in fp32. Whatever goes wrong, fp32 stays
    and the facts say why. Raises only what `context.stop_requested` raises.
    """
    for name in NETWORKS:
        _file(folder, name).unlink(missing_ok=True)  # of an earlier attempt
    work = Work(context, folder, dict(model), validation.some(_PAGES))
    try:
        work.prepare(side.some(_CALIBRATION))
        for name in NETWORKS:
            _guarded(work, name)
    except (TrainingStopped, AttemptLost):
        raise
    except Exception as error:  # of ONNX Runtime, which has no common base class for what it raises
        work.refuse_the_rest(_reason(error))
    for name in NETWORKS:
        context.log(_in_words(name, work.facts[name]))
    context.fact("served", ", ".join(f"{name} {work.facts[name]['served']}" for name in NETWORKS))
    return work.model, work.facts


def _guarded(work: Work, name: str) -> None:
    """Trouble with one network is none of the other's."""
    try:
        work.offer(name)
    except (TrainingStopped, AttemptLost, Stopped):
        raise
    except OSError as error:
        work.refuse(name, f"{_file(work.folder, name).name} could not be written: {error.strerror or error}")
    except Exception as error:  # see `offer`
        work.refuse(name, _reason(error))


def _reason(error: Exception) -> str:
    if isinstance(error, Stopped):
        return _STOPPED
    return f"it could not be quantised: {(str(error).splitlines() or [''])[0][:200]}"


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}-int8.onnx"


def _in_words(name: str, facts: Mapping[str, Any]) -> str:
    return f"The {name} is served in {facts['served']}: {facts['reason']}."


class _Heard:
    """A network that keeps what it was asked, for calibration and timing."""

    def __init__(self, network: Network) -> None:
        self.network, self.input, self.classes = network, network.input, network.classes
        self.rows: list[Pixels] = []

    def run(self, rows: Pixels) -> Floats:
        """As `Network.run`."""
        self.rows.append(rows)
        return self.network.run(rows)


@dataclass
class Work:
    """One offer; `model` and `facts` grow as things become known."""

    context: TrainingContext
    folder: Path
    model: dict[str, Any]
    validation: Pages
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    inputs: dict[str, list[Pixels]] = field(default_factory=dict)
    judged: list[Example] = field(default_factory=list)
    before: float = 0.0

    def prepare(self, side: Pages) -> None:
        """Open both networks, hear what they are asked for training images and the texts marked there, and
        judge them in fp32.
        """
        self.graphs = {name: (self.folder / self.model[name]["file"]).read_bytes() for name in NETWORKS}
        self.networks = {name: self._network(name, self.graphs[name]) for name in NETWORKS}
        heard = {name: _Heard(network) for name, network in self.networks.items()}
        predictor = assembled(self.model, heard["detector"], heard["recogniser"])  # type: ignore[arg-type]
        for place in range(len(side)):
            self._go_on()
            try:
                pixels, share = side.pixels(place)
            except ImageError:
                continue
            predictor.map(pixels)
            marked = geometry.quads(side.examples[place].regions[:_TEXTS]) * np.float32(share)
            predictor.read_boxes(pixels, marked, margin=predictor.margin)
        self.inputs = {name: _spread(one.rows) for name, one in heard.items()}
        self.before = self._judge(self.networks, choose=True)

    def offer(self, name: str) -> None:
        """Try the candidates of one network in order, and serve the first that passes."""
        if not self.inputs[name]:
            return self.refuse(name, "there is no training image with text to calibrate int8 with")
        if not any(example.regions for example in self.judged):
            return self.refuse(name, "there is no validation image with text to judge int8 on")
        reason, known = "", dict[str, Any]()
        for graph, kept in self.quantised(name):
            timed = self._speed(name, graph)
            tried = {"bytes_int8": len(graph), "in_fp32": kept, **timed.facts()}
            if not timed.faster:  # those with more in fp32 are no faster; what was judged before says more
                return self.refuse(name, reason or "int8 is not faster on this machine", known or tried)
            network = self._network(name, graph)
            after = self._judge({**self.networks, name: network})
            known = {**tried, "f1_fp32": round(self.before, 4), "f1_int8": round(after, 4)}
            known |= {"images": len(self.judged)}
            if after >= self.before - MOST_LOST:
                return self._serve(name, graph, network, timed, known)
            reason = f"in int8 F1 end to end on validation falls from {self.before:.1%} to {after:.1%}"
        return self.refuse(name, reason, known)

    def refuse(self, name: str, reason: str, known: Mapping[str, Any] | None = None) -> None:
        """Fp32 stays."""
        size = (self.folder / self.model[name]["file"]).stat().st_size
        self.facts[name] = {"served": "fp32", "reason": reason, "bytes_fp32": size, **(known or {})}

    def refuse_the_rest(self, reason: str) -> None:
        """Fp32 stays for those networks that were not offered yet."""
        for name in NETWORKS:
            if name not in self.facts:
                self.refuse(name, reason)

    def _serve(
        self, name: str, graph: bytes, network: Network, timed: speed.Speed, known: Mapping[str, Any]
    ) -> None:
        self._go_on()
        path = _file(self.folder, name)
        write(path, graph)
        reason = (
            f"{timed.ratio[1]:.1f} times faster on one thread of this machine, F1 end to end on validation "
            f"{known['f1_int8']:.1%} instead of {known['f1_fp32']:.1%}"
        )
        size = len(self.graphs[name])
        self.facts[name] = {"served": "int8", "reason": reason, "bytes_fp32": size, **known}
        self.model = {**self.model, name: {**self.model[name], "file": path.name}}
        self.networks[name] = network

    def quantised(self, name: str) -> Iterator[tuple[bytes, list[str]]]:
        """Graphs in int8 with the names of those convolutions that stay in fp32, the smallest first."""
        graph = quantiser.read(self.graphs[name])
        names, threads = quantiser.convolutions(graph), self.context.threads
        put = self.networks[name].input.normalised
        batches = (put(rows) for rows in self.inputs[name])
        statistics = quantiser.observe(graph, batches, threads=threads, stop=self.context.stop_requested)
        order: list[str] = []
        for share in SPARED:
            self._go_on()
            if share and not order:
                few = [put(rows[:, :_SHOWN, :_SHOWN]) for rows in self.inputs[name][:2]]
                stop = self.context.stop_requested
                order = sensitivity.order(graph, statistics, few, threads=threads, stop=stop)
            kept = order[: round(share * len(names))]
            yield quantiser.quantise(graph, statistics, without=kept).SerializeToString(), kept

    def _speed(self, name: str, graph: bytes) -> speed.Speed:
        rows = self.inputs[name]
        one, other = (self._network(name, some, 1) for some in (self.graphs[name], graph))
        return speed.measure(
            lambda number: one.run(rows[number % len(rows)]),
            lambda number: other.run(rows[number % len(rows)]),
            stop=self.context.stop_requested,
            pairs=_PAIRS,
        )

    def _judge(self, networks: Mapping[str, Network], *, choose: bool = False) -> float:
        """F1 end to end; with `choose` on as many validation images as there is time for, which then stay."""
        breaks, language = open_breaks(self.folder, self.model), open_language(self.folder, self.model)
        predictor = assembled(self.model, networks["detector"], networks["recogniser"], breaks, language)
        examples = list(self.validation.examples) if choose else self.judged
        started, seen, answers = time.monotonic(), [], list[Prediction]()
        pages = Pages(examples, self.validation.read)
        for place, example in enumerate(examples):
            self._go_on()
            if choose and place >= _FEWEST and time.monotonic() - started > _SECONDS:
                break
            try:
                answers += predictor.predict([pages.decoded(place)])
            except ImageError:
                continue
            except PluginError:  # a value that is no number: a network that answers nothing
                answers.append(Prediction(()))
            seen.append(example)
        self.judged = seen
        return evaluate(seen, answers).metrics[HEADLINE]

    def _network(self, name: str, graph: bytes, threads: int | None = None) -> Network:
        return Network(graph, self.model[name]["input"], threads=threads or max(1, self.context.threads))

    def _go_on(self) -> None:
        if self.context.stop_requested():
            raise Stopped


def _spread(rows: list[Pixels]) -> list[Pixels]:
    """At most so many inputs, evenly spread."""
    return [rows[place] for place in spread(len(rows), _CALIBRATION).tolist()]
