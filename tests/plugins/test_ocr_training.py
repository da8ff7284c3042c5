"""What both networks are trained with and on: targets, patches, lines, stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch

from plugins.contract import Example, Region, TrainingStopped
from plugins.fitting import Score, Share
from plugins.ocr import geometry
from plugins.ocr.augment import Policy, warp
from plugins.ocr.params import OcrParams
from plugins.ocr.predictor import Sides, Thresholds
from plugins.ocr.predictor.detection import Map
from plugins.ocr.predictor.lines import along_the_line
from plugins.ocr.predictor.thresholds import fit_thresholds
from plugins.ocr.targets import SHRINK, shrink, target
from plugins.ocr.trainer import pages, stage, turning
from plugins.ocr.trainer.budget import detector_share
from plugins.ocr.trainer.detector import DetectorTraining, Patches, patch_size
from plugins.ocr.trainer.found import texts_in
from plugins.ocr.trainer.judging import score
from plugins.ocr.trainer.kernels import shrink_ratio
from plugins.ocr.trainer.lines import Lines, Shape, cut, keep, kept
from plugins.ocr.trainer.recogniser import RecogniserTraining, batch, batch_sizes, view
from plugins.ocr.trainer.stage import Span
from plugins.ocr.trainer.turning import turn
from tests.plugins.context import MemoryContext
from tests.plugins.ocr_pages import TinyDetector, TinyRecogniser, page

CHARACTERS = (*"AB0123456789", " ")
SHAPE = Shape(48, 8)


def context(folder: Path, *, turned: bool = False, pages: int = 3) -> MemoryContext:
    made = [page(number, turned=turned) for number in range(pages)]
    return MemoryContext(
        folder=folder,
        params=OcrParams(),
        labels=(),
        snapshot=[one for one, _ in made],
        data={one.key: data for one, data in made},
        algorithm="ocr-high-performance",
    )


def lines_of(made: MemoryContext) -> Lines:
    side = pages.pages(made, "train")
    return cut(side, pages.texts(side), made.folder / "lines.bin", SHAPE, lambda: False)


def box(left: float, top: float, right: float, bottom: float) -> geometry.Quads:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)


def detector_work(made: MemoryContext, scores: list[float]) -> DetectorTraining:
    torch.manual_seed(0)
    patches = Patches((128, 64), lambda width, height: 1.0, Policy(), 2)
    queue = iter(scores)
    side = pages.pages(made, "train")
    return DetectorTraining(made, TinyDetector(), side, patches, lambda _: Score(next(queue)), 1e-2)


def test_a_kernel_lies_inside_of_its_text_by_the_rule_of_dbnet() -> None:
    kernel = shrink(box(10, 10, 110, 30))
    assert kernel is not None
    distance = 2000 * (1 - 0.4**2) / 240
    assert kernel.min(0) == pytest.approx([10 + distance, 10 + distance], abs=0.05)
    assert kernel.max(0) == pytest.approx([110 - distance, 30 - distance], abs=0.05)
    assert shrink(box(10, 10, 10, 30)) is None


def _map_of(boxes: Sequence[geometry.Quads], ratio: float) -> Map:
    """What a detector answers whose kernels are of this ratio."""
    made = target(boxes, [False] * len(boxes), (640, 640), ratio)
    return Map((made.kernels * 255).astype(np.uint8), 1280, 1280)  # a page of twice the size


@pytest.mark.parametrize("ratio", [0.4, 0.6, 0.7])
def test_kernels_are_asked_for_as_the_detector_makes_them(ratio: float) -> None:
    boxes = [box(20, 40 * n + 10, 300 + 10 * n, 40 * n + 40) for n in range(15)]
    maps, marked = [_map_of(boxes, ratio)] * 2, [2 * np.stack(boxes)] * 2
    fitted = fit_thresholds(maps, marked).thresholds
    assert shrink_ratio(maps, marked, fitted) == pytest.approx(ratio, abs=0.03)


def test_of_few_texts_no_ratio_is_measured() -> None:
    boxes = [box(20, 10, 300, 40)]
    assert shrink_ratio([_map_of(boxes, 0.6)], [2 * np.stack(boxes)], Thresholds()) == SHRINK
    assert shrink_ratio([], [], Thresholds()) == SHRINK


def test_ignored_and_tiny_texts_are_not_asked_about() -> None:
    outlines = [box(10, 10, 110, 30), box(10, 40, 110, 60), box(10, 70, 60, 71)]
    made = target(outlines, [False, True, False], (128, 96))
    assert made.kernels[20, 60] == 1 and made.counted[20, 60] == 1
    assert made.kernels[50, 60] == 0 and made.counted[50, 60] == 0
    assert made.counted[70, 30] == 0
    assert made.counted.mean() > 0.7


def test_a_patch_and_its_target_show_the_same_place(tmp_path: Path) -> None:
    made = context(tmp_path)
    work = detector_work(made, [0.0])
    for number in range(6):
        pixels, wanted = work.patch(number % 3, (0, number))
        assert pixels.shape == (64, 128, 3) and wanted.kernels.shape == (64, 128)
    plain = Patches((224, 96), lambda width, height: 1.0, Policy(0, 0, 0, 0, 1.0, 0), 2)
    still = replace_patches(work, plain)
    pixels, wanted = still.patch(0, (0, 0))
    inside = cv2.dilate(wanted.kernels, np.ones((15, 15), np.uint8)) > 0
    dark = pixels.mean(2) < np.median(pixels) * 0.6
    assert dark.any() and dark[inside].mean() > 5 * max(dark[~inside].mean(), 1e-4)


def replace_patches(work: DetectorTraining, patches: Patches) -> DetectorTraining:
    work.patches = patches
    return work


def test_low_images_get_low_and_wide_patches(tmp_path: Path) -> None:
    side = pages.pages(context(tmp_path), "train")
    assert patch_size(side, lambda width, height: 1.0, 512, 32) == (256, 128)
    assert patch_size(side, lambda width, height: 8.0, 512, 32) == (512, 512)
    low = pages.Pages([replace(one, width=1000, height=60) for one in side.examples], side.read)
    assert patch_size(low, lambda width, height: 1.0, 256, 32) == (512, 64)


def test_lines_keep_the_shape_of_their_boxes(tmp_path: Path) -> None:
    lines = lines_of(context(tmp_path))
    assert len(lines) == 6
    corners = {one.text: one for one in pages.texts(pages.pages(context(tmp_path), "train"))}
    for place, text in enumerate(corners[said] for said in lines.texts):
        width, height = geometry.sides(text.corners)
        assert abs(lines.widths[place] - 48 * width / height) <= 8
        shown = view(lines, place, None)
        assert shown.shape == (48, lines.widths[place], 3)
        assert shown.min() < 80 and shown.max() > 200  # there is writing on it


def test_a_long_line_is_not_squeezed_and_a_text_too_long_for_its_box_stays_out(tmp_path: Path) -> None:
    assert SHAPE.width_of(box(0, 0, 1500, 30), "x") == 2400
    assert SHAPE.width_of(box(0, 0, 60, 30), "1234567890") == 96
    assert SHAPE.width_of(box(0, 0, 60, 30), "1" * 60) is None
    assert SHAPE.width_of(box(0, 0, 60, 0), "1") is None
    made = context(tmp_path)
    long = Region(made.snapshot[0].regions[0].points, "x1" * 100)
    made.snapshot = [replace(made.snapshot[0], regions=(long,)), *made.snapshot[1:]]
    lines = lines_of(made)
    assert lines.too_long == ["x1" * 100] and len(lines) == 4


def test_what_is_ignored_or_not_transcribed_is_not_read(tmp_path: Path) -> None:
    made = context(tmp_path)
    first = made.snapshot[0]
    regions = (replace(first.regions[0], ignored=True), replace(first.regions[1], text=None))
    made.snapshot = [replace(first, regions=regions)]
    assert pages.texts(pages.pages(made, "train")) == []


def test_a_region_of_several_lines_is_neither_read_nor_asked_about(tmp_path: Path) -> None:
    made = context(tmp_path, pages=1)
    one, other = made.snapshot[0].regions
    made.snapshot = [
        replace(made.snapshot[0], regions=(replace(one, text="A0\n7"), replace(other, text="B\n")))
    ]
    side = pages.pages(made, "train")
    assert [text.text for text in pages.texts(side)] == ["B"]
    assert [region.ignored for region in side.examples[0].regions] == [True, False]
    assert any("1 regions of train images hold several lines" in line for line in made.lines)


def test_text_from_top_to_bottom_is_laid_down() -> None:
    assert geometry.sides(along_the_line(box(0, 0, 20, 100))) == (100, 20)
    assert (along_the_line(box(0, 0, 100, 20)) == box(0, 0, 100, 20)).all()


def test_batches_hold_every_line_once_and_are_about_equal_work(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    widths = np.sort(random.integers(16, 1200, 500))
    sizes = batch_sizes(widths)
    assert sum(sizes) == 500 and min(sizes[:-1]) >= 4
    ends = np.cumsum(sizes)
    assert all(size * widths[end - 1] <= 7000 or size == 4 for size, end in zip(sizes, ends, strict=True))
    made = context(tmp_path)
    work = RecogniserTraining(made, TinyRecogniser(CHARACTERS), [lines_of(made)], lambda _: Score(0), 1e-3)
    rows = list(work.batches(0, 0, Share()))
    assert len(rows) == work.steps and sum(map(len, rows)) == 6
    again = list(work.batches(0, 0, Share()))
    assert all((one.rows == other.rows).all() for one, other in zip(rows, again, strict=True))


def test_characters_without_a_class_are_left_out() -> None:
    made = batch([np.zeros((48, 20, 3), np.uint8)], ["A?7"], {"A": 1, "7": 2})
    assert made.targets.tolist() == [1, 2] and made.lengths.tolist() == [2]
    assert made.rows.shape == (1, 48, 24, 3)


@pytest.mark.parametrize("turned", [False, True])
def test_texts_marked_the_wrong_way_round_are_turned(tmp_path: Path, turned: bool) -> None:
    made = context(tmp_path, pages=4)
    torch.manual_seed(0)
    work = RecogniserTraining(made, TinyRecogniser(CHARACTERS), [lines_of(made)], lambda _: Score(0), 1e-2)
    learn(work, 150)
    wrong = context(tmp_path, turned=turned, pages=4)
    lines = lines_of(wrong)
    found = turn(wrong, work.model, lines)
    assert found == lines.turned.sum()
    assert found >= len(lines) - 2 if turned else found == 0  # some short ones are alike both ways


@pytest.mark.parametrize(("every", "read"), [(100, 120), (10, 1000)])
def test_the_rest_is_read_both_ways_where_more_than_single_lines_are_upside_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int, read: int
) -> None:
    asked: list[int] = []

    def upside_down(*given: Any) -> npt.NDArray[np.bool_]:
        asked.extend(given[-1])
        return np.array([place % every == 0 for place in given[-1]])

    monkeypatch.setattr(turning, "_upside_down", upside_down)
    made = context(tmp_path)
    lines = Lines(tmp_path / "lines", Shape(48, 8), texts=["A"] * 1000)
    lines.turned = np.zeros(1000, np.bool_)
    found = turn(made, TinyRecogniser(CHARACTERS), lines)
    assert len(asked) == read and found == sum(place % every == 0 for place in asked)


def test_labels_in_capitals_of_what_is_printed_small_turn_nothing(tmp_path: Path) -> None:
    made = context(tmp_path, pages=4)
    torch.manual_seed(0)
    work = RecogniserTraining(made, TinyRecogniser(CHARACTERS), [lines_of(made)], lambda _: Score(0), 1e-2)
    learn(work, 150)
    lines = lines_of(made)
    lines.texts = [
        "".join(reversed("0123456789"))[: len(text)] for text in lines.texts
    ]  # not what stands there
    assert turn(made, work.model, lines) == 0


def test_images_are_judged_by_what_they_hold(tmp_path: Path) -> None:
    side = pages.pages(context(tmp_path, pages=8), "train")
    assert len(side.telling(500, 100)) == 8
    assert len(side.telling(8, 100)) == 4
    assert len(side.telling(500, 3)) == 3
    assert len(side.telling(0, 3)) == 1
    assert len(pages.Pages([], side.read).telling(5, 5)) == 0


def learn(work: RecogniserTraining, epochs: int) -> list[float]:
    """Plain training; the losses."""
    optimizer, losses = work.optimizer(), []
    for epoch in range(epochs):
        for some in work.batches(epoch, 0, Share()):
            optimizer.zero_grad()
            loss = work.loss(some)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(float(loss.detach()))
    return losses


def test_a_stage_trains_the_last_layers_first_and_keeps_the_best(tmp_path: Path) -> None:
    made = context(tmp_path)
    work = detector_work(made, [0.1, 0.2, 0.2, 0.9, 0.5, 0.4])
    before = {name: value.clone() for name, value in work.model.state_dict().items()}
    fitted = stage.train(made, "detector", work, Span(4, 0.0, frozen=True))
    assert (fitted.score, fitted.best_epoch) == (0.9, 2)
    assert all(parameter.requires_grad for parameter in work.model.parameters())
    epochs = [row["epoch"] for row in made.rows if row["name"] == "detector_loss"]
    assert epochs == [1, 2, 3, 4]
    assert any((value != before[name]).any() for name, value in work.model.state_dict().items())
    again = detector_work(made, [])
    assert stage.train(made, "detector", again, Span(4, 0.0, frozen=True)).score == 0.9
    assert all((value == fitted.best[name]).all() for name, value in again.model.state_dict().items())


def test_a_network_that_knows_its_task_is_trained_whole_from_the_start(tmp_path: Path) -> None:
    made = context(tmp_path)
    work = detector_work(made, [0.1, 0.2])
    before = {name: value.clone() for name, value in work.model.named_parameters()}
    stage.train(made, "detector", work, Span(1, 0.0))
    changed = [bool((value != before[name]).any()) for name, value in work.model.named_parameters()]
    assert changed[0] and all(changed[: len(changed) // 2])
    assert sorted(path.name for path in tmp_path.glob("detector*")) == ["detector-fitted.safetensors"]


def test_the_start_is_kept_where_training_makes_it_worse(tmp_path: Path) -> None:
    made = context(tmp_path)
    work = detector_work(made, [0.8, 0.2, 0.2, 0.1, 0.1])
    before = {name: value.clone() for name, value in work.model.state_dict().items()}
    assert stage.train(made, "detector", work, Span(3, 0.0)).best_epoch == 0
    assert all((value == before[name]).all() for name, value in work.model.state_dict().items())


def test_another_attempt_keeps_to_the_time_of_the_first(tmp_path: Path) -> None:
    made = context(tmp_path)
    made.budget = 1000.0
    first = stage._reserve_of_first(made, "detector", Span(10, 100.0))
    assert first == pytest.approx(100 + 0.9 * 900, abs=5)
    made.budget = 500.0
    assert stage._reserve_of_first(made, "detector", Span(10, 100.0)) == first


def test_a_stage_can_be_discarded(tmp_path: Path) -> None:
    made = context(tmp_path)
    made.stop_at, made.discard = 1, True
    with pytest.raises(TrainingStopped):
        stage.train(made, "detector", detector_work(made, [0.1] * 9), Span(3, 0.0))


def test_the_losses_fall(tmp_path: Path) -> None:
    made = context(tmp_path)
    work = detector_work(made, [])
    optimizer, losses = work.optimizer(), []
    for epoch in range(80):
        for some in work.batches(epoch, 0, Share()):
            optimizer.zero_grad()
            loss = work.loss(some)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(float(loss.detach()))
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:8])


def test_the_time_goes_where_the_mistakes_are() -> None:
    assert detector_share({"detection_f1": 0.9, "exact_match_loose": 0.9}) == pytest.approx(0.05 / 0.14)
    assert detector_share({"detection_f1": 1.0, "exact_match_loose": 0.5}) == 0.15
    assert detector_share({"detection_f1": 0.2, "exact_match_loose": 1.0}) == 0.75
    assert detector_share({"detection_f1": 1.0, "exact_match_loose": 1.0}) == 0.5


def test_a_reader_that_writes_as_people_do_is_better_than_one_that_guesses_a_letter_more() -> None:
    def ranked(loose: float, strict: float, detection: float = 0.9, errors: float = 0.1) -> float:
        found = {"end_to_end_f1": loose, "end_to_end_f1_strict": strict, "detection_f1": detection}
        return score(
            {**found, "exact_match": 0.5, "exact_match_loose": 0.5, "character_error_rate": errors}
        ).value

    assert ranked(0.79, 0.70) > ranked(0.80, 0.45)
    assert ranked(0.80, 0.45) > ranked(0.70, 0.45)
    assert ranked(0.80, 0.45, detection=0.91) > ranked(0.80, 0.45)
    assert ranked(0.80, 0.45, errors=0.05) > ranked(0.80, 0.45)


def test_a_box_that_was_found_teaches_the_texts_of_the_regions_that_it_holds() -> None:
    regions = tuple(
        Region(tuple((float(x), float(y)) for x, y in corners), text)
        for corners, text in ((box(10, 10, 60, 30), "left"), (box(62, 10, 112, 30), "right"))
    )
    example = replace(page(0)[0], regions=regions)
    boxes = np.array([box(8, 9, 61, 32), box(8, 9, 114, 32), box(70, 10, 112, 30), box(150, 50, 200, 80)])
    one, both = texts_in(4, example, boxes)
    assert (one.page, one.text) == (4, "left") and (one.corners == boxes[0]).all()
    assert (both.page, both.text) == (4, "left right") and (both.corners == boxes[1]).all()
    assert texts_in(0, example, boxes[:0]) == []


def test_texts_of_a_found_box_are_joined_in_the_order_of_their_script() -> None:
    regions = tuple(
        Region(tuple((float(x), float(y)) for x, y in corners), text)
        for corners, text in ((box(10, 10, 60, 30), "12"), (box(62, 10, 112, 30), "\u05d0\u05d1"))
    )
    (found,) = texts_in(0, replace(page(0)[0], regions=regions), box(8, 9, 114, 32)[None])
    assert found.text == "\u05d0\u05d1 12"


@pytest.mark.parametrize("unknown", [{"text": None}, {"ignored": True}])
def test_a_box_that_also_holds_what_nobody_has_transcribed_teaches_nothing(unknown: dict[str, Any]) -> None:
    corners = (box(10, 10, 60, 30), box(62, 10, 112, 30))
    said, unsaid = (Region(tuple((float(x), float(y)) for x, y in one), "Total") for one in corners)
    example = replace(page(0)[0], regions=(replace(unsaid, **unknown), said))
    (alone,) = texts_in(0, example, np.stack([box(8, 8, 114, 32), box(8, 8, 61, 32)]))
    assert (alone.corners == box(8, 8, 61, 32)).all()


def test_a_region_drawn_counter_clockwise_is_no_mirror_image() -> None:
    corners = box(0, 0, 40, 10)
    drawn = tuple((float(x), float(y)) for x, y in corners[[0, 3, 2, 1]])
    assert (geometry.quad(drawn) == corners).all()
    upside_down = tuple((float(x), float(y)) for x, y in corners[[2, 3, 0, 1]])
    assert (geometry.quad(upside_down) == corners[[2, 3, 0, 1]]).all()


def test_large_texts_are_averaged_and_not_sampled(tmp_path: Path) -> None:
    """Lines of a pixel on a photograph of large text must not come and go by where they are looked at."""
    made = context(tmp_path, pages=1)
    striped = np.tile(np.array([0, 255], np.uint8), (600, 600))
    made.data[made.snapshot[0].key] = encoded(striped)
    region = Region(((0.0, 0.0), (1200.0, 0.0), (1200.0, 560.0), (0.0, 560.0)), "A")
    made.snapshot = [replace(made.snapshot[0], width=1200, height=600, regions=(region,))]
    picture, _ = lines_of(made).picture(0)
    middle = picture[20:60, 20:-20].astype(float)
    assert abs(middle.mean() - 127.5) < 3 and middle.std() < 20


def test_text_of_an_image_longer_than_opencv_warps_is_learned_from(tmp_path: Path) -> None:
    made = context(tmp_path, pages=1)
    screenshot = np.full((33_000, 64), 255, np.uint8)
    screenshot[32_900:32_920, 10:50:4] = 0
    made.data[made.snapshot[0].key] = encoded(screenshot)
    region = Region(((5.0, 32_895.0), (55.0, 32_895.0), (55.0, 32_925.0), (5.0, 32_925.0)), "1111")
    made.snapshot = [replace(made.snapshot[0], width=64, height=33_000, regions=(region,))]
    lines = lines_of(made)
    shown = view(lines, 0, None)
    assert shown.min() < 80 and shown.max() > 200
    seen = warp(np.dstack([screenshot] * 3), np.array([[1.0, 0, 0], [0, 1, -32_890], [0, 0, 1]]), (64, 40))
    assert (seen[12:28, 10] < 80).all() and (seen[:8] > 200).all()


def encoded(rows: npt.NDArray[np.uint8]) -> bytes:
    return bytes(cv2.imencode(".png", rows)[1].tobytes())


def test_what_was_cut_out_is_taken_as_it_is_by_the_next_attempt(tmp_path: Path) -> None:
    lines = lines_of(context(tmp_path))
    assert kept(lines.path, SHAPE) is None
    lines.turned[1] = True
    keep(lines)
    again = kept(lines.path, SHAPE)
    assert again is not None and again.texts == lines.texts and again.turned.tolist() == lines.turned.tolist()
    for place in range(len(lines)):
        (picture, corners), (other, its) = again.picture(place), lines.picture(place)
        assert np.array_equal(picture, other) and np.array_equal(corners, its)


@pytest.mark.parametrize("turned", [False, True])
def test_regions_of_a_found_box_are_read_along_it_and_not_one_above_the_other(turned: bool) -> None:
    corners = (box(62, 10, 112, 30), box(10, 11, 60, 31), box(10, 60, 60, 80), box(10, 84, 60, 104))
    regions = tuple(
        Region(tuple((float(x), float(y)) for x, y in np.roll(one, 2 if turned else 0, axis=0)), text)
        for one, text in zip(corners, ("B", "A", "C", "D"), strict=True)
    )
    example = replace(page(0)[0], regions=regions)
    boxes = np.stack([box(8, 8, 114, 33), box(8, 58, 62, 106), box(8, 8, 400, 33)])
    (only,) = texts_in(0, example, boxes)
    assert only.text == ("B A" if turned else "A B")


@pytest.mark.parametrize("turns", range(4))
def test_a_found_box_is_read_as_the_region_in_it_is(turns: int) -> None:
    marked = np.roll(box(100, 100, 300, 140), turns, axis=0)
    region = Region(tuple((float(x), float(y)) for x, y in marked), "REF 6019")
    found = box(98, 99, 303, 142)
    (text,) = texts_in(0, replace(page(0)[0], regions=(region,)), found[None])
    assert (text.corners == np.roll(found, turns, axis=0)).all()


def side_of(width: int, height: int, text_height: float) -> pages.Pages:
    region = Region(tuple(map(tuple, box(0, 0, 40, text_height).tolist())), "A1")
    one = Example("a", "e", 1, "h", "train", regions=(region,), width=width, height=height)
    return pages.Pages([one], unread)


def unread(example: Example) -> bytes:
    raise AssertionError(f"{example.key} was read")


def test_images_are_not_enlarged_until_their_letters_are_huge() -> None:
    assert pages.sides_for(side_of(600, 900, 24)) == Sides()
    assert pages.sides_for(side_of(200, 100, 25)).least == 400
    assert pages.sides_for(side_of(200, 80, 40)).least == 288
    assert pages.sides_for(pages.Pages([], unread)) == Sides()


@pytest.mark.parametrize("size, height", [((1080, 9000), 26), ((9933, 7016), 34), ((3000, 2500), 9)])
def test_small_texts_on_large_images_are_seen_at_a_legible_size(size: tuple[int, int], height: int) -> None:
    sides = pages.sides_for(side_of(*size, height))
    assert sides.scale(*size) * height >= min(15.9, height)
    assert sides.least == Sides().least


def test_no_text_is_so_small_that_images_are_looked_at_without_bounds() -> None:
    assert pages.sides_for(side_of(30_000, 20_000, 8)).most == 8_000
