"""Each call as Label Studio makes it, against the real server: what it must answer, and what is refused."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from backend.db import transaction
from backend.label_studio.tables import LabelingProject
from backend.models.versions import version_of
from plugins.bundle import Bundle
from plugins.ocr import labeling as ocr
from tests.ml_backend import bundles
from tests.ml_backend.bundles import picture
from tests.ml_backend.reading_plugin import ODD
from tests.ml_backend.serving import MOST
from tests.ml_backend.world import CONFIG, World
from tests.model_server.servers import until

SETUP: dict[str, Any] = {
    "project": "3.1710890019",
    "schema": CONFIG,
    "hostname": "http://localhost:8080",
    "access_token": "a-secret-token-of-label-studio",
    "extra_params": None,
}


def entries(answer: httpx.Response) -> list[Any]:
    """The list `results` of an answer."""
    assert answer.status_code == 200, answer.text
    results: list[Any] = answer.json()["results"]
    return results


@contextmanager
def trap() -> Iterator[tuple[str, list[Any]]]:
    """An address that notes who connects to it."""
    callers: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, caller = listener.accept()
                    callers.append(caller)
                    connection.close()

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", callers
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


# --- health, setup, versions


def test_health_is_json_with_the_right_password(here: World) -> None:
    answer = here.call(here.place({}), "GET", "health")
    assert answer.status_code == 200 and answer.json() == {"status": "UP"}


def test_a_supervisor_needs_no_password(here: World) -> None:
    assert httpx.get(f"{here.url}/health", trust_env=False).json() == {"status": "UP"}


def test_setup_of_a_dataset_without_a_model_says_none(here: World) -> None:
    answer = here.call(here.place({}), "POST", "setup", SETUP)
    assert answer.json() == {"model_version": "none"}


def test_setup_says_the_version_of_the_current_model(here: World, classifier: Bundle) -> None:
    place = here.place({})
    model = here.model(place, classifier)
    worse = here.model(place, classifier, worse_than=model.name)
    assert here.call(place, "POST", "setup", SETUP).json() == {"model_version": version_of(model)}
    assert here.call(place, "GET", "versions").json() == {"versions": [version_of(worse), version_of(model)]}


def test_no_secret_of_a_body_is_logged(here: World) -> None:
    place = here.place({})
    here.call(place, "POST", "setup", SETUP)
    here.call(place, "POST", "setup", SETUP, auth=("somebody", "a-wrong-password-of-the-test"))
    here.call(place, "POST", "webhook", {"action": "X", "project": {"token": "a-token-of-a-webhook"}})
    here.call(place, "POST", "predict", {"tasks": "a-body-that-is-wrong", "access_token": "another-token"})
    log = here.log.read_text()
    for secret in (SETUP["access_token"], "a-wrong-password-of-the-test", "a-token-of-a-webhook"):
        assert secret not in log
    assert "another-token" not in log and here.runtime.settings.ml_backend_token not in log


# --- passwords


def test_clients_that_begin_a_request_and_stop_do_not_keep_label_studio_out(here: World) -> None:
    address = urlsplit(here.url)
    with ExitStack() as stack:
        for _ in range(32):  # as many as there are threads
            client = socket.create_connection((str(address.hostname), address.port or 0), timeout=60)
            stack.enter_context(client).sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\n")
        answer = httpx.get(f"{here.url}/health", timeout=60, trust_env=False)
    assert answer.json() == {"status": "UP"}


@pytest.mark.parametrize("auth", [None, ("d1", ""), ("", ""), ("somebody", "wrong"), ("ü", "ü€")])
@pytest.mark.parametrize(
    "method, path", [("GET", "health"), ("POST", "setup"), ("POST", "predict"), ("GET", "versions")]
)
def test_a_stranger_gets_401(here: World, method: str, path: str, auth: Any) -> None:
    place = here.place({})
    answer = here.call(place, method, path, {} if method == "POST" else None, auth=auth)
    assert answer.status_code == 401 and answer.json()["code"] == "unauthenticated"
    assert answer.headers["WWW-Authenticate"].startswith("Basic")


def test_the_password_of_one_dataset_opens_no_other(here: World, classifier: Bundle) -> None:
    from backend.label_studio.ml_access import password

    ours, theirs = here.place({}), here.place({"a.png": picture("red")})
    here.model(theirs, classifier)
    mine = (ours.dataset.name, password(here.runtime.settings, ours.dataset.id, ours.dataset.name))
    assert here.predict(theirs, [theirs.task("a.png")], auth=mine).status_code == 401
    named = (theirs.dataset.name, mine[1])
    assert here.predict(theirs, [theirs.task("a.png")], auth=named).status_code == 401
    # An item of theirs asked for at our own address is none of ours.
    (answer,) = here.predict(ours, [theirs.task("a.png")]).json()["results"]
    assert answer == []


def test_a_dataset_that_was_deleted_is_404(here: World) -> None:
    place = here.place({})
    with transaction(here.runtime.sessions) as session:
        session.delete(session.merge(place.dataset))
    assert here.call(place, "POST", "setup", SETUP).status_code == 404
    assert here.call(place, "GET", "health").status_code == 200  # it asks no database


# --- webhook


def test_webhooks_without_a_password_are_hints_that_change_nothing(here: World) -> None:
    place = here.place({})
    for body in ({"action": "ANNOTATION_CREATED", "task": {"id": 1}}, {"action": "START_TRAINING"}):
        answer = here.call(place, "POST", "webhook", body, auth=None)
        assert answer.status_code == 202 and answer.json() == {"status": "ignored"}


def test_the_button_start_training_says_where_training_is_started(here: World) -> None:
    place = here.place({})
    answer = here.call(place, "POST", "webhook", {"action": "START_TRAINING", "project": {}})
    assert answer.status_code == 409 and f"--dataset {place.dataset.name}" in answer.json()["error"]


# --- predict


def test_every_item_gets_its_prediction_in_order(here: World, classifier: Bundle) -> None:
    colours = ["red", "lime", "blue", "red", "blue"]
    place = here.place({f"{number}.png": picture(colour) for number, colour in enumerate(colours)})
    version = version_of(here.model(place, classifier))
    answer = here.predict(place, [place.task(f"{number}.png") for number in (3, 0, 4, 1, 2)])
    found = entries(answer)
    assert [one["result"][0]["value"]["choices"] for one in found] == [
        ["red"],
        ["red"],
        ["blue"],
        ["green"],
        ["blue"],
    ]
    assert {one["model_version"] for one in found} == {version, answer.json()["model_version"]}
    assert here.call(place, "POST", "setup", SETUP).json()["model_version"] == version
    for one in found:
        assert 0.9 < one["score"] <= 1 and one["result"][0]["score"] == one["score"]
        assert (one["result"][0]["from_name"], one["result"][0]["to_name"]) == ("choice", "image")
    assert answer.json()["reasons"] == [None] * 5


def test_regions_come_with_text_and_scores(here: World, reader: Bundle) -> None:
    place = here.place({"a.png": picture("red", (200, 100))}, type="reading")
    here.model(place, reader)
    (one,) = entries(here.predict(place, [place.task("a.png")], config=ocr.config([])))
    assert {entry["type"] for entry in one["result"]} == {"rectangle", "labels", "textarea"}
    assert one["score"] == pytest.approx(0.625)
    assert sorted({entry["score"] for entry in one["result"]}) == [0.5, 0.75]


def test_what_no_later_try_would_help_is_an_empty_prediction_with_a_reason(
    here: World, classifier: Bundle
) -> None:
    place = here.place(
        {
            "good.png": picture("red"),
            "gone.png": picture("red"),
            "lost.png": picture("red"),
            "damaged.png": b"\x89PNG not really",
            "black.png": picture("black"),
            "also good.png": picture("blue"),
        }
    )
    version = version_of(here.model(place, classifier))
    here.delete_image(place, "gone.png")
    here.runtime.store(here.connection).delete("datasets", [f"{place.dataset.prefix}lost.png"])
    answer = here.predict(place, [place.task(name) for name in place.items])
    good, gone, lost, damaged, black, also_good = entries(answer)
    assert good["result"] and also_good["result"]
    for one, reason in ((gone, "not in the dataset"), (lost, "there is no"), (damaged, "not a JPEG")):
        assert one["result"] == [] and one["score"] == 0.0 and one["model_version"] == version
        assert reason in one["reason"]
    assert black["result"] == [] and "not a number" in black["reason"]
    assert [bool(reason) for reason in answer.json()["reasons"]] == [False, True, True, True, True, False]


def test_one_image_that_the_model_refuses_costs_no_other_its_prediction(here: World, reader: Bundle) -> None:
    pictures = {"a.png": picture("red"), "odd.png": picture("red", (ODD, 30)), "b.png": picture("blue")}
    place = here.place(pictures, type="reading")
    here.model(place, reader)
    tasks = [place.task(name) for name in pictures]
    one, odd, other = entries(here.predict(place, tasks, config=ocr.config([])))
    assert one["result"] and other["result"]
    assert odd["result"] == [] and "does not like this image" in odd["reason"]


def test_without_a_model_nothing_is_left_behind_in_label_studio(here: World) -> None:
    place = here.place({"a.png": picture("red"), "b.png": picture("red")})
    answer = here.predict(place, [place.task("a.png"), place.task("b.png")])
    # Of an empty list Label Studio stores nothing, and asks again.
    assert entries(answer) == [[], []]
    assert "has no model yet" in answer.json()["reasons"][0]


def test_a_class_that_the_project_has_not_is_not_shown(here: World, classifier: Bundle) -> None:
    place = here.place({"a.png": picture("red"), "b.png": picture("blue")})
    here.model(place, classifier)
    config = CONFIG.replace('<Choice value="red"/>', "")
    red, blue = entries(here.predict(place, [place.task("a.png"), place.task("b.png")], config=config))
    assert red["result"] == [] and "red" in red["reason"]
    assert blue["result"]


def test_an_address_in_an_item_is_never_opened(here: World, classifier: Bundle) -> None:
    place = here.place({"a.png": picture("red")})
    here.model(place, classifier)
    with trap() as (address, callers):
        hostile = [
            place.task("a.png", data={"image": f"{address}/a.png"}),
            place.task("a.png", id=999_999, data={"image": f"{address}/b.png"}),
            place.task("a.png", id=999_998, data={"image": "http://169.254.169.254/latest/meta-data/"}),
            place.task("a.png", id=999_997, data={"image": "file:///etc/passwd"}),
            place.task("a.png", id=None, data=None, project=None),
            {},
        ]
        ours, *strange = entries(here.predict(place, hostile))
        assert ours["result"][0]["value"]["choices"] == ["red"]  # from the bucket, whatever its data says
        assert all(one["result"] == [] and "not one that Sightloop made" in one["reason"] for one in strange)
        assert callers == []


def test_an_item_of_another_project_is_not_ours(here: World, classifier: Bundle) -> None:
    place = here.place({"a.png": picture("red")})
    here.model(place, classifier)
    (answer,) = entries(here.predict(place, [place.task("a.png", project=place.project + 1)]))
    assert answer["result"] == []
    with transaction(here.runtime.sessions) as session:
        session.query(LabelingProject).where(LabelingProject.dataset_id == place.dataset.id).delete()
    (answer,) = entries(here.predict(place, [place.task("a.png")]))
    assert answer["result"] == []


def test_a_thousand_items_are_answered_in_one_call(here: World, classifier: Bundle) -> None:
    names = [f"{number:04}.png" for number in range(MOST + 3)]
    place = here.place(
        {name: picture(["red", "lime", "blue"][at % 3], (16, 16)) for at, name in enumerate(names)}
    )
    here.model(place, classifier)
    answer = here.predict(place, [place.task(name) for name in names])
    found = entries(answer)
    assert len(found) == MOST + 3
    classes = [one["result"][0]["value"]["choices"][0] for one in found[:MOST]]
    assert classes == (["red", "green", "blue"] * MOST)[:MOST]
    # More than are answered at once: nothing is stored for them, so they can be asked for again.
    assert found[MOST:] == [[], [], []] and "datasets prelabel" in answer.json()["reasons"][-1]


@pytest.mark.parametrize("body", [b"", b"no json", b"[]", b'{"tasks": 1}', b'{"tasks": [1]}', b"[" * 100_000])
def test_what_label_studio_does_not_send_is_400(here: World, body: bytes) -> None:
    place = here.place({})
    headers = {"Content-Type": "application/json"}
    answer = here.call(place, "POST", "predict", content=body, headers=headers)
    assert answer.status_code == 400 and answer.json()["code"] == "malformed_body"


def test_no_items_are_no_predictions(here: World) -> None:
    assert entries(here.predict(here.place({}), [])) == []


def test_other_addresses_are_json_too(here: World) -> None:
    place = here.place({})
    assert here.call(place, "POST", "validate", {}).json()["code"] == "http_error"
    assert here.call(place, "GET", "setup").status_code == 405
    assert httpx.get(f"{here.url}/nothing", trust_env=False).json()["code"] == "http_error"


# --- loading


def test_health_and_setup_wait_for_no_model(hasty: World, reader: Bundle, hold: Path) -> None:
    place = hasty.place({"a.png": picture("red", (64, 64))}, type="reading")
    version = version_of(hasty.model(place, reader))
    hold.touch()
    try:
        assert hasty.call(place, "POST", "setup", SETUP).json() == {"model_version": version}
        assert hasty.call(place, "GET", "health").status_code == 200
        answer = hasty.predict(place, [place.task("a.png")], config=ocr.config([]))
        assert entries(answer) == [[]] and "still being loaded" in answer.json()["reasons"][0]
        assert answer.json()["model_version"] == version
    finally:
        hold.unlink()
    until(
        lambda: hasty.predict(place, [place.task("a.png")], config=ocr.config([])).json()["results"][0], "it"
    )


def test_a_model_whose_bundle_is_gone_is_said(here: World, tmp_path: Path) -> None:
    place = here.place({"a.png": picture("red")})
    here.model(place, bundles.classifier(tmp_path / "other", "lost"), stored=False)
    answer = here.predict(place, [place.task("a.png")])
    assert entries(answer) == [[]] and "cannot be opened" in answer.json()["reasons"][0]
    assert here.call(place, "POST", "setup", SETUP).status_code == 200


def test_a_model_that_refuses_to_open_is_said(here: World, tmp_path: Path) -> None:
    place = here.place({"a.png": picture("red")}, type="reading")
    here.model(place, bundles.reader(tmp_path / "broken", "broken", tmp_path / "hold", broken=True))
    answer = here.predict(place, [place.task("a.png")])
    assert entries(answer) == [[]] and "made wrongly" in answer.json()["reasons"][0]


# --- interactive


def _drawn(width: float, **more: Any) -> dict[str, Any]:
    value = {"x": 5.0, "y": 10.0, "width": width, "height": 30.0, "rotation": 0}
    return {
        "original_width": 200,
        "original_height": 100,
        "image_rotation": 0,
        "value": {**value, **more},
        "id": "n8NSdVeuJi",
        "from_name": "bbox",
        "to_name": "image",
        "type": "rectangle",
        "origin": "manual",
    }


def test_a_drawn_box_comes_back_with_its_text(here: World, reader: Bundle) -> None:
    place = here.place({"a.png": picture("lime", (200, 100))}, type="reading")
    version = version_of(here.model(place, reader))
    context = {"result": [_drawn(40.0)]}
    (one,) = entries(here.predict(place, [place.task("a.png", drafts=[])], context))
    drawn, text = one["result"]
    assert drawn == context["result"][0]
    assert text["id"] == "n8NSdVeuJi" and text["type"] == "textarea" and text["value"]["text"] == ["green"]
    assert text["from_name"] == "transcription" and text["value"]["width"] == pytest.approx(40.0)
    assert (one["score"], text["score"], one["model_version"]) == (0.8, 0.8, version)


def test_a_region_that_has_a_text_is_left_alone(here: World, reader: Bundle) -> None:
    place = here.place({"a.png": picture("lime", (200, 100))}, type="reading")
    here.model(place, reader)
    written = {**_drawn(40.0, text=["mine"]), "type": "textarea", "from_name": "transcription"}
    other = {**_drawn(20.0), "id": "new"}
    context = {"result": [_drawn(40.0), written, other]}
    (one,) = entries(here.predict(place, [place.task("a.png")], context))
    assert {entry["id"] for entry in one["result"]} == {"new"}


@pytest.mark.parametrize("result", [[], [None, 1, {}], [{"id": "a", "value": {"x": "?"}}]])
def test_an_interactive_call_is_always_answered_with_an_object(
    here: World, reader: Bundle, result: Any
) -> None:
    place = here.place({"a.png": picture("lime", (200, 100))}, type="reading")
    here.model(place, reader)
    (one,) = entries(here.predict(place, [place.task("a.png")], {"result": result}))
    assert one["result"] == [] and one["score"] == 0.0


def test_a_classifier_reads_nothing_and_says_so(here: World, classifier: Bundle) -> None:
    place = here.place({"a.png": picture("red")})
    here.model(place, classifier)
    (one,) = entries(here.predict(place, [place.task("a.png")], {"result": [_drawn(40.0)]}))
    assert one["result"] == [] and "reads no drawn regions" in one["reason"]
