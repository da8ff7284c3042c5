"""The ML backend in a dataset's Label Studio project: made, kept right, asked for drawn boxes.

Its title never equals a model version (see `backend.models.versions`), so that the project goes on showing
the predictions that stand in it, and its scores can be sorted by.
"""

from __future__ import annotations

from typing import Any

import structlog

from backend.datasets.tables import Dataset
from backend.datasets.types import has_classes
from backend.errors import LabelStudioRefused
from backend.label_studio.client import LabelStudio
from backend.label_studio.ml_access import address, password
from backend.settings import Settings

logger = structlog.get_logger()
TITLE = "Sightloop"


def connect(studio: LabelStudio, settings: Settings, dataset: Dataset, project: int) -> int | None:
    """The id of the project's ML backend, made or mended; None without an ML backend in this stack, or while
    it does not answer Label Studio: then the next reconcile makes it.

    Raises `LabelStudioUnreachable`, `LabelStudioDenied`.
    """
    url = address(settings, dataset)
    if not url:
        return None
    wanted = _wanted(settings, dataset, project, url)
    try:
        ours = [one for one in studio.ask(lambda: studio.sdk.ml.list(project=project)) if one.title == TITLE]
        for surplus in ours[1:]:
            studio.ask(lambda number=surplus.id: studio.sdk.ml.delete(number))  # type: ignore[misc]
        found = _mend(studio, ours[0], wanted) if ours else _create(studio, project, wanted)
    except LabelStudioRefused as error:  # it asks the ML backend before it takes it
        logger.warning("ml_backend_not_connected", dataset=dataset.name, error=str(error))
        return None
    _remove_webhook(studio, project, f"{url}/webhook")
    return found


def _wanted(settings: Settings, dataset: Dataset, project: int, url: str) -> dict[str, Any]:
    return {
        "project": project,
        "url": url,
        "title": TITLE,
        "description": "Predictions of the dataset's current model",
        # A drawn box comes back with its text; a class needs no box.
        "is_interactive": not has_classes(dataset.type),
        "auth_method": "BASIC_AUTH",
        "basic_auth_user": dataset.name,
        "basic_auth_pass": password(settings, dataset.id, dataset.name),
    }


def _mend(studio: LabelStudio, backend: Any, wanted: dict[str, Any]) -> int:
    same = backend.url == wanted["url"] and backend.basic_auth_user == wanted["basic_auth_user"]
    connected = str(getattr(backend.state, "value", backend.state)) == "CO"
    if not (same and connected):
        # The password cannot be read: whatever is wrong, all of it is written.
        studio.ask(lambda: studio.sdk.ml.update(backend.id, **wanted))
    return int(backend.id)


def _create(studio: LabelStudio, project: int, wanted: dict[str, Any]) -> int:
    before = studio.project(project)
    made = studio.ask(lambda: studio.sdk.ml.create(**wanted), again=False)
    # Where a project shows nothing yet, Label Studio lets it show live predictions: one request each time
    # somebody opens an item, and no scores in its lists.
    studio.update_project(project, model_version=before.model_version if before is not None else "")
    return int(made.id or 0)


def _remove_webhook(studio: LabelStudio, project: int, url: str) -> None:
    """Label Studio makes a webhook for every ML backend: without a password, called within each saving of an
    annotation, and with all secrets of the project in it. Labels come by another one.
    """
    for webhook in studio.ask(lambda: studio.sdk.webhooks.list(project=str(project))):
        if str(webhook.url) == url:
            studio.ask(lambda number=webhook.id: studio.sdk.webhooks.delete(number))  # type: ignore[misc]
