"""The application factory: `gunicorn 'backend.app:create_app()'`."""

from __future__ import annotations

from flask import Response, jsonify, make_response
from flask_openapi3 import Info, OpenAPI

from backend.api import (
    choices,
    datasets,
    edge,
    health,
    host,
    images,
    label_files,
    labeling,
    members,
    models,
    services,
    storage_connections,
    training_tasks,
    trials,
    workspaces,
)
from backend.api.schemas import Problem
from backend.console import pages as console
from backend.db import transaction
from backend.logs import configure
from backend.runtime import Runtime
from backend.settings import Settings, load
from backend.version import VERSION
from backend.workspaces.registry import bootstrap

_MAX_BODY_BYTES = 2 * 1024**2


def create_app(settings: Settings | None = None) -> OpenAPI:
    """The REST API over a migrated database. Raises `SettingsError`."""
    runtime = Runtime(settings or load())
    configure(runtime.settings.log_level)
    app = OpenAPI(
        "sightloop",
        info=Info(
            title="Sightloop",
            version=VERSION,
            description="From a bucket of images to a deployed vision model, on your own machines.",
        ),
        security_schemes={"bearer": {"type": "http", "scheme": "bearer"}},
        validation_error_model=Problem,
        validation_error_callback=edge.invalid,
        doc_ui=False,
    )
    app.config["MAX_CONTENT_LENGTH"] = _MAX_BODY_BYTES
    app.extensions["sightloop"] = runtime
    edge.install(app)
    for module in (
        workspaces,
        members,
        storage_connections,
        datasets,
        labeling,
        label_files,
        choices,
        training_tasks,
        models,
        trials,
        services,
        host,
    ):
        app.register_api(module.bp)
    app.register_blueprint(health.bp)
    console.install(app, runtime.settings)
    app.register_blueprint(images.bp)
    app.register_blueprint(labeling.hooks)

    @app.route(f"{edge.PREFIX}/openapi.json")
    def openapi_document() -> Response:
        return make_response(jsonify(app.api_doc))

    with transaction(runtime.sessions) as session:
        bootstrap(session, runtime.sealer, runtime.settings)
    return app
