"""The last layer alone: multinomial logistic regression on the pooled features of the pretrained network.

It is ready within seconds, is the first usable model, the start of fine-tuning, and on few images sometimes
the best there is.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

Floats = npt.NDArray[np.float32]
Targets = npt.NDArray[np.int64]

STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # scikit-learn's C: larger trusts the data more
_DEFAULT = 0.3
_MOST_FOLDS = 4
_MOST_IMAGES = 800  # images that the strength is chosen on


@dataclass(frozen=True)
class Head:
    """Scores are features @ weight.T + bias: `weight` (classes, features), `bias` (classes).

    `log_loss` and `accuracy` are what cross-validation read on the training images, None where no class had
    two images.
    """

    weight: Floats
    bias: Floats
    strength: float
    log_loss: float | None = None
    accuracy: float | None = None


def fit(
    features: Floats,
    targets: Targets,
    groups: npt.NDArray[np.str_],
    classes: int,
    *,
    stop: Callable[[], bool],
) -> Head:
    """Fit on features (views, images, width), the first view the plain one; images of a `group` are alike.

    The strength is the one with the least log loss in cross-validation. `stop` cuts that search short.
    """
    curve = _cross_validate(features, targets, groups, stop)
    strength = min(curve, key=lambda strength: curve[strength][0]) if curve else _DEFAULT
    model = _logistic(features, targets, strength)
    loss, accuracy = curve.get(strength, (None, None))
    return Head(*_layer(model, classes), strength, loss, accuracy)


def class_weights(targets: Targets, classes: int) -> Floats:
    """A weight a class, its mean over the images 1: rare classes count more, by the root of what full balance
    would give them, so that a few odd images do not rule.
    """
    counts = np.bincount(targets, minlength=classes)
    weights = 1 / np.sqrt(np.maximum(counts, 1))
    scaled: Floats = (weights / (weights[targets].mean() if len(targets) else 1)).astype(np.float32)
    return scaled


def _logistic(features: Floats, targets: Targets, strength: float) -> LogisticRegression:
    rows = features.reshape(-1, features.shape[-1])
    wanted = np.tile(targets, len(features))
    weights = class_weights(targets, int(targets.max()) + 1)[wanted] / len(features)
    # One thread: the matrices are small, and several threads on busy cores wait for each other.
    with warnings.catch_warnings(), threadpool_limits(1, "blas"):
        warnings.simplefilter("ignore", ConvergenceWarning)  # close enough is good enough
        return LogisticRegression(C=strength, max_iter=300, tol=1e-3).fit(rows, wanted, weights)


def _cross_validate(
    features: Floats, targets: Targets, groups: npt.NDArray[np.str_], stop: Callable[[], bool]
) -> dict[float, tuple[float, float]]:
    """Log loss and accuracy by strength, on plain views of images that the fit has not seen."""
    chosen = np.random.default_rng(0).permutation(len(targets))[:_MOST_IMAGES]
    features, targets, groups = features[:, chosen], targets[chosen], groups[chosen]
    names, counts = np.unique(targets, return_counts=True)
    folds = min(_MOST_FOLDS, int(counts.min()), len(np.unique(groups)))
    if folds < 2 or len(names) < 2:
        return {}
    splits = list(StratifiedGroupKFold(folds, shuffle=True, random_state=0).split(targets, targets, groups))
    if any(len(np.unique(targets[train])) < len(names) for train, _ in splits):
        return {}
    curve = {}
    for strength in STRENGTHS:
        if stop():
            break
        seen = np.zeros((len(targets), len(names)))
        for train, test in splits:
            model = _logistic(features[:, train], targets[train], strength)
            seen[test] = model.predict_proba(features[0, test]).astype(np.float64)
        right = names[seen.argmax(1)] == targets
        given = seen[np.arange(len(targets)), np.searchsorted(names, targets)]
        curve[strength] = (float(-np.log(np.maximum(given, 1e-7)).mean()), float(right.mean()))
    return curve


def _layer(model: LogisticRegression, classes: int) -> tuple[Floats, Floats]:
    """The layer's numbers for all classes; one without images gets a bias that keeps it last."""
    weight, bias = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # scikit-learn keeps one row for two classes
        weight, bias = np.concatenate([-weight / 2, weight / 2]), np.concatenate([-bias / 2, bias / 2])
    all_weights = np.zeros((classes, weight.shape[1]), np.float32)
    all_biases = np.full(classes, bias.min() - 10, np.float32)
    all_weights[model.classes_], all_biases[model.classes_] = weight, bias
    return all_weights, all_biases
