"""Texts of right-to-left scripts: as they are read, and as they stand from left to right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.ocr import exporter
from plugins.ocr.direction import lean, turned
from plugins.ocr.predictor.lines import Letter, Reader, Reading, _joined
from plugins.ocr.predictor.network import Network
from plugins.ocr.trainer.recogniser import batch, codes
from tests.plugins.ocr_pages import TinyRecogniser

ALEF, BET, GIMEL, MEEM, NOON = "\u05d0", "\u05d1", "\u05d2", "\u0645", "\u0646"
_SIGNS = " .,:;/-+%$#()[]<>\u00ab\u00bb\u05b0\u0301\u20ac\u200f"


@pytest.mark.parametrize(
    ("read", "seen"),
    [
        (f"{ALEF}{BET}{GIMEL}", f"{GIMEL}{BET}{ALEF}"),
        (f"{ALEF}{BET} 12.50", f"12.50 {BET}{ALEF}"),
        (f"{ALEF} 50%, {BET}", f"{BET} ,50% {ALEF}"),
        (f"{MEEM} 50% 12/05", f"12/05 %50 {MEEM}"),  # Arabic: the sign follows the number in reading, too
        (f"{ALEF} 5 6 {BET}", f"{BET} 6 5 {ALEF}"),
        (f"{ALEF}{BET}{GIMEL} TV 15 X {BET}{ALEF}", f"{ALEF}{BET} TV 15 X {GIMEL}{BET}{ALEF}"),
        (f"{ALEF}{BET} (AB)", f"(AB) {BET}{ALEF}"),
        (f"REF 7 {ALEF}{BET} (12) {GIMEL} KG", f"REF 7 {GIMEL} (12) {BET}{ALEF} KG"),
    ],
)
def test_lines_of_right_to_left_scripts_stand_as_they_are_printed(read: str, seen: str) -> None:
    assert turned(read) == seen
    assert turned(seen) == read


@given(st.text(st.sampled_from(f"{ALEF}{BET}{MEEM}{NOON}aB7\u0663{_SIGNS}"), max_size=24) | st.text())
def test_what_is_turned_twice_is_what_it_was(text: str) -> None:
    assert turned(turned(text)) == text
    assert lean(turned(text)) == lean(text)


@given(st.text(st.sampled_from(f"aB7\u00e9\u4eac{_SIGNS[:-1]}")))
def test_lines_of_other_scripts_stay_as_they_are(text: str) -> None:
    assert turned(text) == text


@pytest.mark.parametrize("text", [f"{ALEF}{BET} (12.50)", f"{MEEM}{NOON}{MEEM} 50% AB", "AB 7"])
def test_what_is_learned_as_it_stands_is_answered_as_people_write_it(text: str) -> None:
    model = TinyRecogniser((*sorted({*text, *"()"} - {" "}), " "))
    reader = reader_of(model)
    targets = batch([np.zeros((48, 20, 3), np.uint8)], [text], codes(model)).targets
    path = [step for code in targets.tolist() for step in (0, code)]
    (reading,) = reader.decoded(np.eye(len(model.characters) + 1, dtype=np.float32)[path][None], 100)
    assert reading.text == text
    places = [one.place for one in reading.letters]
    assert places == sorted(places)


def reader_of(model: TinyRecogniser) -> Reader:
    network = Network(exporter.graph(model).SerializeToString(), model.input.to_json(), threads=1)
    return Reader(network, model.characters, widest=100, turn_below=0.0)


def test_the_pieces_of_a_long_line_are_joined_from_its_right_end() -> None:
    # From left to right: what is read last, then what is read first.
    last, first = (
        Reading.of([Letter(one, 5.0 * place, 1.0) for place, one in enumerate(text)])
        for text in ("7 " + BET, ALEF * 2)
    )
    assert _joined([last, first], [" "], [40, 40]).text == f"{ALEF}{ALEF} {BET} 7"
