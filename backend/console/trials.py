"""Testing a model on a phone: the page that makes links, shows them as QR codes, and revokes them."""

from __future__ import annotations

import segno
from flask import Blueprint, Response, request, url_for
from markupsafe import Markup

from backend import addresses
from backend.console import authority
from backend.console.page import act, show
from backend.console.texts import text
from backend.datasets.tables import Dataset
from backend.db import transaction
from backend.models import registry as models
from backend.trials import registry
from backend.views import caller, runtime, workspace_id

bp = Blueprint("trials", __name__)
_LIFETIMES = {
    15: text("trials.minutes.15"),
    60: text("trials.minutes.60"),
    480: text("trials.minutes.480"),
    1440: text("trials.minutes.1440"),
}  # of `registry.MINUTES`


@bp.get("/models/<name>/test")
def links(name: str) -> Response:
    """The links that open the model now, the newest with its QR code, and the form for another; where they
    lead only as far as the member may know.
    """
    settings = runtime().settings
    base = addresses.for_phones(settings, request.host_url)
    with runtime().sessions() as session:
        model = models.get(session, workspace_id(), name)
        dataset = session.get_one(Dataset, model.dataset_id)
        trials = registry.active(session, model)
    told = [trial for trial in trials if registry.opens_to(caller().role, trial)]
    paths = {trial.id: registry.path(settings, trial) for trial in told}
    newest = (base or "") + paths[told[0].id] if told else ""
    return show(
        "trials.html",
        model=model,
        dataset=dataset,
        trials=trials,
        first=told[0] if told else None,
        paths=paths,
        base=base or "",
        authority=(base or "") + authority.PATH if authority.file(settings).is_file() else "",
        newest=newest,
        code=_qr(newest) if newest and base else "",
        lifetimes=_LIFETIMES,
    )


@bp.post("/models/<name>/test")
def make(name: str) -> Response:
    """A new link."""

    def create() -> str:
        minutes, collects = request.form.get("minutes", 0, int), request.form.get("collects") == "yes"
        with transaction(runtime().sessions) as session:
            model = models.get(session, workspace_id(), name)
            registry.create(session, model, minutes=minutes, collects=collects)
        return text("trials.made")

    return act(create, url_for("console.trials.links", name=name))


@bp.post("/models/<name>/test/<int:trial_id>/revoke")
def revoke(name: str, trial_id: int) -> Response:
    """End a link now."""

    def end() -> str:
        with transaction(runtime().sessions) as session:
            registry.revoke(session, models.get(session, workspace_id(), name), trial_id)
        return text("trials.revoked")

    return act(end, url_for("console.trials.links", name=name))


def _qr(address: str) -> Markup:
    """Black on white in both themes: cameras read it so. It has no inline style and no script."""
    code = segno.make(address, error="m", micro=False)
    # Made by the library from an address of ours; segno escapes what it writes.
    return Markup(code.svg_inline(border=3, dark="#000", light="#fff", omitsize=True, svgclass="qr"))
