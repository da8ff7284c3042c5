"""The first layer fitted: what cross-validation chooses, and which weights are kept after fine-tuning."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from plugins.classification import head, rare
from plugins.classification.catalogue import LARGER, LITE0
from plugins.classification.trainer.finetune import recipe_of
from plugins.classification.trainer.start import Start

LOWER, TOP, IMAGES = 6, 10, 60


def _features(random: np.random.Generator) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Noise of two views that say nothing of three classes."""
    features = random.normal(size=(2, IMAGES, LOWER + TOP)).astype(np.float32)
    return features, np.arange(IMAGES) % 3


def _fit(features: npt.NDArray[np.float32], targets: npt.NDArray[np.int64], **values: Any) -> head.Head:
    groups = np.array([str(number) for number in range(features.shape[1])])
    return head.fit(features, targets, groups, 3, **{"lower": LOWER, "stop": lambda: False, **values})


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def test_lower_layers_take_part_where_they_know_the_classes(random: np.random.Generator) -> None:
    features, targets = _features(random)
    features[:, :, :LOWER][:, np.arange(IMAGES), targets] += 3
    fitted = _fit(features, targets)
    assert fitted.share > 0
    assert fitted.accuracy is not None and fitted.accuracy > 0.9


def test_lower_layers_are_left_out_where_they_only_confuse(random: np.random.Generator) -> None:
    features, targets = _features(random)
    features[:, :, :LOWER] *= 10
    features[:, :, LOWER:][:, np.arange(IMAGES), targets] += 3
    fitted = _fit(features, targets)
    assert fitted.share == 0.0
    assert not fitted.weight[:, :LOWER].any() and fitted.weight[:, LOWER:].any()


def test_mirror_images_that_look_like_another_class_are_left_out(random: np.random.Generator) -> None:
    features, targets = _features(random)
    features[0, np.arange(IMAGES), LOWER + targets] += 3
    features[1, np.arange(IMAGES), LOWER + (targets + 1) % 3] += 3
    assert not _fit(features, targets).mirrored


def test_mirror_images_that_keep_their_class_take_part(random: np.random.Generator) -> None:
    features, targets = _features(random)
    features[:, np.arange(IMAGES), LOWER + targets] += 2
    assert _fit(features, targets).mirrored


def test_a_layer_that_knows_little_does_not_vouch_for_mirror_images(random: np.random.Generator) -> None:
    features, targets = _features(random)
    features[:, np.arange(IMAGES), LOWER + targets] += 1
    fitted = _fit(features, targets)
    assert fitted.accuracy is not None and 0.4 < fitted.accuracy < 0.75
    assert not fitted.mirrored


def test_every_image_is_answered_by_a_model_that_has_not_seen_it(random: np.random.Generator) -> None:
    features, targets = _features(random)  # nothing to learn: whoever had seen the images would know them
    fitted = _fit(features, targets)
    assert fitted.out_of_fold is not None and fitted.out_of_fold.shape == (IMAGES, 3)
    np.testing.assert_allclose(fitted.out_of_fold.sum(1), 1, atol=1e-5)
    assert (fitted.out_of_fold.argmax(1) == targets).mean() < 0.6


def test_two_classes_of_one_image_leave_nothing_to_cross_validate(random: np.random.Generator) -> None:
    features, targets = _features(random)
    targets = np.array([0] * 58 + [1, 2])
    fitted = _fit(features, targets)
    assert fitted.out_of_fold is None and fitted.log_loss is None
    assert np.isfinite(fitted.weight).all() and fitted.weight.any()


