"""Training to read: lines of text, several of like width in a batch; the loss is connectionist temporal
classification (CTC, Graves et al. 2006).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from plugins.contract import TrainingContext
from plugins.fitting import Score, Share
from plugins.ocr import direction
from plugins.ocr.augment import Pixels, camera, line_matrix, warp
from plugins.ocr.bases.network import Recogniser
from plugins.ocr.trainer.freezing import adamw, hold_statistics
from plugins.ocr.trainer.inputs import normalised
from plugins.ocr.trainer.lines import Lines

_PLAIN = 0.15  # share of the lines that are shown as they are
_AMOUNT = 0.08  # of a line's height: how far its corners are moved
_STRETCH = 0.12  # share by which a line's width is changed
_COLUMNS = 8 * 320  # pixels in width of one batch, all lines together
_MOST, _LEAST = 64, 4  # lines of a batch
_NEAR = 0.1  # share of all lines that a line may be away from its place in the order of widths


@dataclass(frozen=True)
class Batch:
    """Lines (n, height, width, 3) as bytes; `widths` (n) of them are picture, grey follows. `targets` are the
    classes of all texts one after the other, `lengths` (n) how many each has.
    """

    rows: Pixels
    widths: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)


class RecogniserTraining:
    """The work that `plugins.fitting.fit` does: see `plugins.fitting.Work`."""

    def __init__(
        self,
        context: TrainingContext,
        model: Recogniser,
        lines: Sequence[Lines],
        judge: Callable[[Recogniser], Score],
        rate: float,
    ) -> None:
        self.context, self.model, self.lines = context, model, lines
        self.judge, self.rate, self.seed = judge, rate, context.params.seed
        self.codes = codes(model)
        self.where = [(source, place) for source, some in enumerate(lines) for place in range(len(some))]
        self.widths = np.array([width for some in lines for width in some.widths], np.int64)
        self.sizes = batch_sizes(np.sort(self.widths))

    @property
    def steps(self) -> int:
        """Batches of one epoch."""
        return len(self.sizes)

    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW."""
        return adamw(self.model, self.rate)

    def batches(self, epoch: int, first: int, share: Share) -> Iterator[Batch]:
        """Lines of like width, of each batch this process's share; the next ones are made while these are
        used.
        """
        groups = [share.of(group) for group in self._groups(epoch)]
        with ThreadPoolExecutor(max(1, self.context.threads)) as pool:
            ahead = [
                pool.submit(self._view, epoch, index) for some in groups[first : first + 1] for index in some
            ]
            for place in range(first, len(groups)):
                made = [one.result() for one in ahead]
                ahead = [
                    pool.submit(self._view, epoch, index)
                    for some in groups[place + 1 : place + 2]
                    for index in some
                ]
                yield batch(made, [self._text(index) for index in groups[place].tolist()], self.codes)

    def _groups(self, epoch: int) -> list[npt.NDArray[np.int64]]:
        """The lines of each batch: neighbours in width, others in every epoch, in a random order."""
        random = np.random.default_rng((self.seed, 2, epoch))
        count = len(self.widths)
        ranks = np.argsort(np.argsort(self.widths, kind="stable"), kind="stable")
        order = np.argsort(ranks + random.uniform(0, _NEAR * count, count), kind="stable")
        ends = np.cumsum(self.sizes)
        groups = np.split(order, ends[:-1])
        return [groups[place] for place in random.permutation(len(groups)).tolist()]

    def _text(self, index: int) -> str:
        source, place = self.where[index]
        return self.lines[source].texts[place]

    def _view(self, epoch: int, index: int) -> Pixels:
        source, place = self.where[index]
        random = np.random.default_rng((self.seed, 3, epoch, index))
        return view(self.lines[source], place, random)

    def loss(self, batch: Batch) -> Tensor:
        """CTC, each text's share divided by its length."""
        hold_statistics(self.model)
        return ctc(self.model, batch, self.context.device).mean()

    def score(self, model: nn.Module) -> Score:
        """End to end on whole validation images."""
        assert isinstance(model, Recogniser)
        return self.judge(model)


def codes(model: Recogniser) -> dict[str, int]:
    """The class of every character; 0 is the blank."""
    return {character: place for place, character in enumerate(model.characters, 1)}


def batch_sizes(widths: npt.NDArray[np.int64]) -> list[int]:
    """How many lines each batch holds, the narrowest first, so that all batches are about as much work."""
    sizes: list[int] = []
    start = 0
    while start < len(widths):
        size = int(np.clip(_COLUMNS // max(int(widths[start]), 1), _LEAST, _MOST))
        while (
            size > _LEAST and start + size <= len(widths) and size * widths[start + size - 1] > 1.3 * _COLUMNS
        ):
            size -= 1
        sizes.append(min(size, len(widths) - start))
        start += size
    return sizes


def view(lines: Lines, place: int, random: np.random.Generator | None) -> Pixels:
    """One line (height, width, 3) as training may see it; without random numbers as it is."""
    picture, corners = lines.picture(place)
    height, width = lines.shape.height, lines.widths[place]
    moved = random is not None and random.random() >= _PLAIN
    if not moved or random is None:
        still = np.random.default_rng(0)
        return warp(picture, line_matrix(corners, (width, height), 0.0, still), (width, height))
    least = lines.shape.stride * (len(lines.texts[place]) + 1)
    width = max(round(width * random.uniform(1 - _STRETCH, 1 + _STRETCH)), min(least, width))
    seen = warp(picture, line_matrix(corners, (width, height), _AMOUNT, random), (width, height))
    return camera(seen, random)


def batch(views: Sequence[Pixels], texts: Sequence[str], codes: dict[str, int]) -> Batch:
    """Lines of different widths side by side, the texts in the order in which they are seen. Characters
    without a class are left out.
    """
    height = views[0].shape[0] if views else 1
    widest = max((one.shape[1] for one in views), default=1)
    rows = np.full((len(views), height, -(-widest // 8) * 8, 3), 127, np.uint8)
    for row, one in zip(rows, views, strict=True):
        row[:, : one.shape[1]] = one
    shown = [direction.turned(text) for text in texts]
    classes = [[codes[character] for character in text if character in codes] for text in shown]
    return Batch(
        rows,
        np.array([one.shape[1] for one in views], np.int64),
        np.array([code for some in classes for code in some], np.int64),
        np.array([len(some) for some in classes], np.int64),
    )


def ctc(model: Recogniser, batch: Batch, device: str) -> Tensor:
    """The loss of every line (n) a character: -log of the probability of its text, divided by its length."""
    answers = model(normalised(batch.rows, model.input).to(device)).float()
    steps = torch.full((len(batch),), answers.shape[1], dtype=torch.long)
    losses = functional.ctc_loss(
        answers.transpose(0, 1),
        torch.from_numpy(batch.targets).to(device),
        steps,
        torch.from_numpy(batch.lengths),
        reduction="none",
        zero_infinity=True,
    )
    return losses / torch.from_numpy(batch.lengths).to(device).clamp(min=1)
