"""What every plugin must do, the built-in ones and one of another distribution."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from plugins import images, registry
from plugins.contract import (
    Algorithm,
    Draft,
    Explainer,
    Label,
    Plugin,
    PluginError,
    Prediction,
    TrainingStopped,
)
from tests.plugins import ocr_pages, photographs
from tests.plugins.context import MemoryContext

OUTSIDE = Path(__file__).parent / "example_plugin"
PLUGIN_NAMES = ("classification", "ocr", "nearest-mean")
# Values that make training quick; every algorithm stands here.
QUICK: dict[str, dict[str, Any]] = {
    "classification-high-performance": {"epochs": 1, "image_size": 64},
    "classification-high-precision": {"epochs": 1, "image_size": 64, "base": "efficientnet-lite2"},
    "ocr-high-performance": {"detector_epochs": 1, "recogniser_epochs": 1, "input_side": 256},
    "nearest-mean": {},
}


@pytest.fixture(scope="module", autouse=True)
def other_distribution() -> Iterator[None]:
    """The example plugin is installed for as long as these tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(OUTSIDE))
        registry.forget()
        yield
    registry.forget()


@dataclasses.dataclass
class Trained:
    plugin: Plugin
    context: MemoryContext
    draft: Draft


@pytest.fixture(scope="module")
def trained_ones() -> dict[str, Trained]:
    return {}


@pytest.fixture(params=PLUGIN_NAMES)
def plugin(request: pytest.FixtureRequest) -> Plugin:
    return registry.plugin(request.param)


@pytest.fixture(params=QUICK)
def trained(
    request: pytest.FixtureRequest,
    trained_ones: dict[str, Trained],
    tmp_path_factory: pytest.TempPathFactory,
) -> Trained:
    if request.param not in trained_ones:
        plugin, algorithm = registry.algorithm(request.param)
        context = context_for(algorithm, tmp_path_factory.mktemp("training"))
        trained_ones[request.param] = Trained(plugin, context, registry.load(plugin.trainer)(context))
    return trained_ones[request.param]


def context_for(algorithm: Algorithm, folder: Path) -> MemoryContext:
    if registry.algorithm(algorithm.name)[0].label_form == "regions":
        return pages_for(algorithm, folder)
    examples, data = photographs.materials(train=4, validation=2)
    return MemoryContext(
        folder=folder,
        params=registry.parse_params(algorithm, QUICK[algorithm.name]),
        labels=photographs.MATERIALS,
        snapshot=examples,
        data=data,
        algorithm=algorithm.name,
    )


def pages_for(algorithm: Algorithm, folder: Path) -> MemoryContext:
    made = [ocr_pages.page(number, "train" if number < 4 else "validation") for number in range(6)]
    return MemoryContext(
        folder=folder,
        params=registry.parse_params(algorithm, QUICK[algorithm.name]),
        labels=(),
        snapshot=[example for example, _ in made],
        data={example.key: data for example, data in made},
        algorithm=algorithm.name,
    )


def predictions(trained: Trained) -> list[Prediction]:
    predictor = registry.load(trained.plugin.predictor)(trained.draft.folder, trained.draft.model, threads=1)
    examples = trained.context.examples("validation")
    decoded = [
        images.decode(trained.context.read(one), wanted_side=predictor.wanted_side) for one in examples
    ]
    answers: list[Prediction] = predictor.predict(decoded)
    return answers


def test_every_built_in_plugin_is_tested_here() -> None:
    assert set(registry.BUILTIN) <= set(PLUGIN_NAMES)
    assert not registry.broken_plugins()


def test_every_algorithm_has_quick_values(plugin: Plugin) -> None:
    assert {algorithm.name for algorithm in plugin.algorithms} <= QUICK.keys()


def test_every_dotted_path_resolves(plugin: Plugin) -> None:
    dotted_paths = (
        plugin.trainer,
        plugin.predictor,
        plugin.evaluator,
        plugin.illustrator,
        plugin.mistakes,
        plugin.reader,
        plugin.pretrained,
        plugin.browser,
    )
    for dotted in filter(None, dotted_paths):
        assert callable(registry.load(dotted))
    for dotted, names in ((plugin.selection, ("rank", "doubts")), (plugin.proofreading, ("doubts",))):
        if dotted:
            module = registry.load(dotted)
            assert all(callable(getattr(module, name)) for name in names)
    labeling = registry.load(plugin.labeling)
    for name in ("config", "label_from_result", "result_from_label", "result_from_prediction"):
        assert callable(getattr(labeling, name))


def test_parameters_make_a_form_and_default_to_themselves(plugin: Plugin) -> None:
    for algorithm in plugin.algorithms:
        schema = registry.params_schema(algorithm)
        defaults = {entry["name"]: entry["default"] for entry in json.loads(json.dumps(schema))}
        assert registry.parse_params(algorithm, defaults) == algorithm.params()
        assert all(entry["help"] for entry in schema)


def test_unknown_parameters_are_refused(plugin: Plugin) -> None:
    for algorithm in plugin.algorithms:
        with pytest.raises(PluginError, match="has no parameter 'colour'"):
            registry.parse_params(algorithm, {"colour": 1})


def test_the_draft_is_json_and_plain_files(trained: Trained) -> None:
    for part in (trained.draft.model, trained.draft.base, trained.draft.facts, trained.context.facts):
        json.dumps(dict(part), allow_nan=False)
    assert any(path.is_file() for path in trained.draft.folder.iterdir())
    assert not [path for path in trained.draft.folder.rglob("*") if path.is_symlink()]


