"""The edge of the API: who asks, request ids, and every error as one `application/problem+json`."""

from __future__ import annotations

import re
import secrets
from http import HTTPStatus
from typing import Any

import structlog
from flask import Flask, Response, g, jsonify, make_response, request
from pydantic import ValidationError
from sqlalchemy.exc import DataError, IntegrityError, OperationalError
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from backend import errors
from backend.accounts import callers, roles
from backend.views import runtime

logger = structlog.get_logger()
PREFIX = "/api/v1"
PUBLIC = frozenset({f"{PREFIX}/openapi.json"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TYPE = "urn:sightloop:error:"
# What SQLite and PostgreSQL say of a full disk.
_NO_ROOM = ("disk is full", "No space left on device")


def install(app: Flask) -> None:
    """Put the edge around an app."""
    app.before_request(_name_request)
    app.before_request(_authenticate)
    app.after_request(_finish)
    app.register_error_handler(errors.AppError, _known)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(IntegrityError, _conflict)
    app.register_error_handler(DataError, _out_of_range)
    app.register_error_handler(OperationalError, _database)
    app.register_error_handler(Exception, _unknown)


_NO_SUCH_NUMBER = "22003"  # PostgreSQL: numeric_value_out_of_range


def _name_request() -> None:
    given = request.headers.get("X-Request-Id", "")
    g.request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=g.request_id)


def _authenticate() -> None:
    """Every address below the prefix needs a token whose role may use it."""
    if not request.path.startswith(PREFIX) or request.path in PUBLIC:
        return
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not text.strip():
        raise errors.Unauthenticated("send a token in the header `Authorization: Bearer <token>`")
    with runtime().sessions() as session:
        found = callers.by_token(session, text.strip())
    if found is None:
        raise errors.Unauthenticated("the token is wrong, expired or revoked")
    g.caller = found
    if request.url_rule is not None:
        roles.require(found.role, request.method, request.url_rule.rule.removeprefix(PREFIX))


def _finish(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.get("request_id", "")
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def problem(code: str, status: int, title: str, detail: str) -> Response:
    """One error in the form of RFC 9457, with our stable `code` and the request's id beside it."""
    body = {
        "type": _TYPE + code,
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": g.get("request_id", ""),
    }
    response = make_response(jsonify(body), status)
    response.content_type = "application/problem+json"
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = "5"
    if status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _known(error: errors.AppError) -> Response:
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.warning("refused", code=error.code, detail=str(error))
    response = problem(error.code, error.status, error.title, str(error))
    if isinstance(error, errors.TooManyRequests):
        response.headers["Retry-After"] = str(error.retry_after)
    return response


_SENTENCES = {
    404: f"there is nothing at this address; {PREFIX}/openapi.json lists what there is",
    405: "this address does not know that method; the header Allow names those it knows",
}


def _http(error: HTTPException) -> Response:
    """What Flask itself refuses."""
    if error.response is not None:
        return make_response(error.response)
    kinds: dict[int, type[errors.AppError]] = {
        400: errors.MalformedBody,
        404: errors.NotFound,
        405: errors.MethodNotAllowed,
        413: errors.TooLarge,
    }
    kind = errors.TooLarge if isinstance(error, RequestEntityTooLarge) else kinds.get(error.code or 500)
    if kind is None:
        return problem("http_error", error.code or 500, error.name, error.description or error.name)
    if kind is errors.TooLarge:
        most = (request.max_content_length or 0) // 1024**2
        detail = f"the body is larger than {most} MiB; send less at once"
    else:
        detail = _SENTENCES.get(kind.status, error.description or kind.title)
    response = problem(kind.code, kind.status, kind.title, detail)
    if isinstance(getattr(error, "valid_methods", None), list):
        response.headers["Allow"] = ", ".join(error.valid_methods)  # type: ignore[attr-defined]
    return response


def _conflict(error: IntegrityError) -> Response:
    """Two requests made the same thing at the same moment; the database let one through."""
    logger.warning("conflict", detail=str(error.orig))
    kind = errors.NameTaken
    return problem(
        kind.code, kind.status, kind.title, "somebody has just made or changed the same thing; try again"
    )


def _out_of_range(error: DataError) -> Response:
    """What the database cannot hold: a number that no id can be, or a text."""
    logger.warning("out_of_range", detail=str(error.orig))
    if isinstance(error.orig, OverflowError) or getattr(error.orig, "sqlstate", "") == _NO_SUCH_NUMBER:
        kind: type[errors.AppError] = errors.NotFound
        return problem(kind.code, kind.status, kind.title, "there is no such thing; a number is out of range")
    kind = errors.InvalidRequest
    sentence = "a value is too long, or has a character that cannot be kept, such as NUL"
    return problem(kind.code, kind.status, kind.title, sentence)


def _database(error: OperationalError) -> Response:
    logger.exception("database_unavailable")
    if any(sign in str(error.orig) for sign in _NO_ROOM):
        full = errors.StorageFull
        return problem(full.code, full.status, full.title, "the database has no room; free space on its disk")
    return problem("database_unavailable", 503, "The database cannot be reached", "try again in a moment")


def _unknown(error: Exception) -> Response:
    """Nothing leaks to the client; the log has everything, under the request's id."""
    logger.exception("internal_error", path=request.path)
    kind = errors.AppError
    return problem(
        kind.code, kind.status, kind.title, "an unexpected error; the log has it under the request_id"
    )


def invalid(error: ValidationError) -> Response:
    """A body, query or path that does not fit its schema: the first fault as a sentence, counted."""
    if request.method in ("POST", "PUT", "PATCH") and request.data and request.get_json(silent=True) is None:
        kind: type[errors.AppError] = errors.MalformedBody
        detail = "the body is not JSON; send an object with the header `Content-Type: application/json`"
        return problem(kind.code, kind.status, kind.title, detail)
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    kind = errors.InvalidRequest
    return problem(kind.code, kind.status, kind.title, "; ".join(_fault(fault) for fault in faults[:3]))


def _fault(fault: Any) -> str:
    where = ".".join(str(part) for part in fault["loc"]) or "the body"
    message = str(fault["msg"])
    return f"{where}: {message[0].lower()}{message[1:]}"
