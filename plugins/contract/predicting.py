"""What a model answers, and what a predictor can do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from plugins.contract.labels import Point, Region


@dataclass(frozen=True)
class Output:
    """One answer: a class, or a text region with its four corners `pos` as fractions 0..1 of the image's
    width and height (upper left, upper right, lower right, lower left in reading direction).

    `conf` is in 0..1.
    """

    label: str
    conf: float
    pos: tuple[Point, ...] | None = None


@dataclass(frozen=True)
class Decision:
    """What to do with an answer: act on `label` (then `reason` is empty), or on none of the classes.

    The reasons for none: `not_sure`, no class is likely enough; `unlike_training`, the image is not like
    those that the model has learned from.
    """

    label: str | None
    reason: str = ""


@dataclass(frozen=True)
class Prediction:
    """The outputs for one image; of a classifier all classes by falling confidence. `decision` is None for
    models that have learned no thresholds.
    """

    outputs: tuple[Output, ...]
    decision: Decision | None = None


@dataclass(frozen=True)
class Judged:
    """One answer beside the truth: of the image `key`, or of one place in it.

    `truth` is None where there was nothing to answer; `answer` is None where nothing was answered, and `conf`
    is 0 then.
    """

    key: str
    truth: str | None
    answer: str | None
    conf: float
    right: bool


@dataclass(frozen=True)
class Evidence:
    """Where in an image a model found what speaks for a class.

    `grid` is laid evenly over the whole upright image, its rows from top to bottom, each from left to right.
    Its values are in -1..1: above 0 the place speaks for `label`, below 0 for other classes, and the place
    that says most has the absolute value 1. Times `peak` (0 or more, in natural logarithms of odds) the mean
    of all places, plus what the model adds for the class in any image, is how far the score of `label` lies
    above the mean score of all classes; so grids of several images compare when multiplied by their peaks.
    """

    label: str
    grid: tuple[tuple[float, ...], ...]
    peak: float


class DecodedImage(Protocol):
    """What `plugins.images.decode` returns: see there."""

    @property
    def image(self) -> Any:
        """A `PIL.Image.Image` in RGB, upright; perhaps reduced (see `Predictor.wanted_side`)."""

    @property
    def width(self) -> int:
        """Width of the upright image in pixels as it was sent, before any reduction."""

    @property
    def height(self) -> int:
        """Height of the upright image in pixels as it was sent, before any reduction."""


class Predictor(Protocol):
    """An opened bundle. Thread-safe; holds no framework but ONNX Runtime."""

    @property
    def wanted_side(self) -> int | None:
        """The decoder may reduce an image until its shorter side is just not below this many pixels."""

    def predict(self, images: Sequence[DecodedImage]) -> list[Prediction]:
        """One prediction an image, in order.

        Raises `PluginError` when the model cannot answer for one of them.
        """


@runtime_checkable
class Explainer(Protocol):
    """A predictor that can also show where in an image the evidence for a class lies."""

    def explain(self, images: Sequence[DecodedImage], labels: Sequence[str] | None = None) -> list[Evidence]:
        """The evidence for one class an image, in order: for `labels`, else for the most likely class.

        Raises `PluginError`: `cannot_explain` when this model has no such maps (also for no images, which is
        how to ask), `unknown_label` for a label that it does not know.
        """


@runtime_checkable
class Reader(Protocol):
    """A predictor that can also read what stands in a region that somebody has drawn."""

    def read(self, image: DecodedImage, regions: Sequence[Region]) -> list[Output]:
        """One output a region, in order: its text, and how sure that is; nothing legible is "" with 0.0.

        The regions are those of `Region`: pixels of the image as it was sent (`image.width`, `image.height`),
        of any shape; parts outside of the image are cut off. `pos` of an output is not needed.

        Raises `PluginError`.
        """


@runtime_checkable
class Embedder(Protocol):
    """What can say what a network sees in images: a predictor, or a network before any training."""

    @property
    def wanted_side(self) -> int | None:
        """See `Predictor`."""

    def embed(self, images: Sequence[DecodedImage]) -> Any:
        """What the last layer sees: an array (images, width) of finite floats; alike images, alike rows.

        Raises `PluginError`: `no_features` when this model has none (also for no images, which is how to
        ask).
        """


@dataclass(frozen=True)
class Familiar:
    """What a model has learned to take for familiar, in little-endian float32: a feature vector times `scale`
    (width), brought to length 1, times `basis` (width, directions), is compared with `rows` (images,
    directions); 1 minus the mean of its `neighbours` highest products is above `limit` for what is unlike.
    """

    scale: bytes
    basis: bytes
    rows: bytes
    width: int
    directions: int
    images: int
    neighbours: int
    limit: float


@dataclass(frozen=True)
class BrowserModel:
    """A model that a web page can run by itself, with ONNX Runtime for the web.

    `file` of the bundle takes `images`, one RGB image of bytes (1, side, side, 3), scaled as
    `plugins.classification.preprocess` does, and answers `probabilities` (1, labels) and, where `familiar`
    is known, `features` (1, width). `thresholds` are the least confidences to act on a label, above 1 for
    never; empty where none were learned.
    """

    file: str
    labels: tuple[str, ...]
    side: int
    thresholds: tuple[float, ...] = ()
    familiar: Familiar | None = None


DescribeForBrowser = Callable[..., BrowserModel]
"""`describe(folder: Path, model: Mapping) -> BrowserModel` of a verified bundle. Raises `PluginError`."""


OpenPretrained = Callable[..., tuple[str, Embedder]]
"""`open_pretrained(*, shorter_side: float, threads: int)` for images of such a shorter side in pixels: a
version, which differs where the rows would, and the network before any training. Raises `PluginError`."""


OpenPredictor = Callable[..., Predictor]
"""`open_predictor(folder: Path, model: Mapping, *, threads: int) -> Predictor`; `model` is the part of the
manifest that the trainer wrote (`Draft.model`), `threads` the CPU threads it may use."""
