"""The main job on a real stack: from a folder of photographs to answers over HTTP."""

from __future__ import annotations

import base64
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from plugins import bundle
from tests.main_job.conftest import PER_CLASS, Stack, train
from tests.plugins.photographs import crop, encode
from tests.valkey import until

# Several wait for trainings, which may begin only when others have ended.
pytestmark = pytest.mark.timeout(600)

Service = tuple[str, str]


def _ask(service: Service, body: Any, *, token: str | None = None, query: str = "") -> httpx.Response:
    endpoint, right = service
    headers = {"Authorization": right if token is None else token}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(endpoint + query, headers=headers, content=content, timeout=30)


def _image(data: bytes) -> dict[str, object]:
    return {"dataArray": [{"name": "image", "type": "stream", "body": base64.b64encode(data).decode()}]}


def _state(stack: Stack, task: str) -> str:
    return str(stack.get(f"/training-tasks/{task}")["state"])


def test_the_dataset_counts_every_image(stack: Stack, dataset: str) -> None:
    shown = stack.json("datasets", "show", dataset)
    assert shown["images"] == shown["usable"] == 3 * PER_CLASS
    assert {entry["label"]: entry["images"] for entry in shown["classes"]} == {
        "brick": PER_CLASS,
        "grass": PER_CLASS,
        "gravel": PER_CLASS,
    }


def test_uploading_again_sends_nothing(stack: Stack, dataset: str, photographs: Path) -> None:
    again = stack.json("upload", str(photographs), "s3://factory/materials")
    assert (again["uploaded"], again["skipped"], again["failed"]) == (0, 3 * PER_CLASS, 0)


def test_the_task_tells_what_it_did(stack: Stack, model: str) -> None:
    task = stack.json("tasks", "show", model)
    assert task["state"] == "succeeded"
    assert [step["state"] for step in task["steps"]] == ["succeeded"] * 4
    facts = {step["name"]: step["facts"] for step in task["steps"]}
    assert facts["prepare"]["train"] + facts["prepare"]["validation"] == 3 * PER_CLASS
    assert facts["prepare"]["device"] == "cpu"
    for step in ("prepare", "train", "evaluate", "export"):
        assert stack.run("tasks", "logs", model, "--step", step).strip(), f"{step} has no log"
    metrics = stack.get(f"/training-tasks/{model}/metrics")["items"]
    assert {"validation_accuracy", "accuracy"} <= {row["name"] for row in metrics}
    events = [event["new"] for event in stack.get(f"/training-tasks/{model}/events")["items"]]
    assert events == ["preparing", "training", "evaluating", "exporting", "succeeded"]


def test_the_model_is_good_and_its_bundle_is_whole(stack: Stack, model: str, tmp_path: Path) -> None:
    shown = stack.json("models", "show", model)
    assert shown["metrics"]["accuracy"] >= 0.8
    stack.run("models", "export", model, "--format", "bundle", "--output", str(tmp_path / "m.zip"))
    opened = bundle.unpack(tmp_path / "m.zip", tmp_path / "m", digest=shown["digest"])
    assert {"model.onnx", "weights.safetensors", "model_card.md"} <= set(opened.manifest.files)
    assert any(name.startswith("plots/") for name in opened.manifest.files)
    assert any(name.startswith("test_vectors/") for name in opened.manifest.files)
    assert opened.manifest.snapshot == stack.json("tasks", "show", model)["snapshot"]
    stack.run("models", "export", model, "--format", "onnx", "--output", str(tmp_path / "m.onnx"))
    served = tmp_path / "m" / opened.manifest.model["file"]
    assert (tmp_path / "m.onnx").read_bytes() == served.read_bytes()


def test_the_model_is_opened_for_a_phone_and_closed_again(stack: Stack, model: str) -> None:
    made = stack.json("models", "test", model, "--minutes", "15")
    page = f"http://127.0.0.1:{stack.port}{made['path']}"
    assert f"Test of {model}" in httpx.get(page).text
    said = stack.run("models", "test", model, "--collect")
    assert "sightloop up --host 0.0.0.0 --https" in said and f"http://127.0.0.1:{stack.port}/try/" in said
    newest, oldest = stack.json("models", "links", model)
    assert oldest["id"] == made["id"] and newest["collects"]
    for link in (newest, oldest):
        assert "is revoked" in stack.run("models", "revoke-link", model, str(link["id"]))
    assert httpx.get(page).status_code == 410
    assert "No link opens" in stack.run("models", "links", model)


def test_the_service_answers_with_the_class_of_an_unseen_crop(service: Service) -> None:
    for name in ("brick", "grass", "gravel"):
        answer = _ask(service, _image(encode(crop(name, PER_CLASS)))).json()
        assert answer["success"] is True
        assert answer["result"]["output"][0]["label"] == name
        assert answer["result"]["meta"] == {"height": 96, "width": 96}
        assert sum(entry["conf"] for entry in answer["result"]["output"]) == pytest.approx(1, abs=1e-3)


def test_the_command_line_predicts_too(stack: Stack, service: Service, tmp_path: Path) -> None:
    path = tmp_path / "new.jpg"
    path.write_bytes(encode(crop("grass", PER_CLASS)))
    assert "grass" in stack.run("predict", "look", str(path))


