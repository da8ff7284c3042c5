"""The split: shares, groups, stability."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.datasets.split import Item, split
from backend.errors import InvalidRequest

GROUPS = st.integers(0, 10_000).map(lambda number: f"{number:064x}")


@st.composite
def datasets(draw: st.DrawFn, mixed: bool = False) -> list[Item]:
    """Images in groups; unless `mixed`, all images of a group have one label."""
    items = []
    for group in draw(st.lists(GROUPS, min_size=1, max_size=60, unique=True)):
        labels = draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=4))
        items += [Item(group, label if mixed else labels[0]) for label in labels]
    return items


SHARES = st.sampled_from([(0.1, 0.0), (0.2, 0.1), (0.5, 0.3), (0.05, 0.05), (0.3, 0.0)])


def _groups_by_label(items: list[Item]) -> dict[str, set[str]]:
    groups: dict[str, set[str]] = defaultdict(set)
    for item in items:
        groups[item.label].add(item.group)
    return groups


@settings(max_examples=200, deadline=None)
@given(datasets(), SHARES)
def test_every_label_is_on_every_side_that_it_can_be_on(
    items: list[Item], shares: tuple[float, float]
) -> None:
    sides = split(items, validation=shares[0], test=shares[1])
    for label, groups in _groups_by_label(items).items():
        seen = {side for item, side in zip(items, sides, strict=True) if item.label == label}
        expected = {"train"}
        if len(groups) >= 2:
            expected.add("validation")
        if len(groups) >= 3 and shares[1]:
            expected.add("test")
        assert seen == expected


@settings(max_examples=200, deadline=None)
@given(datasets(mixed=True), SHARES)
def test_a_group_stands_on_one_side_and_every_label_trains(
    items: list[Item], shares: tuple[float, float]
) -> None:
    sides = split(items, validation=shares[0], test=shares[1])
    by_group: dict[str, set[str]] = defaultdict(set)
    for item, side in zip(items, sides, strict=True):
        by_group[item.group].add(side)
    assert all(len(found) == 1 for found in by_group.values())
    trained = {item.label for item, side in zip(items, sides, strict=True) if side == "train"}
    assert trained == {item.label for item in items}


@settings(max_examples=100, deadline=None)
@given(datasets(mixed=True), st.randoms(use_true_random=False))
def test_the_order_of_the_images_does_not_matter(items: list[Item], random: object) -> None:
    shuffled = items.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    sides = {item.group: side for item, side in zip(items, split(items), strict=True)}
    assert {item.group: side for item, side in zip(shuffled, split(shuffled), strict=True)} == sides


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 300), st.sampled_from([0.1, 0.2, 0.3]))
def test_the_share_is_kept_in_each_class(count: int, share: float) -> None:
    items = [Item(f"{label}{number}", label) for label in "ab" for number in range(count)]
    sides = split(items, validation=share)
    for label in "ab":
        number = sum(s == "validation" for i, s in zip(items, sides, strict=True) if i.label == label)
        assert number == max(1, round(share * count))


def test_ten_new_images_move_hardly_any_old_one() -> None:
    old = [Item(f"{number:064x}", "ab"[number % 2]) for number in range(400)]
    new = [Item(f"{number:064x}", "ab"[number % 2]) for number in range(400, 410)]
    before = split(old)
    after = split(old + new)[: len(old)]
    moved = sum(one != other for one, other in zip(before, after, strict=True))
    assert moved <= 2
    assert Counter(before)["validation"] == 40


@settings(max_examples=200, deadline=None)
@given(datasets(mixed=True), SHARES, st.sets(GROUPS, max_size=30))
def test_what_was_trained_on_is_trained_on(
    items: list[Item], shares: tuple[float, float], trained: set[str]
) -> None:
    trained |= {item.group for item in items[::3]}
    sides = split(items, validation=shares[0], test=shares[1], trained=trained)
    assert all(side == "train" for item, side in zip(items, sides, strict=True) if item.group in trained)
    assert len(sides) == len(items)


def test_new_images_fill_the_place_of_those_that_were_trained_on() -> None:
    items = [Item(f"{number:064x}", "ab"[number % 2]) for number in range(300)]
    before = split(items[:250])
    trained = {item.group for item, side in zip(items, before, strict=False) if side == "train"}
    usual, held = split(items), split(items, trained=trained)
    moved = [
        one for one, other in zip(before, usual, strict=False) if (one, other) == ("train", "validation")
    ]
    assert moved  # images near the edge change sides, so a model that knows them would be judged by them
    assert held.count("validation") == usual.count("validation") == 30
    assert split(items[:250], trained=trained) == before


def test_nothing_is_left_to_validate_with_when_all_was_trained_on() -> None:
    items = [Item(f"{number:064x}", "ab"[number % 2]) for number in range(40)]
    trained = {item.group for item in items if item.label == "a"}
    sides = split(items, test=0.1, trained=trained)
    assert {side for item, side in zip(items, sides, strict=True) if item.label == "a"} == {"train"}
    assert {side for item, side in zip(items, sides, strict=True) if item.label == "b"} == {
        "train",
        "validation",
        "test",
    }


def test_one_image_trains() -> None:
    assert split([Item("g", "a")]) == ["train"]
    assert split([]) == []


def test_a_class_of_one_group_trains_as_a_whole() -> None:
    assert split([Item("g", "a")] * 30) == ["train"] * 30


@pytest.mark.parametrize(
    ("validation", "test"), [(0, 0), (1, 0), (-0.1, 0), (0.1, -0.1), (0.5, 0.4), (0.1, 1)]
)
def test_senseless_shares_are_refused(validation: float, test: float) -> None:
    with pytest.raises(InvalidRequest, match="shares"):
        split([Item("g", "a")], validation=validation, test=test)
