"""Lines that are several texts to those who label: their gaps, what is learned of them, what is answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image, ImageDraw
from sklearn.ensemble import GradientBoostingClassifier

from plugins import images
from plugins.contract import PluginError, Prediction
from plugins.ocr import bases, exporter, trainer
from plugins.ocr.exporter import untrained
from plugins.ocr.params import OcrParams
from plugins.ocr.predictor import open_predictor
from plugins.ocr.predictor.breaks import FEATURES, Breaks, Line, blanks, gaps, pieces
from plugins.ocr.predictor.lines import Letter, Reading
from plugins.ocr.trainer import breaks, int8
from plugins.ocr.trainer.breaks import Seen, learn
from plugins.ocr.trainer.judging import Extras, Judge
from plugins.ocr.trainer.trees import graph
from tests.plugins.context import MemoryContext
from tests.plugins.ocr_pages import context_of
from tests.plugins.ocr_renderings import ASCII, bgr, corners, font, form

HEIGHT = 48


def line(*words: tuple[int, str], width: int = 400) -> Line:
    """A line of words that begin at these pixels, as it would be found and read without a margin."""
    image = Image.new("RGB", (width, HEIGHT), "white")
    draw, letters = ImageDraw.Draw(image), list[Letter]()
    for start, word in words:
        draw.text((start, 4), word, fill="black", font=font(32))
        letters.append(Letter(" ", start - 2.0, 0.9))
        for place, character in enumerate(word):
            middle = start + font(32).getlength(word[:place]) + font(32).getlength(character) / 2
            letters.append(Letter(character, middle, 0.8))
    box = corners(100, 50, 100 + width, 50 + HEIGHT)
    return Line(box, box, bgr(image), Reading.of(letters))


def widths(one: Line) -> list[float]:
    return [float(end - start) for start, end in gaps(one).spans]


def test_gaps_between_words_are_seen_and_those_between_letters_are_not() -> None:
    assert len(gaps(line((10, "Cash"), (200, ":")))) == 1
    assert len(gaps(line((10, "Cash"), (150, "and"), (260, "more")))) == 2
    assert len(blanks(line((10, "Cash")).pixels)) == 3 and len(gaps(line((10, "Cash")))) == 0
    narrow, wide = widths(line((10, "Tax"), (90, "code"), (250, ":")))
    assert wide > narrow >= 0.2 * HEIGHT


def test_a_gap_is_none_where_nothing_is_read_on_one_side() -> None:
    one = line((10, "Cash"), (200, ":"))
    assert len(gaps(replace(one, reading=one.reading.between(0, 150)))) == 0
    assert len(gaps(replace(one, reading=Reading("", 0.0)))) == 0
    empty = np.full_like(one.pixels, 255)
    assert len(gaps(replace(one, pixels=empty))) == 0


def test_what_is_known_of_a_gap_is_its_width_and_what_stands_beside_it() -> None:
    values = gaps(line((10, "Tax"), (90, "code"), (250, ":"))).values
    assert values.shape == (2, FEATURES) and np.isfinite(values).all()
    assert values[1, 0] > values[0, 0] and values[1, 1] > 0 > values[0, 1]
    assert not (values[0, 4:] == values[1, 4:]).all()


def test_a_divided_line_gives_every_part_its_corners_and_its_text() -> None:
    one = line((10, "Tax"), (90, "code"), (250, ":"))
    (left, said), (right, colon) = pieces(one, gaps(one).spans[1:])
    assert (said.text, colon.text) == ("Tax code", ":")
    assert said.conf == pytest.approx(0.82, abs=0.02)
    assert left[0] == pytest.approx([100, 50]) and right[1] == pytest.approx([500, 50])
    assert 160 + 100 < left[1, 0] < right[0, 0] < 250 + 100 + 8
    assert (left[:2, 1] == 50).all() and (left[2:, 1] == 98).all()


def test_a_part_in_which_nothing_is_read_is_not_answered() -> None:
    one = line((10, "Tax"), (250, ":"))
    spans = gaps(one).spans
    only = replace(one, reading=one.reading.between(0, 150))
    assert [said.text for _, said in pieces(only, spans)] == ["Tax"]
    ((whole, said),) = pieces(one, spans[:0])
    assert whole is one.corners and said is one.reading


def learned_from(count: int, *, one: bool = False) -> list[Seen]:
    """Images whose lines end with a colon far from the rest: a text of its own, unless all is `one`."""
    seen = []
    for number in range(count):
        made = Seen(np.zeros((0, 4, 2), np.float32))
        marked = []
        for place in range(6):
            shift = 4 * ((number + place) % 5)
            found = line((10, "Tax"), (90 + shift, "code"), (270 + shift, ":"), width=300)
            box = found.corners + np.array([0, 100 * place], np.float32)
            found = replace(found, around=box, corners=box)
            spans = gaps(found)
            made.lines.append((found, spans, np.array([0, 0 if one else 1])))
            cuts = spans.spans[:0] if one else spans.spans[1:]
            marked += [box for box, _ in pieces(found, cuts)]
        made.marked = np.array(marked, np.float32)
        seen.append(made)
    return seen


def test_what_the_labels_divide_is_learned() -> None:
    judge = learn(learned_from(8), 0)
    assert judge is not None and judge.after > 0.98 and judge.before < 0.7
    texts = [said.text for _, said in Breaks(judge.graph).divide(line((10, "Net"), (88, "sum"), (272, ":")))]
    assert texts == ["Net sum", ":"]


@pytest.mark.parametrize(
    "seen", [[], learned_from(2), learned_from(8, one=True)], ids=["nothing", "too little", "one text a line"]
)
def test_lines_stay_as_they_are_found_where_nothing_is_to_be_gained(seen: Sequence[Seen]) -> None:
    assert learn(seen, 0) is None


def test_trees_answer_alike_in_a_service() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(400, 5)).astype(np.float32)
    classes = (values[:, 0] + values[:, 1] * values[:, 2] > 0.3).astype(int)
    model = GradientBoostingClassifier(n_estimators=30, max_depth=4, random_state=0).fit(values, classes)
    unseen = random.normal(size=(500, 5)).astype(np.float32)
    session: Any = onnxruntime.InferenceSession(graph(model), providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {"values": unseen})
    assert np.allclose(answer[:, 0], model.predict_proba(unseen)[:, 1], atol=1e-5)


def test_where_every_word_is_marked_some_width_divides() -> None:
    seen = learned_from(8)
    for one in seen:
        one.lines = [(found, spans, np.ones(2, np.int64)) for found, spans, _ in one.lines]
        one.marked = np.array(
            [box for found, spans, _ in one.lines for box, _ in pieces(found, spans.spans)], np.float32
        )
    judge = learn(seen, 0)
    assert judge is not None and judge.after > 0.98 and judge.before < 0.7
    divider, other = Breaks(judge.graph), line((10, "Net"), (88, "sum"), (272, ":"))
    assert [said.text for _, said in divider.divide(other)] == ["Net", "sum", ":"]
    narrow = gaps(other).values
    narrow[:, :3] -= narrow[:, :1]
    assert (divider.probabilities(narrow) < 0.5).all()


def context(folder: Path) -> MemoryContext:
    made = [form(number, "train" if number < 6 else "validation") for number in range(8)]
    return context_of(folder, made, OcrParams(fine_tune=False))


@pytest.fixture
def only_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "offer", lambda context, folder, model, side, validation: (model, {}))


def test_a_reader_divides_lines_as_its_labels_do(tmp_path: Path, only_fp32: None) -> None:
    made = context(tmp_path)
    draft = trainer.train(made)
    assert draft.model["breaks"] == {"file": "breaks.onnx"}
    before, after = made.facts["breaks_f1"]
    assert after > before and any("Lines are divided" in one for one in made.lines)
    predictor = open_predictor(draft.folder, draft.model, threads=1)
    unseen = made.examples("validation")[0]
    (answer,) = predictor.predict([images.decode(made.read(unseen))])
    wanted = [region.text for region in unseen.regions]
    assert [one.label for one in answer.outputs].count(":") >= 6
    assert len(set(wanted) & {one.label for one in answer.outputs}) >= 8
    assert [one.label for one in answer.outputs if one.label != ":"] == [
        text for text in wanted if text != ":"
    ]


def test_what_validation_finds_worse_is_not_kept(
    tmp_path: Path, only_fp32: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = Judge.answers

    def worse(
        judge: Judge, maps: Any, recogniser: Any, thresholds: Any, extras: Extras | None = None
    ) -> list[Prediction]:
        found = ask(judge, maps, recogniser, thresholds, extras)
        return [Prediction(()) for _ in found] if extras and extras.breaks else found

    monkeypatch.setattr(Judge, "answers", worse)
    made = context(tmp_path)
    draft = trainer.train(made)
    assert "breaks" not in draft.model and not (draft.folder / exporter.BREAKS).exists()
    assert "breaks_f1" not in made.facts


def test_a_stop_ends_the_looking(tmp_path: Path) -> None:
    made = context(tmp_path)
    side = trainer.pages.pages(made, "train")
    draft = untrained(bases.load("pp-ocrv6-small", None, True), tmp_path / "base", ASCII)
    predictor = open_predictor(draft.folder, draft.model, threads=1)
    assert breaks.look(side, predictor, {}, 60.0, lambda: True) == []
    assert len(breaks.look(side, predictor, {}, 0.0, lambda: False)) <= 1


def test_the_pixels_of_lines_are_not_kept_and_enough_gaps_end_the_looking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = context(tmp_path)
    side = trainer.pages.pages(made, "train")
    draft = untrained(bases.load("pp-ocrv6-small", None, True), tmp_path / "base", ASCII)
    predictor = open_predictor(draft.folder, draft.model, threads=1)
    monkeypatch.setattr(breaks, "_MOST_GAPS", 12)
    seen = breaks.look(side, predictor, {}, 600.0, lambda: False)
    assert 1 <= len(seen) < len(side)
    assert {found.pixels.strides for one in seen for found, _, _ in one.lines} == {(0, 0, 0)}


def test_damaged_breaks_are_said(tmp_path: Path) -> None:
    draft = untrained(bases.load("pp-ocrv6-small", None, True), tmp_path, ASCII)
    model = exporter.divided(draft.model, tmp_path, b"no graph")
    with pytest.raises(PluginError) as caught:
        open_predictor(tmp_path, model, threads=1)
    assert caught.value.code == "model_unreadable"
    with pytest.raises(PluginError):
        open_predictor(tmp_path, {**draft.model, "breaks": {"file": "missing.onnx"}}, threads=1)
    other = GradientBoostingClassifier(n_estimators=2).fit(np.eye(4, dtype=np.float32), [0, 1, 0, 1])
    with pytest.raises(PluginError) as caught:
        open_predictor(tmp_path, exporter.divided(draft.model, tmp_path, graph(other)), threads=1)
    assert caught.value.code == "model_unreadable"
