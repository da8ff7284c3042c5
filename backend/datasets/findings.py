"""Findings: what `sync` and `check` notice. One table of codes, from which the documentation is made.

A finding is kept for each image concerned, so that counts always add up; only objects that never enter the
index are named by their first keys and a count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from backend.datasets.listing import SAMPLES, Tally
from backend.datasets.tables import Dataset, Finding
from backend.db import now
from backend.storepaths import format_path

Severity = Literal["error", "warning", "note"]
Source = Literal["sync", "check", "labeling", "import", "labels"]


@dataclass(frozen=True)
class Rule:
    """What a code means. An `error` keeps the image out of training; one about the whole dataset stops it.

    `about` says whether findings of this code name an image or speak of the dataset.
    """

    severity: Severity
    about: Literal["image", "dataset"]
    title: str
    advice: str


RULES: dict[str, Rule] = {
    # sync
    "nothing_found": Rule(
        "error",
        "dataset",
        "No image below the path",
        "check bucket and prefix of the dataset for spelling, or upload images there and sync again",
    ),
    "not_an_image": Rule(
        "note", "image", "Not an image", "nothing to do: only .jpg, .jpeg, .png, .bmp and .webp are indexed"
    ),
    "odd_key": Rule(
        "warning",
        "image",
        "The key cannot be used",
        "rename the object: no . or .. folders and no NUL character in the key",
    ),
    # the file
    "format_not_supported": Rule(
        "error", "image", "Format not supported", "convert the image to JPEG or PNG and upload it again"
    ),
    "format_only_predicts": Rule(
        "error",
        "image",
        "Format only for prediction",
        "BMP and WEBP can be predicted, not trained on: convert the image to JPEG or PNG",
    ),
    "empty_file": Rule("error", "image", "Empty file", "upload the image again"),
    "unreadable": Rule("error", "image", "Damaged image", "upload the image again or delete it"),
    "truncated": Rule("error", "image", "Image cut off", "upload the image again: the end is missing"),
    "too_many_bytes": Rule(
        "error", "image", "File too large", "save it smaller, or raise SIGHTLOOP_MAX_IMAGE_BYTES"
    ),
    "too_many_pixels": Rule(
        "error", "image", "Too many pixels", "scale it down, or raise SIGHTLOOP_MAX_IMAGE_PIXELS"
    ),
    "vanished": Rule("error", "image", "Gone since the last sync", "sync the dataset again"),
    "changed": Rule("error", "image", "Changed since the last sync", "sync the dataset again"),
    "not_readable": Rule(
        "error", "image", "The store does not hand it out", "allow the access key to read the object"
    ),
    "wrong_extension": Rule(
        "warning",
        "image",
        "Wrong extension",
        "it is used as what it is; rename it for other programs",
    ),
    "too_small": Rule(
        "warning", "image", "Very small image", "it is used; take larger pictures if accuracy is low"
    ),
    "rotated": Rule(
        "note", "image", "Turned by its EXIF data", "nothing to do: training and prediction turn it upright"
    ),
    "animated": Rule("note", "image", "Several frames", "nothing to do: the first frame is used"),
    # images that are alike
    "duplicate": Rule(
        "warning",
        "image",
        "Exact duplicate",
        "delete one; until then they stay on one side of the split",
    ),
    "duplicate_other_label": Rule(
        "warning",
        "image",
        "The same image under two labels",
        "keep the right one and delete the other",
    ),
    "near_duplicate": Rule(
        "note", "image", "Nearly the same image", "nothing to do: they stay on one side of the split"
    ),
    "near_duplicate_other_label": Rule(
        "warning", "image", "Nearly the same image under two labels", "look at both and mend the wrong label"
    ),
    "uniform_scene": Rule(
        "note",
        "dataset",
        "Many images of one scene",
        "they are split like other images; if they are frames of one film, results look better than they are",
    ),
    # the dataset
    "no_labels": Rule(
        "error", "dataset", "No usable image has a label", "label images, or put them in one folder a class"
    ),
    "single_class": Rule(
        "error", "dataset", "Only one class", "add images of a second class: a choice needs two"
    ),
    "unlabelled": Rule(
        "note", "dataset", "Images without a label", "label them, or leave them: they are not trained on"
    ),
    "few_images": Rule(
        "warning", "dataset", "Class with few images", "add images until the class has 20 or more"
    ),
    "imbalance": Rule(
        "warning",
        "dataset",
        "Very unequal classes",
        "add images of the small classes",
    ),
    "class_name_odd": Rule(
        "warning",
        "dataset",
        "Class name that other programs cannot hold",
        "rename the class: letters, digits, spaces, _ - and . in the middle, at most 100 characters",
    ),
    "class_names_alike": Rule(
        "warning", "dataset", "Class names that look alike", "if they are one class, move the images together"
    ),
    "split_folders": Rule(
        "warning",
        "dataset",
        "Folders named like a split",
        "these folders become classes; make one dataset of each, with its path one folder deeper",
    ),
    # Label Studio
    "region_outside": Rule(
        "warning",
        "image",
        "Region outside of the image",
        "it was cut to the image; mend it in Label Studio",
    ),
    "foreign_item": Rule(
        "note",
        "dataset",
        "Items that were made by hand in Label Studio",
        "upload their images to the bucket: only items of images in the bucket are read",
    ),
    # regions of text
    "label_misfit": Rule(
        "error",
        "image",
        "The label is about an image of another size",
        "label it again in Label Studio, or mend its label file and sync; until then it is not trained on",
    ),
    "several_lines": Rule(
        "warning",
        "image",
        "Text of several lines in one region",
        "mark each line by itself: a region is read as one line",
    ),
    # label files that are imported or lie in the bucket
    "label_left_out": Rule(
        "warning",
        "image",
        "Part of a label file was not taken",
        "mend the file, then import it again, or sync if it lies in the bucket",
    ),
    "no_label_file": Rule(
        "note",
        "image",
        "JSON without labels",
        "nothing to do, unless it should hold labels: then export it as JSON from Label Studio, or as COCO",
    ),
    "label_conflict": Rule(
        "note",
        "image",
        "A stronger source says otherwise",
        "nothing to do if that is right; else label the image in Label Studio",
    ),
}
# Found again from the whole index at every check, unlike those about the bytes of one image alone.
RECOMPUTED = (
    *(code for code, rule in RULES.items() if rule.about == "dataset" or "duplicate" in code),
    *("label_misfit", "region_outside", "several_lines"),
)


@dataclass(frozen=True)
class Found:
    """One finding on its way to the table. `key` is empty when it is about the dataset."""

    code: str
    message: str
    key: str = ""

    @property
    def blocks(self) -> bool:
        """Whether it keeps the image (or the dataset) out of training."""
        return RULES[self.code].severity == "error"


def add(session: Session, dataset: Dataset, source: Source, found: Iterable[Found]) -> None:
    """Write findings."""
    moment = now()
    rows = [
        {
            "dataset_id": dataset.id,
            "source": source,
            "code": item.code,
            "severity": RULES[item.code].severity,
            "key": item.key,
            "message": item.message,
            "advice": RULES[item.code].advice,
            "created_at": moment,
        }
        for item in found
    ]
    if rows:
        session.execute(insert(Finding.__table__), rows)  # type: ignore[arg-type]


def replace(
    session: Session,
    dataset: Dataset,
    source: Source,
    found: Iterable[Found],
    codes: Iterable[str] | None = None,
) -> None:
    """Put findings in the place of the former ones of that source (and of those codes, if given)."""
    former = delete(Finding).where(Finding.dataset_id == dataset.id, Finding.source == source)
    if codes is not None:
        former = former.where(Finding.code.in_(tuple(codes)))
    session.execute(former.execution_options(synchronize_session=False))
    add(session, dataset, source, found)


def counts(session: Session, dataset: Dataset) -> list[dict[str, Any]]:
    """The number of findings of each code, errors first: `code`, `severity`, `title`, `advice`, `count`."""
    rows = session.execute(
        select(Finding.code, func.count()).where(Finding.dataset_id == dataset.id).group_by(Finding.code)
    ).all()
    order: Mapping[str, int] = {"error": 0, "warning": 1, "note": 2}
    listed = [
        {
            "code": code,
            "severity": RULES[code].severity,
            "title": RULES[code].title,
            "advice": RULES[code].advice,
            "count": number,
        }
        for code, number in rows
    ]
    return sorted(listed, key=lambda entry: (order[str(entry["severity"])], str(entry["code"])))


def of_sync(dataset: Dataset, tally: Tally) -> list[Found]:
    """The findings of one sync."""
    found: list[Found] = []
    place = format_path(dataset.bucket, dataset.prefix)
    if not tally.counts.get("images"):
        others = tally.counts["listed"] - tally.counts.get("folder", 0)
        text = (
            f"none of the {others:,} objects under {place} is an image"
            if others
            else f"nothing under {place}"
        )
        found.append(Found("nothing_found", text))
    for code, sentence in _LEFT_OUT.items():
        number, named = tally.counts.get(code, 0), tally.samples.get(code, [])
        found.extend(Found(code, sentence, key) for key in named)
        if number > SAMPLES:
            found.append(Found(code, f"{number - SAMPLES:,} more objects like these {SAMPLES} were left out"))
    return found


_LEFT_OUT = {
    "not_an_image": "by its name it is no image; it was left out",
    "format_not_supported": "its format can be neither trained on nor predicted; it was left out",
    "odd_key": "its key cannot be used; it was left out",
}
