"""The last layer alone: multinomial logistic regression on the pooled features of the pretrained network.

It is ready within seconds, is the first usable model, the start of fine-tuning, and on few images sometimes
the best there is.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from plugins.classification import rare

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
_READ_WORK = 3e9  # views x images x features x classes up to which all folds of all images are read


@dataclass(frozen=True)
class Head:
    """Scores are features @ weight.T + bias: `weight` (classes, features), `bias` (classes).

    `excess` (classes) is what was too high in the scores for rare classes and is taken from the bias (see
    `rare`). `share` weighs the features of lower layers, `mirrored` says that mirror images keep their class.
    `log_loss`, `accuracy` and the probabilities `out_of_fold` (images, classes) are what cross-validation
    read on the training images, the probabilities without the excess; None, and rows of NaN for images that
    took no part, where a class had too few images for it.
    """

    weight: Floats
    bias: Floats
    excess: Floats
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
    head = Head(weight * scale, bias, np.zeros_like(bias), strength, share, mirrored)
    if found is None:
        return head
    folds = 0 if stop() else _affordable(views, targets)
    search, found = search.on_all(found, share, strength, len(views), folds)
    probabilities, excess = _rows(search, found, targets, classes)
    return replace(
        head,
        bias=bias - excess,
        excess=excess,
        log_loss=found.log_loss,
        accuracy=found.accuracy,
        out_of_fold=probabilities,
    )


def out_of_fold(features: Floats, targets: Targets, groups: npt.NDArray[np.str_], classes: int) -> Floats:
    """Probabilities (images, classes) of features (images, width), each row by a layer fitted without
    the image and those of its group. Rows of NaN for classes with images of one group only.
    """
    search = _Search(features[None], targets, groups, 0, lambda: False)
    share, strength, _, found = search.run()
    if found is None:
        return np.full((len(targets), classes), np.nan, np.float32)
    search, found = search.on_all(found, share, strength, 1, _MOST_FOLDS)
    return _rows(search, found, targets, classes)[0]


def _affordable(features: Floats, targets: Targets) -> int:
    """How many folds of all images can be read in about half a minute, once the values are chosen."""
    work = features.size * len(np.unique(targets))
    if work <= _READ_WORK:
        return _MOST_FOLDS
    return 1 if work <= 4 * _READ_WORK else 0


def _rows(search: _Search, found: _Found, targets: Targets, classes: int) -> tuple[Floats, Floats]:
    """The probabilities (images, classes) that were found without their excess, NaN for images that took no
    part, and the excess (classes).
    """
    weights, names = rare.class_weights(targets, classes), search.names
    read = np.searchsorted(names, search.targets[found.places])
    share = rare.share(found.probabilities, read, weights[names])
    excess = np.float32(share) * np.log(weights)
    given = np.full((len(targets), classes), np.nan, np.float32)
    images = search.chosen[found.places]
    given[images] = 0.0
    given[np.ix_(images, names)] = rare.lowered(found.probabilities, excess[names])
    return given, excess


def _logistic(features: Floats, targets: Targets, strength: float, span: Floats | None) -> LogisticRegression:
    rows = features.reshape(-1, features.shape[-1])
    wanted = np.tile(targets, len(features))
    weights = rare.class_weights(targets, int(targets.max()) + 1)[wanted] / len(features)
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
    """What cross-validation read with one set of values: `probabilities` of the images with these `places`
    among those chosen. `mirrored`: the mirror images of images that the fit
    has not seen are recognised as well as these are, within the standard error. Letters, digits and arrows
    are not: on digits the loss rises by 60 %, on hands, insects, waste and textures by nothing. A layer that
    has much wrong cannot tell: on tiny photographs of digits, of which it knew 45 %, it saw no difference,
    and training on mirror images cost the network four points.
    """

    log_loss: float
    accuracy: float
    places: npt.NDArray[np.intp]
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
        self.given = features, targets, groups
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

    def on_all(
        self, found: _Found, share: float, strength: float, views: int, folds: int
    ) -> tuple[_Search, _Found]:
        """What is read with these values when all images may take part, of so many folds at most: of hundreds
        of classes some were chosen, which are easier to tell apart than all, and of a rare class few images.
        """
        features, targets, groups = self.given
        if not folds or len(targets) <= _MOST_IMAGES:
            return self, found
        search = _Search(features[:views], targets, groups, self.lower, self.stop, len(targets))
        search.splits = search.splits[:folds]
        return search, search._along(share, views, (strength,))[strength, views]

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
        read = np.sort(np.concatenate([test for _, test in self.splits]))
        answered, wanted = seen[:, read], self.targets[read]
        given = answered[:, np.arange(len(wanted)), np.searchsorted(self.names, wanted)]
        losses = -np.log(np.maximum(given, 1e-7))
        right = self.names[answered[0].argmax(1)] == wanted
        more = losses[-1] - losses[0]
        keeps = more.mean() <= more.std() / math.sqrt(len(more)) and right.mean() >= _KNOWS_SIDES
        return _Found(float(losses[0].mean()), float(right.mean()), read, answered[0], bool(keeps))


def _layer(model: LogisticRegression, classes: int) -> tuple[Floats, Floats]:
    """The layer's numbers for all classes; one without images gets a bias that keeps it last."""
    weight, bias = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # scikit-learn keeps one row for two classes
        weight, bias = np.concatenate([-weight / 2, weight / 2]), np.concatenate([-bias / 2, bias / 2])
    all_weights = np.zeros((classes, weight.shape[1]), np.float32)
    all_biases = np.full(classes, bias.min() - 10, np.float32)
    all_weights[model.classes_], all_biases[model.classes_] = weight, bias
    return all_weights, all_biases
