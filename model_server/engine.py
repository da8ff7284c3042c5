"""One opened bundle, and the road of a request through it: decode, wait for the model, forward."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import structlog

from model_server import metrics, payload
from model_server.batching import Admission, Deadline, Places, Together
from model_server.config import ServiceConfig
from model_server.errors import (
    ImageDecodeError,
    InputFormatError,
    ModelForwardError,
    ServingError,
    UnknownError,
)
from plugins import bundle as bundles
from plugins import images, registry
from plugins.contract import DecodedImage, Evidence, Explainer, PluginError, Prediction, Predictor

MOST_TOGETHER = 2  # four are no cheaper an image, and let the first wait longer

_log = structlog.get_logger(__name__)

Result = dict[str, Any]
"""`output` and `meta` of one image, as the client reads them; `decision` and `evidence` where there are."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One decoded image, and whether its evidence is wanted."""

    picture: DecodedImage
    explain: bool


@dataclass(frozen=True, slots=True)
class Answered:
    """What the model said of one image; `evidence` is None where it was not asked for."""

    prediction: Prediction
    evidence: Evidence | None = None


def open_predictor(config: ServiceConfig) -> Predictor:
    """Verify the bundle and open it with the predictor of its plugin.

    Raises `BundleError` or `PluginError`.
    """
    bundle = bundles.verify(Path(config.bundle), digest=config.digest)
    open_it = registry.load(registry.plugin(bundle.manifest.plugin).predictor)
    opened: Predictor = open_it(bundle.folder, bundle.manifest.model, threads=config.quota)
    return opened


def results_of(decoded: DecodedImage, answered: Answered, *, top_k: int) -> Result:
    """The outputs as the API shows them; of classes only the first `top_k`, of regions all.

    Raises `ModelForwardError` when the model gave no number.
    """
    prediction = answered.prediction
    outputs: list[dict[str, Any]] = []
    classes = 0
    for output in prediction.outputs:
        if not math.isfinite(output.conf):
            raise ModelForwardError("the model gave no number for this image")
        shown: dict[str, Any] = {"label": output.label, "conf": round(float(output.conf), 6)}
        if output.pos is None:
            classes += 1
            if classes > top_k:
                break
        else:
            shown["pos"] = [[round(float(x), 6), round(float(y), 6)] for x, y in output.pos]
        outputs.append(shown)
    result: Result = {"output": outputs, "meta": {"height": decoded.height, "width": decoded.width}}
    if prediction.decision is not None:
        result["decision"] = {"label": prediction.decision.label, "reason": prediction.decision.reason}
    if answered.evidence is not None:
        found = answered.evidence
        result["evidence"] = {"label": found.label, "grid": found.grid, "peak": found.peak}
    return result


@dataclass
class Times:
    """Seconds a request spent in each phase, waiting included, for the log."""

    decode: float = 0.0
    forward: float = 0.0


class Engine:
    """Answers requests within the budget of one instance. Thread-safe."""

    def __init__(self, predictor: Predictor, config: ServiceConfig) -> None:
        self._predictor = predictor
        self._config = config
        self._why_not_explained = _why_not_explained(predictor)
        # One forward at a time uses all threads of the budget.
        self._model: Together[Asked, Answered | ServingError] = Together(self._predict, MOST_TOGETHER)
        # One image more than cores, so that the model never waits for pixels; bounds the memory of bombs.
        self._decoders = Places(config.quota + 1)
        self.admission = Admission(config.queue_size + 1)

    def answer(
        self, items: Sequence[payload.Item], *, top_k: int, explain: bool = False, times: Times
    ) -> list[Result | ServingError]:
        """One result or one error an item, in order.

        Raises for the request as a whole: `GetInstanceError`, and `InputFormatError` when evidence is asked
        of a model that has none.
        """
        if explain and self._why_not_explained:
            raise InputFormatError(self._why_not_explained)
        deadline = Deadline(self._config.deadline_seconds)
        with self.admission.enter():
            answers: list[DecodedImage | Result | ServingError] = []
            for item in items:
                answers.append(self._decode(item, deadline, times))
            places = [at for at, entry in enumerate(answers) if not isinstance(entry, ServingError)]
            asked = [Asked(cast(DecodedImage, answers[at]), explain) for at in places]
            final: list[Any] = list(answers)
            for at, answer in zip(places, self._forward(asked, deadline, top_k, times), strict=True):
                final[at] = answer
            return final

    def _decode(self, item: payload.Item, deadline: Deadline, times: Times) -> DecodedImage | ServingError:
        try:
            data = payload.image_bytes(item)
            with _timed(times, "decode"), self._decoders.hold(deadline):
                return images.decode(data, wanted_side=self._predictor.wanted_side)
        except images.ImageError as error:
            return ImageDecodeError(str(error))
        except InputFormatError as error:
            return error

    def _forward(
        self, asked: Sequence[Asked], deadline: Deadline, top_k: int, times: Times
    ) -> list[Result | ServingError]:
        if not asked:
            return []
        with _timed(times, "forward"):
            answers = self._model.answer(asked, deadline)
        return [_shown(one.picture, answer, top_k) for one, answer in zip(asked, answers, strict=True)]

    def _predict(self, asked: Sequence[Asked]) -> list[Answered | ServingError]:
        """All at once; if that fails each alone, so that one bad image fails no other."""
        try:
            predictions = self._predictor.predict([one.picture for one in asked])
            if len(predictions) != len(asked):
                raise ValueError(f"{len(predictions)} predictions for {len(asked)} images")
            return [
                Answered(prediction, self._evidence(one.picture, prediction) if one.explain else None)
                for one, prediction in zip(asked, predictions, strict=True)
            ]
        except Exception as error:
            if len(asked) == 1:
                return [_failure(error)]
        return [answer for one in asked for answer in self._predict([one])]

    def _evidence(self, picture: DecodedImage, prediction: Prediction) -> Evidence:
        """For the class that the answer begins with; a second forward, of which other images have no cost."""
        assert isinstance(self._predictor, Explainer)
        (found,) = self._predictor.explain([picture], [prediction.outputs[0].label])
        return found


def _why_not_explained(predictor: Predictor) -> str:
    """Why a model cannot show evidence; empty when it can."""
    if not isinstance(predictor, Explainer):
        return "explain is not possible: this kind of model has no evidence maps"
    try:
        predictor.explain([])
    except PluginError as error:
        return f"explain is not possible: {error}"
    return ""


def _shown(picture: DecodedImage, answer: Answered | ServingError, top_k: int) -> Result | ServingError:
    if isinstance(answer, ServingError):
        return answer
    try:
        return results_of(picture, answer, top_k=top_k)
    except ModelForwardError as error:
        return error


def _failure(error: Exception) -> ServingError:
    if isinstance(error, PluginError):
        return ModelForwardError(str(error))
    _log.error("the predictor raised what was not foreseen", exc_info=error)
    return UnknownError("the image could not be answered; the log of the service says why")


@contextmanager
def _timed(times: Times, phase: str) -> Iterator[None]:
    started = time.monotonic()
    try:
        yield
    finally:
        seconds = time.monotonic() - started
        setattr(times, phase, getattr(times, phase) + seconds)
        metrics.PHASES.labels(phase).observe(seconds)
