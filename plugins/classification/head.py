"""The last layer alone: multinomial logistic regression on the pooled features of the pretrained network.

It is ready within seconds, is the first usable model, the start of fine-tuning, and on few images sometimes
the best there is.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

Floats = npt.NDArray[np.float32]
Targets = npt.NDArray[np.int64]

STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # scikit-learn's C: larger trusts the data more
SHARES = (0.0, 0.3, 1.0)  # factors of the features of lower layers: 0 leaves them out
_DEFAULT = (0.3, 0.3)  # share and strength where nothing can be measured
_MOST_FOLDS = 4
_MOST_IMAGES = 800  # images that they are chosen on
_EACH = 8  # images of a class among them, about, below which fewer classes are better than fewer of each
_KNOWS_SIDES = 0.75  # right answers from which on it can tell whether mirror images keep their class
_FEW_ROWS = 0.7  # rows for each feature up to which turning them into their own span pays
_MUCH_WORK = 2e8  # images x features x classes above which only a few values are tried


@dataclass(frozen=True)
class Head:
    """Scores are features @ weight.T + bias: `weight` (classes, features), `bias` (classes).

    `share` weighs the features of lower layers, `mirrored` says that mirror images keep their class.
    `log_loss`, `accuracy` and the probabilities `out_of_fold` (images, classes) are what cross-validation
    read on the training images; None, and rows of NaN for images that took no part, where a class had too
    few images for it.
    """

    weight: Floats
    bias: Floats
    strength: float
    share: float = 1.0
    mirrored: bool = True
    log_loss: float | None = None
    accuracy: float | None = None
    out_of_fold: Floats | None = None


def fit(
    features: Floats,
    targets: Targets,
    groups: npt.NDArray[np.str_],
    classes: int,
    *,
    lower: int = 0,
    stop: Callable[[], bool],
) -> Head:
    """Fit on features (views, images, width): the plain view and, if there is a second one, its mirror image.

    The first `lower` features come from lower layers of the network. Images of a `group` are alike and stay
    on one side in cross-validation, which chooses strength and share by the least log loss, and finds out
    whether mirror images keep their class and may take part. `stop` cuts that search short.
    """
    search = _Search(features, targets, groups, lower, stop)
    share, strength, mirrored, found = search.run()
    views = features if mirrored else features[:1]
    scale = _scale(features.shape[-1], lower, share)
    scaled = views * scale
    weight, bias = _layer(_logistic(scaled, targets, strength, _span(scaled)), classes)
    if found is None:
        return Head(weight * scale, bias, strength, share, mirrored)
    probabilities = _rows(search, found, len(targets), classes)
    return Head(
        weight * scale, bias, strength, share, mirrored, found.log_loss, found.accuracy, probabilities
    )


def out_of_fold(features: Floats, targets: Targets, groups: npt.NDArray[np.str_], classes: int) -> Floats:
    """Probabilities (images, classes) of features (images, width), each row by a layer fitted without
    the image and those of its group. Rows of NaN for classes with images of one group only.
    """
    search = _Search(features[None], targets, groups, 0, lambda: False)
    _, strength, _, found = search.run()
    if found is not None and len(targets) > _MOST_IMAGES:  # the strength was chosen on some: now all of them
        search = _Search(features[None], targets, groups, 0, lambda: False, most=len(targets))
        found = search.read(strength) if search.splits else None
    return _rows(search, found, len(targets), classes)


def _rows(search: _Search, found: _Found | None, images: int, classes: int) -> Floats:
    """The probabilities (images, classes) that were found, and NaN for images that took no part."""
    given = np.full((images, classes), np.nan, np.float32)
    if found is not None:
        given[search.chosen] = 0.0
        given[np.ix_(search.chosen, search.names)] = found.probabilities
    return given


def class_weights(targets: Targets, classes: int) -> Floats:
    """A weight a class, its mean over the images 1: rare classes count more, by the root of what full balance
    would give them, so that a few odd images do not rule.
    """
    counts = np.bincount(targets, minlength=classes)
    weights = 1 / np.sqrt(np.maximum(counts, 1))
    scaled: Floats = (weights / (weights[targets].mean() if len(targets) else 1)).astype(np.float32)
    return scaled


def _logistic(features: Floats, targets: Targets, strength: float, span: Floats | None) -> LogisticRegression:
    rows = features.reshape(-1, features.shape[-1])
    wanted = np.tile(targets, len(features))
    weights = class_weights(targets, int(targets.max()) + 1)[wanted] / len(features)
    # One thread: the matrices are small, and several threads on busy cores wait for each other.
    with warnings.catch_warnings(), threadpool_limits(1, "blas"):
        warnings.simplefilter("ignore", ConvergenceWarning)  # close enough is good enough
        warnings.filterwarnings("ignore", "The number of unique classes")  # few images a class are no fault
        model = LogisticRegression(C=strength, max_iter=300, tol=1e-3)
        model.fit(rows if span is None else rows @ span, wanted, weights)
    if span is not None:
        model.coef_, model.n_features_in_ = model.coef_ @ span.T, rows.shape[1]
    return model


def _span(features: Floats) -> Floats | None:
    """An orthonormal basis (width, rows) of what the features (views, images, width) span, where these are
    clearly fewer rows than features: the weights with the least squares lie in it (the representer theorem),
    so nothing is lost, and fitting costs a fraction. None where it would not pay.
    """
    rows = features.reshape(-1, features.shape[-1])
    if len(rows) > _FEW_ROWS * rows.shape[1]:
        return None
    with threadpool_limits(1, "blas"):
        basis: Floats = np.linalg.qr(rows.T)[0]
    return basis


def _scale(width: int, lower: int, share: float) -> Floats:
    """The factor of each feature."""
    scale = np.ones(width, np.float32)
    scale[:lower] = share
    return scale


@dataclass(frozen=True)
class _Found:
    """What cross-validation read with one set of values. `mirrored`: the mirror images of images that the fit
    has not seen are recognised as well as these are, within the standard error. Letters, digits and arrows
    are not: on digits the loss rises by 60 %, on hands, insects, waste and textures by nothing. A layer that
    has much wrong cannot tell: on tiny photographs of digits, of which it knew 45 %, it saw no difference,
    and training on mirror images cost the network four points.
    """

    log_loss: float
    accuracy: float
    probabilities: npt.NDArray[np.float64]
    mirrored: bool


Splits = list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]


def _some(targets: Targets, most: int) -> npt.NDArray[np.int64]:
    """The places of at most so many images, sorted: any, or all of some classes where any would be one or two
    of each.
    """
    random = np.random.default_rng(0)
    places = random.permutation(len(targets))
    if len(targets) > most and most < _EACH * len(np.unique(targets)):
        rank = random.permutation(int(targets.max()) + 1)
        places = places[np.argsort(rank[targets[places]], kind="stable")]
    return np.sort(places[:most])


def _folds(
    places: npt.NDArray[np.int64], targets: Targets, groups: npt.NDArray[np.str_]
) -> tuple[npt.NDArray[np.int64], Splits]:
    """Those of the places whose classes can be learned in every fold, and the folds, in numbers of these
    places; no folds where there are not two such classes. A class whose images are all of one group cannot
    be held out, and others shall not go without cross-validation for it.
    """
    while len(places):
        some, of = targets[places], groups[places]
        names, counts = np.unique(some, return_counts=True)
        fewest = {name: len(np.unique(of[some == name])) for name in names}
        lasting = [name for name in names if fewest[name] > 1]
        if len(lasting) < 2:
            break
        if len(lasting) == len(names):
            folder = StratifiedGroupKFold(
                min(_MOST_FOLDS, int(counts.min()), len(np.unique(of))), shuffle=True, random_state=0
            )
            splits = list(folder.split(some, some, of))
            learned = [set(some[train].tolist()) for train, _ in splits]
            lasting = [name for name in names if all(name in one for one in learned)]
            if len(lasting) == len(names):
                return places, splits
        places = places[np.isin(some, lasting)]
    return places, []


class _Search:
    """Cross-validation on plain views of images that the fit has not seen."""

    def __init__(
        self,
        features: Floats,
        targets: Targets,
        groups: npt.NDArray[np.str_],
        lower: int,
        stop: Callable[[], bool],
        most: int = _MOST_IMAGES,
    ) -> None:
        self.chosen, self.splits = _folds(_some(targets, most), targets, groups)
        self.features, self.targets = features[:, self.chosen], targets[self.chosen]
        self.lower, self.stop = lower, stop
        self.names = np.unique(self.targets)

    def run(self) -> tuple[float, float, bool, _Found | None]:
        """Share, strength, whether mirror images help, and what was read with them."""
        share, strength = (_DEFAULT[0] if self.lower else 1.0), _DEFAULT[1]
        if not self.splits:  # nothing shows that they keep their class
            return share, strength, False, None
        shares: Sequence[float] = SHARES if self.lower else (1.0,)
        strengths: Sequence[float] = STRENGTHS
        if self.features[0].size * len(self.names) > _MUCH_WORK:
            shares, strengths = (share,), (0.1, 1.0)
        tried: dict[tuple[float, float, int], _Found] = {}
        for share in shares:
            tried |= {(share, *key): found for key, found in self._along(share, 1, strengths).items()}
            if self.stop():
                break
        if not tried:
            return share, strength, False, None
        best = min(tried, key=lambda key: tried[key].log_loss)
        share, strength, _ = best
        if len(self.features) < 2 or self.stop() or not tried[best].mirrored:
            return share, strength, False, tried[best]
        near = [value for value in strengths if strength / 4 < value < 4 * strength]
        both = self._along(share, 2, near)
        key = min(both, key=lambda key: both[key].log_loss)
        return share, key[0], True, both[key]

    def read(self, strength: float) -> _Found:
        """What is read with this value on plain views."""
        return self._along(1.0, 1, (strength,))[strength, 1]

    def _along(self, share: float, views: int, strengths: Sequence[float]) -> dict[tuple[float, int], _Found]:
        """By strength, rising: what is read on the way, until it has become worse twice."""
        scaled = self.features * _scale(self.features.shape[-1], self.lower, share)
        spans = [_span(scaled[:views, train]) for train, _ in self.splits]
        found: dict[tuple[float, int], _Found] = {}
        worse = 0
        for strength in strengths:
            if found and self.stop():
                break
            before = min((one.log_loss for one in found.values()), default=math.inf)
            found[strength, views] = self._read(scaled, views, strength, spans)
            worse = worse + 1 if found[strength, views].log_loss > before else 0
            if worse == 2:
                break
        return found

    def _read(self, scaled: Floats, views: int, strength: float, spans: Sequence[Floats | None]) -> _Found:
        seen = np.zeros((len(scaled), len(self.targets), len(self.names)))
        for (train, test), span in zip(self.splits, spans, strict=True):
            model = _logistic(scaled[:views, train], self.targets[train], strength, span)
            for view, answers in zip(scaled, seen, strict=True):
                answers[test] = model.predict_proba(view[test]).astype(np.float64)
        given = seen[:, np.arange(len(self.targets)), np.searchsorted(self.names, self.targets)]
        losses = -np.log(np.maximum(given, 1e-7))
        right = self.names[seen[0].argmax(1)] == self.targets
        more = losses[-1] - losses[0]
        keeps = more.mean() <= more.std() / math.sqrt(len(more)) and right.mean() >= _KNOWS_SIDES
        return _Found(float(losses[0].mean()), float(right.mean()), seen[0], bool(keeps))


def _layer(model: LogisticRegression, classes: int) -> tuple[Floats, Floats]:
    """The layer's numbers for all classes; one without images gets a bias that keeps it last."""
    weight, bias = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # scikit-learn keeps one row for two classes
        weight, bias = np.concatenate([-weight / 2, weight / 2]), np.concatenate([-bias / 2, bias / 2])
    all_weights = np.zeros((classes, weight.shape[1]), np.float32)
    all_biases = np.full(classes, bias.min() - 10, np.float32)
    all_weights[model.classes_], all_biases[model.classes_] = weight, bias
    return all_weights, all_biases
