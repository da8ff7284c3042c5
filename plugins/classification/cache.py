"""The images of a snapshot, decoded once to the sizes that training needs and kept as plain bytes on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from plugins import images
from plugins.classification import preprocess
from plugins.classification.preprocess import Pixels
from plugins.contract import Example, Split, TrainingContext, TrainingStopped
from plugins.fitting import whole_file
from plugins.spread import spread

ROOM = 1.2  # random cuts are taken from images this much larger than the network's input
_TOGETHER = 32  # images decoded between two questions whether to stop
_PROBED = 64


@dataclass(frozen=True)
class Images:
    """Decoded images of one split, in a fixed order: `plain` (n, size, size, 3) as the predictor sees them,
    `large` (n, side, side, 3) to cut views from; `targets` are indices of the context's labels.
    """

    examples: Sequence[Example]
    plain: Pixels
    large: Pixels
    targets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """The number of images."""
        return len(self.examples)


def choose_size(context: TrainingContext, sizes: Mapping[int, int] = preprocess.SIZES) -> int:
    """The one of the input sizes that suits the images: small ones gain nothing from being blown up."""
    examples = context.examples("train")
    sides = []
    for place in spread(len(examples), _PROBED).tolist():
        try:
            header = images.probe(context.read(examples[place]), images.CHECKED)
        except images.ImageError:
            continue
        sides.append(min(header.width, header.height))
    return preprocess.fitting_size(median(sides) if sides else 224, sizes)


def decode(context: TrainingContext, split: Split, size: int) -> Images:
    """The images of a split, from the cache in `context.folder` or decoded now.

    What cannot be decoded is left out with a line in the log. Raises `TrainingStopped` when asked to stop,
    and `PluginError` (`disk_full`).
    """
    places = {label: number for number, label in enumerate(context.labels)}
    examples = [example for example in context.examples(split) if example.label in places]
    side = round(size * ROOM / 2) * 2 if split == "train" else 1
    record = np.dtype([("plain", "u1", (size, size, 3)), ("large", "u1", (side, side, 3))])
    path, index = (context.folder / f"{split}-{size}{suffix}" for suffix in (".pixels", ".json"))
    if not index.is_file():
        with whole_file(path) as stream:
            kept = _write(context, examples, record, stream)
        with whole_file(index) as stream:
            stream.write(json.dumps(kept).encode())
    chosen = [examples[number] for number in json.loads(index.read_bytes())]
    rows = np.memmap(path, record, "r", shape=(len(chosen),)) if chosen else np.empty(0, record)
    targets = np.array([places[str(example.label)] for example in chosen], np.int64)
    return Images(chosen, rows["plain"], rows["large"], targets)


def _write(
    context: TrainingContext, examples: Sequence[Example], record: np.dtype[np.void], stream: BinaryIO
) -> list[int]:
    """Write the records of all images that can be decoded; the numbers of these."""
    kept: list[int] = []
    with ThreadPoolExecutor(context.threads) as pool:
        for start in range(0, len(examples), _TOGETHER):
            if context.should_stop():
                raise TrainingStopped("stopped before there was a model")
            some = examples[start : start + _TOGETHER]
            data = [context.read(example) for example in some]
            for number, row in enumerate(pool.map(lambda one: _record(one, record), data), start):
                if isinstance(row, str):
                    context.log(f"{examples[number].key} is left out: {row}")
                    continue
                stream.write(row.tobytes())
                kept.append(number)
    return kept


def _record(data: bytes, record: np.dtype[np.void]) -> npt.NDArray[np.void] | str:
    """The image at its sizes, or the reason why there is none."""
    row = np.zeros((), record)
    sizes = {name: record[name].shape[0] for name in ("plain", "large")}
    try:
        decoded = images.decode(data, wanted_side=sizes["plain"], limits=images.CHECKED)
        row["plain"] = preprocess.pixels(decoded.image, sizes["plain"])
        if decoded.image.width < decoded.width and min(decoded.image.size) < sizes["large"]:
            decoded = images.decode(
                data, wanted_side=sizes["large"], limits=images.CHECKED
            )  # it was reduced by too much
    except images.ImageError as error:
        return str(error)
    row["large"] = preprocess.pixels(decoded.image, sizes["large"])
    return row
