"""The page with which a phone tests a model: opened by a signed link, without a session and without cookies.

What it needs is served below its own address, and nothing else of the workspace. The picture leaves the phone
only when it is to be answered here or sent back.
"""

from __future__ import annotations

from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from typing import Any

from flask import (
    Blueprint,
    Flask,
    Response,
    current_app,
    jsonify,
    make_response,
    render_template,
    request,
    send_file,
)

from backend.console import assets
from backend.console.texts import text
from backend.datasets.tables import Dataset
from backend.errors import AppError, NotFound
from backend.models.predicting import Outcome
from backend.models.tables import Model
from backend.trials import answering, registry
from backend.trials.answering import TrialModels
from backend.trials.returning import return_picture
from backend.trials.tables import Trial
from backend.views import runtime
from plugins.contract import BrowserModel, Familiar

bp = Blueprint("phone", __name__, url_prefix=f"{registry.PATH}<signed>")
_KEPT = 24 * 3600  # seconds that a browser keeps the model, which never changes
# WebAssembly may be compiled on this page only; nothing inline, nothing from elsewhere, no form.
_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; worker-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
# Of the scripts, which fill in what stands in braces.
_TEXTS = {
    "camera": text("phone.camera"),
    "no_camera": text("phone.no_camera", reason="{reason}"),
    "no_https": text("phone.no_https"),
    "loading": text("phone.loading"),
    "too_old": text("phone.too_old", reason="{reason}"),
    "unreachable": text("phone.unreachable"),
    "not_an_image": text("phone.not_an_image"),
    "hold": text("phone.hold"),
    "resume": text("phone.resume"),
    "pace": text("phone.pace", milliseconds="{milliseconds}", pace="{pace}"),
    "took": text("phone.took", milliseconds="{milliseconds}"),
    "on_phone": text("phone.on_phone"),
    "on_server": text("phone.on_server"),
    "sure": text("phone.sure"),
    "not_sure": text("phone.not_sure"),
    "unlike_training": text("phone.unlike_training"),
    "nothing_read": text("phone.nothing_read"),
    "sending": text("phone.sending"),
    "sent": text("phone.sent"),
}


def install(app: Flask) -> None:
    """Put the page into an app that has its runtime."""
    app.extensions["sightloop.trials"] = TrialModels(app.extensions["sightloop"])
    app.register_blueprint(bp)


@bp.context_processor
def _shared() -> dict[str, object]:
    return {"t": text, "asset": assets.installed().url}


@bp.after_request
def _protect(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Permissions-Policy"] = "camera=(self), microphone=(), geolocation=()"
    response.headers["Referrer-Policy"] = "no-referrer"  # the address is the key
    response.headers["X-Robots-Tag"] = "noindex"
    # Isolated from other origins, so that ONNX Runtime may use several threads.
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    response.headers["Cross-Origin-Embedder-Policy"] = "require-corp"
    return response


@bp.get("")
def page(signed: str) -> Response:
    """The page; why not, for a link that opens nothing."""
    try:
        trial, model = _opened(signed)
    except AppError as error:
        return make_response(render_template("phone_refused.html", error=error), error.status)
    return make_response(
        render_template("phone.html", trial=trial, model=model, dataset=_dataset(model).name)
    )


@bp.get("/config")
def config(signed: str) -> Response:
    """What the scripts of the page go by."""
    trial, model = _opened(signed)
    found = _models().describe(model.digest)
    return jsonify(
        {
            "reads": found.reads,
            "device": None if found.browser is None else _for_device(found.browser),
            "collects": trial.collects,
            "texts": _TEXTS,
        }
    )


@bp.get("/model")
def model_file(signed: str) -> Response:
    """The ONNX file that the phone runs, the one that services run."""
    _, model = _opened(signed)
    folder, described = _described(model)
    response = send_file(folder / described.file, "application/octet-stream", max_age=_KEPT)
    response.headers["Cache-Control"] = f"private, max-age={_KEPT}"
    return response


@bp.get("/familiar")
def familiar(signed: str) -> Response:
    """What the model takes for familiar: the arrays scale, basis and rows, one after the other."""
    _, model = _opened(signed)
    known = _described(model)[1].familiar
    if known is None:
        raise NotFound("this model has not learned what is unlike its images")
    return Response(known.scale + known.basis + known.rows, mimetype="application/octet-stream")


@bp.post("/answers")
def answer(signed: str) -> Response:
    """The answer of the server to a picture in the body."""
    trial, model = _opened(signed)
    answering.admit(runtime().redis, trial.id, "pictures", answering.PICTURES_A_MINUTE)
    return jsonify(_answer(_models().answer(model.digest, request.get_data())))


@bp.post("/pictures")
def send_back(signed: str) -> Response:
    """Put the picture in the body among the dataset's images that have no label."""
    trial, model = _opened(signed)
    answering.admit(runtime().redis, trial.id, "returns", answering.RETURNS_A_MINUTE)
    name = return_picture(runtime(), trial, model, request.get_data())
    return make_response(jsonify({"name": name}), HTTPStatus.CREATED)


def _opened(signed: str) -> tuple[Trial, Model]:
    with runtime().sessions() as session:
        return registry.open_link(session, runtime().settings, signed)


def _dataset(model: Model) -> Dataset:
    with runtime().sessions() as session:
        return session.get_one(Dataset, model.dataset_id)


def _models() -> TrialModels:
    found: TrialModels = current_app.extensions["sightloop.trials"]
    return found


def _described(model: Model) -> tuple[Path, BrowserModel]:
    found = _models().describe(model.digest)
    if found.browser is None:
        raise NotFound("this model runs on the server only")
    return found.folder, found.browser


def _for_device(described: BrowserModel) -> dict[str, Any]:
    return {
        "labels": described.labels,
        "side": described.side,
        "thresholds": described.thresholds,
        "familiar": None if described.familiar is None else _sizes(described.familiar),
    }


def _sizes(known: Familiar) -> dict[str, Any]:
    return {name: value for name, value in asdict(known).items() if not isinstance(value, bytes)}


def _answer(outcome: Outcome) -> dict[str, Any]:
    prediction = outcome.prediction
    assert prediction is not None  # `TrialModels.answer` raises otherwise
    return {
        "outputs": [asdict(output) for output in prediction.outputs],
        "decision": None if prediction.decision is None else asdict(prediction.decision),
        "width": outcome.width,
        "height": outcome.height,
    }