def test_predictions_are_well_formed(trained: Trained) -> None:
    answers = predictions(trained)
    assert len(answers) == len(trained.context.examples("validation"))
    for answer in answers:
        assert all(0 <= output.conf <= 1 for output in answer.outputs)
        if trained.plugin.label_form == "class":
            confidences = [output.conf for output in answer.outputs]
            assert sorted(output.label for output in answer.outputs) == sorted(trained.context.labels)
            assert confidences == sorted(confidences, reverse=True)
            assert sum(confidences) == pytest.approx(1, abs=1e-4)


def test_an_image_alone_gets_the_answer_it_gets_among_others(trained: Trained) -> None:
    predictor = registry.load(trained.plugin.predictor)(trained.draft.folder, trained.draft.model, threads=1)
    some = [
        images.decode(trained.context.read(one), wanted_side=predictor.wanted_side)
        for one in trained.context.examples("validation")
    ]
    for decoded, together in zip(some, predictor.predict(some), strict=True):
        (alone,) = predictor.predict([decoded])
        for one, other in zip(alone.outputs, together.outputs, strict=True):
            assert one.label == other.label
            assert one.conf == pytest.approx(other.conf, abs=1e-4)


def test_no_images_get_no_answers(trained: Trained) -> None:
    predictor = registry.load(trained.plugin.predictor)(trained.draft.folder, trained.draft.model, threads=1)
    assert predictor.predict([]) == []


def test_metrics_are_finite_and_hold_the_headline(trained: Trained, tmp_path: Path) -> None:
    evaluate, illustrate = (registry.load(d) for d in (trained.plugin.evaluator, trained.plugin.illustrator))
    evaluation = evaluate(trained.context.examples("validation"), predictions(trained))
    assert trained.plugin.headline in evaluation.metrics
    assert all(math.isfinite(value) for value in evaluation.metrics.values())
    assert {metric.name for metric in trained.plugin.metrics} >= set(evaluation.metrics)
    json.dumps(dict(evaluation.details), allow_nan=False)
    illustrate(evaluation, trained.context.rows, tmp_path / "plots")
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (tmp_path / "plots").iterdir())
    nothing = evaluate([], [])
    assert all(math.isfinite(value) for value in nothing.metrics.values())
    illustrate(nothing, [], tmp_path / "none")


def test_evidence_is_well_formed_or_refused(trained: Trained) -> None:
    predictor = registry.load(trained.plugin.predictor)(trained.draft.folder, trained.draft.model, threads=1)
    assert isinstance(predictor, Explainer) == trained.plugin.explains
    if not isinstance(predictor, Explainer):
        return
    examples = trained.context.examples("validation")
    some = [images.decode(trained.context.read(one)) for one in examples]
    try:
        assert predictor.explain([]) == []
    except PluginError as refusal:
        assert refusal.code == "cannot_explain"
        return
    labels = [answer.outputs[0].label for answer in predictions(trained)]
    for label, found in zip(labels, predictor.explain(some), strict=True):
        assert found.label == label and found.peak >= 0
        assert len({len(row) for row in found.grid}) == 1
        assert all(-1 <= value <= 1 for row in found.grid for value in row)


def test_mistakes_are_drawn_when_there_are_some(trained: Trained, tmp_path: Path) -> None:
    if not trained.plugin.mistakes:
        return
    predictor = registry.load(trained.plugin.predictor)(trained.draft.folder, trained.draft.model, threads=1)
    examples = trained.context.examples("validation")
    swapped = [
        dataclasses.replace(one, label=other.label, regions=other.regions)
        for one, other in zip(examples, reversed(examples), strict=True)
    ]
    evaluation = registry.load(trained.plugin.evaluator)(swapped, predictions(trained))
    draw = registry.load(trained.plugin.mistakes)
    draw(evaluation, swapped, trained.context.read, predictor, tmp_path / "plots")
    drawn = [path.read_bytes() for path in (tmp_path / "plots").iterdir()]
    assert drawn and all(content.startswith(b"\x89PNG") for content in drawn)


def test_labels_survive_label_studio(trained: Trained) -> None:
    labeling = registry.load(trained.plugin.labeling)
    odd = ['a "b" <c> & d', "rose", "O'Hara", "日本語"]
    xml = ElementTree.fromstring(labeling.config(odd))
    if trained.plugin.label_form == "class":
        assert [choice.get("value") for choice in xml.iter("Choice")] == odd
    for answer in predictions(trained):
        result = json.loads(json.dumps(labeling.result_from_prediction(answer, width=96, height=96)))
        label = labeling.label_from_result(result, width=96, height=96)
        if trained.plugin.label_form == "class":
            assert label == Label(answer.outputs[0].label)
        again = labeling.result_from_label(label, width=96, height=96)
        twice = labeling.label_from_result(again, width=96, height=96)
        assert dataclasses.replace(twice, regions=label.regions) == label
        for one, other in zip(twice.regions, label.regions, strict=True):
            assert dataclasses.replace(one, points=other.points) == other
            assert [*sum(one.points, ())] == pytest.approx([*sum(other.points, ())], abs=0.01)
    assert labeling.label_from_result([], width=96, height=96) == Label()


def test_predicting_needs_no_training_framework(plugin: Plugin) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(OUTSIDE)!r})\n"
        "from plugins import registry\n"
        f"plugin = registry.plugin({plugin.name!r})\n"
        "registry.load(plugin.predictor), registry.load(plugin.labeling)\n"
        "print(sorted({'torch', 'torchvision', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize("name", QUICK)
def test_training_can_be_discarded_at_once(name: str, tmp_path: Path) -> None:
    plugin, algorithm = registry.algorithm(name)
    context = context_for(algorithm, tmp_path)
    context.stop_at, context.discard = 1, True
    with pytest.raises(TrainingStopped):
        registry.load(plugin.trainer)(context)
