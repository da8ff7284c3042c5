"""Trying a service with an image: the backend asks it, the page shows what it said."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from flask import Blueprint, Response, request
from PIL import Image as PillowImage

from backend.console import services
from backend.console.page import LARGE_BODIES, show
from backend.console.texts import text
from backend.errors import AppError, InvalidRequest
from backend.services import asking, registry
from backend.services.asking import Reply
from backend.views import runtime, workspace_id
from plugins.classification import evidence
from plugins.contract import Evidence
from plugins.images import ImageError, Limits, decode

bp = Blueprint("trying", __name__)
LARGE_BODIES["console.trying.ask"] = asking.MAX_IMAGE_BYTES + 64 * 1024  # the form around the file
_SIDE = 1024  # pixels of the longer side of the picture shown
_MOST_REGIONS = 500


@dataclass(frozen=True)
class Picture:
    """A picture to be shown within the page, as a `data:` address, and its size in pixels."""

    address: str
    width: int
    height: int


@dataclass(frozen=True)
class Region:
    """A text found: `points` of an SVG polygon and where its number stands, in pixels of the picture."""

    label: str
    conf: float
    points: str
    x: float
    y: float


@bp.post("/services/<name>/try")
def ask(name: str) -> Response:
    """The answer for an image; in the whole page where the browser runs no script."""
    shown = _answer(name)
    if "HX-Request" in request.headers:
        return show("service_answer.html", answer=shown)
    return services.page(name, answer=shown)


def _answer(name: str) -> dict[str, Any]:
    """What the template shows: a picture, the answer, or a sentence why there is none."""
    with runtime().sessions() as session:
        service = registry.get(session, workspace_id(), name)
    picture = None
    try:
        data = _sent()
        picture = _decoded(data)
        explain = "explain" in request.form
        reply = asking.predict(runtime().settings, service, data, explain=explain)
    except AppError as error:
        reply = Reply(service.model.name, 0.0, detail=str(error))
    return _refused(reply, picture) if reply.detail else _shown(reply, picture)


def _sent() -> bytes:
    file = request.files.get("image")
    data = file.read() if file is not None else b""
    if not data:
        raise InvalidRequest(text("try.no_image"))
    if len(data) > asking.MAX_IMAGE_BYTES:
        raise InvalidRequest(text("try.too_large", most=asking.MAX_IMAGE_BYTES // 1024**2))
    return data


def _decoded(data: bytes) -> PillowImage.Image | None:
    """Upright, as the model sees it; None for what cannot be decoded, of which the service says why."""
    settings = runtime().settings
    try:
        limits = Limits(settings.max_image_bytes, settings.max_image_pixels)
        image = decode(data, wanted_side=_SIDE, limits=limits).image
    except ImageError:
        return None
    image.thumbnail((_SIDE, _SIDE))
    return image


def _picture(image: PillowImage.Image) -> Picture:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=85)
    code = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(f"data:image/jpeg;base64,{code}", image.width, image.height)


def _refused(reply: Reply, image: PillowImage.Image | None) -> dict[str, Any]:
    picture = image and _picture(image)
    return {"refusal": reply.detail, "code": reply.code, "picture": picture, "regions": ()}


def _shown(reply: Reply, image: PillowImage.Image | None) -> dict[str, Any]:
    outputs: Sequence[Mapping[str, Any]] = reply.result.get("output", ())
    found = reply.result.get("evidence")
    if image is not None and found:
        why = Evidence(found["label"], tuple(map(tuple, found["grid"])), found["peak"])
        image = evidence.overlay(image, why, longest=_SIDE)
    regions = []
    if image is not None and any("pos" in output for output in outputs):
        regions = [_region(output, image) for output in outputs[:_MOST_REGIONS]]
    return {
        "refusal": "",
        "picture": image and _picture(image),
        "outputs": outputs,
        "reads": any("pos" in output for output in outputs),
        "regions": regions,
        "evidence": found,
        "decision": reply.result.get("decision"),
        "model": reply.model,
        "milliseconds": round(1000 * reply.seconds),
    }


def _region(output: Mapping[str, Any], image: PillowImage.Image) -> Region:
    corners = [(x * image.width, y * image.height) for x, y in output["pos"]]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    return Region(output["label"], output["conf"], points, *corners[0])
