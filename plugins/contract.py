"""What a plugin is. Standard library only: whoever reads this module loads no framework.

A plugin is one frozen `Plugin` that names, by dotted path, a trainer, a predictor and an evaluator.
The worker imports the trainer when it trains, the model server imports the predictor when it serves;
listing plugins imports neither.

The road of a model:  examples -> trainer -> draft folder -> predictor -> evaluator -> bundle -> predictor.
The draft is evaluated through the predictor that will serve it, so what is measured is what is shipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

API_VERSION = 1

Split = Literal["train", "validation", "test"]
Point = tuple[float, float]


class PluginError(Exception):
    """A plugin refuses, in one sentence that a user can act on; `code` is stable and lower_case."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class TrainingStopped(Exception):
    """Raised by a trainer that was asked to stop before it had anything worth keeping."""


class AttemptLost(Exception):
    """Raised by the context when another attempt owns the task: write nothing more and leave."""


@dataclass(frozen=True)
class Algorithm:
    """One way to train. `params` is a frozen dataclass whose fields carry `help` in their metadata, and
    `minimum`/`maximum` or `choices` where they are bounded: the form and the API schema are made from it.
    """

    name: str
    title: str
    description: str
    params: type[Any]


@dataclass(frozen=True)
class Region:
    """One marked place of an image, as a rule a line or word of text.

    `points` are pixels of the upright image (EXIF orientation applied), x to the right and y down, fractions
    of a pixel allowed. A `rectangle` has four: upper left, upper right, lower right, lower left in reading
    direction, so that a rotated one starts where its text starts; a `polygon` has three or more, in order.
    `text` is None where nobody has transcribed it yet. `label` is the kind of region (Text, Handwriting), or
    empty. `ignored` regions (illegible, difficult) are neither learned from nor counted. `id` is stable
    within its image, or empty. `extra` holds JSON values that the format it came from wants back.
    """

    points: tuple[Point, ...]
    text: str | None = None
    label: str = ""
    shape: Literal["rectangle", "polygon"] = "rectangle"
    ignored: bool = False
    id: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Label:
    """What is known about one image: a class name, or text regions (none of them: an image without text)."""

    name: str | None = None
    regions: tuple[Region, ...] = ()


@dataclass(frozen=True)
class Example:
    """One labelled image of a frozen snapshot. `label` is a class name; `regions` are for OCR.

    `content_hash` is the sha256 of the bytes in hex; `size` their number; `group` names near-duplicates
    that stand on one side of the split. `width` and `height` are pixels of the upright image (0: not known).
    """

    key: str
    etag: str
    size: int
    content_hash: str
    split: Split
    label: str | None = None
    regions: tuple[Region, ...] = ()
    group: str = ""
    width: int = 0
    height: int = 0


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
class Pick:
    """An image to label: the `index` of its row, the algorithm's own measure (larger is better), and the
    reason: `uncertain`, `different`, `typical` or `random`.
    """

    index: int
    score: float
    reason: str


@dataclass(frozen=True)
class Doubt:
    """A label that a model contradicts which has not learned from it: the `index` of the image's row, what
    the label says, what the model says instead, and how sure that is (0..1).
    """

    index: int
    given: str
    suggested: str
    confidence: float


class Selection(Protocol):
    """Which labels pay and which are doubtful, by the rows of an `Embedder`: a module with these functions.
    `labels` has the class name of each row, None for an unlabelled image.
    """

    def rank(self, rows: Any, labels: Sequence[str | None], count: int, *, seed: int) -> list[Pick]:
        """The `count` unlabelled images to label next, the best first; fewer where there are no more."""

    def doubts(self, rows: Any, labels: Sequence[str | None], groups: Sequence[str]) -> list[Doubt]:
        """The labels that are probably wrong, the worst first. Images of one group are alike.

        Raises `PluginError` (`too_few_images`) where there is too little to learn from.
        """


OpenPretrained = Callable[..., tuple[str, Embedder]]
"""`open_pretrained(*, shorter_side: float, threads: int)` for images of such a shorter side in pixels: a
version, which differs where the rows would, and the network before any training. Raises `PluginError`."""

OpenPredictor = Callable[..., Predictor]
"""`open_predictor(folder: Path, model: Mapping, *, threads: int) -> Predictor`; `model` is the part of the
manifest that the trainer wrote (`Draft.model`), `threads` the CPU threads it may use."""