def test_one_tiny_class_does_not_keep_the_others_from_cross_validation(random: np.random.Generator) -> None:
    features, _ = _features(random)
    targets = np.array([0] * 30 + [1] * 29 + [2])
    features[0, np.arange(IMAGES), LOWER + targets] += 3
    features[1, np.arange(IMAGES), LOWER + (targets + 1) % 2] += 3  # arrows to the left and to the right
    fitted = _fit(features, targets)
    assert not fitted.mirrored
    assert fitted.accuracy is not None and fitted.accuracy > 0.8
    assert fitted.out_of_fold is not None
    assert np.isnan(fitted.out_of_fold[-1]).all() and np.isfinite(fitted.out_of_fold[:-1]).all()
    assert fitted.weight[2].any()  # it is learned all the same


def test_a_class_of_near_duplicates_is_not_held_out(random: np.random.Generator) -> None:
    features, targets = _features(random)
    groups = np.array(["burst" if target == 2 else str(number) for number, target in enumerate(targets)])
    fitted = head.fit(features, targets, groups, 3, lower=LOWER, stop=lambda: False)
    assert fitted.out_of_fold is not None
    np.testing.assert_array_equal(np.isnan(fitted.out_of_fold[:, 0]), targets == 2)
    alone = head.out_of_fold(features[0], targets, groups, 3)
    np.testing.assert_array_equal(np.isnan(alone[:, 0]), targets == 2)


def _many_classes(random: np.random.Generator, each: int = 5) -> tuple[Any, ...]:
    """300 classes of so many images: features, targets, groups and the number of classes."""
    targets = np.repeat(np.arange(300), each)
    middles = random.normal(size=(300, 8))
    features = (middles[targets] + 0.5 * random.normal(size=(len(targets), 8))).astype(np.float32)
    return features[None], targets, np.array([str(number) for number in range(len(targets))]), 300


def test_many_classes_are_cross_validated_against_each_other(random: np.random.Generator) -> None:
    both, truth, groups, classes = _many_classes(random, 10)
    targets = truth[::2]
    fitted = head.fit(both[:, ::2], targets, groups[::2], classes, stop=lambda: False)
    assert fitted.out_of_fold is not None and fitted.accuracy is not None
    assert np.isfinite(fitted.out_of_fold).all() and (fitted.out_of_fold > 0).all()
    right = fitted.out_of_fold.argmax(1) == targets
    assert fitted.accuracy == pytest.approx(right.mean(), abs=0.002)
    of_new = ((both[0, 1::2] @ fitted.weight.T + fitted.bias).argmax(1) == truth[1::2]).mean()
    assert fitted.accuracy == pytest.approx(of_new, abs=0.06)


