"""What a trained model may be trusted with, learned from its own answers; see `plugins.classification.trust`.

The thresholds come from images that the model has not learned from: the validation images, and the
training images as cross-validation of the last layer answered them, because a tenth of a small dataset is
a few images a class. Measured on three datasets with 28 validation images, both together came closer to
the wanted precision and answered more than the validation images alone.

What is familiar comes from the features of the training images. How far a new image of the same kind may
lie is the distance of each training image from all others, enlarged by how much farther the validation
images are: a network that was fine-tuned on an image knows it better than any new one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats  # type: ignore[import-untyped]
from sklearn.utils.extmath import randomized_svd

from plugins.classification import thresholds, trust
from plugins.classification.cache import Images
from plugins.classification.head import Floats, Targets
from plugins.classification.judging import judge
from plugins.classification.predictor import ClassificationPredictor, open_predictor
from plugins.classification.thresholds import Threshold
from plugins.classification.unfamiliar import Reference, nearest, project
from plugins.contract import PluginError
from plugins.fitting import whole_file

FALSE_ALARMS = 0.015  # the share of new images of the known kind that may be refused as unlike
DIRECTIONS = 128
# Training images kept, at most: the larger of the first and the second times the classes.
_ROWS, _ROWS_A_CLASS = 1000, 4
_LEAST_IMAGES = 4
_ENOUGH = 10  # held-out images that show how distances spread
_LEAST_LIMIT = 1e-3  # the same image stored as half floats is this far from itself, at most
_SMALLEST = 1e-7
_TOGETHER = 32  # images asked about at once


@dataclass(frozen=True)
class Answers:
    """Of images on one side: `probabilities` (images, classes), pooled `features` (images, width) or None
    where the model has none, and the class indices `targets` (images) that are right.
    """

    probabilities: Floats
    features: Floats | None
    targets: Targets


def fit(
    folder: Path,
    *,
    labels: Sequence[str],
    train: Answers,
    validation: Answers,
    out_of_fold: Answers | None,
    precision: float,
) -> Mapping[str, Any]:
    """Write `trust.npz` into the draft folder; the JSON entry for `model["trust"]`.

    `train` and `validation` are answers of the exported model on plain images; of `train` only the features
    count. `out_of_fold` are probabilities of training images from models that had not seen them. `precision`
    (a share) is how often an answer acted on shall be right. The entry: `file`, `precision`, `thresholds` by
    class (None: never act on it), `fitted_on` (images, right ones and threshold a class), `unlike` (limit and
    images compared with; None when there are too few). Raises `PluginError`: `model_failed` for NaN,
    `disk_full`.
    """
    for answers in (train, validation, *([out_of_fold] if out_of_fold else [])):
        _check(answers)
    fitted = thresholds.fit(*_unseen(len(labels), validation, out_of_fold), precision)
    reference = learn(train, validation.features, len(labels))
    values = [np.inf if one.confidence is None else one.confidence for one in fitted]
    arrays: dict[str, npt.NDArray[np.floating]] = {"thresholds": np.array(values, np.float32)}
    if reference is not None:
        # Half floats: their rounding moves a distance by a thousandth at most.
        arrays |= {
            "scale": reference.scale,
            "basis": reference.basis.astype(np.float16),
            "rows": reference.rows.astype(np.float16),
            "limit": np.array(reference.limit, np.float32),
        }
    with whole_file(folder / trust.FILE) as stream:
        np.savez(stream, allow_pickle=False, **arrays)
    return _entry(labels, fitted, reference, precision)


def fit_draft(
    folder: Path,
    model: Mapping[str, Any],
    sides: Mapping[str, Images],
    *,
    out_of_fold: Answers | None,
    precision: float,
    threads: int = 1,
) -> Mapping[str, Any]:
    """`fit` for the exported model in `folder`, which is asked about images of both `sides` (`train` and
    `validation`): about as many as count, so within seconds.
    """
    predictor = open_predictor(folder, model, threads=threads)
    train, validation = (
        _ask(predictor, sides[side], len(model["labels"])) for side in ("train", "validation")
    )
    return fit(
        folder,
        labels=model["labels"],
        train=train,
        validation=validation,
        out_of_fold=out_of_fold,
        precision=precision,
    )


def _ask(predictor: ClassificationPredictor, images: Images, classes: int) -> Answers:
    chosen = _some_of_each(images.targets, _most(classes))
    names = ("probabilities", "features") if predictor.has_features else ("probabilities",)
    parts = [
        predictor.outputs(np.ascontiguousarray(images.plain[chosen[start : start + _TOGETHER]]), *names)
        for start in range(0, len(chosen), _TOGETHER)
    ]
    probabilities, *features = (
        (np.concatenate(part) for part in zip(*parts, strict=True))
        if parts
        else (np.empty((0, classes), np.float32),)
    )
    return Answers(probabilities, features[0] if features else None, images.targets[chosen])


def learn(train: Answers, validation_features: Floats | None, classes: int) -> Reference | None:
    """What is familiar; None without features or with hardly any images."""
    if train.features is None or len(train.features) < _LEAST_IMAGES:
        return None
    features = train.features[_some_of_each(train.targets, _most(classes))]
    scale = _scale(features)
    features = features * scale
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), _SMALLEST)
    directions = min(DIRECTIONS, *unit.shape)
    basis = np.ascontiguousarray(randomized_svd(unit, directions, random_state=0)[2].T, np.float32)
    rows = project(features, basis)
    similarities = rows @ rows.T
    np.fill_diagonal(similarities, -np.inf)
    held_out: npt.NDArray[np.float32] = np.empty(0, np.float32)
    if validation_features is not None and len(validation_features):
        held_out = Reference(scale, basis, rows, 0.0).distances(validation_features)
    return Reference(scale, basis, rows, _limit(nearest(similarities), held_out))


def _scale(features: Floats) -> Floats:
    """One over the root of each feature's standard deviation; features that hardly vary are not blown up."""
    spread = features.std(0)
    scale: Floats = 1 / np.sqrt(spread + 0.1 * np.median(spread) + _SMALLEST)
    return scale


