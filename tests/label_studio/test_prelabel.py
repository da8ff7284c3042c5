"""Pre-labeling against the real Label Studio: what stands in the project afterwards."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PillowImage
from sqlalchemy import select

from backend.datasets import operations
from backend.datasets.progress import Progress
from backend.datasets.tables import Image
from backend.db import transaction
from backend.errors import WrongState
from backend.label_studio.client import LabelStudio
from backend.label_studio.following import follow
from backend.label_studio.predictions import Predictions
from backend.label_studio.tables import LabelingItem, LabelingProject
from backend.models.versions import version_of
from backend.runtime import Runtime
from backend.storage import StoreAddress
from plugins import boxes
from plugins.ocr import labeling as ocr
from tests import servers
from tests.label_studio.real import RealLabelStudio
from tests.ml_backend import bundles
from tests.ml_backend.bundles import picture
from tests.ml_backend.world import CONFIG, Place, World, plugin_path, serving, world
from tests.plugins.ocr_renderings import font, page
from workers import prelabel

COLOURS = ("red", "lime", "blue")


@pytest.fixture(scope="module")
def address() -> Iterator[StoreAddress]:
    yield from servers.object_store()


@pytest.fixture(scope="module")
def studio(label_studio: RealLabelStudio) -> Iterator[LabelStudio]:
    studio = LabelStudio(label_studio.url, label_studio.token)
    yield studio
    studio.close()


@pytest.fixture(scope="module")
def here(
    tmp_path_factory: pytest.TempPathFactory,
    migrated: Path,
    address: StoreAddress,
    label_studio: RealLabelStudio,
) -> Iterator[World]:
    site = plugin_path(tmp_path_factory.mktemp("site"))
    with world(tmp_path_factory.mktemp("world"), migrated, address) as made, serving(made, site):
        made.runtime = Runtime(
            dataclasses.replace(
                made.runtime.settings,
                label_studio_url=label_studio.url,
                label_studio_token=label_studio.token,
                ml_backend_url=made.url,
            )
        )
        yield made
        made.runtime.sessions.kw["bind"].dispose()


def _place(here: World, studio: LabelStudio, count: int = 6, config: str = CONFIG) -> Place:
    """A dataset of colours whose items stand in a new project."""
    place = here.place({f"{at}.png": picture(COLOURS[at % 3]) for at in range(count)})
    return _shown(here, studio, place, config)


def _shown(here: World, studio: LabelStudio, place: Place, config: str) -> Place:
    """The same dataset, its items in a new project."""
    project = studio.create_project(title=place.dataset.name, description="", config=config)
    made = studio.import_items(project.id, [{"data": {"image": name}} for name in place.items])
    place.project, place.items = project.id, dict(zip(place.items, made, strict=True))
    with transaction(here.runtime.sessions) as session:
        row = session.scalars(
            select(LabelingProject).where(LabelingProject.dataset_id == place.dataset.id)
        ).one()
        row.project = project.id
        for name, image in place.images.items():
            item = session.scalars(select(LabelingItem).where(LabelingItem.image_id == image)).one()
            item.item = place.items[name]
    return place


def _run(here: World, place: Place) -> dict[str, Any]:
    sessions = here.runtime.sessions
    with transaction(sessions) as session:
        operation = operations.start(session, session.merge(place.dataset), "prelabel")
    with transaction(sessions) as session:
        claimed = operations.claim(session, operation.id)
        assert claimed is not None
        _ = claimed.dataset.connection
    result = prelabel.run(here.runtime, claimed, Progress(sessions, claimed))
    with transaction(sessions) as session:
        operations.finish(session, claimed.id, claimed.attempt, result)
    return result


def _found(studio: LabelStudio, place: Place) -> dict[str, list[tuple[str, str]]]:
    """Version and class of the predictions of each item."""
    names = {number: name for name, number in place.items.items()}
    return {
        names[item["id"]]: [
            (one["model_version"], one["result"][0]["value"]["choices"][0]) for one in item["predictions"]
        ]
        for page in studio.items(place.project)
        for item in page
    }


def test_every_open_item_gets_a_prediction_that_is_shown(
    here: World, studio: LabelStudio, tmp_path: Path
) -> None:
    place = _place(here, studio)
    version = version_of(here.model(place, bundles.classifier(tmp_path / "one", "one")))
    result = _run(here, place)
    assert (result["items"], result["predicted"], result["stopped"]) == (6, 6, False)
    expected = [(version, name) for name in ("red", "green", "blue")]
    assert _found(studio, place) == {f"{at}.png": [expected[at % 3]] for at in range(6)}
    project = studio.project(place.project)
    assert project is not None and project.model_version == version
    (backend,) = studio.sdk.ml.list(project=place.project)
    assert backend.title == "Sightloop" and backend.url == f"{here.url}/d/{place.dataset.id}"
    assert not [w for w in studio.sdk.webhooks.list(project=str(place.project)) if "webhook" in str(w.url)]
    # A second run finds nothing to do.
    assert _run(here, place)["items"] == 0 and follow(here.runtime, place.dataset.id) is None


def test_a_new_model_supersedes_the_one_before(here: World, studio: LabelStudio, tmp_path: Path) -> None:
    place = _place(here, studio)
    here.model(place, bundles.classifier(tmp_path / "one", "one"))
    _run(here, place)
    Predictions(studio, place.project).add(
        [{"task": place.items["0.png"], "result": [], "score": 0.1, "model_version": "somebody else's"}]
    )
    newest = version_of(here.model(place, bundles.classifier(tmp_path / "two", "two")))
    result = _run(here, place)
    assert (result["predicted"], result["superseded"]) == (6, 6)
    assert Predictions(studio, place.project).versions() == {newest: 6, "somebody else's": 1}
    assert Predictions(studio, place.project).shown() == newest


def test_what_somebody_has_labelled_is_left_alone(here: World, studio: LabelStudio, tmp_path: Path) -> None:
    place = _place(here, studio)
    here.model(place, bundles.classifier(tmp_path / "one", "one"))
    result = [
        {
            "from_name": "choice",
            "to_name": "image",
            "type": "choices",
            "value": {"choices": ["blue"]},
        }
    ]
    made = studio.sdk.annotations.create(place.items["0.png"], result=result)
    assert _run(here, place)["predicted"] == 5
    item = studio.items_of(place.project, [place.items["0.png"]])[0]
    assert item["predictions"] == [] and [one["id"] for one in item["annotations"]] == [made.id]


def test_what_cannot_be_predicted_is_told(here: World, studio: LabelStudio, tmp_path: Path) -> None:
    place = _place(here, studio, config=CONFIG.replace('<Choice value="red"/>', ""))
    here.model(place, bundles.classifier(tmp_path / "one", "one"))
    here.runtime.store(here.connection).delete("datasets", [f"{place.dataset.prefix}1.png"])
    result = _run(here, place)
    assert (result["predicted"], result["not_predicted"]) == (3, 3)
    reasons = {one["key"].rsplit("/", 1)[1]: one["reason"] for one in result["reasons"]}
    assert "red" in reasons["0.png"] and "there is no" in reasons["1.png"]


def test_an_item_that_was_deleted_meanwhile_costs_no_other_its_prediction(
    here: World, studio: LabelStudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = _place(here, studio)
    here.model(place, bundles.classifier(tmp_path / "one", "one"))
    before = Predictions.add

    def late(predictions: Predictions, made: Any) -> int:
        studio.delete_items(place.project, [place.items["0.png"]])
        return before(predictions, made)

    monkeypatch.setattr(Predictions, "add", late)
    result = _run(here, place)
    assert (result["predicted"], result["refused"]) == (5, 1)
    assert set(_found(studio, place)) == {f"{at}.png" for at in range(1, 6)}


def test_predictions_that_came_twice_are_there_once(
    here: World, studio: LabelStudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = _place(here, studio)
    here.model(place, bundles.classifier(tmp_path / "one", "one"))
    before = Predictions.add

    def twice(predictions: Predictions, made: Any) -> int:
        before(predictions, made)
        return before(predictions, made)

    monkeypatch.setattr(Predictions, "add", twice)
    _run(here, place)
    assert all(len(found) == 1 for found in _found(studio, place).values())


def test_without_a_model_it_says_what_to_do(here: World, studio: LabelStudio) -> None:
    with pytest.raises(WrongState, match="sightloop train"):
        _run(here, _place(here, studio, 1))


def test_without_a_project_it_says_what_to_do(here: World, studio: LabelStudio, tmp_path: Path) -> None:
    place = _place(here, studio, 1)
    here.model(place, bundles.classifier(tmp_path / "one", "one"))
    studio.ask(lambda: studio.sdk.projects.delete(place.project))
    with pytest.raises(WrongState, match="datasets label"):
        _run(here, place)


def test_a_skipped_or_labelled_image_is_not_open(here: World, studio: LabelStudio, tmp_path: Path) -> None:
    place = _place(here, studio, 2)
    here.model(place, bundles.classifier(tmp_path / "one", "one"))
    with transaction(here.runtime.sessions) as session:
        session.get_one(Image, place.images["0.png"]).label = "red"
        session.get_one(Image, place.images["1.png"]).skipped = True
    assert _run(here, place)["items"] == 0


def test_a_stopped_run_keeps_what_it_has_and_the_next_goes_on(
    here: World, studio: LabelStudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = _place(here, studio)
    here.model(place, bundles.classifier(tmp_path / "one", "one"))
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "should_stop", lambda _: True)
        result = _run(here, place)
    assert result["stopped"] and result["predicted"] == 1
    assert sum(len(found) for found in _found(studio, place).values()) == 1
    assert _run(here, place)["predicted"] == 5


TEXTS = [(40, 40, "Total 12.50"), (300, 300, "Invoice 4711")]
BOXES = [
    (left + box[0], top + box[1], left + box[2], top + box[3])
    for left, top, text in TEXTS
    for box in [font(24).getbbox(text)]
]


def _turned(image: PillowImage.Image) -> bytes:
    """As a camera that was held upright stores it: turned, with the orientation in its EXIF."""
    exif, stream = PillowImage.Exif(), BytesIO()
    exif[0x0112] = 6
    image.rotate(90, expand=True).save(stream, "JPEG", quality=95, exif=exif)
    return stream.getvalue()


def _plain(image: PillowImage.Image) -> bytes:
    stream = BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def pages(
    here: World, studio: LabelStudio, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Place, dict[str, Any]]:
    """A dataset of two pages with the same texts, one a turned photograph, pre-labelled by a reader."""
    drawn = page(TEXTS)
    pictures = {"plain.png": _plain(drawn), "turned.jpg": _turned(drawn)}
    place = _shown(here, studio, here.place(pictures, type="ocr"), ocr.config([]))
    here.model(place, bundles.texts(tmp_path_factory.mktemp("bundles") / "texts", "texts"))
    return place, _run(here, place)


@pytest.mark.parametrize("name", ["plain.png", "turned.jpg"])
def test_texts_stand_as_regions_where_they_are(
    studio: LabelStudio, pages: tuple[Place, dict[str, Any]], name: str
) -> None:
    place, result = pages
    assert (result["predicted"], result["not_predicted"]) == (2, 0)
    (item,) = studio.items_of(place.project, [place.items[name]])
    (prediction,) = item["predictions"]
    assert {(one["original_width"], one["original_height"]) for one in prediction["result"]} == {(640, 480)}
    assert all(0.5 < one["score"] <= 1 for one in prediction["result"])
    assert 0.5 < prediction["score"] <= 1
    label = ocr.label_from_result(prediction["result"], width=640, height=480)
    assert [region.text for region in label.regions] == [text for _, _, text in TEXTS]
    for region, box in zip(label.regions, BOXES, strict=True):
        assert boxes.bounds(region.points) == pytest.approx(box, abs=8)


@pytest.mark.parametrize("name", ["plain.png", "turned.jpg"])
def test_a_box_drawn_in_label_studio_gives_its_text(
    here: World,
    studio: LabelStudio,
    label_studio: RealLabelStudio,
    pages: tuple[Place, dict[str, Any]],
    name: str,
) -> None:
    place, _ = pages
    (backend,) = studio.sdk.ml.list(project=place.project)
    assert backend.is_interactive
    drawn = {
        "id": "n8NSdVeuJi",
        "from_name": "bbox",
        "to_name": "image",
        "type": "rectangle",
        "original_width": 640,
        "original_height": 480,
        "image_rotation": 0,
        "value": {"x": 45, "y": 61, "width": 31, "height": 10, "rotation": 0},
    }
    with label_studio.client() as client:
        answer = client.post(
            f"/api/ml/{backend.id}/interactive-annotating",
            json={"task": place.items[name], "context": {"result": [drawn]}},
        )
    assert answer.is_success, answer.text
    texts = [one["value"]["text"] for one in answer.json()["data"]["result"] if one["type"] == "textarea"]
    assert texts == [["Invoice 4711"]], here.log.read_text()[-2000:]
