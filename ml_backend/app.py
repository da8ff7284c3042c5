"""The ML backend as Label Studio 1.23 calls it: one address a dataset, Basic auth, answers at once.

    GET  /health                  for supervisors, without a password
    GET  /d/<dataset>/health      before every prediction; Label Studio waits 1 s
    POST /d/<dataset>/setup       the version of the dataset's current model; 3 s
    POST /d/<dataset>/predict     predictions for a list of items; 100 s
    GET  /d/<dataset>/versions    all versions there are; 3 s
    POST /d/<dataset>/webhook     what happened in the project; 1 s

Health and setup wait for no model: it is loaded behind them. Bodies are never logged: `/setup` carries an API
token of Label Studio, `/webhook` more secrets.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import structlog
from flask import Blueprint, Flask, Response, current_app, jsonify, make_response, request
from sqlalchemy.exc import OperationalError
from werkzeug.exceptions import HTTPException

from backend.datasets.tables import Dataset
from backend.label_studio.ml_access import admits
from backend.logs import configure
from backend.models import registry, versions
from backend.models.opening import OpenedModel, bundle_cache, open_bundle
from backend.runtime import Runtime
from backend.settings import Settings, SettingsError, load
from ml_backend.errors import CannotTrain, NotLabelStudio, Refusal, UnknownDataset, WrongPassword
from ml_backend.loading import Models
from ml_backend.predicting import Bounds, Predictions

logger = structlog.get_logger()
_MAX_BODY_BYTES = 64 * 1024**2
_MOST_VERSIONS = 100
bp = Blueprint("ml", __name__, url_prefix="/d/<int:dataset_id>")


def create_app(settings: Settings | None = None, bounds: Bounds | None = None) -> Flask:
    """The app over a migrated database. Raises `SettingsError`."""
    runtime = Runtime(settings or load())
    if not runtime.settings.ml_backend_token:
        raise SettingsError(
            "SIGHTLOOP_ML_BACKEND_TOKEN is not set: without it nobody may ask the ML backend; "
            "`sightloop up` makes one"
        )
    configure(runtime.settings.log_level)
    models = _models(runtime)
    app = Flask("ml_backend")
    app.config["MAX_CONTENT_LENGTH"] = _MAX_BODY_BYTES
    app.extensions["sightloop"] = runtime
    app.extensions["models"] = models
    app.extensions["predictions"] = Predictions(runtime, models, bounds or Bounds())
    app.register_blueprint(bp)
    app.add_url_rule("/health", view_func=alive, endpoint="alive")
    app.register_error_handler(Refusal, _refused)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(OperationalError, _database)
    app.register_error_handler(Exception, _unknown)
    return app


def _models(runtime: Runtime) -> Models:
    """The open models of this process; bundles of others leave its folder."""
    folder = runtime.settings.data_dir / "ml-backend" / "bundles"

    def open_model(digest: str) -> OpenedModel:
        cache = bundle_cache(runtime, Path(folder))
        opened = open_bundle(cache, digest, threads=runtime.settings.cpu_threads)
        cache.keep_only({digest, *models.open_digests()})
        return opened

    models = Models(open_model)
    return models


def alive() -> Response:
    """That the process answers."""
    return jsonify({"status": "UP"})


@bp.before_request
def _authenticate() -> None:
    """User and password of this very dataset. The database is not asked: `/health` must not wait for it.

    Label Studio makes the webhook of an ML backend by itself, and without a password.
    """
    given = request.authorization
    user = (given.username or "") if given is not None and given.type == "basic" else ""
    password = (given.password or "") if given is not None and given.type == "basic" else ""
    dataset_id = int((request.view_args or {}).get("dataset_id", 0))
    right = admits(_runtime().settings, dataset_id, user, password)
    if not right and request.endpoint != "ml.webhook":
        raise WrongPassword()
    request.environ["sightloop.user"] = user if right else ""


@bp.get("/health")
def health(dataset_id: int) -> Response:
    """That the process answers and the password is right."""
    return jsonify({"status": "UP"})


@bp.post("/setup")
def setup(dataset_id: int) -> Response:
    """The version of the current model, which every prediction carries too; its loading begins."""
    with _runtime().sessions() as session:
        model = registry.current(session, _dataset(dataset_id).id)
    if model is not None:
        _models_of_app().prepare(model.digest)
    return jsonify({"model_version": versions.NONE if model is None else versions.version_of(model)})


@bp.post("/predict")
def predict(dataset_id: int) -> Response:
    """See `ml_backend.predicting`."""
    sent = _body()
    tasks = sent.get("tasks")
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise NotLabelStudio("`tasks` must be a list of items")
    params = sent.get("params")
    context = params.get("context") if isinstance(params, dict) else None
    drawn = context.get("result") if isinstance(context, dict) else None
    config = sent.get("label_config")
    predictions: Predictions = current_app.extensions["predictions"]
    return jsonify(
        predictions.answer(
            _dataset(dataset_id),
            tasks,
            config if isinstance(config, str) else "",
            drawn if isinstance(drawn, list) else None,
        )
    )


@bp.get("/versions")
def list_versions(dataset_id: int) -> Response:
    """All versions of the dataset's models, the newest first."""
    with _runtime().sessions() as session:
        models = registry.of_dataset(session, _dataset(dataset_id).id, limit=_MOST_VERSIONS)
    return jsonify({"versions": [versions.version_of(model) for model in models]})