def test_a_fold_of_all_classes_is_enough_where_all_folds_take_too_long(
    random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, targets, groups, classes = _many_classes(random)
    monkeypatch.setattr(head, "_READ_WORK", features.size * classes / 2)
    fitted = head.fit(features, targets, groups, classes, stop=lambda: False)
    assert fitted.out_of_fold is not None
    read = np.isfinite(fitted.out_of_fold[:, 0])
    assert read.sum() == 375 and (fitted.out_of_fold[read] > 0).all()


def test_of_too_many_classes_some_are_cross_validated_with_all_their_images(
    random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, targets, groups, classes = _many_classes(random)
    monkeypatch.setattr(head, "_READ_WORK", 1)
    fitted = head.fit(features, targets, groups, classes, stop=lambda: False)
    assert fitted.out_of_fold is not None
    took_part = np.isfinite(fitted.out_of_fold[:, 0])
    assert 790 <= took_part.sum() <= 800
    assert (np.bincount(targets[took_part], minlength=300) == 5).sum() >= 155


def test_a_stop_leaves_a_model(random: np.random.Generator) -> None:
    features, targets = _features(random)
    fitted = _fit(features, targets, stop=lambda: True)
    assert fitted.weight.shape == (3, LOWER + TOP) and fitted.weight.any()


def test_the_weaker_the_first_model_the_more_the_network_may_change() -> None:
    rates = [recipe_of(LITE0, mistakes).rate for mistakes in (0.0, 0.03, 0.08, 0.145, 0.5)]
    assert rates == pytest.approx([4e-4, 4e-4, 8e-4, 1.45e-3, 1.6e-3])
    views = [recipe_of(LITE0, mistakes).views for mistakes in (None, 0.0, 0.2, 0.375, 0.5, 0.9)]
    assert views == [6000, 6000, 6000, 9000, 12000, 12000]
    recipes = [recipe_of(LITE0, mistakes) for mistakes in (0.0, 0.5)]
    assert recipes[0].head_rate / recipes[0].rate == recipes[1].head_rate / recipes[1].rate
    assert 4e-4 < recipe_of(LITE0, None).rate < 1.6e-3
    assert recipe_of(LARGER[0], 0.5).rate == 4e-4  # ConvNeXt and the like fall apart at more


def test_mistakes_are_counted_on_what_was_cross_validated() -> None:
    read = np.array([[0.9, 0.1], [0.9, 0.1], [np.nan, np.nan], [0.2, 0.8]], np.float32)
    none = np.zeros(2, np.float32)
    assert Start(1.0, 1.0, True, read, none).mistakes(np.array([0, 1, 0, 1])) == pytest.approx(1 / 3)
    assert Start(1.0, 1.0, True, read[:0], none).mistakes(np.array([0, 1])) is None


def _overlapping(
    random: np.random.Generator, frequent: int, rare_ones: int
) -> tuple[head.Floats, head.Targets]:
    """Images (1, images, 24) of two classes that cannot be told apart without mistakes."""
    targets = np.repeat([0, 1], [frequent, rare_ones])
    features = random.normal(size=(1, len(targets), 24)).astype(np.float32)
    features[0, :, 0] += 3 * targets
    return features, targets


def _rows(layer: head.Head, features: head.Floats) -> npt.NDArray[np.float64]:
    scores = (features @ layer.weight.T + layer.bias).astype(np.float64)
    odds = np.exp(scores - scores.max(1, keepdims=True))
    rows: npt.NDArray[np.float64] = odds / odds.sum(1, keepdims=True)
    return rows


def test_a_rare_class_is_expected_as_often_as_it_occurs(random: np.random.Generator) -> None:
    features, targets = _overlapping(random, 1800, 36)
    groups = np.array([str(number) for number in range(len(targets))])
    fitted = head.fit(features, targets, groups, 2, stop=lambda: False)
    new, truth = _overlapping(random, 20_000, 400)
    assert _rows(fitted, new[0])[:, 1].sum() == pytest.approx(truth.sum(), rel=0.35)
    assert fitted.out_of_fold is not None
    read = np.isfinite(fitted.out_of_fold[:, 0])
    assert fitted.out_of_fold[read, 1].sum() == pytest.approx(targets[read].sum(), rel=0.35)
    np.testing.assert_allclose(fitted.out_of_fold[read].sum(1), 1, atol=1e-5)


def test_doubts_know_how_rare_a_class_is(random: np.random.Generator) -> None:
    features, targets = _overlapping(random, 600, 30)
    groups = np.array([str(number) for number in range(len(targets))])
    given = head.out_of_fold(features[0], targets, groups, 2)
    assert given[:, 1].sum() == pytest.approx(targets.sum(), rel=0.35)


def test_classes_of_equal_size_are_left_as_they_are(random: np.random.Generator) -> None:
    features, targets = _features(random)
    fitted = _fit(features, targets)
    assert not fitted.excess.any()
    rows = np.array([[0.2, 0.8], [0.7, 0.3]])
    assert rare.lowered(rows, np.zeros(2, np.float32)) is rows
    assert rare.share(rows, np.array([0, 0]), np.ones(2, np.float32)) == 0


def test_a_class_without_images_stays_last(random: np.random.Generator) -> None:
    features, targets = _overlapping(random, 300, 20)
    groups = np.array([str(number) for number in range(len(targets))])
    fitted = head.fit(features, targets, groups, 3, stop=lambda: False)
    assert fitted.excess.any()
    assert _rows(fitted, features[0])[:, 2].max() < 0.01
