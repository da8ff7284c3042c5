"""The nouns as clients of a real API; training and deployment are in tests/main_job."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from minio import Minio

from tests.cli.program import Stack

CREATE = ("datasets", "create")


def _refusal(stack: Stack, *arguments: str) -> str:
    """The code of the API's refusal, after checking that people get one sentence."""
    said, code = stack.refusal(*arguments)
    assert said.startswith("Error: ") and said.count("\n") == 1
    return code


def test_a_dataset_from_creation_to_deletion(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "one.jpg").write_bytes(b"not an image")
    stack.run("upload", str(tmp_path), "s3://life/all")
    made = stack.json(
        *CREATE, "life", "--type", "classification", "--path", "s3://life/all", "--description", "d"
    )
    assert (made["name"], made["state"], made["description"]) == ("life", "new", "d")
    assert "life" in [dataset["name"] for dataset in stack.json("datasets", "list")]
    synced = stack.json("datasets", "sync", "life")
    assert (synced["kind"], synced["state"], synced["result"]["images"]) == ("sync", "succeeded", 1)
    checked = stack.run("datasets", "check", "life")
    assert "Checked life" in checked and "error" in checked and "all/one.jpg" in checked
    shown = stack.json("datasets", "show", "life")
    assert (shown["images"], shown["usable"]) == (1, 0)
    assert "images       1" in stack.run("datasets", "show", "life")
    gone = stack.json("datasets", "delete", "life", "--with-models")
    assert gone == {"name": "life", "state": "deleted", "models": [], "tasks": [], "label_studio": ""}
    assert _refusal(stack, "datasets", "show", "life") == "not_found"


def test_labels_go_in_by_a_file_and_out_by_files(stack: Stack, tmp_path: Path) -> None:
    images = tmp_path / "images"
    (images / "cat").mkdir(parents=True)
    for name in ("cat/one.jpg", "two.jpg"):
        (images / name).write_bytes(name.encode())
    stack.run("upload", str(images), "s3://files/all")
    stack.run(*CREATE, "files", "--type", "classification", "--path", "s3://files/all")
    stack.run("datasets", "sync", "files")
    table = tmp_path / "labels.csv"
    table.write_text("image,label\ntwo.jpg,dog\nthree.jpg,dog\n")
    said = stack.run("datasets", "import", "files", str(table))
    assert "changed 1, left_out 1" in said and "file and line" in said
    folder = tmp_path / "out"
    written = stack.json("datasets", "export", "files", "--format", "csv", "--output", str(folder))
    rows = Path(written["path"]).read_text().splitlines()
    assert (written["state"], rows) == ("exported", ["image,label", "cat/one.jpg,cat", "two.jpg,dog"])
    stack.run("datasets", "export", "files", "--format", "voc", "--output", str(folder))
    assert b"<name>cat</name>" in (folder / "cat" / "one.xml").read_bytes()
    assert "that can be used" in stack.run("datasets", "next", "files")
    assert "label two of them" in stack.run("datasets", "doubts", "files", code=1)


@pytest.fixture(scope="module")
def buckets(stack: Stack) -> Minio:
    """A client that can also delete buckets; `quick` and `lost` are made."""
    s3 = stack.json("up")["s3"]
    address = s3["endpoint"].removeprefix("http://")
    client = Minio(address, access_key=s3["access_key"], secret_key=s3["secret_key"], secure=False)
    for name in ("quick", "lost"):
        client.make_bucket(name)
    return client


def test_no_wait_answers_with_the_operation(stack: Stack, buckets: Minio) -> None:
    stack.run(*CREATE, "quick", "--type", "classification", "--path", "s3://quick/x")
    started = stack.json("datasets", "sync", "quick", "--no-wait")
    assert started["id"] and started["state"] in ("queued", "running", "succeeded", "failed")


