"""`/datasets/<name>/labels/import` and `/export`: label files in and out."""

from __future__ import annotations

from typing import Any

from flask import Response, request
from pydantic import Field
from werkzeug.exceptions import RequestEntityTooLarge

from backend.api.schemas import Body, NamePath, Out, answer, blueprint
from backend.datasets import registry as datasets
from backend.label_studio import registry as labeling
from backend.labels import exporting, files
from backend.labels.jsonfile import MAX_BYTES
from backend.views import runtime, workspace_id

bp = blueprint("label_files", __name__, "Label files: import and export")


class ImportQuery(Body):
    """The file's name, and its format: label-studio, coco, csv, ppocrlabel or voc (empty: by the name)."""

    file: str = Field(min_length=1, max_length=200)
    format: str = Field("", max_length=20)


class ImportOut(Out):
    """What came of the images that the file names; `state` is `imported`. `kept`: a stronger or later source
    says otherwise; `left_out`: the findings say why.
    """

    name: str
    state: str
    file: str
    format: str
    changed: int
    same: int
    kept: int
    left_out: int


class ExportQuery(Body):
    """The format: label-studio, coco, csv, ppocrlabel or voc."""

    format: str = Field(max_length=20)


_FILE: dict[str, Any] = {
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
}


@bp.post(
    "/datasets/<name>/labels/import",
    responses={"200": ImportOut},
    openapi_extensions={"requestBody": {"required": True, **_FILE}},
    summary="Import a label file",
)
def import_labels(path: NamePath, query: ImportQuery) -> Response:
    """The body is the file itself, up to 64 MiB. What cannot be taken is a finding with file and line."""
    with runtime().sessions() as session:
        dataset = datasets.get(session, workspace_id(), path.name)
    request.max_content_length = MAX_BYTES
    data = request.get_data(cache=False)
    if request.content_length is None and len(data) >= MAX_BYTES:
        raise RequestEntityTooLarge  # a chunked body says no length, and Werkzeug cuts it without a word
    counts = files.import_file(runtime().sessions, dataset, query.file, data, query.format)
    if counts["changed"]:
        labeling.hint_at(runtime().sessions, runtime().redis, dataset.id)
    return answer(ImportOut(name=path.name, state="imported", file=query.file, **counts))  # type: ignore[arg-type]


@bp.get("/datasets/<name>/labels/export", responses={"200": dict(_FILE)}, summary="Export the labels")
def export_labels(path: NamePath, query: ExportQuery) -> Response:
    """One file with the labels of all images that are there, or a zip of one file an image (voc)."""
    with runtime().sessions() as session:
        dataset = datasets.get(session, workspace_id(), path.name)
        exporting.check(session, dataset, query.format)
    named = exporting.FILES[query.format]
    found = Response(
        exporting.write(runtime().sessions, dataset, query.format), mimetype="application/octet-stream"
    )
    found.headers["Content-Disposition"] = f'attachment; filename="{named}"'
    return found
