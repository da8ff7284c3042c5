"""What to label next, and which labels are doubtful."""

from __future__ import annotations

import numpy as np
import pytest

from plugins.classification import selection as classes
from plugins.contract import PluginError
from plugins.registry import load, plugin

_RANDOM = np.random.default_rng(0)
_OF = np.repeat(np.arange(4), 25)
_ROWS = (np.eye(4, 16)[_OF] * 5 + _RANDOM.normal(0, 0.3, (100, 16))).astype(np.float32)
_NAMES = [f"class {number}" for number in _OF]


def test_a_cold_start_shows_every_kind_first() -> None:
    picks = classes.rank(_ROWS, [None] * 100, 8, seed=0)
    assert {_OF[pick.index] for pick in picks} == {0, 1, 2, 3}
    assert {pick.reason for pick in picks} <= {"typical", "random"}


def test_one_in_ten_is_drawn_at_random_and_no_image_comes_twice() -> None:
    labels = [name if number % 25 < 2 else None for number, name in enumerate(_NAMES)]
    picks = classes.rank(_ROWS, labels, 40, seed=0)
    assert [number for number, pick in enumerate(picks) if pick.reason == "random"] == [9, 19, 29, 39]
    assert len({pick.index for pick in picks}) == 40
    assert all(labels[pick.index] is None for pick in picks)


def test_more_than_there_is_gives_all_that_is_left() -> None:
    labels = [None, *_NAMES[1:]]
    assert [pick.index for pick in classes.rank(_ROWS, labels, 50, seed=0)] == [0]
    assert classes.rank(_ROWS, _NAMES, 50, seed=0) == []


def test_a_planted_mistake_is_found() -> None:
    labels = ["class 1", *_NAMES[1:]]
    found = classes.doubts(_ROWS, labels, [str(number) for number in range(100)])
    assert [(doubt.index, doubt.given, doubt.suggested) for doubt in found] == [(0, "class 1", "class 0")]


def test_one_class_alone_cannot_be_doubted() -> None:
    with pytest.raises(PluginError, match="two of them"):
        classes.doubts(_ROWS, ["one"] * 100, ["g"] * 100)


def test_the_plugin_names_what_is_there() -> None:
    assert callable(load(plugin("classification").pretrained))
    assert load(plugin("classification").selection) is classes
