"""Shapes that several nouns share, and the few lines that turn rows into answers."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any

from flask import Response, jsonify, make_response
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

NAME_PATTERN = "^[A-Za-z0-9][A-Za-z0-9_-]{0,29}$"

# What people type or paste. Keys, labels and cursors are what they are: a blank may begin or end them.
Typed = Annotated[str, StringConstraints(strip_whitespace=True)]
# The pattern stands in the document only: the domain checks names, with a better sentence.
NewName = Annotated[
    Typed, Field(description="1 to 30 letters, digits, _ or -", json_schema_extra={"pattern": NAME_PATTERN})
]
Text1000 = Annotated[Typed, Field(max_length=1000)]


class Body(BaseModel):
    """A request's body: unknown fields are refused, so that a typo is seen."""

    model_config = ConfigDict(extra="forbid")


class Out(BaseModel):
    """An answer, read from a row."""

    model_config = ConfigDict(from_attributes=True)


class NamePath(BaseModel):
    """The name in the address."""

    name: str = Field(max_length=100)


class Page(Body):
    """One page of a list: what comes after the cursor `next` of the page before."""

    limit: int = Field(100, ge=1, le=1000)
    after: str = Field("", max_length=1100)


class IdPage(Body):
    """One page of a list in the order of creation."""

    limit: int = Field(100, ge=1, le=1000)
    after: int = Field(0, ge=0, le=2**62)


class Problem(BaseModel):
    """An error (RFC 9457). `code` is stable; `detail` says what is wrong and how to mend it."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str


_PROBLEM = {
    "description": "An error",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
PROBLEMS: dict[str | int | HTTPStatus, type[BaseModel] | dict[Any, Any] | None] = {
    "422": dict(_PROBLEM),
    "4XX": dict(_PROBLEM),
    "5XX": dict(_PROBLEM),
}


def blueprint(name: str, module: str, description: str) -> APIBlueprint:
    """A blueprint of the API: bearer tokens, problems as errors."""
    return APIBlueprint(
        name,
        module,
        url_prefix="/api/v1",
        abp_tags=[Tag(name=name, description=description)],
        abp_security=[{"bearer": []}],
        abp_responses=PROBLEMS,
        doc_ui=True,
    )


def answer(body: BaseModel, status: int = 200) -> Response:
    """A JSON answer."""
    return make_response(jsonify(body.model_dump(mode="json")), status)


def listing(items: Sequence[BaseModel], cursor: str | int | None) -> Response:
    """A page: `next` is the cursor of the following page, or null at the end."""
    return make_response(jsonify({"items": [item.model_dump(mode="json") for item in items], "next": cursor}))


def next_cursor(rows: Sequence[Any], limit: int, attribute: str) -> Any:
    """The cursor after a full page; None when the page was not full."""
    return getattr(rows[-1], attribute) if len(rows) == limit and rows else None


def no_content() -> Response:
    """204."""
    return make_response("", 204)