@dataclass(frozen=True)
class Draft:
    """What a trainer returns: a folder with the model's files, and what the manifest must say of them.

    `model` holds what the predictor needs (JSON values only: labels, input size, preprocessing, thresholds),
    `base` the pretrained weights' name, file and sha256, `facts` what a person may want to know.
    """

    folder: Path
    model: Mapping[str, Any]
    base: Mapping[str, Any]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one model on one split: flat numbers for comparison, and details for people.

    `metrics` are finite numbers by name (`accuracy`, `macro_f1`, ...); the first key of `Plugin.headline`
    is the one that ranks models. `details` are JSON values (per class, confusion matrix, mistakes).
    """

    metrics: Mapping[str, float]
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Previous:
    """A model that training may start from: the folder of its verified bundle, what its trainer said of it
    (see `Draft`), and the parameters that it was trained with.

    `trained` maps the content hash of every image that its weights have learned from, those of the models
    before it included, to the label that it had then. `required`: the user named this model, so a trainer
    that cannot start from it refuses (`PluginError`); otherwise it says why in the log and starts afresh.
    `lineage` names the snapshots behind `trained`, oldest first.
    """

    name: str
    digest: str
    folder: Path
    model: Mapping[str, Any]
    base: Mapping[str, Any]
    facts: Mapping[str, Any]
    parameters: Mapping[str, Any]
    trained: Mapping[str, str | None]
    required: bool = False
    lineage: tuple[str, ...] = ()


class TrainingContext(Protocol):
    """What the worker gives to a trainer."""

    @property
    def algorithm(self) -> str:
        """The algorithm's name."""

    @property
    def params(self) -> Any:
        """An instance of the algorithm's params dataclass, validated."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names to learn, sorted; empty for plugins without classes."""

    @property
    def device(self) -> str:
        """`cpu`, or `cuda`."""

    @property
    def threads(self) -> int:
        """CPU threads that the training may use."""

    @property
    def folder(self) -> Path:
        """Scratch that outlives a lost worker: caches and checkpoints go here."""

    @property
    def previous(self) -> Previous | None:
        """The model to start from, the same one in every attempt. A trainer that did start from it says so
        with `"parent": previous.name` in the facts of its draft.
        """

    @property
    def weights(self) -> Path:
        """Folder of pretrained weights that come with no package: read, and filled by downloads."""

    @property
    def offline(self) -> bool:
        """Whether nothing may be downloaded."""

    def examples(self, split: Split) -> Sequence[Example]:
        """The snapshot's examples of one side, in a fixed order."""

    def read(self, example: Example) -> bytes:
        """The image's bytes from the local cache, verified against the snapshot."""

    def report(self, name: str, value: float, *, epoch: float) -> None:
        """Record one metric row (train step); shown while it runs. A value that is not finite is refused."""

    def fact(self, name: str, value: Any) -> None:
        """Record one fact (a JSON value) of the running step: counts, sizes, device, throughput."""

    def log(self, message: str) -> None:
        """Add one line to the log of the running step."""

    def should_stop(self) -> bool:
        """Whether the user asked to stop and keep the best, or the time is up.

        Raises `TrainingStopped` when the user asked to discard, `AttemptLost` when another attempt owns it.
        Cheap: ask after every batch.
        """

    def stop_requested(self) -> bool:
        """Whether the user asked to stop and keep the best; raises and costs as `should_stop`."""

    def time_left(self) -> float:
        """Seconds of the time budget left to training, earlier attempts counted in; may be negative."""

    def checkpoint(self) -> None:
        """Call before writing a checkpoint: raises `AttemptLost` when another attempt owns the task."""


Train = Callable[[TrainingContext], Draft]
"""`train(context) -> Draft`. It may be killed at any moment and called again with the same folder."""

Evaluate = Callable[[Sequence[Example], Sequence[Prediction]], Evaluation]
"""`evaluate(examples, predictions) -> Evaluation`; the two sequences are of one length."""

Illustrate = Callable[[Evaluation, Sequence[Mapping[str, Any]], Path], None]
"""`illustrate(evaluation, metric_rows, folder)` writes plots (PNG) of the evaluation and of training."""

IllustrateMistakes = Callable[
    [Evaluation, Sequence[Example], Callable[[Example], bytes], Predictor, Path], None
]
"""`illustrate_mistakes(evaluation, examples, read, predictor, folder)` draws (PNG) the worst mistakes of an
evaluation of these examples, whose bytes `read` gives, by this predictor."""


class Labeling(Protocol):
    """Label Studio's side of a plugin: a module with these functions. A `result` is the list of that name in
    Label Studio's annotations and predictions; `width` and `height` are pixels of the upright image.
    """

    def config(self, labels: Sequence[str]) -> str:
        """The labeling configuration (XML) for these class names; the image's address is in `image`."""

    def label_from_result(self, result: Sequence[Mapping[str, Any]], *, width: int, height: int) -> Label:
        """What an annotation says. Results of controls that are not ours are ignored: users extend the
        configuration.
        """

    def result_from_label(self, label: Label, *, width: int, height: int) -> list[dict[str, Any]]:
        """The annotation that says this."""

    def result_from_prediction(
        self, prediction: Prediction, *, width: int, height: int
    ) -> list[dict[str, Any]]:
        """The prediction that says this, with a score an entry."""


@dataclass(frozen=True)
class Plugin:
    """What can be trained and predicted for one type of dataset; every callable is a dotted path
    `module:name`, imported on first use.
    """

    name: str
    title: str
    dataset_type: str
    label_form: Literal["class", "regions"]
    algorithms: tuple[Algorithm, ...]
    headline: str  # the metric that ranks models, higher is better
    trainer: str
    predictor: str
    evaluator: str
    illustrator: str
    labeling: str  # a module that is a `Labeling`
    mistakes: str = ""  # optional, see `IllustrateMistakes`
    pretrained: str = ""  # optional, see `OpenPretrained`
    selection: str = ""  # optional, a module that is a `Selection`; for predictors that are an `Embedder`
    api_version: int = API_VERSION

    def algorithm(self, name: str) -> Algorithm:
        """The algorithm of that name; KeyError if there is none."""
        return {algorithm.name: algorithm for algorithm in self.algorithms}[name]
