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
from typing import Any, Literal, Protocol

from plugins.contract.labels import (
    Example,
    Label,
    Point,
    Region,
    Split,
)
from plugins.contract.measuring import Evaluation, Metric
from plugins.contract.predicting import (
    BrowserModel,
    Decision,
    DecodedImage,
    DescribeForBrowser,
    Embedder,
    Evidence,
    Explainer,
    Familiar,
    Judged,
    OpenPredictor,
    OpenPretrained,
    Output,
    Prediction,
    Predictor,
    Reader,
)
from plugins.contract.selecting import (
    Doubt,
    OpenReader,
    Pick,
    Proofreading,
    Selection,
)

__all__ = [
    "API_VERSION",
    "Algorithm",
    "AttemptLost",
    "BrowserModel",
    "Decision",
    "DecodedImage",
    "DescribeForBrowser",
    "Doubt",
    "Draft",
    "Embedder",
    "Evaluate",
    "Evaluation",
    "Evidence",
    "Example",
    "Explainer",
    "Familiar",
    "Illustrate",
    "IllustrateMistakes",
    "Judged",
    "Label",
    "Labeling",
    "Metric",
    "OpenPredictor",
    "OpenPretrained",
    "OpenReader",
    "Output",
    "Pick",
    "Plugin",
    "PluginError",
    "Point",
    "Prediction",
    "Predictor",
    "Previous",
    "Proofreading",
    "Reader",
    "Region",
    "Selection",
    "Split",
    "Train",
    "TrainingContext",
    "TrainingStopped",
]

API_VERSION = 1


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
    reader: str = ""  # optional, see `OpenReader`
    proofreading: str = ""  # optional, a module that is a `Proofreading`; for predictors that are a `Reader`
    browser: str = ""  # optional, see `DescribeForBrowser`
    metrics: tuple[Metric, ...] = ()  # what is told of the evaluator's numbers
    explains: bool = False  # whether its predictors are an `Explainer`
    api_version: int = API_VERSION

    def algorithm(self, name: str) -> Algorithm:
        """The algorithm of that name; KeyError if there is none."""
        return {algorithm.name: algorithm for algorithm in self.algorithms}[name]
