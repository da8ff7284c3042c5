"""The HTTP interface of one service: one model under one name.

    POST /api/predict/<service>    GET /health/live  /health/ready  /metrics  /log  /openapi.json

Every error, foreseen or not, becomes the same form of body here and nowhere else.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from model_server import auth, errors, logtail, metrics, openapi, payload
from model_server.config import ServiceConfig, Token
from model_server.engine import Engine, Result, Times
from model_server.rate import RateLimit

MOST_LINES = 500  # of the log
BACKEND_TOKEN = "0"  # the id of the backend's own token: the log says of all clients what they asked
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_BY_STATUS = {404: errors.NotFound, 405: errors.MethodNotAllowed, 413: errors.BodyTooLarge}

_log = structlog.get_logger(__name__)


def create_app(
    config: ServiceConfig,
    engine: Engine,
    *,
    live: Callable[[], ServiceConfig] | None = None,
    rate: RateLimit | None = None,
    log: Path | None = None,
) -> Flask:
    """The application of one service. `live` gives the configuration in force, of which only the tokens and
    the rate limit are read again; everything else changes with a new process. `log` is the service's log.
    """
    app = Flask("model_server", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = config.max_body_bytes
    app.url_map.strict_slashes = False
    app.before_request(_begin)
    app.register_error_handler(errors.ServingError, lambda error: _refuse(error, config))
    app.register_error_handler(HTTPException, lambda error: _refuse(_translated(error, config), config))
    app.register_error_handler(Exception, lambda error: _refuse(_unforeseen(error), config))
    current = live or (lambda: config)

    @app.post("/api/predict/<service>")
    def predict(service: str) -> Response:
        if service != config.name:
            raise errors.NotFound(f"this endpoint serves {config.name}")
        body = _authorized_body(current())
        if rate is not None:
            rate.admit(current().rate_limit)
        started, times = time.monotonic(), Times()
        top_k = _top_k(request.args.get("top_k"))
        explain = _flag("explain", request.args.get("explain"))
        items = payload.parse(body, max_images=config.max_images)
        with metrics.QUEUED.track_inprogress():
            answers = engine.answer(items, top_k=top_k, explain=explain, times=times)
        metrics.SECONDS.observe(time.monotonic() - started)
        return _answered(answers, config, times)

    _add_views_of_itself(app, config, current, log)
    return app


def _add_views_of_itself(
    app: Flask, config: ServiceConfig, current: Callable[[], ServiceConfig], log: Path | None
) -> None:
    """Health, metrics, log, and the document of the interface."""

    @app.get("/health/live")
    def live_() -> Response:
        return _json({"live": True}, 200)

    @app.get("/health/ready")
    def ready() -> Response:
        # A process that answers at all has loaded the model and passed its self-test.
        return _json({"ready": True, "service": config.name, "model": config.model}, 200)

    @app.get("/metrics")
    def metrics_() -> Response:
        return Response(metrics.exposition(), content_type=metrics.CONTENT_TYPE)

    @app.get("/log")
    def log_() -> Response:
        token = auth.token_of(request.headers.get("Authorization", ""), current().tokens)
        if token is None or token.id != BACKEND_TOKEN:
            raise errors.Unauthorized()
        return _json({"lines": [] if log is None else logtail.last_lines(log, MOST_LINES)}, 200)

    @app.get("/openapi.json")
    def openapi_() -> Response:
        return _json(openapi.document(config), 200)


def _begin() -> None:
    sent = request.headers.get("X-Request-Id", "")
    g.request_id = sent if _REQUEST_ID.fullmatch(sent) else secrets.token_hex(8)
    g.started = time.monotonic()
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=g.request_id)


def _authorized_body(config: ServiceConfig) -> bytes:
    """The body of an authorized request; a wrong token is refused before a byte of it is read."""
    header = request.headers.get("Authorization", "")
    if not auth.is_signature(header):
        _accept(auth.token_of(header, config.tokens))
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise errors.InputFormatError("send the body without Content-Encoding")
    body = request.get_data(cache=False)
    request.environ.get("sightloop.body_read", bool)()  # see model_server.worker
    if request.content_length is None and len(body) >= config.max_body_bytes:
        # A chunked body says no length, and Werkzeug cuts it at the limit without a word.
        raise errors.BodyTooLarge(f"the body is larger than {config.max_body_bytes:,} bytes")
    if auth.is_signature(header):
        signed = auth.Signed(
            method=request.method,
            path=request.path,
            content_type=request.headers.get("Content-Type", ""),
            date=request.headers.get("Date", ""),
            content_md5=request.headers.get("Content-MD5", ""),
            body=body,
        )
        _accept(auth.signer_of(header, signed, config.tokens))
    return body


def _accept(token: Token | None) -> None:
    if token is None:
        raise errors.Unauthorized()
    structlog.contextvars.bind_contextvars(token=token.id)


def _top_k(text: str | None) -> int:
    if text is None:
        return payload.DEFAULT_TOP_K
    if not re.fullmatch(r"[0-9]{1,6}", text, re.ASCII) or not 1 <= int(text) <= payload.MAX_TOP_K:
        raise errors.InputFormatError(f"top_k must be a whole number from 1 to {payload.MAX_TOP_K}")
    return int(text)


def _flag(name: str, text: str | None) -> bool:
    if text not in (None, "true", "false"):
        raise errors.InputFormatError(f"{name} must be true or false")
    return text == "true"


def _answered(answers: list[Result | errors.ServingError], config: ServiceConfig, times: Times) -> Response:
    """One image: its answer. Several: the first one's answer, and `results` with each one's.

    The status is an error only when no image could be answered.
    """
    entries = [
        answer.body() if isinstance(answer, errors.ServingError) else {"success": True, "result": answer}
        for answer in answers
    ]
    first = answers[0]
    if isinstance(first, errors.ServingError) and not any(entry["success"] for entry in entries):
        status, code = first.status, first.code
    else:
        status, code = 200, 0
    body = dict(entries[0])
    if len(entries) > 1:
        body["results"] = entries
    _note(
        status,
        code,
        images=len(entries),
        failed=sum(not entry["success"] for entry in entries),
        decode_ms=round(times.decode * 1000, 1),
        forward_ms=round(times.forward * 1000, 1),
    )
    return _json({**body, "requestId": g.request_id, "model": config.model}, status)


def _refuse(error: errors.ServingError, config: ServiceConfig) -> Response:
    _note(error.status, error.code, detail=error.detail)
    response = _json({**error.body(), "requestId": g.request_id, "model": config.model}, error.status)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def _translated(error: HTTPException, config: ServiceConfig) -> errors.ServingError:
    kind = _BY_STATUS.get(error.code or 400, errors.InputFormatError)
    if kind is errors.BodyTooLarge:
        return kind(f"the body is larger than {config.max_body_bytes:,} bytes")
    return kind(str(error.description))


def _unforeseen(error: Exception) -> errors.ServingError:
    _log.error("not foreseen", exc_info=error)
    return errors.UnknownError("the request could not be answered; the log of the service says why")


def _note(status: int, code: int, **facts: Any) -> None:
    if request.endpoint == "predict":
        metrics.REQUESTS.labels(str(code)).inc()
    milliseconds = round((time.monotonic() - g.started) * 1000, 1)
    _log.info("request", path=request.path, status=status, code=code, ms=milliseconds, **facts)


def _json(body: dict[str, Any], status: int) -> Response:
    text = json.dumps(body, ensure_ascii=False, allow_nan=False)
    response = Response(text, status, content_type="application/json")
    if "request_id" in g:
        response.headers["X-Request-Id"] = g.request_id
    return response
