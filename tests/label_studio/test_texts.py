"""A dataset of text on its way to the real Label Studio: regions and transcriptions, there and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backend.datasets import operations, snapshot
from backend.datasets.tables import Dataset, Image
from backend.db import now, transaction
from backend.label_studio import reconciling, resending
from backend.label_studio.client import LabelStudio
from backend.label_studio.reconciling import reconcile
from backend.label_studio.tables import LabelingProject
from backend.labels import files
from backend.labels.tables import LabelChange
from backend.runtime import Runtime
from plugins.boxes import Rectangle, corners, rounded
from tests.label_studio.publishing import claimed, item_of, one, progress_of, publish

WIDTH, HEIGHT = 1200, 300
TURNED = rounded(corners(Rectangle(700, 100, 200, 40, 20)))
LINES: dict[str, tuple[list[list[float]], str]] = {
    "total": ([[10, 20], [210, 20], [210, 60], [10, 60]], "Total 12.50"),
    "turned": ([list(point) for point in TURNED], "Invoice 4711"),
    "slanted": ([[300, 200], [500, 210], [480, 260], [290, 240]], "Thank you"),
}


@pytest.fixture
def receipts(runtime: Runtime, session: Session, dataset: Dataset) -> Dataset:
    """Six images of text; a PPOCRLabel file has been imported that names two of them."""
    dataset.type, dataset.checked_at = "ocr", now()
    for number, image in enumerate(session.scalars(select(Image).where(Image.dataset_id == dataset.id))):
        image.label = image.label_source = None
        image.usable, image.checked_etag, image.width, image.height = True, image.etag, WIDTH, HEIGHT
        image.content_hash, image.perceptual_hash = f"{number:064x}", f"{number * 7919:064x}"
    session.commit()
    told = [{"transcription": text, "points": points} for points, text in LINES.values()]
    rows = "".join(f"parts/bolt/{number}.jpg\t{json.dumps(told)}\n" for number in range(2))
    found = files.import_file(runtime.sessions, dataset, "Label.txt", rows.encode())
    assert found["changed"] == 2
    return dataset


def _there(studio: LabelStudio, session: Session) -> Any:
    """The annotation of the first image in Label Studio."""
    project = one(session, select(LabelingProject.project))
    [item] = studio.items_of(project, [item_of(session, "parts/bolt/0.jpg").item])
    [annotation] = item["annotations"]
    return annotation


def _texts(runtime: Runtime, dataset: Dataset, key: str) -> list[str | None]:
    """What a training would learn of this image."""
    with runtime.sessions() as session:
        examples = snapshot.freeze(session, dataset, ()).examples
    return [region.text for example in examples if example.key == key for region in example.regions]


def test_a_text_that_a_person_corrects_is_in_the_next_training(
    runtime: Runtime, studio: LabelStudio, session: Session, receipts: Dataset
) -> None:
    assert publish(runtime, session, receipts)["made"] == 6
    before = _texts(runtime, receipts, "parts/bolt/0.jpg")
    assert before == [text for _, text in LINES.values()]
    annotation = _there(studio, session)
    shapes = [entry for entry in annotation["result"] if entry["type"] in ("rectangle", "polygon")]
    assert [entry["type"] for entry in shapes] == ["rectangle", "rectangle", "polygon"]
    assert shapes[1]["value"]["rotation"] == pytest.approx(20, abs=0.01)
    assert {(entry["original_width"], entry["original_height"]) for entry in shapes} == {(WIDTH, HEIGHT)}
    assert reconcile(runtime, receipts)["changed"] == 0

    result = annotation["result"]
    (wrong,) = (entry for entry in result if entry["value"].get("text") == ["Invoice 4711"])
    wrong["value"]["text"] = ["Invoice 4712"]
    studio.update_annotation(annotation["id"], result)
    assert reconcile(runtime, receipts)["changed"] == 1
    assert _texts(runtime, receipts, "parts/bolt/0.jpg") == ["Total 12.50", "Invoice 4712", "Thank you"]
    image = one(session, select(Image).where(Image.key == "parts/bolt/0.jpg"))
    assert (image.label_source, image.labelled_by) == ("label_studio", studio.whoami())
    for region, (points, _) in zip(image.regions, LINES.values(), strict=True):
        flat = [value for point in region["points"] for value in point]
        assert flat == pytest.approx([value for point in points for value in point], abs=0.01)
    change = session.scalars(select(LabelChange).order_by(LabelChange.id.desc())).first()
    assert change is not None and change.before is not None and change.after is not None
    session.commit()
    told = [[region["text"] for region in state["regions"]] for state in (change.before, change.after)]
    assert [sorted(set(told[0]) - set(told[1])), sorted(set(told[1]) - set(told[0]))] == [
        ["Invoice 4711"],
        ["Invoice 4712"],
    ]


def test_an_image_that_a_person_submits_without_regions_has_no_text(
    runtime: Runtime, studio: LabelStudio, session: Session, receipts: Dataset
) -> None:
    publish(runtime, session, receipts)
    empty = item_of(session, "parts/nut/0.jpg")
    studio.ask(lambda: studio.sdk.annotations.create(empty.item, result=[]))
    reconcile(runtime, receipts)
    image: Image = one(session, select(Image).where(Image.id == empty.image_id))
    assert (image.regions, image.label_source) == ([], "label_studio")
    assert _texts(runtime, receipts, "parts/nut/0.jpg") == []


def test_a_text_that_a_file_changes_is_seen_there_unless_the_image_was_corrected(
    runtime: Runtime, studio: LabelStudio, session: Session, receipts: Dataset
) -> None:
    publish(runtime, session, receipts)
    told = json.dumps([{"transcription": "Total 99", "points": LINES["total"][0]}])
    files.import_file(runtime.sessions, receipts, "Label.txt", f"parts/bolt/0.jpg\t{told}\n".encode())
    assert publish(runtime, session, receipts)["relabelled"] == 1
    texts = [
        entry["value"]["text"] for entry in _there(studio, session)["result"] if "text" in entry["value"]
    ]
    assert texts == [["Total 99"]]
    assert reconcile(runtime, receipts)["changed"] == 0


def test_texts_that_wait_for_the_size_of_their_image_are_sent_when_it_is_known(
    runtime: Runtime,
    studio: LabelStudio,
    session: Session,
    receipts: Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish(runtime, session, receipts)
    reconcile(runtime, receipts)
    keys = [f"parts/{name}/{number}.jpg" for name in ("bolt", "nut") for number in range(3)]
    with transaction(runtime.sessions) as writing:  # as sync leaves images that were uploaded anew
        writing.execute(update(Image).values(width=None, height=None))
    told = json.dumps([{"transcription": "Total 99", "points": LINES["total"][0]}])
    rows = "".join(f"{key}\t{told}\n" for key in keys)
    files.import_file(runtime.sessions, receipts, "Label.txt", rows.encode())
    monkeypatch.setattr(resending, "_BATCH", 4)
    assert _relabelled(runtime, session, receipts) == 0
    with transaction(runtime.sessions) as writing:
        writing.execute(update(Image).values(width=WIDTH, height=HEIGHT))
    assert _relabelled(runtime, session, receipts) == 6
    assert [
        entry["value"]["text"] for entry in _there(studio, session)["result"] if "text" in entry["value"]
    ] == [["Total 99"]]
    assert _relabelled(runtime, session, receipts) == 0


def _relabelled(runtime: Runtime, session: Session, dataset: Dataset) -> int:
    """How many labels a reading has sent."""
    operation = claimed(session, dataset, "reconcile")
    counts = reconciling.run(runtime, operation, progress_of(runtime, operation))
    operations.finish(session, operation.id, operation.attempt, counts)
    session.commit()
    return int(counts["relabelled"])
