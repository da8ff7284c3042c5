"""What to label next: the order in which labels teach a model most. NumPy only.

* Before there is anything to go by, typical images of ever more clusters, those of large clusters without a
  label first (TypiClust: Hacohen, Dekel and Weinshall, arXiv:2202.02794).
* With probabilities, greedily the image with the largest product of how uncertain the model is (1 minus the
  margin between the two likeliest classes), how far it lies from everything labelled or chosen before it (as
  in k-center, Sener and Savarese, arXiv:1708.00489), and how typical it is: an outlier teaches little.
* One in ten is drawn at random. Images that a model has asked for say nothing of how good it is on the rest;
  these do, and they find what the model is wrong about without knowing.

Each beginning of the order is an order by itself: whoever labels twenty gets the best twenty.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt

from plugins.contract import Pick

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.intp]

RANDOM_SHARE = 0.1
MOST_CANDIDATES = 3000  # images that are compared with each other; of more, so many are looked at
_MOST_CLUSTERS = 500
_NEAR_TYPICAL = 20  # neighbours, as in TypiClust
_NEAR_DENSE = 10
_ROUNDS = 15  # of k-means
_SHORTEST = 1e-12


def directions(features: npt.NDArray[np.floating]) -> Floats:
    """Features (images, width) as rows of length 1, those that vary much scaled down by the root of their
    spread: features of different layers differ in size a hundredfold.
    """
    rows = np.asarray(features, np.float32)
    rows = rows / np.maximum(np.sqrt(rows.std(0)), 1e-6)
    scaled: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _SHORTEST)
    return scaled


def order(
    features: npt.NDArray[np.floating],
    labelled: npt.NDArray[np.bool_],
    probabilities: npt.NDArray[np.floating] | None,
    count: int,
    *,
    seed: int,
) -> list[Pick]:
    """The `count` images to label next, the best first, one in ten of them drawn at random.

    `features` (images, width), `labelled` (images), `probabilities` (images, classes) or None for a cold
    start. An image is named by its row.
    """
    random = np.random.default_rng(seed)
    free = np.flatnonzero(~labelled)
    if len(free) > MOST_CANDIDATES:
        free = _candidates(free, probabilities, count, random)
    known = np.flatnonzero(labelled)
    if len(known) > MOST_CANDIDATES:
        known = np.sort(random.permutation(known)[:MOST_CANDIDATES])
    rows = directions(features[np.concatenate([known, free])])
    covered = np.arange(len(known))
    count = min(count, len(free))
    if probabilities is None:
        found = typical(rows, covered, count, random)
    else:
        found = uncertain(rows, covered, margins(probabilities[free]), count)
    chosen = [Pick(int(free[pick.index - len(known)]), pick.score, pick.reason) for pick in found]
    return with_random_share(chosen, np.flatnonzero(~labelled), random)


def at_random(free: Rows, count: int, *, seed: int) -> list[Pick]:
    """Rows in an order drawn at random, where there is nothing else to go by."""
    drawn = np.random.default_rng(seed).permutation(free)[:count]
    return [Pick(int(row), 0.0, "random") for row in drawn]


def margins(probabilities: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """(images, classes) -> 1 minus the difference of the two highest of each row: 1 is a tie."""
    if probabilities.shape[1] < 2:
        return np.ones(len(probabilities))
    top = np.partition(np.asarray(probabilities, np.float64), -2, axis=1)[:, -2:]
    difference: npt.NDArray[np.float64] = np.clip(1 - np.abs(top[:, 1] - top[:, 0]), 0, 1)
    return difference


def with_random_share(chosen: Sequence[Pick], free: Rows, random: np.random.Generator) -> list[Pick]:
    """Every tenth place goes to an image drawn from all of `free`; what it pushes back comes later. As many
    are answered as were chosen.
    """
    every = round(1 / RANDOM_SHARE)
    drawn = iter(random.permutation(free).tolist())
    ranked: Iterator[Pick] = iter(chosen)
    taken: set[int] = set()
    picks: list[Pick] = []
    while len(picks) < len(chosen):
        pick = next((one for one in ranked if one.index not in taken), None)
        if pick is None or len(picks) % every == every - 1:
            row = next(one for one in drawn if one not in taken)
            if pick is not None:
                ranked = chain([pick], ranked)
            pick = Pick(row, 0.0, "random")
        taken.add(pick.index)
        picks.append(pick)
    return picks


def uncertain(rows: Floats, covered: Rows, uncertainty: npt.NDArray[np.float64], count: int) -> list[Pick]:
    """Greedily by uncertainty x distance x typicality. `rows` (images, width) of length 1: those of `covered`
    first, then the candidates, whose `uncertainty` is in 0..1.
    """
    candidates = rows[len(covered) :]
    dense = _dense(candidates)
    far = _distances(candidates, rows[covered])
    middle = float(np.median(uncertainty)) if len(uncertainty) else 0.0
    value = uncertainty * (0.5 + 0.5 * dense)
    free = np.ones(len(candidates), bool)
    picks: list[Pick] = []
    for _ in range(min(count, len(candidates))):
        score = np.where(free, value * far, -1.0)
        row = int(score.argmax())
        free[row] = False
        reason = "uncertain" if uncertainty[row] >= middle else "different"
        picks.append(Pick(len(covered) + row, float(score[row]), reason))
        far = np.minimum(far, _distances(candidates, candidates[row : row + 1]))
    return picks


def typical(rows: Floats, covered: Rows, count: int, random: np.random.Generator) -> list[Pick]:
    """Typical images of clusters that hold nothing labelled or chosen, in ever finer clusterings, so that the
    first few stand for the whole and the later ones fill it in. `rows` as in `uncertain`.
    """
    taken = np.zeros(len(rows), bool)
    taken[covered] = True
    picks: list[Pick] = []
    while len(picks) < count:
        # As many clusters as a usual round of labels, on top of what there is.
        step = min(20, count - len(picks))
        clusters = max(1, min(int(taken.sum()) + step, max(len(rows) // 2, 1), _MOST_CLUSTERS))
        of = _cluster(rows, clusters, random)
        for _ in range(step):
            row, score = _most_typical(rows, of, clusters, taken)
            taken[row] = True
            picks.append(Pick(row, score, "typical"))
    return picks


def _candidates(
    free: Rows, probabilities: npt.NDArray[np.floating] | None, count: int, random: np.random.Generator
) -> Rows:
    """So many that they can be compared: the most uncertain, or a sample; never fewer than are wanted."""
    most = max(MOST_CANDIDATES, count)
    if probabilities is None:
        return np.sort(random.permutation(free)[:most])
    return np.sort(free[np.argsort(-margins(probabilities[free]), kind="stable")[:most]])


def _most_typical(rows: Floats, of: Rows, clusters: int, taken: npt.NDArray[np.bool_]) -> tuple[int, float]:
    """From the cluster with the fewest taken images, of these the largest: the row whose nearest neighbours
    in it are nearest, and 1 over their mean distance.
    """
    held = np.bincount(of[taken], minlength=clusters)
    left = np.bincount(of[~taken], minlength=clusters)
    fewest = held[left > 0].min()
    cluster = int(np.where((left > 0) & (held == fewest), left, -1).argmax())
    members = np.flatnonzero(of == cluster)
    if len(members) == 1:
        return int(members[0]), 1.0
    nearest = min(_NEAR_TYPICAL, len(members) - 1)
    similar = rows[members] @ rows[members].T
    np.fill_diagonal(similar, -np.inf)
    near = np.partition(similar, -nearest, axis=1)[:, -nearest:]
    typicality = 1 / np.maximum(np.sqrt(np.maximum(2 - 2 * near, 0)).mean(1), 1e-3)
    best = int(np.where(taken[members], -1, typicality).argmax())
    return int(members[best]), float(typicality[best])


def _dense(rows: Floats) -> npt.NDArray[np.float64]:
    """How similar each row is to its nearest neighbours, as its rank in 0..1."""
    nearest = min(_NEAR_DENSE, len(rows) - 1)
    if nearest < 1:
        return np.ones(len(rows))
    means = np.empty(len(rows))
    for start in range(0, len(rows), 512):  # a block of the square matrix at a time
        similar = rows[start : start + 512] @ rows.T
        near = np.partition(similar, -nearest - 1, axis=1)[:, -nearest - 1 :]
        means[start : start + 512] = (near.sum(1) - near.max(1)) / nearest  # but for itself
    ranks: npt.NDArray[np.float64] = means.argsort(kind="stable").argsort(kind="stable") / (len(rows) - 1)
    return ranks


def _distances(rows: Floats, others: Floats) -> npt.NDArray[np.float64]:
    """From each row to the nearest of the others; 1 where there are none."""
    if not len(others):
        return np.ones(len(rows))
    similar = np.full(len(rows), -1.0)
    for start in range(0, len(others), 512):
        similar = np.maximum(similar, (rows @ others[start : start + 512].T).max(1))
    distances: npt.NDArray[np.float64] = np.sqrt(np.maximum(2 - 2 * similar, 0))
    return distances


def _cluster(rows: Floats, clusters: int, random: np.random.Generator) -> Rows:
    """The cluster of each row, by k-means from k-means++ (Arthur and Vassilvitskii, 2007)."""
    if clusters == 1:
        return np.zeros(len(rows), np.intp)
    seeds = [int(random.integers(len(rows)))]
    far = 2 - 2 * (rows @ rows[seeds[0]])
    for _ in range(clusters - 1):
        weights = np.maximum(far, 0).astype(np.float64)
        weights[seeds] = 0
        total = weights.sum()
        if total <= _SHORTEST:  # nothing but copies is left
            break
        seeds.append(int(random.choice(len(rows), p=weights / total)))
        far = np.minimum(far, 2 - 2 * (rows @ rows[seeds[-1]]))
    centres = rows[seeds].copy()
    of = np.zeros(len(rows), np.intp)
    for _ in range(_ROUNDS):
        before, of = of, (2 * rows @ centres.T - (centres**2).sum(1)).argmax(1)
        if (before == of).all():
            break
        sums = np.zeros_like(centres)
        np.add.at(sums, of, rows)
        counts = np.bincount(of, minlength=len(centres))
        centres[counts > 0] = sums[counts > 0] / counts[counts > 0, None]
    return of
