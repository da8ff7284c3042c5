"""Probable label mistakes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from plugins.classification import suspects
from plugins.contract import PluginError
from tests.plugins.test_trust import answers, names


def _find(probabilities: NDArray[Any], targets: NDArray[Any], classes: int) -> list[dict[str, Any]]:
    keys = [f"{n}.jpg" for n in range(len(targets))]
    return suspects.find(keys, targets, probabilities, names(classes))


def test_planted_mistakes_lead_the_list_and_clean_labels_make_none() -> None:
    clean = answers(4, 50, 0, sure=8.0)
    assert _find(clean.probabilities, clean.targets, 4) == []
    wrong = clean.targets.copy()
    planted = [3, 60, 120, 190]
    wrong[planted] = (wrong[planted] + 1) % 4
    found = _find(clean.probabilities, wrong, 4)
    assert {row["key"] for row in found} == {f"{place}.jpg" for place in planted}
    first = found[0]
    assert first["label"] != first["predicted"] and first["conf"] > 10 * first["label_conf"]
    odds = [row["conf"] / max(row["label_conf"], 1e-6) for row in found]
    assert odds == sorted(odds, reverse=True)


def test_an_unsure_model_lists_nothing() -> None:
    unsure = answers(4, 50, 0, sure=0.0)
    softened = 0.5 * unsure.probabilities + 0.125
    assert _find(softened, unsure.targets, 4) == []


def test_the_list_has_an_end() -> None:
    data = answers(4, 50, 0, sure=8.0)
    assert len(_find(data.probabilities, (data.targets + 1) % 4, 4)) <= suspects.MOST


def test_a_class_without_images_is_nobodys_true_class() -> None:
    probabilities = np.array([[0.01, 0.0, 0.99], [0.0, 1.0, 0.0]])
    assert _find(probabilities, np.array([0, 1]), 3) == []


@pytest.mark.parametrize("images", [0, 1, 2])
def test_hardly_an_image_is_enough(images: int) -> None:
    data = answers(2, 1, 0)
    assert _find(data.probabilities[:images], data.targets[:images], 2) == []


def test_probabilities_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(PluginError) as refusal:
        _find(np.array([[np.nan, 1.0]]), np.array([0]), 2)
    assert refusal.value.code == "model_failed"
