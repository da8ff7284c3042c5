"""Pages of services: list, detail with how to call it, another model, scale, stop, start, tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, request, url_for

from backend.console.page import act, show
from backend.console.texts import text
from backend.db import transaction
from backend.errors import InvalidRequest
from backend.models import measures
from backend.models import registry as models
from backend.services import asking, deploying, registry, tokens
from backend.services.tables import Service
from backend.views import runtime, workspace_id

bp = Blueprint("services", __name__)
PAGE = 50
_MODELS = 200  # that are looked through for those that a service can serve: the newest
_CHANGES = {"stop": registry.stop, "start": registry.start}


@bp.get("/services")
def index() -> Response:
    """By name."""
    after = request.args.get("after", "")
    with runtime().sessions() as session:
        rows = registry.page(session, workspace_id(), after=after, limit=PAGE)
    following = rows[-1].name if len(rows) == PAGE else ""
    return show("services.html", rows=rows, after=after, following=following)


@bp.get("/services/<name>")
def detail(name: str) -> Response:
    """Its state, and how to call it."""
    return page(name)


def page(name: str, token: str = "", answer: Mapping[str, Any] | None = None) -> Response:
    """The page of a service, with a new token that is shown this once, or the answer for an image."""
    with runtime().sessions() as session:
        service = registry.get(session, workspace_id(), name)
        served = registry.served(session, service)
        known = tokens.of(session, service)
        newest = models.page(session, workspace_id(), after=0, limit=_MODELS)
    others = [one.name for one in newest if one.plugin == service.model.plugin]
    return show(
        "service.html",
        service=service,
        change=_change(service),
        swapped=False,
        called=True,
        served=served,
        tokens=known,
        token=token,
        answer=answer,
        models=list(dict.fromkeys([service.model.name, *others])),  # its own may be older than all these
        explains=measures.explains(service.model.plugin),
        most_bytes=asking.MAX_IMAGE_BYTES,
    )


@bp.get("/services/<name>/live")
def live(name: str) -> Response:
    """The part of the page that refreshes itself; the button, when the page has another one, and the endpoint
    in the lines that call it, when the page was drawn before it was known.
    """
    with runtime().sessions() as session:
        service = registry.get(session, workspace_id(), name)
    change = _change(service)
    return show(
        "service_live.html",
        service=service,
        change=change,
        swapped=request.args.get("change", change) != change,
        called="called" in request.args,
    )


def _change(service: Service) -> str:
    """What the button of the page does."""
    return "stop" if service.desired == "running" and service.state != "Failed" else "start"


@bp.post("/services/<name>/state")
def change_state(name: str) -> Response:
    """Stop or start it."""
    change = request.form.get("change", "")

    def ask() -> str:
        if change not in _CHANGES:
            raise InvalidRequest(text("services.unknown_change"))
        with transaction(runtime().sessions) as session:
            _CHANGES[change](session, registry.get(session, workspace_id(), name))
        return text("services.asked", change=change, name=name)

    return act(ask, url_for("console.services.detail", name=name))


@bp.post("/services/<name>/model")
def change_model(name: str) -> Response:
    """Serve another model under the same address; no accepted request is dropped."""
    chosen = request.form.get("model", "")

    def ask() -> str:
        with transaction(runtime().sessions) as session:
            service = registry.get(session, workspace_id(), name)
            model = models.get(session, workspace_id(), chosen)
            registry.change(session, service, registry.Change(model=model))
        return text("services.updated", name=name, model=chosen)

    return act(ask, url_for("console.services.detail", name=name))


@bp.post("/services/<name>/scale")
def scale(name: str) -> Response:
    """Another number of instances; no accepted request is dropped."""
    instances = request.form.get("instances", 0, int)

    def ask() -> str:
        with transaction(runtime().sessions) as session:
            service = registry.get(session, workspace_id(), name)
            registry.change(session, service, registry.Change(instances=instances))
        return text("services.scaled", name=name, instances=instances)

    return act(ask, url_for("console.services.detail", name=name))


@bp.post("/services/<name>/tokens")
def add_token(name: str) -> Response:
    """The token's text is on this page and nowhere else, so there is no redirect."""
    return page(name, deploying.add_token(runtime(), workspace_id(), name).text)


@bp.post("/services/<name>/tokens/<int:token_id>/revoke")
def revoke_token(name: str, token_id: int) -> Response:
    """Refused on every instance within a second."""

    def ask() -> str:
        with transaction(runtime().sessions) as session:
            service = registry.get(session, workspace_id(), name)
            tokens.revoke(session, service, token_id)
            service.revision = registry.next_revision(session)
        return text("services.revoked")

    return act(ask, url_for("console.services.detail", name=name))
