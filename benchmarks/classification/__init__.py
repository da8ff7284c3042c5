"""Accuracy over time of our classifiers beside what else one would do with the same pretrained network.

    python -m benchmarks.classification --sets trashnet --methods plain high-performance --seeds 0
    python -m benchmarks.classification --table --plot benchmarks/classification.png

The first command measures what is not yet in `--results` and appends it, one JSON line a run; it may be
stopped and started again, and seeds, sets and methods may be added later. The second renders what is there.

Methods: `linear` (a linear layer on features), `plain` (fine-tuning as tutorials do it, at three learning
rates), `fastai` (its `fine_tune`), `high-performance` and `high-precision` (ours). fastai is no dependency:
for it run everything in an environment of your own in which `pip install fastai` was done beside `pip
install -e '.[dev]'`.

`--data FOLDER ...` measures on your own images: class folders, `train/` and `val/` (or `test/`) with class
folders in them, or either with a `split.tsv` (columns `file` and `split`).
"""

from __future__ import annotations

from benchmarks.classification.sets import DATA, read_set

__all__ = ["DATA", "read_set"]
