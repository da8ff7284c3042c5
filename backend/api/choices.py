"""`/datasets/<name>/next` and `/datasets/<name>/doubts`: which labels pay, and which are doubtful."""

from __future__ import annotations

from typing import Any

from flask import Response
from pydantic import Field

from backend.api.datasets import OperationOut, operation_out
from backend.api.schemas import Body, IdPage, NamePath, Out, answer, blueprint, listing, next_cursor
from backend.datasets import registry as datasets
from backend.datasets.launching import launch_operation
from backend.labels import choices
from backend.views import runtime, workspace_id

bp = blueprint("choices", __name__, "What to label next, and doubtful labels")


class NextIn(Body):
    """How many images to order."""

    count: int = Field(200, ge=1, le=10_000)


class NextQuery(Body):
    """One page of the order: what comes after a position."""

    limit: int = Field(100, ge=1, le=1000)
    after: int = Field(-1, ge=-1, le=2**31)


class NextOut(Out):
    """An image to label. `reason` is `uncertain`, `different`, `typical` or `random`; `url` opens it in Label
    Studio, empty where it has no item there.
    """

    position: int
    key: str
    reason: str
    score: float
    url: str


class NextPage(Out):
    """Images in the order in which labels pay most."""

    items: list[NextOut]
    next: int | None


class DoubtOut(Out):
    """A label that a network confidently contradicts: what the label says, what the network says and how sure
    it is (0..1). Of a text, `region` is the region's id, or `#` and its number. `url` opens it in Label
    Studio, and is empty where it has no item there.
    """

    id: int
    key: str
    region: str
    label: str
    suggested: str
    confidence: float
    found_by: str
    url: str


class DoubtPage(Out):
    """Doubtful labels, the worst first."""

    items: list[DoubtOut]
    next: int | None


def _start(name: str, kind: str, parameters: dict[str, Any]) -> Response:
    row = launch_operation(runtime(), workspace_id(), name, kind, parameters)
    return answer(operation_out(row), 202)


@bp.post("/datasets/<name>/next", responses={"202": OperationOut}, summary="Order what to label next")
def order_next(path: NamePath, body: NextIn) -> Response:
    """Orders the unlabelled images by what the labels are now; ask for the operation to follow it."""
    return _start(path.name, "next", {"count": body.count})


@bp.get("/datasets/<name>/next", responses={"200": NextPage}, summary="What to label next")
def list_next(path: NamePath, query: NextQuery) -> Response:
    """The last order, without the images that have a label by now."""
    with runtime().sessions() as session:
        dataset = datasets.get(session, workspace_id(), path.name)
        rows = choices.following(session, runtime().settings, dataset, limit=query.limit, after=query.after)
    return listing([NextOut.model_validate(row) for row in rows], next_cursor(rows, query.limit, "position"))


@bp.post("/datasets/<name>/doubts", responses={"202": OperationOut}, summary="Find doubtful labels")
def find_doubts(path: NamePath) -> Response:
    """Looks at every labelled image; ask for the operation to follow it."""
    return _start(path.name, "doubts", {})


@bp.get("/datasets/<name>/doubts", responses={"200": DoubtPage}, summary="List doubtful labels")
def list_doubts(path: NamePath, query: IdPage) -> Response:
    """Those found last, without the labels that were changed since."""
    with runtime().sessions() as session:
        dataset = datasets.get(session, workspace_id(), path.name)
        rows = choices.doubts(session, runtime().settings, dataset, limit=query.limit, after=query.after)
    return listing([DoubtOut.model_validate(row) for row in rows], next_cursor(rows, query.limit, "id"))