@pytest.mark.parametrize(
    "body, code, message, status",
    [
        (b"{", 1001, "INPUT_FORMAT_ERROR", 400),
        ({"data": 1}, 1001, "INPUT_FORMAT_ERROR", 400),
        (_image(b"no image"), 1002, "IMAGE_DECODE_ERROR", 400),
    ],
)
def test_the_service_says_what_is_wrong(
    service: Service, body: Any, code: int, message: str, status: int
) -> None:
    answer = _ask(service, body)
    assert answer.status_code == status
    assert (answer.json()["errorCode"], answer.json()["errorMsg"]) == (code, message)


def test_a_wrong_token_is_refused(service: Service) -> None:
    answer = _ask(service, _image(encode(crop("grass", 0))), token="wrong")
    assert answer.status_code == 401
    assert answer.json()["success"] is False


def test_a_revoked_token_stops_working(stack: Stack, service: Service) -> None:
    made = stack.json("services", "tokens", "look", "create")
    body = _image(encode(crop("grass", 0)))
    until(lambda: _ask(service, body, token=made["token"]).status_code == 200, "the new token working")
    stack.run("services", "tokens", "look", "revoke", str(made["id"]))
    until(lambda: _ask(service, body, token=made["token"]).status_code == 401, "the token being refused")
    assert _ask(service, body).status_code == 200


def test_a_service_shows_its_log_and_its_use(stack: Stack, service: Service) -> None:
    assert _ask(service, _image(encode(crop("grass", 0)))).status_code == 200
    messages = [line["message"] for line in stack.json("services", "logs", "look", "--lines", "500")]
    assert "model loaded" in messages and "request" in messages
    assert "request" in stack.run("services", "logs", "look", "--lines", "1")
    used = stack.call("GET", "/services/look/usage").json()
    assert (used["name"], used["state"]) == ("look", "Running")


def test_a_service_has_its_instances_and_scales(stack: Stack, service: Service) -> None:
    assert stack.json("services", "show", "look")["ready_instances"] == 2
    stack.run("services", "update", "look", "--instances", "1", "--wait")
    assert stack.json("services", "show", "look")["ready_instances"] == 1


def test_a_served_model_is_not_deleted(stack: Stack, service: Service, model: str) -> None:
    answer = stack.call("DELETE", f"/models/{model}")
    assert answer.status_code == 409
    assert answer.json()["code"] == "in_use"


def test_stop_and_start_keep_endpoint_and_token(stack: Stack, service: Service) -> None:
    stack.run("services", "stop", "look", "--wait")
    with pytest.raises(httpx.HTTPError):
        _ask(service, _image(encode(crop("grass", 0))))
    stack.run("services", "start", "look", "--wait")
    assert _ask(service, _image(encode(crop("grass", 0)))).status_code == 200


@pytest.fixture(scope="module")
def survivor(stack: Stack, dataset: str) -> str:
    """The task of a training whose process and whose worker were killed."""

    def attempt() -> int:
        task = stack.get("/training-tasks/survivor")
        return int(task["attempt"]) if task["state"] == "training" else 0

    stack.run(*train("survivor", dataset, "25s"))
    until(lambda: attempt() == 1, "the training", seconds=60)
    programs = {program["name"]: program["pid"] for program in stack.json("status")["programs"]}
    worker = psutil.Process(programs["worker-train"])
    worker.children()[0].kill()
    until(lambda: attempt() == 2, "the second attempt", seconds=60)
    worker.kill()
    until(lambda: _state(stack, "survivor") in ("succeeded", "failed"), "the end of the task", seconds=150)
    return "survivor"


def test_a_training_survives_its_process_and_its_worker_being_killed(stack: Stack, survivor: str) -> None:
    task = stack.json("tasks", "show", survivor)
    assert (task["state"], task["attempt"]) == ("succeeded", 3)
    assert survivor in [model["name"] for model in stack.json("models", "list")]


def test_stopping_keeps_the_best_model(stack: Stack, dataset: str) -> None:
    stack.run(*train("kept", dataset, "10m"))

    def has_model() -> bool:
        rows = stack.get("/training-tasks/kept/metrics")["items"]
        return any(row["name"] == "validation_accuracy" for row in rows)

    until(has_model, "a first model", seconds=120)
    stack.run("tasks", "stop", "kept")
    until(lambda: _state(stack, "kept") == "stopped", "the stop", seconds=60)
    assert stack.json("models", "show", "kept")["metrics"]["accuracy"] >= 0.8


def test_discarding_leaves_nothing(stack: Stack, dataset: str) -> None:
    stack.run(*train("gone", dataset, "10m"))
    until(lambda: _state(stack, "gone") == "training", "the training", seconds=60)
    stack.run("tasks", "stop", "gone", "--discard")
    until(lambda: _state(stack, "gone") == "stopped", "the stop", seconds=60)
    assert "'gone'" in stack.run("models", "show", "gone", code=1)
    assert "nothing to stop" in stack.run("tasks", "stop", "gone", code=1)