def _check(answers: Answers) -> None:
    arrays = [answers.probabilities] + ([] if answers.features is None else [answers.features])
    if not all(np.isfinite(array).all() for array in arrays):
        raise PluginError("model_failed", "the model answered a value that is not a number; train again")


def _unseen(classes: int, validation: Answers, out_of_fold: Answers | None) -> tuple[Floats, Targets]:
    """The answers that thresholds are fitted on, those of cross-validation made as sure as they may be."""
    if out_of_fold is None or not len(out_of_fold.targets):
        return validation.probabilities.reshape(-1, classes), validation.targets
    scores = np.log(np.maximum(out_of_fold.probabilities, _SMALLEST))
    scores /= judge(scores, out_of_fold.targets).temperature
    odds = np.exp(scores - scores.max(1, keepdims=True))
    rows = odds / odds.sum(1, keepdims=True)
    return (
        np.concatenate([validation.probabilities.reshape(-1, classes), rows]),
        np.concatenate([validation.targets, out_of_fold.targets]),
    )


def _most(classes: int) -> int:
    return max(_ROWS, _ROWS_A_CLASS * classes)


def _some_of_each(targets: Targets, most: int) -> npt.NDArray[np.int64]:
    """At most so many images, of each class as many as there are or as its even share allows."""
    order = np.random.default_rng(0).permutation(len(targets))
    rank = np.empty(len(targets), np.int64)
    for label in np.unique(targets):
        places = order[targets[order] == label]
        rank[places] = np.arange(len(places))
    # The first images of every class, then the second ones, and so on.
    chosen: npt.NDArray[np.int64] = np.sort(np.argsort(rank, kind="stable")[:most])
    return chosen


def _limit(among: Floats, held_out: Floats) -> float:
    """The distance that new images of the known kind rarely exceed, from those among the training images, or
    that of the held-out images themselves where these are enough to show their spread.
    """
    distances = np.maximum(among.astype(np.float64), _SMALLEST)
    limits = [_LEAST_LIMIT]
    if len(held_out):
        farther = np.log(np.maximum(held_out, _SMALLEST)).mean() - np.log(distances).mean()
        distances = distances * np.exp(max(float(farther), 0.0))
    if len(held_out) >= _ENOUGH:
        limits.append(_seldom_exceeded(held_out.astype(np.float64)))
    return max(*limits, _seldom_exceeded(distances))


def _seldom_exceeded(distances: npt.NDArray[np.float64]) -> float:
    """The quantile itself where there are distances enough, and at least where a normal distribution of
    unknown mean and variance has it for one more (Student's t), which is farther with few.
    """
    count = len(distances)
    spread = distances.std(ddof=1) * np.sqrt(1 + 1 / count)
    normal = distances.mean() + stats.t.ppf(1 - FALSE_ALARMS, count - 1) * spread
    return float(max(np.quantile(distances, 1 - FALSE_ALARMS), normal))


def _entry(
    labels: Sequence[str], fitted: Sequence[Threshold], reference: Reference | None, precision: float
) -> dict[str, Any]:
    unlike = reference and {
        "limit": round(reference.limit, 4),
        "images": len(reference.rows),
        "false_alarms": FALSE_ALARMS,
    }
    return {
        "file": trust.FILE,
        "precision": precision,
        "thresholds": {label: one.confidence for label, one in zip(labels, fitted, strict=True)},
        "fitted_on": {label: asdict(one) for label, one in zip(labels, fitted, strict=True)},
        "unlike": unlike,
    }