@bp.post("/webhook")
def webhook(dataset_id: int) -> tuple[Response, int]:
    """Takes note of nothing: labels come by the API's own webhook, which has a secret, and by reconciling.

    Training is not begun from Label Studio: it answers so to whoever may ask, and Label Studio shows it.
    """
    if request.environ["sightloop.user"] and _body().get("action") == "START_TRAINING":
        name = _dataset(dataset_id).name
        raise CannotTrain(f"training is started in Sightloop: `sightloop train NAME --dataset {name}`")
    return jsonify({"status": "ignored"}), 202


def _runtime() -> Runtime:
    found: Runtime = current_app.extensions["sightloop"]
    return found


def _models_of_app() -> Models:
    found: Models = current_app.extensions["models"]
    return found


def _dataset(dataset_id: int) -> Dataset:
    """The dataset that the password belongs to. Raises `UnknownDataset`."""
    with _runtime().sessions() as session:
        dataset = session.get(Dataset, dataset_id)
        if dataset is None or dataset.name != request.environ["sightloop.user"]:
            raise UnknownDataset(f"there is no dataset {dataset_id} any more; remove this ML backend")
        return dataset


def _body() -> dict[str, Any]:
    try:
        sent = request.get_json(force=True, silent=True)
    except RecursionError:
        sent = None
    if not isinstance(sent, dict):
        raise NotLabelStudio("the body must be a JSON object")
    return sent


def _refused(refusal: Refusal) -> Response:
    response = make_response(jsonify(refusal.body()), refusal.status)
    if isinstance(refusal, WrongPassword):
        response.headers["WWW-Authenticate"] = 'Basic realm="Sightloop ML backend"'
    return response


def _http(error: HTTPException) -> Response:
    """What Flask itself refuses, as JSON: Label Studio reads nothing else."""
    return make_response(jsonify({"error": error.description, "code": "http_error"}), error.code or 500)


def _database(error: OperationalError) -> Response:
    logger.exception("database_unavailable")
    answer = {
        "error": "the database cannot be reached; try again in a moment",
        "code": "database_unavailable",
    }
    return make_response(jsonify(answer), 503)


def _unknown(error: Exception) -> Response:
    logger.exception("internal_error", path=request.path)
    return make_response(jsonify({"error": "an unexpected error; see the log", "code": "internal"}), 500)
