"""Whether to act on an answer: what is fitted, what is stored, what is decided, what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from plugins.classification import trust_fitting
from plugins.classification.trust import Trust
from plugins.classification.trust_fitting import Answers
from plugins.contract import PluginError

WIDTH = 32
Floats = npt.NDArray[np.float32]


def answers(classes: int, each: int, seed: int, sure: float = 4.0) -> Answers:
    """Images whose features lie around a direction of their class, answered mostly rightly."""
    random = np.random.default_rng(seed)
    targets = np.repeat(np.arange(classes), each)
    middles = np.random.default_rng(99).random((classes, WIDTH))
    features = np.maximum(middles[targets] + 0.1 * random.normal(size=(len(targets), WIDTH)), 0)
    scores = random.normal(size=(len(targets), classes))
    scores[np.arange(len(targets)), targets] += sure
    odds = np.exp(scores)
    probabilities = odds / odds.sum(1, keepdims=True)
    return Answers(probabilities.astype(np.float32), features.astype(np.float32), targets)


def names(classes: int) -> list[str]:
    return [f"class {n}" for n in range(classes)]


def fitted(
    folder: Path, train: Answers, validation: Answers, classes: int, out_of_fold: Answers | None = None
) -> tuple[Mapping[str, Any], Trust]:
    entry = trust_fitting.fit(
        folder,
        labels=names(classes),
        train=train,
        validation=validation,
        out_of_fold=out_of_fold,
        precision=0.9,
    )
    assert json.loads(json.dumps(entry, allow_nan=False)) == entry
    opened = Trust.open(folder, {"labels": names(classes), "trust": entry})
    assert opened is not None
    return entry, opened


def another_kind(images: int) -> Floats:
    """Features along directions that no training image has."""
    return -np.random.default_rng(5).random((images, WIDTH)).astype(np.float32)


def test_a_sure_answer_is_acted_on_an_unsure_one_is_not(tmp_path: Path) -> None:
    entry, trust = fitted(tmp_path, answers(3, 20, 0), answers(3, 10, 1), 3)
    assert all(0.5 <= threshold < 0.95 for threshold in entry["thresholds"].values())
    probabilities = np.array([[0.98, 0.01, 0.01], [0.34, 0.33, 0.33]], np.float32)
    features = answers(3, 1, 2).features
    assert features is not None
    assert trust.decide(probabilities, features[:2]) == [(0, ""), (None, "not_sure")]


def test_an_image_of_another_kind_is_unlike_however_sure_the_answer(tmp_path: Path) -> None:
    _, trust = fitted(tmp_path, answers(3, 20, 0), answers(3, 10, 1), 3)
    sure = np.tile(np.array([[1.0, 0.0, 0.0]], np.float32), (5, 1))
    assert trust.decide(sure, another_kind(5)) == [(None, "unlike_training")] * 5


def test_new_images_of_the_known_kind_are_seldom_unlike(tmp_path: Path) -> None:
    _, trust = fitted(tmp_path, answers(4, 30, 0), answers(4, 8, 1), 4)
    new = answers(4, 200, 2)
    reasons = [reason for _, reason in trust.decide(new.probabilities, new.features)]
    assert reasons.count("unlike_training") <= 0.04 * len(reasons)


def test_a_network_that_knows_its_training_images_too_well_does_not_refuse_new_ones(tmp_path: Path) -> None:
    """Fine-tuning draws training images together; the validation images say how much farther new ones are."""
    train, validation, new = (answers(3, 30, seed) for seed in (0, 1, 2))
    assert train.features is not None
    middles = np.stack([train.features[train.targets == label].mean(0) for label in range(3)])
    tight = replace(train, features=(train.features + 9 * middles[train.targets]) / 10)
    _, trust = fitted(tmp_path, tight, validation, 3)
    unlike = [reason == "unlike_training" for _, reason in trust.decide(new.probabilities, new.features)]
    assert np.mean(unlike) <= 0.05


def test_two_images_a_class_and_no_validation_are_enough(tmp_path: Path) -> None:
    none = answers(2, 0, 1)
    entry, trust = fitted(tmp_path, answers(2, 2, 0), none, 2)
    assert set(entry["thresholds"].values()) == {0.9}
    assert trust.decide(np.array([[0.95, 0.05]], np.float32), answers(2, 1, 3).features[:1])[0][1] in (  # type: ignore[index]
        "",
        "unlike_training",
    )
    assert trust.decide(none.probabilities, none.features) == []


def test_with_hardly_an_image_nothing_is_called_unlike(tmp_path: Path) -> None:
    entry, trust = fitted(tmp_path, answers(2, 1, 0), answers(2, 1, 1), 2)
    assert entry["unlike"] is None
    assert trust.decide(np.array([[1.0, 0.0]], np.float32), another_kind(1)) == [(0, "")]


def test_a_model_without_features_only_asks_whether_it_is_sure(tmp_path: Path) -> None:
    blind = replace(answers(3, 20, 0), features=None), replace(answers(3, 10, 1), features=None)
    entry, trust = fitted(tmp_path, *blind, 3)
    assert entry["unlike"] is None
    assert trust.decide(np.array([[0.99, 0.01, 0.0]], np.float32), None) == [(0, "")]


def test_identical_images_know_only_themselves(tmp_path: Path) -> None:
    same = np.ones((12, WIDTH), np.float32)
    train = replace(answers(3, 4, 0), features=same)
    _, trust = fitted(tmp_path, train, replace(answers(3, 2, 1), features=same[:6]), 3)
    assert trust.reference is not None
    assert trust.reference.unlike(same).tolist() == [False] * 12
    assert trust.reference.unlike(another_kind(3)).tolist() == [True] * 3


def test_features_that_are_all_zero_are_judged(tmp_path: Path) -> None:
    train = replace(answers(3, 4, 0), features=np.zeros((12, WIDTH), np.float32))
    _, trust = fitted(tmp_path, train, answers(3, 2, 1), 3)
    assert trust.reference is not None and np.isfinite(trust.reference.limit)
    assert np.isfinite(trust.reference.distances(np.zeros((1, WIDTH), np.float32))).all()


def test_five_hundred_classes_stay_small(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    targets = np.repeat(np.arange(500), 12)
    features = random.random((6000, 1280), np.float32)
    probabilities = np.full((6000, 500), 1 / 500, np.float32)
    train = Answers(probabilities, features, targets)
    entry, trust = fitted(tmp_path, train, Answers(probabilities[:9], features[:9], targets[:9]), 500)
    assert (tmp_path / "trust.npz").stat().st_size < 1_000_000
    assert entry["unlike"]["images"] == 2000
    assert len(trust.decide(probabilities[:3], features[:3])) == 3


def test_of_many_images_each_class_keeps_its_share() -> None:
    targets = np.array([0] * 90 + [1] * 5 + [2] * 5)
    kept = targets[trust_fitting._some_of_each(targets, 20)]
    assert np.bincount(kept).tolist() == [10, 5, 5]


def test_the_same_answers_give_the_same_file(tmp_path: Path) -> None:
    files = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        fitted(tmp_path / name, answers(3, 20, 0), answers(3, 10, 1), 3, answers(3, 20, 4))
        files.append((tmp_path / name / "trust.npz").read_bytes())
    assert files[0] == files[1]


def test_cross_validation_speaks_where_validation_is_silent(tmp_path: Path) -> None:
    """Class 2 has no validation image; its answers are wrong as often as right in cross-validation."""
    validation, out_of_fold = answers(2, 20, 1, 6.0), answers(3, 30, 2, 6.0)
    padded = np.concatenate([validation.probabilities, np.zeros((40, 1), np.float32)], 1)
    targets = out_of_fold.targets.copy()
    targets[-15:] = 0
    entry, _ = fitted(
        tmp_path,
        answers(3, 20, 0),
        Answers(padded, validation.features, validation.targets),
        3,
        Answers(out_of_fold.probabilities, None, targets),
    )
    trusted, doubted = entry["thresholds"]["class 1"], entry["thresholds"]["class 2"]
    assert trusted is not None and (doubted is None or doubted > trusted)


@pytest.mark.parametrize("which", ["probabilities", "features"])
def test_answers_that_are_not_numbers_are_refused(tmp_path: Path, which: str) -> None:
    train = answers(2, 4, 0)
    broken = getattr(train, which).copy()
    broken[1, 1] = np.nan
    with pytest.raises(PluginError) as refusal:
        fitted(tmp_path, train, replace(train, **{which: broken}), 2)
    assert refusal.value.code == "model_failed"
    assert not list(tmp_path.iterdir())


def test_a_model_that_learned_no_trust_has_none(tmp_path: Path) -> None:
    assert Trust.open(tmp_path, {"labels": ["a", "b"]}) is None


def _missing(folder: Path) -> None:
    (folder / "trust.npz").unlink()


def _damaged(folder: Path) -> None:
    (folder / "trust.npz").write_bytes(b"no archive")


def _cut(folder: Path) -> None:
    content = (folder / "trust.npz").read_bytes()
    (folder / "trust.npz").write_bytes(content[: len(content) // 2])


def _pickled(folder: Path) -> None:
    np.savez(folder / "trust.npz", thresholds=np.array([{}, {}], object))


def _no_thresholds(folder: Path) -> None:
    np.savez(folder / "trust.npz", limit=np.zeros(1))


def _not_a_number(folder: Path) -> None:
    np.savez(folder / "trust.npz", thresholds=np.array([0.5, np.nan]))


def _half_a_reference(folder: Path) -> None:
    np.savez(folder / "trust.npz", thresholds=np.ones(2), rows=np.ones((2, 3)))


def _other_directions(folder: Path) -> None:
    _store(folder, basis=np.ones((4, 3)), rows=np.ones((2, 5)))


def _other_scale(folder: Path) -> None:
    _store(folder, scale=np.ones(3))


def _store(folder: Path, **other: npt.NDArray[np.float64]) -> None:
    arrays = {"scale": np.ones(4), "basis": np.ones((4, 3)), "rows": np.ones((2, 3)), "limit": np.ones(())}
    np.savez(folder / "trust.npz", allow_pickle=False, thresholds=np.ones(2), **(arrays | other))


def _huge(folder: Path) -> None:
    np.savez_compressed(folder / "trust.npz", thresholds=np.zeros(9_000_000))


@pytest.mark.parametrize(
    "damage",
    [
        _missing,
        _damaged,
        _cut,
        _pickled,
        _no_thresholds,
        _not_a_number,
        _half_a_reference,
        _other_directions,
        _other_scale,
        _huge,
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, damage: Any) -> None:
    entry, _ = fitted(tmp_path, answers(2, 9, 0), answers(2, 3, 1), 2)
    damage(tmp_path)
    with pytest.raises(PluginError) as refusal:
        Trust.open(tmp_path, {"labels": names(2), "trust": entry})
    assert refusal.value.code == "model_unreadable"


@pytest.mark.parametrize(
    "model",
    [
        {"labels": ["a", "b", "c"], "trust": {"file": "trust.npz"}},
        {"labels": ["a", "b"], "trust": {"file": "../trust.npz"}},
        {"labels": ["a", "b"], "trust": {}},
        {"labels": ["a", "b"], "trust": None},
    ],
)
def test_a_file_of_another_model_or_place_is_refused(tmp_path: Path, model: Mapping[str, Any]) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    for folder in (tmp_path, inside):
        fitted(folder, answers(2, 9, 0), answers(2, 3, 1), 2)
    with pytest.raises(PluginError) as refusal:
        Trust.open(inside, model)
    assert refusal.value.code == "model_unreadable"


def test_features_of_another_network_are_refused(tmp_path: Path) -> None:
    _, trust = fitted(tmp_path, answers(2, 9, 0), answers(2, 3, 1), 2)
    with pytest.raises(PluginError) as refusal:
        trust.decide(np.array([[0.9, 0.1]], np.float32), np.ones((1, WIDTH + 1), np.float32))
    assert refusal.value.code == "model_failed"


def test_features_of_very_different_size_all_count(tmp_path: Path) -> None:
    """Lower layers have features a hundred times as large, which know nothing of the classes."""

    def with_loud_ones(some: Answers) -> Answers:
        assert some.features is not None
        loud = 100 + np.random.default_rng(len(some.targets)).normal(size=some.features.shape)
        return replace(some, features=np.concatenate([some.features, loud.astype(np.float32)], 1))

    _, trust = fitted(tmp_path, with_loud_ones(answers(3, 30, 0)), with_loud_ones(answers(3, 10, 1)), 3)
    assert trust.reference is not None
    quiet = with_loud_ones(replace(answers(3, 2, 2), features=5 * another_kind(6))).features
    assert quiet is not None and trust.reference.unlike(quiet).all()
