"""Reading rendered pages with the untrained base: found, read, in order, turned, tiny, huge and broken."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from PIL import Image

from plugins.contract import PluginError, Reader, Region
from plugins.images import Decoded, Header
from plugins.ocr import bases, exporter
from plugins.ocr.bases import cut
from plugins.ocr.exporter import export, untrained
from plugins.ocr.predictor import Map, OcrPredictor, Sides, Thresholds, detection, lines, open_predictor
from plugins.ocr.predictor.order import reading_order
from plugins.ocr.predictor.thresholds import fit_thresholds
from tests.plugins.ocr_renderings import ASCII, bgr, corners, decoded, page

Model = tuple[Path, dict[str, Any]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("draft")
    draft = untrained(bases.load("pp-ocrv6-small", None, True), folder, ASCII)
    return folder, json.loads(json.dumps(draft.model))  # as the manifest gives it back


@pytest.fixture(scope="module")
def predictor(model: Model) -> OcrPredictor:
    return open_predictor(*model, threads=1)


def read(predictor: OcrPredictor, image: Image.Image) -> list[str]:
    (prediction,) = predictor.predict([decoded(image)])
    for output in prediction.outputs:
        assert 0 <= output.conf <= 1 and output.pos is not None and len(output.pos) == 4
        assert all(0 <= value <= 1 for point in output.pos for value in point)
    return [output.label for output in prediction.outputs]


TEXTS = [(40, 40, "Total 12.50"), (40, 120, "Invoice 4711"), (40, 200, "Thank you")]


def test_a_page_is_read_from_top_to_bottom(predictor: OcrPredictor) -> None:
    assert read(predictor, page(TEXTS)) == [text for _, _, text in TEXTS]


def test_the_corners_lie_around_the_text(predictor: OcrPredictor) -> None:
    (prediction,) = predictor.predict([decoded(page(TEXTS[:1]))])
    (output,) = prediction.outputs
    assert output.pos is not None
    left, top = (min(point[axis] for point in output.pos) * (640, 480)[axis] for axis in (0, 1))
    right, bottom = (max(point[axis] for point in output.pos) * (640, 480)[axis] for axis in (0, 1))
    assert 25 <= left <= 42 and 30 <= top <= 50 and 160 <= right <= 200 and 60 <= bottom <= 80
    assert output.pos[0][0] < output.pos[1][0] and output.pos[0][1] < output.pos[3][1]


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_turned_page_is_read_and_its_corners_begin_where_reading_does(
    predictor: OcrPredictor, turn: int
) -> None:
    image = page([(120, 200, "Invoice 4711 B")], (480, 440), 30).rotate(turn, expand=True)
    (prediction,) = predictor.predict([decoded(image)])
    (output,) = prediction.outputs
    assert output.label == "Invoice 4711 B"
    assert output.pos is not None
    across = (output.pos[1][0] - output.pos[0][0]) * image.width
    down = (output.pos[1][1] - output.pos[0][1]) * image.height
    expected = {90: (0, -1), 180: (-1, 0), 270: (0, 1)}[turn]
    assert np.allclose(np.array([across, down]) / np.hypot(across, down), expected, atol=0.1)


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_page_that_lies_otherwise_is_read_in_its_own_order(predictor: OcrPredictor, turn: int) -> None:
    goods = ["Invoice 4711", "Brown bread", "Butter salted", "Coffee ground", "Thank you"]
    prices = ["69.80", "16.90", "19.60", "66.99", "98.16"]  # which can be read upside down, too
    lines = [(40, 40 + 80 * row, text) for row, text in enumerate(goods)]
    lines += [(400, 40 + 80 * row, text) for row, text in enumerate(prices)]
    upright = page(lines, (640, 480))
    expected = [text for both in zip(goods, prices, strict=True) for text in both]
    assert read(predictor, upright) == expected
    assert read(predictor, upright.rotate(turn, expand=True)) == expected


def test_a_slanted_page_is_read(predictor: OcrPredictor) -> None:
    image = page(TEXTS, (640, 480), 28).rotate(12, expand=True, fillcolor="white")
    assert read(predictor, image) == [text for _, _, text in TEXTS]


@pytest.mark.parametrize("size", [(4, 4), (1, 200), (200, 1), (60, 60), (640, 480)])
def test_an_image_without_text_gives_nothing(predictor: OcrPredictor, size: tuple[int, int]) -> None:
    assert read(predictor, Image.new("RGB", size, (200, 180, 160))) == []


def test_a_small_label_is_read(predictor: OcrPredictor) -> None:
    assert read(predictor, page([(8, 16, "A17")], (60, 44), 18)) == ["A17"]


def test_a_large_scan_is_read_in_parts(predictor: OcrPredictor) -> None:
    texts = [(200, 300, "Upper left"), (2300, 2000, "Across the cut"), (1200, 3700, "At the end")]
    assert read(predictor, page(texts, (3000, 4000), 60)) == [text for _, _, text in texts]


def test_memory_does_not_grow_with_the_page() -> None:
    parts = list(detection._tiles(2560, 2560, 32))
    covered = np.zeros((2560, 2560), np.uint8)
    for seen, kept in parts:
        assert (seen[0].stop - seen[0].start) * (seen[1].stop - seen[1].start) <= 800_000
        assert all(
            one.start >= other.start and one.stop <= other.stop for one, other in zip(kept, seen, strict=True)
        )
        assert all(side.start % 32 == 0 and side.stop % 32 == 0 for side in seen)
        covered[kept] += 1
    assert (covered == 1).all()


def test_a_long_line_is_not_squeezed(predictor: OcrPredictor) -> None:
    text = " ".join(f"word{number:02d}" for number in range(40))
    image = page([(10, 10, text)], (5200, 60), 30)
    width = 20 + max(np.flatnonzero((np.asarray(image) < 128).any((0, 2))))
    (output,) = predictor.read_boxes(bgr(image), corners(5, 8, float(width), 48)[None])
    assert output.label.replace(" ", "") == text.replace(" ", "")
    assert output.label.count(" ") >= 35


def test_a_thousand_boxes_are_read(predictor: OcrPredictor) -> None:
    cells = [(24 + 96 * (n % 25), 20 + 48 * (n // 25), f"{n:03d}") for n in range(1000)]
    found = read(predictor, page(cells, (2440, 1960), 26))
    assert len(found) >= 950
    assert len(set(found) & {text for _, _, text in cells}) >= 900


def test_boxes_drawn_by_hand_are_read_in_their_order(predictor: OcrPredictor) -> None:
    image = bgr(page(TEXTS))
    boxes = np.stack([corners(30, 115, 260, 155), corners(30, 35, 220, 75), corners(300, 300, 400, 330)])
    outputs = predictor.read_boxes(image, boxes)
    assert [output.label for output in outputs] == ["Invoice 4711", "Total 12.50", ""]
    assert outputs[2].conf == 0
    assert predictor.read_boxes(image, np.zeros((0, 4, 2), np.float32)) == []


def drawn(*points: tuple[float, float]) -> Region:
    return Region(points)


def drawn_box(left: float, top: float, right: float, bottom: float) -> Region:
    return drawn((left, top), (right, top), (right, bottom), (left, bottom))


@pytest.mark.parametrize(
    "region, text",
    [
        (drawn_box(32, 112, 250, 158), "Invoice 4711"),
        (drawn((36, 116), (150, 110), (255, 116), (255, 154), (36, 154)), "Invoice 4711"),
        (drawn_box(10, 85, 500, 185), "Invoice 4711"),
        (drawn_box(20, 20, 400, 170), "Total 12.50 Invoice 4711"),
        (drawn_box(-60, 112, 250, 158), "Invoice 4711"),
        (drawn_box(300, 300, 400, 330), ""),
        (drawn_box(700, 500, 900, 600), ""),
    ],
    ids=["tight", "polygon", "wide", "two lines", "beyond the edge", "nothing there", "outside"],
)
def test_what_somebody_draws_is_read(predictor: OcrPredictor, region: Region, text: str) -> None:
    assert isinstance(predictor, Reader)
    (output,) = predictor.read(decoded(page(TEXTS)), [region])
    assert output.label == text and (output.conf > 0.8 if text else output.conf < 0.5)


def test_regions_are_drawn_on_the_image_as_it_was_sent(predictor: OcrPredictor) -> None:
    reduced = Decoded(page(TEXTS), 1280, 960, Header("JPEG", "RGB", 1280, 960, 1, False))
    outputs = predictor.read(reduced, [drawn_box(64, 224, 500, 316), drawn_box(64, 70, 440, 150)])
    assert [output.label for output in outputs] == ["Invoice 4711", "Total 12.50"]
    assert predictor.read(reduced, []) == []


@pytest.mark.parametrize(
    "box",
    [
        corners(10, 10, 10, 10),
        corners(50, 50, 10, 10),
        corners(-100, -100, -50, -80),
        corners(600, 400, 9000, 9000),
        corners(0, 0, 640, 0.2),
    ],
)
def test_odd_boxes_do_no_harm(predictor: OcrPredictor, box: npt.NDArray[Any]) -> None:
    (output,) = predictor.read_boxes(bgr(page(TEXTS)), box[None])
    assert output.pos is not None and all(0 <= value <= 1 for point in output.pos for value in point)


def test_several_images_are_answered_in_order(predictor: OcrPredictor) -> None:
    images = [decoded(page([TEXTS[place]])) for place in range(3)]
    answers = predictor.predict(images)
    assert [answer.outputs[0].label for answer in answers] == [text for _, _, text in TEXTS]
    assert predictor.predict([]) == []


def test_lines_are_batched_with_their_like() -> None:
    widths = [100, 900, 110, 105, 2400, 64]
    groups = list(lines.batches(widths))
    assert sorted(place for group in groups for place in group) == list(range(6))
    for group in groups:
        assert max(widths[place] for place in group) <= 1.25 * min(widths[place] for place in group) + 16


def rows(*boxes: tuple[float, float, float, float]) -> npt.NDArray[Any]:
    return np.stack([corners(*box) for box in boxes])


def test_a_receipt_is_read_row_by_row() -> None:
    items = [(20.0, 40.0 * n, 120.0 + 17 * (n % 3), 40.0 * n + 24) for n in range(8)]
    prices = [(400.0, 40.0 * n + 3, 460.0, 40.0 * n + 27) for n in range(8)]
    order = reading_order(rows(*items, *prices))
    assert order == [place for n in range(8) for place in (n, 8 + n)]


def test_columns_are_read_one_after_the_other() -> None:
    left = [(20.0, 100 + 30.0 * n, 300.0, 122 + 30.0 * n) for n in range(8)]
    right = [(340.0, 103 + 30.0 * n, 620.0, 125 + 30.0 * n) for n in range(8)]
    title, foot = (20.0, 20.0, 620.0, 60.0), (20.0, 400.0, 600.0, 420.0)
    assert reading_order(rows(foot, *right, *left, title)) == [17, *range(9, 17), *range(1, 9), 0]


def test_rows_and_columns_of_scripts_from_the_right_are_read_from_there() -> None:
    items = [(400.0, 40.0 * n, 560.0, 40.0 * n + 24) for n in range(3)]
    prices = [(20.0, 40.0 * n + 3, 80.0, 40.0 * n + 27) for n in range(3)]
    boxes = rows(*prices, *items, (20.0, 200.0, 80.0, 224.0), (400.0, 200.0, 460.0, 224.0))
    assert reading_order(boxes, [0, 0, 0, 6, 6, 6, 0, 0]) == [3, 0, 4, 1, 5, 2, 7, 6]
    assert reading_order(boxes, [0, 0, 0, 6, 6, 6, -3, -3]) == [3, 0, 4, 1, 5, 2, 6, 7]
    left = [(20.0, 100 + 30.0 * n, 300.0, 122 + 30.0 * n) for n in range(8)]
    right = [(340.0, 103 + 30.0 * n, 620.0, 125 + 30.0 * n) for n in range(8)]
    assert reading_order(rows(*left, *right), [9] * 16) == [*range(8, 16), *range(8)]


def test_a_slant_does_not_mix_rows() -> None:
    flat = rows(
        *(
            (80.0 * column, 40.0 * row, 80.0 * column + 70, 40.0 * row + 24)
            for row in range(6)
            for column in range(8)
        )
    )
    turn = np.radians(9)
    slanted = flat @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    assert reading_order(slanted.astype(np.float32)) == list(range(48))


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_the_order_is_that_of_the_page_turned_upright(quarters: int) -> None:
    """Corners begin where reading does, so the first sides say how the page lies."""
    page = rows(*[(x, 40 * y, x + wide, 40 * y + 20) for y in range(6) for x, wide in ((0, 200), (300, 50))])
    turn = np.array([[0, 1], [-1, 0]], np.float32)
    assert reading_order(page) == list(range(12))
    turned = page @ np.linalg.matrix_power(turn, quarters)
    assert reading_order(turned.astype(np.float32)) == list(range(12))


def test_every_text_has_one_place() -> None:
    random = np.random.default_rng(0)
    for count in (0, 1, 2, 17, 400):
        starts = random.uniform(0, 1000, (count, 2))
        ends = starts + random.uniform(0, 200, (count, 2))
        boxes = [corners(*start, *end) for start, end in zip(starts, ends, strict=True)]
        order = reading_order(np.array(boxes, np.float32).reshape(-1, 4, 2))
        assert sorted(order) == list(range(count))


def a_map(unclip: float) -> tuple[Map, npt.NDArray[Any]]:
    """Kernels of which the texts are the rectangles moved outwards by this unclip ratio."""
    values = np.zeros((480, 640), np.uint8)
    truth = []
    for number in range(8):
        left, top, width, height = 80, 20 + 55 * number, 200 + 20 * number, 14
        values[top : top + height, left : left + width] = 230
        away = unclip * width * height / (2 * (width + height))
        truth.append(corners(left - away, top - away, left + width + away, top + height + away))
    values[440:444, 500:600] = 110  # a faint mark that is no text
    return Map(values, 1280, 960), np.stack(truth) * 2


@pytest.mark.parametrize("unclip", [1.0, 1.6, 2.3])
def test_thresholds_are_found_again(unclip: float) -> None:
    image, truth = a_map(unclip)
    fitted = fit_thresholds([image], [truth])
    assert fitted.thresholds.unclip_ratio == pytest.approx(unclip, abs=0.21)
    assert fitted.f1 == 1.0 and fitted.iou > 0.85
    quads, scores = detection.quadrilaterals(image, fitted.thresholds)
    assert len(quads) == 8 and (scores > 0.8).all()


def test_ignored_regions_do_not_count_against_thresholds() -> None:
    image, truth = a_map(1.6)
    fitted = fit_thresholds([image], [truth[:4]], [truth[4:]])
    assert fitted.f1 == 1.0


def test_thresholds_without_texts_are_refused() -> None:
    image, _ = a_map(1.6)
    with pytest.raises(ValueError, match="at least one image"):
        fit_thresholds([image], [np.zeros((0, 4, 2), np.float32)])


@pytest.mark.parametrize("size, expected", [((60, 40), 4.0), ((400, 1000), 1.84), ((4000, 3000), 0.64)])
def test_the_size_that_is_looked_at(size: tuple[int, int], expected: float) -> None:
    assert Sides(736, 2560).scale(*size) == pytest.approx(expected)


def test_the_graphs_take_any_size(model: Model) -> None:
    folder, said = model
    for part, shape in (
        ("detector", ["batch", 3, "height", "width"]),
        ("recogniser", ["batch", 3, 48, "width"]),
    ):
        graph = onnx.load(folder / said[part]["file"])
        onnx.checker.check_model(graph)
        (given,) = graph.graph.input
        assert [one.dim_value or one.dim_param for one in given.type.tensor_type.shape.dim] == shape
        assert graph.opset_import[0].version == 17


@pytest.mark.parametrize("name", ["pp-ocrv6-small", "scratch"])
def test_trained_weights_are_exported_exactly(name: str, tmp_path: Path) -> None:
    base = bases.load(name, None, True)
    recogniser = cut(base.recogniser, "ABC123", {"a": "A", "c": "C"})
    with torch.no_grad():
        for value in [*base.detector.parameters(), *recogniser.parameters()]:
            value.mul_(1.01)
    said = export(base.detector, recogniser, tmp_path, thresholds=Thresholds(unclip_ratio=1.2))
    opened = open_predictor(tmp_path, said, threads=1)
    assert opened.thresholds == Thresholds(unclip_ratio=1.2)
    assert said["vocabulary"] == ["A", "B", "C", "1", "2", "3", " "]
    assert opened.predict([decoded(Image.new("RGB", (64, 64)))])[0].outputs is not None


def test_an_export_that_differs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = bases.load("pp-ocrv6-small", None, True)
    before = exporter.graph(base.detector)
    with torch.no_grad():
        next(base.detector.parameters()).add_(1.0)
    graph = exporter.graph
    monkeypatch.setattr(exporter, "graph", lambda one: before if one is base.detector else graph(one))
    with pytest.raises(PluginError) as refusal:
        export(base.detector, cut(base.recogniser, "AB"), tmp_path)
    assert refusal.value.code == "export_differs"


@pytest.mark.parametrize("damage", ["file", "classes", "key", "type", "swapped"])
def test_a_damaged_model_is_refused(model: Model, tmp_path: Path, damage: str) -> None:
    folder, said = model[0], json.loads(json.dumps(model[1]))
    for name in ("detector.onnx", "recogniser.onnx"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    if damage == "file":
        (tmp_path / "recogniser.onnx").write_bytes(b"no model")
    elif damage == "classes":
        said["vocabulary"] = said["vocabulary"][:-1]
    elif damage == "key":
        del said["detector"]["thresholds"]
    elif damage == "type":
        said["recogniser"]["widest"] = "wide"
    else:
        said["recogniser"]["file"], said["detector"]["file"] = "detector.onnx", "recogniser.onnx"
    with pytest.raises(PluginError) as refusal:
        open_predictor(tmp_path, said, threads=1)
    assert refusal.value.code == "model_unreadable"


def test_it_starts_without_a_framework() -> None:
    code = (
        "import sys, plugins.ocr.predictor\n"
        "print(sorted({'torch', 'doctr', 'rapidocr', 'onnx', 'onnx2torch'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_what_stands_exactly_beside_a_text_across_two_columns_has_a_place() -> None:
    left = [(50, 100 + 40 * row, 350, 120 + 40 * row) for row in range(10)]
    right = [(400, 100 + 40 * row, 700, 120 + 40 * row) for row in range(10)]
    heads = [(50, 40, 500, 60), (560, 40, 700, 60), (40, 600, 710, 620), (45, 600, 705, 620)]
    order = reading_order(rows(*heads, *left, *right))
    assert sorted(order) == list(range(24))
    assert set(order[:2]) == {0, 1} and set(order[-2:]) == {2, 3}
    assert order[2:22] == list(range(4, 24))


def test_colours_are_put_in_order() -> None:
    said = {"order": "rgb", "mean": [0.1, 0.2, 0.3], "deviation": [0.5, 0.4, 0.2], "multiple": 32}
    rows = np.zeros((1, 2, 2, 3), np.uint8)
    rows[...] = (0, 51, 255)  # blue, green, red
    from plugins.ocr.predictor.network import Input

    answer = Input(said).normalised(rows)[0, :, 0, 0]
    assert np.allclose(answer, [(1 - 0.1) / 0.5, (0.2 - 0.2) / 0.4, (0 - 0.3) / 0.2], atol=1e-6)


def test_crops_keep_their_proportions() -> None:
    image = bgr(page([(40, 40, "Total")]))
    straight = lines.crop(image, corners(30, 30, 130, 80), 48)
    assert straight.shape == (48, 96, 3)
    box = cv2.boxPoints(((80.0, 55.0), (100.0, 50.0), 30.0))
    assert lines.crop(image, np.roll(np.asarray(box, np.float32), -1, 0), 48).shape == (48, 96, 3)
