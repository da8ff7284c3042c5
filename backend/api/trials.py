"""`/models/<name>/links`: links with which a phone tests a model, as the console makes them, too."""

from __future__ import annotations

from datetime import datetime

from flask import Response, request
from pydantic import BaseModel, Field

from backend import addresses
from backend.api.schemas import Body, NamePath, Out, answer, blueprint, listing, no_content
from backend.db import transaction
from backend.models import registry as models
from backend.trials import registry
from backend.trials.tables import Trial
from backend.views import caller, runtime, workspace_id

bp = blueprint("links", __name__, "Links with which a phone tests a model")


class LinkIn(Body):
    """How long the link opens the model, and whether pictures may come back through it."""

    minutes: int = Field(60, description=f"one of {', '.join(map(str, registry.MINUTES))}")
    collects: bool = Field(
        False, description="pictures sent back become images without a label of the model's dataset"
    )


class LinkOut(Out):
    """A link. `url` is what a phone opens; null while this machine's API listens for itself alone, and then
    `path` is what follows its address here. Whoever has it may ask the model until it expires or is revoked.
    Both are null for viewers where `collects`: images are for editors to add.
    """

    id: int
    state: str = "open"
    path: str | None
    url: str | None
    collects: bool
    returned: int
    created_at: datetime
    expires_at: datetime


class LinkPage(Out):
    """The links that open the model now, newest first."""

    items: list[LinkOut]
    next: int | None


class LinkPath(BaseModel):
    """A link of a model."""

    name: str = Field(max_length=100)
    trial_id: int = Field(ge=1, le=2**62)


@bp.get("/models/<name>/links", responses={"200": LinkPage}, summary="List a model's links for phones")
def list_links(path: NamePath) -> Response:
    """Those that open it now."""
    with runtime().sessions() as session:
        rows = registry.active(session, models.get(session, workspace_id(), path.name))
    return listing([_link(row) for row in rows], None)


@bp.post("/models/<name>/links", responses={"201": LinkOut}, summary="Make a link for phones")
def make_link(path: NamePath, body: LinkIn) -> Response:
    """It opens this model and nothing else of the workspace."""
    with transaction(runtime().sessions) as session:
        model = models.get(session, workspace_id(), path.name)
        made = registry.create(session, model, minutes=body.minutes, collects=body.collects)
        return answer(_link(made), 201)


@bp.delete("/models/<name>/links/<int:trial_id>", responses={"204": None}, summary="Revoke a link")
def revoke_link(path: LinkPath) -> Response:
    """It opens nothing from now on."""
    with transaction(runtime().sessions) as session:
        registry.revoke(session, models.get(session, workspace_id(), path.name), path.trial_id)
    return no_content()


def _link(trial: Trial) -> LinkOut:
    settings = runtime().settings
    path = registry.path(settings, trial) if registry.opens_to(caller().role, trial) else None
    base = addresses.for_phones(settings, request.host_url)
    return LinkOut(
        id=trial.id,
        path=path,
        url=base + path if base and path else None,
        collects=trial.collects,
        returned=trial.returned,
        created_at=trial.created_at,
        expires_at=trial.expires_at,
    )