def test_the_same_snapshot_can_be_trained_again_and_compared(stack: Stack, model: str, survivor: str) -> None:
    first, second = stack.json("tasks", "show", model), stack.json("tasks", "show", survivor)
    assert first["snapshot"] == second["snapshot"]
    compared = stack.json("models", "compare", model, survivor, "--images")
    assert compared["state"] == "same_snapshot"
    assert "accuracy" in compared["metrics"]
    answers = compared["answers"]
    assert answers["images"] == compared["metrics"]["examples"]["first"]
    assert "images: " in stack.run("models", "compare", model, survivor, "--images")


def test_a_dataset_that_was_trained_on_is_not_deleted_by_mistake(
    stack: Stack, dataset: str, model: str
) -> None:
    refused = stack.run("datasets", "delete", dataset, code=1)
    assert "--with-models" in refused and model in refused
    assert "is served by look" in stack.run("datasets", "delete", dataset, "--with-models", code=1)


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (("datasets", "show", "nothing"), "no dataset 'nothing'"),
        (("datasets", "create", "a b", "--type", "classification", "--path", "s3://factory/x"), "1 to 30"),
        (("datasets", "create", "x", "--type", "sound", "--path", "s3://factory/x"), "classification"),
        (("datasets", "create", "x", "--type", "classification", "--path", "s3://absent/x"), "no bucket"),
        (("datasets", "create", "x", "--type", "classification", "--path", "factory/x"), "s3://"),
        (train("x", "absent", "20s"), "no dataset 'absent'"),
        (train("m1", "materials", "20s"), "'m1'"),
        (("train", "x", "--dataset", "materials", "--algorithm", "magic"), "classification-high-performance"),
        ((*train("x", "materials", "20s"), "--labels", "brick"), "at least two labels"),
        ((*train("x", "materials", "20s"), "--labels", "brick,wood"), "wood"),
        (("deploy", "x", "--model", "absent"), "no model 'absent'"),
        (("deploy", "x", "--model", "m1", "--quota", "900"), "quota of at most"),
        (("deploy", "look", "--model", "m1"), "services update look"),
        (("tasks", "stop", "m1"), "already succeeded"),
        (("models", "compare", "m1", "absent"), "'absent'"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    stack: Stack, model: str, service: Service, arguments: tuple[str, ...], sentence: str
) -> None:
    said = stack.run(*arguments, code=1)
    assert sentence in said
    assert "Traceback" not in said
    assert len(said.strip().splitlines()) <= 3


def test_an_absent_gpu_means_the_cpu_and_is_said(stack: Stack, dataset: str) -> None:
    task = stack.json(*train("nogpu", dataset, "10m"), "--gpus", "1")
    assert "CPU" in task["note"]
    stack.run("tasks", "stop", "nogpu", "--discard")
    until(lambda: _state(stack, "nogpu") == "stopped", "the stop", seconds=60)


def test_damaged_images_and_a_single_class_are_findings_and_refusals(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "good.jpg").write_bytes(encode(crop("grass", 0)))
    (tmp_path / "only" / "bad.jpg").write_bytes(encode(crop("grass", 1))[:500])
    stack.run("upload", str(tmp_path), "s3://factory/single")
    stack.run("datasets", "create", "single", "--type", "classification", "--path", "s3://factory/single")
    stack.run("datasets", "sync", "single")
    stack.run("datasets", "check", "single")
    codes = {f["code"] for f in stack.get("/datasets/single/findings")["items"]}
    assert "truncated" in codes
    assert "at least two labels" in stack.run(*train("x", "single", "20s"), code=1)


def test_an_empty_prefix_is_a_finding(stack: Stack, dataset: str) -> None:
    stack.run(
        "datasets", "create", "empty", "--type", "classification", "--path", "s3://factory/nothing-here"
    )
    stack.run("datasets", "sync", "empty")
    codes = {finding["code"] for finding in stack.get("/datasets/empty/findings")["items"]}
    assert codes == {"nothing_found"}


def test_an_exported_bundle_that_was_tampered_with_is_refused(
    stack: Stack, model: str, tmp_path: Path
) -> None:
    stack.run("models", "export", model, "--format", "bundle", "--output", str(tmp_path / "m.zip"))
    opened = bundle.unpack(tmp_path / "m.zip", tmp_path / "m")
    (tmp_path / "m" / "model_card.md").write_text("trust me")
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        for name in [*opened.manifest.files, bundle.MANIFEST]:
            archive.write(tmp_path / "m" / name, name)
    with pytest.raises(bundle.BundleError, match=re.escape("model_card.md was changed")):
        bundle.unpack(tmp_path / "bad.zip", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_everything_survives_a_restart_of_the_stack(stack: Stack, service: Service, model: str) -> None:
    before = stack.json("models", "list")
    stack.run("down")
    stack.run("up")
    assert stack.json("models", "list") == before
    body = _image(encode(crop("brick", PER_CLASS)))

    def answers() -> bool:
        try:
            return _ask(service, body).status_code == 200
        except httpx.HTTPError:
            return False

    until(answers, "the service answering again", seconds=60)
