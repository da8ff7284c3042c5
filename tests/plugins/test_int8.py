"""The int8 model: made, compared, served or refused; graphs of real layers, their weights random numbers."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from plugins import bundle
from plugins.classification import int8
from plugins.classification.int8 import comparison
from plugins.classification.int8.comparison import Agreement, Comparison
from plugins.classification.predictor import open_predictor
from plugins.contract import TrainingStopped
from plugins.quantisation import quantiser, sensitivity
from plugins.quantisation.quantiser import Statistics
from plugins.quantisation.speed import Speed
from plugins.sessions import open_session

SIZE, CLASSES = 32, 4
Graph = onnx.ModelProto


class Layers:
    """A graph under construction; weights are random numbers."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, value: Any, kind: Any = np.float32) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, kind), f"c{len(self.constants)}"))
        return self.constants[-1].name

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, [*inputs], [output or name], name, **attributes))
        return output or name

    def conv(
        self, name: str, inputs: int, outputs: int, side: int = 1, *, groups: int = 1, **more: Any
    ) -> str:
        shape = (outputs, inputs // groups, side, side)
        weight = self.constant(self.random.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape))
        bias = self.constant(self.random.normal(0, 0.1, outputs))
        attributes = {"pads": [side // 2] * 4, "kernel_shape": [side, side], "group": groups, **more}
        return self.add("Conv", name, weight, bias, **attributes)

    def active(self, name: str, output: str = "") -> str:
        return self.add("Clip", name, self.constant(0.0), self.constant(6.0), output=output)

    def mirrored(self, name: str) -> str:
        ends = (self.constant([value], np.int64) for value in (-1, -(2**63) + 1, 3, -1))
        return self.add("Slice", name, *ends)

    def mean_of_halves(self, name: str, images: str) -> str:
        count = self.add("Shape", images, end=1)
        sizes = self.add("Concat", count, count, axis=0)
        self.nodes.append(helper.make_node("Split", [name, sizes], ["seen", "turned"], "split", axis=0))
        total = self.add("Add", "seen", self.mirrored("turned"))
        return self.add("Mul", total, self.constant(0.5), output="maps")


def network(seed: int = 0, *, both_ways: bool = False) -> Graph:
    """Bytes -> 3x3 convolution -> 1x1 -> depthwise -> 1x1 + residual -> 1x1 (maps) -> features -> classes;
    perhaps of the image and its mirror image, as one batch of which the mean of the maps is taken.
    """
    of = Layers(seed)
    name = of.add("Transpose", of.add("Cast", "images", to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
    seen = of.add("Div", of.add("Sub", name, of.constant(127.0)), of.constant(128.0))
    name = of.add("Concat", seen, of.mirrored(seen), axis=0) if both_ways else seen
    start = of.active(of.conv(name, 3, 16, 3, strides=[2, 2]))
    name = of.active(of.conv(start, 16, 48))
    name = of.active(of.conv(name, 48, 48, 3, groups=48))
    name = of.add("Add", start, of.conv(name, 48, 16))
    name = of.active(of.conv(name, 16, 64), "" if both_ways else "maps")
    name = of.mean_of_halves(name, seen) if both_ways else name
    name = of.add("Flatten", of.add("GlobalAveragePool", name), output="features")
    weight = of.constant(of.random.normal(0, 1, (CLASSES, 64)))
    name = of.add("Gemm", name, weight, of.constant(np.zeros(CLASSES)), transB=1)
    of.add("Softmax", name, output="probabilities", axis=1)
    outputs: dict[str, list[str | int]] = {
        "probabilities": ["batch", CLASSES],
        "features": ["batch", 64],
        "maps": ["batch", 64, SIZE // 2, SIZE // 2],
    }
    graph = helper.make_graph(
        of.nodes,
        "classification",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", SIZE, SIZE, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        of.constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def pictures(count: int, seed: int = 1) -> Any:
    """Blobs of colour with noise."""
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 256, (count, 4, 4, 3)).repeat(8, 1).repeat(8, 2)
    return np.clip(blocks + random.normal(0, 10, blocks.shape), 0, 255).astype(np.uint8)


def never() -> bool:
    return False


@pytest.fixture(scope="module")
def made() -> tuple[Graph, Graph]:
    """The network and its int8 form."""
    model = quantiser.read(network().SerializeToString())
    return model, quantiser.quantise(model, quantiser.observe(model, [pictures(16)], threads=1, stop=never))


def answers(model: Graph, rows: Any, *, simulated: bool = False) -> Any:
    if not simulated:
        return open_session(model.SerializeToString(), threads=1).run(None, {"images": rows})
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"images": rows})


def test_int8_answers_like_fp32(made: tuple[Graph, Graph]) -> None:
    rows = pictures(32, seed=2)
    fp32, quantised = (answers(model, rows) for model in made)
    assert np.abs(fp32[0] - quantised[0]).sum(1).mean() / 2 < 0.05
    for one, other in zip(fp32[1:], quantised[1:], strict=True):  # features and maps stay what they are
        assert np.linalg.norm(one - other) < 0.06 * np.linalg.norm(one)


def test_all_convolutions_run_in_int8(made: tuple[Graph, Graph], tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(made[1].SerializeToString(), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert kinds.count("QLinearConv") == 5
    assert "QLinearAdd" in kinds
    assert not {"Conv", "Clip", "Cast", "Sub", "Div"} & set(kinds)  # the bytes go in as they are


def test_a_network_that_looks_both_ways_reads_bytes_too() -> None:
    model = quantiser.read(network(both_ways=True).SerializeToString())
    made = quantiser.quantise(model, quantiser.observe(model, [pictures(16)], threads=1, stop=never))
    assert not {"Cast", "Sub", "Div"} & {node.op_type for node in made.graph.node}
    rows = pictures(16, seed=2)
    fp32, quantised = answers(model, rows), answers(made, rows)
    assert np.abs(fp32[0] - quantised[0]).sum(1).mean() / 2 < 0.05
    assert np.linalg.norm(fp32[2] - quantised[2]) < 0.06 * np.linalg.norm(fp32[2])


def test_the_integer_kernels_do_not_overflow(made: tuple[Graph, Graph]) -> None:
    rows = np.full((8, SIZE, SIZE, 3), 255, np.uint8)  # the greatest inputs
    rows[4:] = pictures(4, seed=3)
    exact, given = answers(made[1], rows, simulated=True), answers(made[1], rows)
    for one, other in zip(exact, given, strict=True):
        assert np.linalg.norm(one - other) < 0.02 * np.linalg.norm(one)


def test_pairs_of_weights_stay_below_sixteen_bits() -> None:
    weight = np.random.default_rng(0).normal(size=(64, 24, 3, 3))
    steps = np.rint(weight / quantiser.grid(weight, depthwise=False)[:, None, None, None])
    pairs = steps.transpose(0, 2, 3, 1).reshape(64, -1, 2)
    assert np.abs(steps).max() > 64  # finer than 7 bits
    assert np.maximum(pairs, 0).sum(2).max() * 255 < 2**15
    assert np.minimum(pairs, 0).sum(2).min() * 255 >= -(2**15)


def test_a_channel_without_weights_has_a_scale() -> None:
    weight = np.zeros((2, 1, 3, 3))
    weight[1] = 0.5
    scale = quantiser.grid(weight, depthwise=True)
    assert scale == pytest.approx([1.0, 0.5 / 127])


def test_weights_are_per_channel_and_in_eight_bits(made: tuple[Graph, Graph]) -> None:
    constants = {tensor.name: tensor for tensor in made[1].graph.initializer}
    kinds = {tensor.data_type for tensor in constants.values() if len(tensor.dims) > 1}
    assert kinds == {TensorProto.INT8}
    producers = {node.output[0]: node for node in made[1].graph.node}
    for node in made[1].graph.node:
        if node.op_type == "Conv":
            weight, scale = (constants[name] for name in producers[node.input[1]].input[:2])
            assert scale.dims == [weight.dims[0]]


def test_the_same_weights_and_images_give_the_same_bytes(made: tuple[Graph, Graph]) -> None:
    model = quantiser.read(network().SerializeToString())
    statistics = quantiser.observe(model, [pictures(16)], threads=2, stop=never)
    again = quantiser.quantise(model, statistics).SerializeToString()
    assert hashlib.sha256(again).digest() == hashlib.sha256(made[1].SerializeToString()).digest()


def test_the_bias_takes_back_the_mean_error() -> None:
    model = quantiser.read(network().SerializeToString())
    rows = pictures(16)
    statistics = quantiser.observe(model, [rows], threads=1, stop=never)
    uncorrected = Statistics(
        statistics.ranges, {name: np.zeros_like(mean) for name, mean in statistics.means.items()}
    )
    wanted = answers(model, rows)[1].mean(0)
    errors = [
        np.linalg.norm(answers(quantiser.quantise(model, one), rows)[1].mean(0) - wanted)
        for one in (statistics, uncorrected)
    ]
    assert errors[0] < errors[1]


def test_the_most_sensitive_layers_can_stay_in_fp32() -> None:
    model = quantiser.read(network().SerializeToString())
    statistics = quantiser.observe(model, [pictures(16)], threads=1, stop=never)
    order = sensitivity.order(model, statistics, [pictures(4)], threads=1, stop=never)
    assert sorted(order) == sorted(quantiser.convolutions(model))
    for without in (order[:2], quantiser.convolutions(model)[:1]):
        spared = quantiser.quantise(model, statistics, without=without)
        constants = {tensor.name: tensor for tensor in spared.graph.initializer}
        kept = [node for node in spared.graph.node if node.op_type == "Conv" and node.input[1] in constants]
        assert sorted(node.name for node in kept) == sorted(without)
        assert np.abs(answers(spared, pictures(8))[0] - answers(model, pictures(8))[0]).max() < 0.2


SPEED = Speed(0.010, 0.005, (1.8, 2.0, 2.1))
GOOD = Agreement(100, 1.0, 0.01, 0.0)


@pytest.mark.parametrize(
    ("training", "validation", "accuracy", "words"),
    [
        (GOOD, GOOD, (0.9, 0.9), ""),
        (GOOD, GOOD, (0.9, 0.896), ""),
        (GOOD, None, None, ""),
        (GOOD, GOOD, (0.900, 0.866), "falls from 90.0% to 86.6%"),
        (GOOD, Agreement(58, 0.9, 0.02, 0.02), (0.9, 0.9), "lose 2.0 points"),
        (GOOD, Agreement(58, 0.98, 0.08, 0.001), (0.9, 0.95), "differ by 0.080"),
        (Agreement(200, 0.9, 0.02, 0.001), GOOD, (0.9, 0.9), "10.0% of the training images"),
        (Agreement(200, 0.9, 0.02, 0.03), None, None, "lose 3.0 points"),
    ],
)
def test_the_rule(training: Any, validation: Any, accuracy: Any, words: str) -> None:
    fault = Comparison(SPEED, training, validation, accuracy).fault()
    assert words in fault
    assert bool(fault) == bool(words)


def test_agreement_weighs_a_changed_answer_by_what_fp32_thought() -> None:
    fp32 = np.array([[0.6, 0.4], [0.1, 0.9]], np.float32)
    int8_ = np.array([[0.4, 0.6], [0.1, 0.9]], np.float32)
    found = comparison.agreement(fp32, int8_)
    assert found.facts() == {"images": 2, "agreement": 0.5, "difference": 0.1, "expected_loss": 0.1}


def test_answers_that_are_no_numbers_never_pass() -> None:
    fp32 = np.full((3, 2), 0.5, np.float32)
    found = comparison.agreement(fp32, np.full((3, 2), np.nan, np.float32))
    assert Comparison(SPEED, found, None, None).fault()


class Desk:
    """A draft folder and what the trainer gives to `offer`."""

    def __init__(self, folder: Path, graph: Graph) -> None:
        self.folder, self.lines = folder, list[str]()
        (folder / "model.onnx").write_bytes(graph.SerializeToString())
        self.model = {"file": "model.onnx", "labels": list("abcd"), "image_size": SIZE}
        self.targets = answers(graph, pictures(40, seed=5))[0].argmax(1)

    def offer(self, *, stop: Callable[[], bool] = never, images: int = 24, checked: int = 40) -> int8.Outcome:
        return int8.offer(
            self.folder,
            self.model,
            calibration=pictures(images),
            validation=pictures(40, seed=5)[:checked],
            targets=self.targets[:checked],
            threads=1,
            stop=stop,
            log=self.lines.append,
        )

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())

    def is_refused(self, outcome: int8.Outcome, words: str) -> bool:
        """Fp32 stays as it was, alone, and the reason is there and in the log."""
        return (
            outcome.model == self.model
            and outcome.facts["served"] == "fp32"
            and words in outcome.facts["reason"]
            and words in self.lines[-1]
            and self.files() == ["model.onnx"]
        )


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, network())


def speeds(monkeypatch: pytest.MonkeyPatch, lower: float) -> None:
    """Say how fast int8 is: the small graph of these tests is too small to tell."""
    speed = Speed(0.01, 0.01 / lower, (lower, lower, lower))
    monkeypatch.setattr(comparison, "measure_speed", lambda *_, **__: speed)


@pytest.fixture
def faster(monkeypatch: pytest.MonkeyPatch) -> None:
    speeds(monkeypatch, 2.0)


@pytest.mark.usefixtures("faster")
def test_int8_is_served_when_it_is_faster_and_as_good(desk: Desk) -> None:
    outcome = desk.offer()
    assert outcome.model == {**desk.model, "file": "model-int8.onnx"}
    assert desk.files() == ["model-int8.onnx", "model.onnx"]
    facts = outcome.facts
    assert facts["served"] == "int8"
    assert facts["bytes_int8"] == (desk.folder / "model-int8.onnx").stat().st_size
    assert facts["accuracy_fp32"] - facts["accuracy_int8"] <= 0.005
    assert "2.0 times faster" in desk.lines[-1]
    predictor = open_predictor(desk.folder, outcome.model, threads=1)
    assert predictor.probabilities(pictures(2)).sum(1) == pytest.approx([1, 1], abs=1e-5)


@pytest.mark.usefixtures("faster")
def test_of_many_validation_images_some_of_every_class_are_compared(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "affordable", lambda *_: 20)
    seen: list[Any] = []
    accuracy = comparison.accuracy

    def noting(given: Any, targets: Any) -> float:
        seen.append(targets)
        return accuracy(given, targets)

    monkeypatch.setattr(comparison, "accuracy", noting)
    desk.targets = np.repeat(np.arange(4), 10)  # in order, as keys of folders are
    desk.offer()
    assert np.bincount(seen[0]).tolist() == [5, 5, 5, 5]


@pytest.mark.usefixtures("faster")
def test_without_validation_images_the_training_images_decide(desk: Desk) -> None:
    facts = desk.offer(checked=0).facts
    assert facts["served"] == "int8"
    assert facts["on_validation"] is facts["accuracy_int8"] is None


@pytest.mark.usefixtures("faster")
def test_a_bundle_with_both_files_is_verified_and_opened(desk: Desk, tmp_path: Path) -> None:
    outcome = desk.offer()
    empty: dict[str, Any] = {}
    manifest = bundle.Manifest(
        *("classification", "classification-high-performance", "parts", "2026-11-23T18:31:13+00:00"),
        *(outcome.model, empty, empty, empty, {"int8": outcome.facts}, empty, "abc", empty, empty),  # type: ignore[arg-type]
    )
    whole = bundle.pack(bundle.verify(bundle.write(desk.folder, manifest).folder), tmp_path / "m.zip")
    opened = bundle.unpack(whole, tmp_path / "opened")
    assert {"model.onnx", "model-int8.onnx"} <= set(opened.manifest.files)
    served = open_predictor(opened.folder, opened.manifest.model, threads=1).probabilities(pictures(4))
    assert (served == answers(onnx.load(opened.folder / "model-int8.onnx"), pictures(4))[0]).all()


def test_speed_is_measured_on_this_machine(desk: Desk) -> None:
    graph = (desk.folder / "model.onnx").read_bytes()
    one, other = open_session(graph, threads=1), open_session(graph, threads=1)
    speed = comparison.measure_speed(one, other, pictures(3), stop=never)
    assert speed.fp32 > 0
    assert speed.ratio[0] <= speed.ratio[1] <= speed.ratio[2]


def test_what_is_not_faster_is_not_served(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    speeds(monkeypatch, 0.9)
    assert desk.is_refused(desk.offer(), "int8 is not faster on this machine")


@pytest.mark.usefixtures("faster")
def test_what_is_worse_is_not_served(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []
    real = quantiser.quantise

    def spoilt(model: Graph, statistics: Any, *, without: Any = ()) -> Graph:
        tried.append(len(without))
        made = real(model, statistics, without=without)
        for tensor in made.graph.initializer:  # the last layer's weights
            if tensor.data_type == TensorProto.INT8 and list(tensor.dims) == [CLASSES, 64]:
                tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), tensor.name))
        return made

    monkeypatch.setattr(quantiser, "quantise", spoilt)
    assert desk.is_refused(desk.offer(), "accuracy on validation falls")
    assert tried == [0, 0, 0, 1]  # all, once more to find the sensitive ones, 0.1 and 0.25 of five spared


@pytest.mark.usefixtures("faster")
def test_a_fault_of_the_quantiser_leaves_fp32(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> Graph:
        raise ValueError("no such axis\nand a second line")

    monkeypatch.setattr(quantiser, "quantise", fails)
    assert desk.is_refused(desk.offer(), "the model could not be quantised: no such axis")


@pytest.mark.usefixtures("faster")
def test_a_full_disk_leaves_fp32_and_nothing_half_written(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert desk.is_refused(desk.offer(), "model-int8.onnx could not be written: No space left on device")


@pytest.mark.usefixtures("faster")
def test_a_stop_at_any_question_leaves_fp32(desk: Desk) -> None:
    asked = [0]

    def count() -> bool:
        asked[0] += 1
        return False

    desk.offer(stop=count)
    assert asked[0] > 10
    for number in {1, 3, asked[0] // 2, asked[0]}:
        left = iter([False] * (number - 1))
        outcome = desk.offer(stop=lambda left=left: next(left, True))  # type: ignore[misc]
        assert desk.is_refused(outcome, "the training was stopped")


def test_a_stop_that_discards_is_passed_on(desk: Desk) -> None:
    def discard() -> bool:
        raise TrainingStopped("nothing is kept")

    with pytest.raises(TrainingStopped):
        desk.offer(stop=discard)
    assert desk.files() == ["model.onnx"]


def test_the_file_of_an_earlier_attempt_goes(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    (desk.folder / "model-int8.onnx").write_bytes(b"of an earlier attempt")
    speeds(monkeypatch, 0.5)
    assert desk.is_refused(desk.offer(), "not faster")


def test_nothing_to_calibrate_with(desk: Desk) -> None:
    assert desk.is_refused(desk.offer(images=0), "no training image")


def test_a_network_without_convolutions(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["images"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["numbers"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("Gemm", ["means", "weight"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "means",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(np.ones((3, CLASSES), np.float32), "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    desk = Desk(tmp_path, model)
    assert desk.is_refused(desk.offer(), "no convolution")