def test_an_operation_that_fails_exits_with_1(stack: Stack, buckets: Minio) -> None:
    stack.run(*CREATE, "lost", "--type", "classification", "--path", "s3://lost/x")
    buckets.remove_bucket("lost")
    said = stack.run("datasets", "sync", "lost", code=1)
    assert "the sync of lost failed" in said and "bucket" in said


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((*CREATE, "a name", "--type", "classification", "--path", "s3://b/p"), "invalid_request"),
        ((*CREATE, "x", "--type", "classification", "--path", "/tmp"), "invalid_request"),
        (("datasets", "show", "../datasets"), "not_found"),
        (("datasets", "sync", "nothing"), "not_found"),
        (("datasets", "import", "nothing", __file__, "--format", "csv"), "not_found"),
        (("datasets", "export", "nothing", "--format", "voc", "--output", "."), "not_found"),
        (("datasets", "next", "nothing"), "not_found"),
        (("datasets", "doubts", "nothing"), "not_found"),
        (("models", "show", "nothing"), "not_found"),
        (("models", "compare", "nothing", "other"), "not_found"),
        (("tasks", "show", "nothing"), "not_found"),
        (("tasks", "logs", "nothing", "--follow"), "not_found"),
        (("tasks", "stop", "nothing"), "not_found"),
        (("services", "show", "nothing"), "not_found"),
        (("services", "update", "nothing", "--instances", "2"), "not_found"),
        (("services", "tokens", "nothing"), "not_found"),
        (("services", "delete", "nothing", "--wait"), "not_found"),
        (("deploy", "s", "--model", "nothing"), "not_found"),
        (("predict", "nothing", __file__), "not_found"),
        (
            ("train", "t", "--dataset", "nothing", "--algorithm", "classification-high-performance"),
            "not_found",
        ),
        (("storage", "show", "nothing"), "not_found"),
        (("storage", "delete", "nothing"), "not_found"),
        (("tokens", "revoke", "nothing"), "not_found"),
    ],
)
def test_what_the_api_refuses_is_one_sentence_and_its_code(
    stack: Stack, arguments: tuple[str, ...], code: str
) -> None:
    assert _refusal(stack, *arguments) == code


@pytest.mark.parametrize("noun", ["datasets", "tasks", "models", "services", "storage", "tokens"])
def test_every_list_is_an_array(stack: Stack, noun: str) -> None:
    assert isinstance(stack.json(noun, "list"), list)
    assert stack.run(noun, "list")


def test_a_table_in_a_pipe_keeps_one_row_a_line(stack: Stack, buckets: Minio) -> None:
    name = "a-dataset-with-a-name-of-thirty"[:30]
    path = f"s3://quick/{'long/' * 40}"
    stack.run(*CREATE, name, "--type", "classification", "--path", path)
    lines = stack.run("datasets", "list").splitlines()
    assert [line for line in lines if name in line and path in line]


def test_a_storage_connection_from_creation_to_deletion(stack: Stack) -> None:
    s3 = stack.json("up")["s3"]
    options = ("--endpoint", s3["endpoint"], "--access-key", s3["access_key"])
    made = stack.json("storage", "create", "second", *options, "--secret-key", s3["secret_key"])
    assert made["name"] == "second" and "secret_key" not in made
    assert stack.json("storage", "test", "second")["state"] == "works"
    assert "second" in stack.run("storage", "list")
    assert stack.json("storage", "show", "second")["endpoint"] == s3["endpoint"]
    credentials = ("--access-key", s3["access_key"], "--secret-key", s3["secret_key"])
    assert stack.json("storage", "update", "second", *credentials)["access_key"] == s3["access_key"]
    wrong = _refusal(stack, "storage", "update", "second", *options[2:], "--secret-key", "wrong")
    assert wrong == "storage_denied"
    assert stack.json("storage", "test", "second")["state"] == "works"
    stack.run("storage", "delete", "second")
    wrong = _refusal(stack, "storage", "create", "third", *options, "--secret-key", "wrong")
    assert wrong == "storage_denied"


def test_a_token_works_until_it_is_revoked(stack: Stack) -> None:
    made = stack.json("tokens", "create", "ci", "--expires-in-days", "2")
    assert stack.run("datasets", "list", SIGHTLOOP_API_TOKEN=made["token"])
    assert "ci" in [token["name"] for token in stack.json("tokens", "list")]
    stack.run("tokens", "revoke", "ci")
    said = stack.run("datasets", "list", "--json", code=1, SIGHTLOOP_API_TOKEN=made["token"])
    assert json.loads(said)["error"]["code"] == "unauthenticated"
