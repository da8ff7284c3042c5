"""The benchmark's own parts that need no training: sets read from folders, results, tables."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.classification import read_set, results, table
from benchmarks.classification.__main__ import planned
from benchmarks.classification.measuring import score
from benchmarks.classification.results import Result
from tests.plugins.photographs import MATERIALS, crop, encode


def _write(folder: Path, sides: dict[str, int]) -> None:
    """So many crops of each material below each side; the side "" stands for no folder."""
    number = 0
    for side, count in sides.items():
        for name in MATERIALS:
            (folder / side / name).mkdir(parents=True)
            for place in range(number, number + count):
                (folder / side / name / f"{place}.jpg").write_bytes(encode(crop(name, place)))
        number += count


def _sides(folder: Path) -> Counter[str]:
    return Counter(one.split for one in read_set(folder)[0])


def test_class_folders_are_divided_as_the_product_does_it(tmp_path: Path) -> None:
    _write(tmp_path, {"": 20})
    (tmp_path / "brick" / "broken.jpg").write_bytes(b"no image")
    (tmp_path / "README.md").write_text("no image either")
    examples, data = read_set(tmp_path)
    assert _sides(tmp_path) == {"train": 42, "validation": 6, "test": 12}
    assert {one.label for one in examples} == set(MATERIALS)
    assert [one.key for one in examples] == sorted(data) and "brick/broken.jpg" not in data


def test_a_val_folder_alone_is_the_test_side(tmp_path: Path) -> None:
    _write(tmp_path, {"train": 10, "val": 4})
    assert _sides(tmp_path) == {"train": 27, "validation": 3, "test": 12}
    assert {one.label for one in read_set(tmp_path)[0]} == set(MATERIALS)


def test_a_val_folder_beside_a_test_folder_is_for_validation(tmp_path: Path) -> None:
    _write(tmp_path, {"train": 5, "val": 2, "test": 4})
    assert _sides(tmp_path) == {"train": 15, "validation": 6, "test": 12}


def test_a_table_names_the_sides(tmp_path: Path) -> None:
    _write(tmp_path, {"": 12})
    rows = [
        f"{name}/{number}.jpg\t{'test' if number < 2 else 'train'}"
        for name in MATERIALS
        for number in range(12)
    ]
    (tmp_path / "split.tsv").write_text("\n".join(["file\tsplit", *rows]) + "\n")
    assert _sides(tmp_path) == {"train": 27, "validation": 3, "test": 6}


def test_copies_stay_on_one_side(tmp_path: Path) -> None:
    _write(tmp_path, {"train": 10, "test": 2})
    for name in MATERIALS:
        for number in range(10):
            small = crop(name, number).resize((80, 80))
            (tmp_path / "train" / name / f"copy{number}.jpg").write_bytes(encode(small, quality=60))
    groups: dict[str, set[str]] = {}
    for one in read_set(tmp_path)[0]:
        groups.setdefault(one.group, set()).add(one.split)
    assert len(groups) < 60 and all(len(sides) == 1 for sides in groups.values())


@pytest.mark.parametrize(
    "rows, said",
    [
        ("file\tsplit\na.jpg\tsomewhere\n", "must have the columns"),
        ("file\tsplit\na.jpg\n", "must have the columns"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, rows: str, said: str) -> None:
    (tmp_path / "split.tsv").write_text(rows)
    with pytest.raises(ValueError, match=said):
        read_set(tmp_path)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no image to use for train"):
        read_set(tmp_path)
    with pytest.raises(ValueError, match="is not a folder"):
        read_set(tmp_path / "missing")


def _result(method: str, budget: float, right: str, seed: int = 0) -> Result:
    return Result(
        set="colours",
        method=method,
        seed=seed,
        budget=budget,
        clock="wall",
        threads=2,
        seconds=budget or 5.0,
        first_seconds=None,
        images_per_s=10.0,
        accuracy=right.count("1") / len(right),
        validation=0.5,
        log_loss=0.3,
        ece=0.1,
        right=right,
        images={"train": 30, "validation": 5, "test": len(right)},
        curve=[[30.0, 0.4, None]],
        facts={},
        machine={"wall": 60.0, "cpu": 100.0, "others": 0.0, "load": 0.1},
        revision="0",
    )


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.jsonl"
    assert results.read(path) == []
    for seed in (0, 1):
        results.append(path, _result("fastai", 60.0, "1101", seed))
    assert results.read(path) == [_result("fastai", 60.0, "1101", seed) for seed in (0, 1)]


@pytest.mark.parametrize("line", ["{", "{}", '{"set": 1}'])
def test_a_damaged_line_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(ValueError, match="line 1, is no result"):
        results.read(path)


def test_scores_of_known_answers() -> None:
    given = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    found = score(given, np.array([0, 1, 1]))
    assert found["right"] == "101"
    assert found["log_loss"] == pytest.approx(-np.log([0.9, 0.4, 0.8]).mean())
    assert found["ece"] == pytest.approx((0.1 + 0.6 + 0.2) / 3)


def test_intervals() -> None:
    low, high = results.wilson(0.5, 100)
    assert (low, high) == pytest.approx((0.404, 0.596), abs=1e-3)
    assert results.wilson(1.0, 80)[1] == 1.0 and results.wilson(1.0, 80)[0] < 0.97
    same = [_result("fastai", 60.0, "1101" * 20)]
    assert results.difference(same, same) == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="different test sides"):
        results.difference(same, [_result("linear", 0.0, "1")])
    gap, low, high = results.difference([_result("linear", 0.0, "1111" * 20)], same)
    assert gap == pytest.approx(0.25) and 0.1 < low < 0.25 < high < 0.4


def test_the_table_takes_the_best_learning_rate_and_says_what_is_better(tmp_path: Path) -> None:
    found = [
        _result("linear", 0.0, "1000"),
        _result("plain 1e-4", 60.0, "1100"),
        _result("plain 1e-3", 60.0, "1110"),
        _result("high-performance", 0.0, "1100"),
        _result("high-performance", 60.0, "1111"),
    ]
    text = table.table(found)
    assert "| plain fine-tune |  | 75.0 at 1e-3 |" in text
    assert "high-performance less the best of the others (plain fine-tune, 75.0 % after 60 s): +25.0" in text
    assert "reached after 60 s, 1.0 times as fast" in text
    table.plot(found, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_only_the_best_learning_rate_is_tried_with_other_seeds(tmp_path: Path) -> None:
    options = argparse.Namespace(
        data=[tmp_path / "colours"], sets=None, seeds=[0, 1], budgets=[60.0], methods=["plain", "linear"],
        clock="wall", threads=2, values=[], all_rates=False, verbose=False,
    )  # fmt: skip
    known: list[Result] = []
    seen = []
    for job in planned(options, lambda: known):
        seen.append((job.method, job.seed))
        if job.method.startswith("plain"):
            right = "1111" if job.method.endswith("3e-4") else "1100"
            known.append(replace(_result(job.method, 60.0, right), seed=job.seed))
    first = [("linear", 0), ("plain 1e-4", 0), ("plain 3e-4", 0), ("plain 1e-3", 0)]
    assert seen == [*first, ("linear", 1), ("plain 3e-4", 1)]
