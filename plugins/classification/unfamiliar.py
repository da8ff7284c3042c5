"""How unlike the training images an image is, by the network's pooled features.

The distance is 1 minus the mean cosine similarity to the nearest training images. On features of
EfficientNet-Lite it tells photographs of another kind from held-out ones of the same kind almost without
error; the confidence does not (networks are often sure of what they never saw), and the Mahalanobis distance
within subspaces fails where the unknown images vary less than the known ones.

Features are scaled by the root of their spread first: those of different layers differ in size a hundredfold,
and without it the largest ones would decide alone.

To stay small, similarities are computed in the few directions that the training features vary in. An image
is scaled by its whole length, not by what is left of it in these directions, so what lies outside of them
makes it unlike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

NEIGHBOURS = 3  # one mislabelled or odd training image alone makes nothing familiar
_SHORTEST = 1e-12


@dataclass(frozen=True)
class Reference:
    """What is familiar: `rows` (images, directions) are training features, multiplied by `scale` (width) and
    then of length 1, seen along the columns of `basis` (width, directions); an image farther than `limit`
    (0..2) is unlike them.
    """

    scale: Floats
    basis: Floats
    rows: Floats
    limit: float

    def distances(self, features: Floats) -> Floats:
        """Features (images, width) -> distances (images) in 0..2; 1 for features that are all 0."""
        return nearest(project(features * self.scale, self.basis) @ self.rows.T)

    def unlike(self, features: Floats) -> npt.NDArray[np.bool_]:
        """Features (images, width) -> whether each image is unlike the training images."""
        far: npt.NDArray[np.bool_] = self.distances(features) > self.limit
        return far


def project(features: Floats, basis: Floats) -> Floats:
    """Features (images, width), scaled to length 1, along the columns of the basis (width, directions)."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    projected: Floats = (features @ basis) / np.maximum(lengths, _SHORTEST)
    return projected


def nearest(similarities: Floats) -> Floats:
    """Cosine similarities (images, training images) -> 1 minus the mean of the highest few of each row.

    One fewer than there are training images at most, so that a training image, compared with all others, is
    judged by as many as a new one.
    """
    count = min(NEIGHBOURS, max(similarities.shape[1] - 1, 1))
    found: Floats = 1 - np.partition(similarities, -count, axis=1)[:, -count:].mean(1)
    return found
