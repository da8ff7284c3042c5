from __future__ import annotations

import pytest

from backend.labels.folders import label_of
from backend.labels.sources import MAX_LABEL, PRECEDENCE, Label, by_key, wins


@pytest.mark.parametrize(
    ("key", "prefix", "label"),
    [
        ("sets/cat/x.jpg", "sets/", "cat"),
        ("sets/cat/monday/x.jpg", "sets/", "cat"),
        ("sets/x.jpg", "sets/", None),
        ("cat/x.jpg", "", "cat"),
        ("x.jpg", "", None),
        ("sets//x.jpg", "sets/", None),
        ("sets/Größe 2 (neu)/x.jpg", "sets/", "Größe 2 (neu)"),
        ("sets/a%2Fb/x.jpg", "sets/", "a%2Fb"),
    ],
)
def test_the_first_folder_below_the_prefix_is_the_class(key: str, prefix: str, label: str | None) -> None:
    assert label_of(key, prefix) == label


def test_folders_mean_nothing_where_labels_are_no_classes() -> None:
    assert by_key("ocr", "sets/")("sets/cat/x.jpg") is None
    assert by_key("classification", "sets/")("sets/cat/x.jpg") == Label("cat", "folder")


def test_a_folder_name_too_long_for_a_class_labels_nothing() -> None:
    labels = by_key("classification", "")
    assert labels(f"{'c' * MAX_LABEL}/x.jpg") is not None
    assert labels(f"{'c' * (MAX_LABEL + 1)}/x.jpg") is None


def test_a_source_replaces_itself_and_what_is_weaker() -> None:
    assert wins("folder", None)
    for number, source in enumerate(PRECEDENCE):
        assert all(wins(source, weaker) for weaker in PRECEDENCE[number:])
        assert not any(wins(source, stronger) for stronger in PRECEDENCE[:number])
