"""Training to find text: patches of the pages, and the shrunk kernels of the texts in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from plugins.contract import TrainingContext
from plugins.fitting import Score, Share
from plugins.images import ImageError
from plugins.ocr.augment import Pixels, Policy, camera, patch_matrix, warp
from plugins.ocr.bases.network import Detector
from plugins.ocr.targets import SHRINK, Target, target
from plugins.ocr.trainer.freezing import adamw, hold_statistics
from plugins.ocr.trainer.inputs import normalised
from plugins.ocr.trainer.pages import Pages

_NEGATIVES = 3.0  # hard negative pixels for each pixel of text
_DICE = 1.0
_BACKGROUND = 0.1  # share of the patches that look anywhere
ScaleOf = Callable[[int, int], float]


@dataclass(frozen=True)
class Batch:
    """Patches (n, height, width, 3) as bytes, with their targets (n, height, width)."""

    rows: Pixels
    kernels: npt.NDArray[np.uint8]
    counted: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Patches:
    """How patches are taken: `size` (width, height), at about the scale in which a page is served; `shrink`
    is the ratio of the kernels that are asked for.
    """

    size: tuple[int, int]
    scale_of: ScaleOf
    policy: Policy
    batch: int
    shrink: float = SHRINK


class DetectorTraining:
    """The work that `plugins.fitting.fit` does: see `plugins.fitting.Work`."""

    def __init__(
        self,
        context: TrainingContext,
        model: Detector,
        side: Pages,
        patches: Patches,
        judge: Callable[[Detector], Score],
        rate: float,
    ) -> None:
        self.context, self.model, self.side, self.patches = context, model, side, patches
        self.judge, self.rate, self.seed = judge, rate, context.params.seed

    @property
    def steps(self) -> int:
        """Batches of one epoch."""
        return -(-len(self.side) // self.patches.batch)

    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW."""
        return adamw(self.model, self.rate)

    def batches(self, epoch: int, first: int, share: Share) -> Iterator[Batch]:
        """Patches, of each batch this process's share; the next ones are made while these are used."""
        random = np.random.default_rng((self.seed, epoch))
        order = random.permutation(len(self.side))
        size = self.patches.batch
        views = [
            share.of(
                np.stack([order[start : start + size], np.arange(start, min(start + size, len(order)))], 1)
            )
            for start in range(0, len(order), size)
        ]
        with ThreadPoolExecutor(max(1, self.context.threads)) as pool:
            ahead = [
                pool.submit(self.patch, page, (epoch, number))
                for some in views[first : first + 1]
                for page, number in some.tolist()
            ]
            for place in range(first, len(views)):
                made = [one.result() for one in ahead]
                ahead = [
                    pool.submit(self.patch, page, (epoch, number))
                    for some in views[place + 1 : place + 2]
                    for page, number in some.tolist()
                ]
                yield self._batch(made)

    def _batch(self, made: list[tuple[Pixels, Target]]) -> Batch:
        width, height = self.patches.size
        return Batch(
            np.array([pixels for pixels, _ in made], np.uint8).reshape(-1, height, width, 3),
            np.array([target.kernels for _, target in made], np.uint8).reshape(-1, height, width),
            np.array([target.counted for _, target in made], np.uint8).reshape(-1, height, width),
        )

    def patch(self, page: int, view: tuple[int, int]) -> tuple[Pixels, Target]:
        """One view of a page and what the detector shall answer; plain grey for one that cannot be read."""
        random = np.random.default_rng((self.seed, 1, *view))
        example, size = self.side.examples[page], self.patches.size
        scale = self.patches.scale_of(example.width, example.height)
        try:
            pixels, share = self.side.pixels(page, scale)
        except ImageError:
            return np.full((size[1], size[0], 3), 128, np.uint8), target([], [], size)
        regions = example.regions
        outlines = [np.asarray(region.points, np.float32) * np.float32(share) for region in regions]
        centre = _centre(outlines, pixels, random)
        page_size = (pixels.shape[1], pixels.shape[0])
        matrix = patch_matrix(centre, page_size, scale / share, size, self.patches.policy, random)
        seen = camera(warp(pixels, matrix, size, random), random)
        moved = [
            cv2.perspectiveTransform(outline[None].astype(np.float64), matrix)[0].astype(np.float32)
            for outline in outlines
        ]
        return seen, target(moved, [region.ignored for region in regions], size, self.patches.shrink)

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy over the pixels of text and as many hard ones without, and the dice loss."""
        hold_statistics(self.model)
        images = normalised(batch.rows, self.model.input).to(self.context.device)
        kernels, counted = (
            torch.from_numpy(rows).to(self.context.device).float() for rows in (batch.kernels, batch.counted)
        )
        logits = self.model.logits(images)[:, 0].float()
        return _cross_entropy(logits, kernels, counted) + _DICE * _dice(logits.sigmoid(), kernels, counted)

    def score(self, model: nn.Module) -> Score:
        """End to end on whole validation images."""
        assert isinstance(model, Detector)
        return self.judge(model)


def _centre(
    outlines: list[npt.NDArray[np.float32]], pixels: Pixels, random: np.random.Generator
) -> tuple[float, float]:
    height, width = pixels.shape[:2]
    if not outlines or random.random() < _BACKGROUND:
        return float(random.uniform(0, width)), float(random.uniform(0, height))
    x, y = outlines[int(random.integers(len(outlines)))].mean(0)
    return float(x), float(y)


def _cross_entropy(logits: Tensor, kernels: Tensor, counted: Tensor) -> Tensor:
    """The mean over the pixels of text, and over the hardest others: three for each pixel of text, and of an
    image without text a hundredth of its pixels at least.
    """
    losses = functional.binary_cross_entropy_with_logits(logits, kernels, reduction="none")
    positive, negative = (kernels * counted).flatten(1), ((1 - kernels) * counted).flatten(1)
    losses = losses.flatten(1)
    total = losses.new_zeros(())
    for row, text, other in zip(losses, positive, negative, strict=True):
        wanted = max(int(_NEGATIVES * float(text.sum())), row.numel() // 100)
        hardest = (row * other).topk(min(wanted, max(int(other.sum()), 1))).values
        total = total + ((row * text).sum() + hardest.sum()) / (text.sum() + len(hardest)).clamp(min=1)
    return total / len(losses)


def _dice(probabilities: Tensor, kernels: Tensor, counted: Tensor) -> Tensor:
    """1 - Dice coefficient over the whole batch, so that an image without text says something, too."""
    shared = (probabilities * kernels * counted).sum()
    both = (probabilities * counted).sum() + (kernels * counted).sum()
    return 1 - (2 * shared + 1) / (both + 1)


def patch_size(side: Pages, scale_of: ScaleOf, wanted: int, multiple: int) -> tuple[int, int]:
    """Width and height of patches of about `wanted` x `wanted` pixels: images that are lower than that when
    served give lower and wider ones, so that nothing is computed outside of them.
    """
    shapes = np.array(
        [(one.width, one.height) for one in side.examples if one.width and one.height], np.float64
    ).reshape(-1, 2)
    if not len(shapes):
        return wanted, wanted
    served = shapes * np.array([scale_of(int(width), int(height)) for width, height in shapes])[:, None]
    usual = np.median(served, axis=0)
    low = np.minimum(usual, wanted)
    if low[1] < wanted:
        low[0] = min(usual[0], 2 * wanted, wanted**2 / low[1])
    elif low[0] < wanted:
        low[1] = min(usual[1], 2 * wanted, wanted**2 / low[0])
    width, height = (max(multiple, round(length / multiple) * multiple) for length in low)
    return width, height
