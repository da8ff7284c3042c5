"""Import and export of label files by the API."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any
from zipfile import ZipFile

import pytest
from flask import Flask
from sqlalchemy import select

from backend.api import label_files
from backend.datasets.tables import Dataset, Finding, Image
from backend.db import SessionFactory, transaction
from backend.labels import store
from backend.labels.tables import LabelChange
from backend.workspaces.tables import StorageConnection
from plugins.contract import Label
from tests.api.conftest import Caller

IMPORT = "/datasets/parts/labels/import"


@pytest.fixture(autouse=True)
def dataset(app: Flask, api_sessions: SessionFactory) -> None:
    """Three images of a dataset of classes: one labelled by its folder, one by a person, one not at all."""
    with transaction(api_sessions) as session:
        connection = StorageConnection(workspace_id=1, name="here", endpoint="http://127.0.0.1:9")
        session.add(connection)
        session.flush()
        parts = Dataset(
            workspace_id=1,
            connection_id=connection.id,
            name="parts",
            type="classification",
            bucket="bucket",
            prefix="p/",
        )
        session.add(parts)
        session.flush()
        keys = ("p/bolt/1.jpg", "p/2.jpg", "p/3.jpg")
        first, second, third = (Image(dataset_id=parts.id, key=key, etag="e", size=1) for key in keys)
        first.label, first.label_source = "bolt", "folder"
        session.add_all([first, second, third])
        session.flush()
        store.apply(session, second, Label("nut"), source="label_studio", author="ann")


def _import(admin: Caller, data: bytes, file: str = "labels.csv", **query: str) -> Any:
    return admin("POST", IMPORT, data=data, query_string={"file": file, **query})


def test_a_csv_labels_what_no_stronger_source_has_named(admin: Caller, api_sessions: SessionFactory) -> None:
    data = b"image,label\nbolt/1.jpg,washer\n2.jpg,washer\n3.jpg,washer\n4.jpg,washer\n"
    came = _import(admin, data).get_json()
    counts = {name: came[name] for name in ("format", "changed", "same", "kept", "left_out")}
    assert counts == {"format": "csv", "changed": 2, "same": 0, "kept": 1, "left_out": 1}
    with api_sessions() as session:
        rows = session.scalars(select(Image).order_by(Image.key)).all()
        assert [(row.label, row.label_source) for row in rows] == [
            ("nut", "label_studio"),
            ("washer", "csv"),
            ("washer", "csv"),
        ]
        change = session.scalars(select(LabelChange).where(LabelChange.source == "csv")).first()
        assert change is not None and change.after == {"name": "washer", "regions": []}
        found = {row.code: row for row in session.scalars(select(Finding))}
    assert found["label_left_out"].message.startswith("labels.csv, line 5: '4.jpg'")
    assert (found["label_conflict"].key, found["label_conflict"].source) == ("p/2.jpg", "import")


def test_the_same_file_again_changes_nothing_and_doubles_no_finding(
    admin: Caller, api_sessions: SessionFactory
) -> None:
    for _ in range(2):
        came = _import(admin, b"image,label\n3.jpg,washer\n4.jpg,washer\n").get_json()
    assert (came["changed"], came["same"], came["left_out"]) == (0, 1, 1)
    with api_sessions() as session:
        assert len(session.scalars(select(Finding)).all()) == 1


def test_an_older_annotation_does_not_replace_a_newer_one(admin: Caller) -> None:
    value = {"type": "choices", "from_name": "choice", "value": {"choices": ["washer"]}}
    annotation = {"result": [value], "updated_at": "2001-01-01T00:00:00Z"}
    items = [{"data": {"image": "2.jpg"}, "annotations": [annotation]}]
    came = _import(admin, json.dumps(items).encode(), "export.json").get_json()
    assert (came["format"], came["kept"], came["changed"]) == ("label-studio", 1, 0)


@pytest.mark.parametrize(
    "file, query, reason",
    [
        ("labels", {}, "is not clear"),
        ("labels.csv", {"format": "yolo"}, "is no format"),
        ("Label.txt", {}, "this dataset has classes"),
    ],
)
def test_a_file_of_no_known_form_is_refused(
    admin: Caller, file: str, query: dict[str, str], reason: str
) -> None:
    answer = _import(admin, b"x", file, **query)
    assert (answer.status_code, answer.get_json()["code"]) == (422, "invalid_request")
    assert reason in answer.get_json()["detail"]


def test_a_file_larger_than_other_bodies_may_be_is_read(admin: Caller) -> None:
    data = b"image,label\n3.jpg,washer\n" + b"\n" * 3 * 1024**2
    assert _import(admin, data).get_json()["changed"] == 1


@pytest.mark.parametrize("format_", ["label-studio", "coco", "csv"])
def test_what_is_exported_is_what_is_imported(admin: Caller, format_: str) -> None:
    answer = admin("GET", f"/datasets/parts/labels/export?format={format_}")
    assert answer.status_code == 200
    named = answer.headers["Content-Disposition"].partition('"')[2].strip('"')
    came = _import(admin, answer.data, named).get_json()
    assert (came["format"], came["left_out"], came["changed"]) == (format_, 0, 0), came
    assert came["same"] + came["kept"] == 2


def test_voc_is_a_zip_of_a_file_an_image(admin: Caller) -> None:
    answer = admin("GET", "/datasets/parts/labels/export?format=voc")
    with ZipFile(BytesIO(answer.data)) as archive:
        assert archive.namelist() == ["2.xml", "bolt/1.xml"]
        assert b"<name>nut</name>" in archive.read("2.xml")


def test_an_export_in_a_form_that_classes_do_not_have_is_refused(admin: Caller) -> None:
    answer = admin("GET", "/datasets/parts/labels/export?format=ppocrlabel")
    assert (answer.status_code, answer.get_json()["code"]) == (422, "invalid_request")


def test_a_file_that_is_too_large_is_told_the_limit_of_files(
    admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_files, "MAX_BYTES", 3 * 1024**2)
    refused = _import(admin, b"x" * (3 * 1024**2 + 1))
    assert refused.status_code == 413 and "larger than 3 MiB" in refused.get_json()["detail"]
    assert _import(admin, b"image,label\n").status_code == 200


def test_a_file_that_comes_in_chunks_is_not_cut_at_the_limit(
    admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says no length; half of it must not pass for the whole."""
    monkeypatch.setattr(label_files, "MAX_BYTES", 128 * 1024)
    rows = [b"image,label\n", *(b"bolt/%d.jpg,nut\n" % number for number in range(20_000))]
    for count, status in ((4, 200), (20_000, 413)):
        answer = admin(
            "POST",
            "/datasets/parts/labels/import?file=labels.csv",
            input_stream=BytesIO(b"".join(rows[:count])),
            headers={"Content-Type": "application/octet-stream"},
            environ_overrides={"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"},
        )
        assert answer.status_code == status
    assert answer.get_json()["code"] == "too_large"
