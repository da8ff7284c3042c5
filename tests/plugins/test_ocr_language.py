"""How the labels' texts run: what they say of a character in doubt, and what a training makes of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from plugins import images
from plugins.contract import Example, Output, PluginError, Prediction, Region
from plugins.ocr import bases, exporter, trainer
from plugins.ocr.params import OcrParams
from plugins.ocr.predictor import open_predictor
from plugins.ocr.predictor.language import Language, keeps_digits, learn
from plugins.ocr.predictor.lines import Reader
from plugins.ocr.predictor.network import Network
from plugins.ocr.trainer import int8
from plugins.ocr.trainer.judging import Extras, Judge
from tests.plugins.context import MemoryContext
from tests.plugins.ocr_pages import context_of
from tests.plugins.ocr_renderings import ASCII, form

CHARACTERS = tuple("0123456789 ABEHLOSTU:")
PRICES = tuple("0123456789.")
Row = Mapping[str, float]


def steps(*rows: str | Row) -> npt.NDArray[np.float32]:
    """(steps, classes): a character is certain, a mapping says how probable several are, "" is the blank."""
    answer = np.zeros((len(rows), len(CHARACTERS) + 1), np.float32)
    for step, row in enumerate(rows):
        for character, share in ({row: 1.0} if isinstance(row, str) else row).items():
            answer[step, CHARACTERS.index(character) + 1 if character else 0] = share
    return answer


def said(language: Language, *rows: str | Row) -> str:
    path = language.path(steps(*rows), ["", *CHARACTERS])
    return "".join(CHARACTERS[place - 1] for place, _ in path)


def word(text: str, *, doubt: int, share: float, other: str) -> list[str | Row]:
    """The steps of a text of whose character at `doubt` the recogniser would rather read `other`."""
    rows: list[str | Row] = []
    for character in text:
        rows += [character, ""]
    rows[2 * doubt] = {text[doubt]: share, other: 1 - share}
    return rows


SUBTOTAL = word("SUBTOTAL", doubt=2, share=0.4, other="H")


def test_what_the_labels_know_is_read_where_the_recogniser_is_in_doubt() -> None:
    assert said(learn(["SUBTOTAL", "TOTAL"], 21), *SUBTOTAL) == "SUBTOTAL"
    assert said(learn([], 21), *SUBTOTAL) == "SUHTOTAL"


def test_the_recogniser_is_heard_where_it_is_sure() -> None:
    language = learn(["SUBTOTAL"] * 1000, 21)
    assert said(language, *word("SUBTOTAL", doubt=2, share=0.001, other="H")) == "SUHTOTAL"


def test_no_digit_is_read_by_habit() -> None:
    language = learn(["TABLE 3"] * 1000, 21)
    assert said(language, *word("TABLE 3", doubt=6, share=0.49, other="8")) == "TABLE 8"
    assert len({language.probability("TABLE ", digit) for digit in "0123456789"}) == 1
    assert said(language, *word("TABLE 3", doubt=6, share=0.4, other="O")) == "TABLE 3"
    assert all("3" not in text for text in language.texts)


def test_the_probabilities_of_what_comes_next_are_a_distribution() -> None:
    language = learn(["SUBTOTAL", "TABLE 12", "TOTAL: 5", "HALL"], len(CHARACTERS))
    for before in ("", "T", "SUBT", "TABLE ", "TABLE 1", "ZZZZ", "BLOTSUBTOTA"):
        every = [language.probability(before, one) for one in CHARACTERS]
        assert min(every) > 0 and sum(every) == pytest.approx(1)


def test_twice_the_same_letter_needs_a_blank_between() -> None:
    language = learn(["HALL"], 21)
    assert said(language, "H", "A", "L", "", "L") == "HALL"
    assert said(language, "H", "A", "L", "L", {"A": 0.6, "H": 0.4}) == "HALA"


def test_characters_stand_where_they_are_seen() -> None:
    rows: list[str | Row] = ["", "S", "S", "", {"U": 0.6, "A": 0.4}, ""]
    assert [step for _, step in learn([], 21).path(steps(*rows), ["", *CHARACTERS])] == [1, 4]


def test_a_long_line_in_which_nothing_is_sure_is_read() -> None:
    rows = np.random.default_rng(0).dirichlet(np.ones(len(CHARACTERS) + 1), 2000).astype(np.float32)
    path = learn(["TOTAL"], 21).path(rows, ["", *CHARACTERS])
    assert 0 < len(path) <= 2000 and [step for _, step in path] == sorted(step for _, step in path)


def test_of_very_many_texts_the_rarest_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plugins.ocr.predictor.language._MOST", 100)
    assert set(learn(["TOTAL"] * 9 + ["TABLE"] * 5 + ["BUS LINE", "SALE LIST"], 21).texts) == {
        "TOTAL",
        "TABLE",
    }


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    folder = tmp_path_factory.mktemp("draft")
    draft = exporter.untrained(bases.load("pp-ocrv6-small", None, True), folder, ASCII)
    said = draft.model["recogniser"]
    return Network((folder / said["file"]).read_bytes(), said["input"], threads=1)


def test_a_line_without_doubt_is_left_as_it_is(network: Network) -> None:
    def read(doubtful: float) -> tuple[str, float]:
        language = learn(["SUBTOTAL"] * 1000, 21)
        reader = Reader(network, CHARACTERS, widest=2400, turn_below=0.9, language=language)
        rows = steps(*word("SUBTOTAL", doubt=2, share=doubtful, other="H"))
        (reading,) = reader.decoded(rows[None], 160)
        return reading.text, reading.letters[2].conf

    sure, doubtful = read(0.009), read(0.4)
    assert (sure[0], doubtful[0]) == ("SUHTOTAL", "SUBTOTAL")
    assert sure[1] == pytest.approx(0.991) and doubtful[1] == pytest.approx(0.4)


@pytest.mark.parametrize(
    "before, after, kept",
    [
        ("SUHTOTAL", "SUBTOTAL", True),
        ("RESERVATI0N", "RESERVATION", True),  # a digit is another character in its place
        ("TABLE O", "TABLE 0", True),
        ("61.50", "1.50", False),
        ("1.50", "61.50", False),
        ("61.50", "16.50", False),
        ("T0TL 12", "TOTAL 12", False),  # in doubt, the reading stays
        ("TOTL 12", "TOTAL 12", True),
        ("", "", True),
    ],
)
def test_no_digit_is_dropped_or_put_in(before: str, after: str, kept: bool) -> None:
    assert keeps_digits(before, after) is kept


def test_a_weak_digit_is_read_although_the_labels_have_none_there(network: Network) -> None:
    language = learn(["1.50", "2.50", "9.90"] * 1000, len(PRICES))
    rows = np.zeros((1, 8, len(PRICES) + 1), np.float32)
    rows[0, :, 0] = 1
    for step, (character, share) in enumerate([("6", 0.7), ("1", 1.0), (".", 1.0), ("5", 1.0), ("0", 1.0)]):
        rows[0, step, 0], rows[0, step, PRICES.index(character) + 1] = 1 - share, share
    assert "".join(PRICES[place - 1] for place, _ in language.path(rows[0], ["", *PRICES])) == "1.50"
    reader = Reader(network, PRICES, widest=2400, turn_below=0.9, language=language)
    (reading,) = reader.decoded(rows, 80)
    assert reading.text == "61.50"


@pytest.fixture
def only_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "offer", lambda context, folder, model, side, validation: (model, {}))


def context(folder: Path, pages: int = 8, **params: Any) -> MemoryContext:
    made = [form(number, "train" if number < pages - 1 else "validation") for number in range(pages)]
    return context_of(folder, made, OcrParams(fine_tune=False, **params))


def test_a_training_takes_the_labels_texts_along(tmp_path: Path, only_fp32: None) -> None:
    made = context(tmp_path)
    draft = trainer.train(made)
    assert draft.model["language"] == {"file": "language.json"}
    told = json.loads((draft.folder / "language.json").read_text())
    assert told["texts"]["Total sum"] == 7 and any("have a say" in line for line in made.lines)
    predictor = open_predictor(draft.folder, draft.model, threads=1)
    unseen = made.examples("validation")[0]
    (answer,) = predictor.predict([images.decode(made.read(unseen))])
    wanted = {region.text for region in unseen.regions}
    assert wanted <= {one.label for one in answer.outputs}


@pytest.mark.parametrize(
    ("pages", "params"), [(6, {}), (8, {"language": False})], ids=["too few texts", "unwanted"]
)
def test_characters_are_read_by_themselves(
    tmp_path: Path, only_fp32: None, pages: int, params: dict[str, Any]
) -> None:
    draft = trainer.train(context(tmp_path, pages, **params))
    assert "language" not in draft.model and not (draft.folder / exporter.LANGUAGE).exists()


def _as_marked(example: Example, region: Region) -> Output:
    pos = tuple((x / example.width, y / example.height) for x, y in region.points)
    return Output(region.text or "", 1.0, pos)


def test_a_language_that_reads_worse_is_not_kept(
    tmp_path: Path, only_fp32: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worse(
        judge: Judge, maps: Any, recogniser: Any, thresholds: Any, extras: Extras | None = None
    ) -> list[Prediction]:
        some = [picture.example for picture in judge.pictures]
        if extras and extras.language:
            return [Prediction(()) for _ in some]
        return [Prediction(tuple(_as_marked(one, region) for region in one.regions)) for one in some]

    monkeypatch.setattr(Judge, "answers", worse)
    made = context(tmp_path)
    draft = trainer.train(made)
    assert "language" not in draft.model and any("by itself" in line for line in made.lines)


@pytest.mark.parametrize("content", ["", "{}", '{"texts": {"A": "many"}, "weight": 1, "bonus": 1}'])
def test_a_damaged_language_is_refused(tmp_path: Path, content: str) -> None:
    draft = exporter.untrained(bases.load("pp-ocrv6-small", None, True), tmp_path, ASCII)
    (tmp_path / "language.json").write_text(content)
    with pytest.raises(PluginError, match="cannot be opened"):
        open_predictor(tmp_path, {**draft.model, "language": {"file": "language.json"}}, threads=1)
