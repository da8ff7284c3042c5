"""The split into train, validation and test.

The rule: each group of near-duplicates has a place between 0 and 1 that follows from its content alone. In
each class the groups are taken in the order of their places, first for test, then for validation, as long as
they fit into the share of that side; the rest trains. So keys, order and time have no say, copies never stand
on two sides, and when images are added only groups near the edge of a share change sides. Groups that a
model has learned from already can be held back from test and validation, which then judge that model, too.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence, Set
from dataclasses import dataclass

from backend.errors import InvalidRequest
from plugins.contract import Split

VALIDATION = 0.1
_MAX_AWAY = 0.8  # of the images, not to train on


@dataclass(frozen=True)
class Item:
    """What the split needs to know of an image; `label` is empty where labels are no classes."""

    group: str
    label: str


@dataclass(frozen=True)
class _Group:
    name: str
    labels: Counter[str]

    @property
    def size(self) -> int:
        return self.labels.total()

    @property
    def main(self) -> str:
        """The label of most of its images; it is counted under that one."""
        return min(self.labels, key=lambda label: (-self.labels[label], label))

    @property
    def place(self) -> bytes:
        return hashlib.sha256(b"split:" + self.name.encode()).digest()


def split(
    items: Sequence[Item],
    *,
    validation: float = VALIDATION,
    test: float = 0.0,
    trained: Set[str] = frozenset(),
) -> list[Split]:
    """The side of each item; groups in `trained` are on the side of training.

    Every label has an image to train on. A label with two groups or more has one in validation, with three
    or more one in test, if a test side is asked for and `trained` leaves so many; where groups mix labels,
    training goes first.

    Raises `InvalidRequest` for shares that make no sense.
    """
    if not (0 <= test < 1 and 0 < validation < 1 and validation + test <= _MAX_AWAY):
        raise InvalidRequest(
            f"validation {validation:g} and test {test:g} are shares of the images: above 0 and together at "
            f"most {_MAX_AWAY:g}"
        )
    members: dict[str, Counter[str]] = defaultdict(Counter)
    for item in items:
        members[item.group][item.label] += 1
    by_label: dict[str, list[_Group]] = defaultdict(list)
    for name, labels in members.items():
        group = _Group(name, labels)
        by_label[group.main].append(group)
    sides: dict[str, Split] = {}
    for groups in by_label.values():
        groups.sort(key=lambda group: group.place)
        _divide(groups, validation, test, trained, sides)
    _keep_training(members, sides)
    return [sides[item.group] for item in items]


def _divide(
    groups: list[_Group], validation: float, test: float, trained: Set[str], sides: dict[str, Split]
) -> None:
    """Fill `sides` for the groups of one label, which come in the order of their places."""
    rest = [group for group in groups if group.name not in trained]
    sides.update({group.name: "train" for group in groups if group.name in trained})
    total = sum(group.size for group in groups)
    # The side that is filled later needs a group as well, and so does training.
    training = int(len(rest) == len(groups))
    order: tuple[tuple[Split, float, int], ...] = (
        ("test", test, training + 1),
        ("validation", validation, training),
    )
    for side, share, reserve in order:
        taken = _take(rest, round(share * total), reserve) if share else []
        sides.update({group.name: side for group in taken})
        rest = [group for group in rest if group.name not in sides]
    sides.update({group.name: "train" for group in rest})


def _take(groups: list[_Group], wanted: int, reserve: int) -> list[_Group]:
    """Groups of `wanted` images together at most, and at least one group; `reserve` groups stay."""
    if len(groups) <= reserve:
        return []
    taken: list[_Group] = []
    room = wanted
    for group in groups:
        if len(taken) == len(groups) - reserve:
            break
        if group.size <= room:
            taken.append(group)
            room -= group.size
    return taken or [min(groups, key=lambda group: (group.size, group.place))]


def _keep_training(members: dict[str, Counter[str]], sides: dict[str, Split]) -> None:
    """Bring back a group for each label that would not be trained on at all."""
    trained = {label for name, labels in members.items() if sides[name] == "train" for label in labels}
    for name in sorted(members):
        if not set(members[name]) <= trained:
            sides[name] = "train"
            trained |= set(members[name])
