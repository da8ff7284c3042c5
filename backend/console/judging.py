"""The images behind a model's numbers: those of a cell of its confusion matrix, its worst mistakes, and those
on which two models differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, request
from sqlalchemy.orm import Session

from backend.console import gallery
from backend.console.page import show
from backend.console.texts import text
from backend.datasets import registry as datasets
from backend.datasets.tables import Dataset
from backend.errors import AppError
from backend.models import answers, excerpts, registry
from backend.models.answers import Flip, Flips, Level
from backend.models.tables import Model
from backend.settings import Settings
from backend.views import runtime, workspace_id
from plugins.contract import Judged

bp = Blueprint("judging", __name__)
PAGE = 48
_WORST = 12
_FLIPS = 60  # of each kind
_RARE = 0.001  # probability below which more digits tell nobody anything
_TEXTS = 3  # shown of an image of text
_CHART = (300, 100)  # width and height of the curves over the confidence


@dataclass(frozen=True)
class Shot:
    """An image with what is said of it. `thumbnail` and `page` are addresses, empty of an image that is not
    known (any more); each of `lines` is what it is called, and a text.
    """

    key: str
    thumbnail: str
    page: str
    lines: Sequence[tuple[str, str]]


@bp.get("/models/<name>/answers")
def of_cell(name: str) -> Response:
    """The images with one label and one answer, or with any."""
    truth, answer = (request.args.get(key, "") for key in ("truth", "answer"))
    offset = max(0, request.args.get("offset", 0, int))
    with runtime().sessions() as session:
        model = registry.get(session, workspace_id(), name)
        found = answers.of_cell(excerpts.judged(runtime(), model), truth, answer)
        some: dict[str, list[tuple[str, str]]] = {}
        for one in found[offset : offset + PAGE]:  # an image of text has many
            some.setdefault(one.key, []).extend(_said(one))
        shots = _shots(session, runtime().settings, model, some)
    following = offset + PAGE if len(found) > offset + PAGE else 0
    return show(
        "model_answers.html",
        model=model,
        truth=truth,
        answer=answer,
        count=len(found),
        shots=shots,
        following=following,
    )


@bp.get("/models/<name>/compare")
def compare(name: str) -> Response:
    """Two models side by side, and the images on which they differ."""
    with runtime().sessions() as session:
        first = registry.get(session, workspace_id(), name)
        second = registry.get(session, workspace_id(), request.args.get("other", ""))
        try:
            found, missing = _flips(first, second), ""
        except AppError as error:
            found, missing = Flips(0, (0, 0), (), ()), str(error)
        sides = [
            (kind, len(flips), _shots(session, runtime().settings, first, _told(flips, first, second)))
            for kind, flips in (("better", found.better), ("worse", found.worse))
        ]
    return show(
        "model_compare.html",
        first=first,
        second=second,
        comparison=registry.compare(first, second),
        found=found,
        chance=chance(found.p_value),
        sides=sides,
        missing=missing,
    )


def chance(probability: float) -> str:
    """A sentence on whether a difference may be chance, from the p-value of its images."""
    words = f"{probability:.2g}" if probability >= _RARE else text("compare.rare", p=f"{_RARE}")
    if answers.may_be_chance(probability):
        return text("compare.chance", p=words)
    return text("compare.no_chance", p=words)


def _flips(first: Model, second: Model) -> Flips:
    return answers.flips(excerpts.judged(runtime(), first), excerpts.judged(runtime(), second))


def worst(session: Session, settings: Settings, model: Model, details: Mapping[str, Any]) -> list[Shot]:
    """The worst mistakes that the evaluation lists."""
    rows = {row["key"]: _mistake(row) for row in details.get("mistakes", ())[:_WORST]}
    return _shots(session, settings, model, rows)


def curves(levels: Sequence[Level]) -> dict[str, str]:
    """Points of polylines over the confidence: what is answered, how much of it rightly."""
    width, height = _CHART
    drawn = {name: [(level.confidence, getattr(level, name)) for level in levels] for name in _CURVES}
    return {
        name: " ".join(f"{width * x:.1f},{height - height * y:.1f}" for x, y in points if y is not None)
        for name, points in drawn.items()
    }


_CURVES = ("answered", "precision", "recall")


def _shots(
    session: Session, settings: Settings, model: Model, said: Mapping[str, Sequence[tuple[str, str]]]
) -> list[Shot]:
    known = datasets.images_of(session, model.dataset_id, said)
    dataset = session.get_one(Dataset, model.dataset_id)
    shots = []
    for key, lines in said.items():
        image = known.get(key)
        thumbnail = gallery.picture(settings, dataset, image, ()).thumbnail if image is not None else ""
        page = f"/datasets/{dataset.name}/images/{image.id}" if image is not None else ""
        shots.append(Shot(key, thumbnail, page, lines))
    return shots


def _said(one: Judged) -> list[tuple[str, str]]:
    given = f"{one.answer} ({one.conf:.2f})" if one.answer is not None else text("judging.nothing")
    return [
        (text("models.truth"), one.truth if one.truth is not None else text("judging.nothing")),
        (text("models.answer"), given),
    ]


def _mistake(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the evaluation of a classifier or of a reader lists."""
    if "texts" not in row:
        return _said(Judged(row["key"], row["label"], row["predicted"], row["conf"], False))
    texts = [
        (wrong["truth"] or text("judging.nothing"), wrong["answer"] or text("judging.nothing"))
        for wrong in row["texts"][:_TEXTS]
    ]
    return [(text("judging.wrong"), f"{row['wrong']} / {row['regions']}"), *texts]


def _told(flips: Iterable[Flip], first: Model, second: Model) -> dict[str, list[tuple[str, str]]]:
    return {flip.key: _flip(flip, first, second) for flip in list(flips)[:_FLIPS]}


def _flip(flip: Flip, first: Model, second: Model) -> list[tuple[str, str]]:
    """Of an image with one answer both answers; of one with many, how many are wrong."""
    if len(flip.before) == len(flip.after) == 1:
        (_, before), (_, after) = _said(flip.before[0])[1], _said(flip.after[0])[1]
        return [_said(flip.before[0])[0], (first.name, before), (second.name, after)]
    return [
        (model.name, text("judging.wrong_texts", number=sum(not one.right for one in rows)))
        for model, rows in ((first, flip.before), (second, flip.after))
    ]
