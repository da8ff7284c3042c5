"""What goes wrong with Label Studio, as errors of Sightloop: one sentence with the address and the fix."""

from __future__ import annotations

import json
from collections.abc import Mapping

import httpx
from label_studio_sdk.core.api_error import ApiError

from backend.errors import AppError, LabelStudioDenied, LabelStudioRefused, LabelStudioUnreachable

_BUSY = (500, 502, 503, 504)  # 500 too: with SQLite behind it a busy Label Studio says "database is locked"
_WORDS = 300  # characters of Label Studio's own words in a message


class NotThere(LabelStudioRefused):
    """It answers that there is no such project, item, annotation, webhook or view."""


def passing(error: Exception) -> bool:
    """Whether another attempt may go better."""
    if isinstance(error, ApiError):
        return error.status_code in (*_BUSY, 408, 429)
    return isinstance(error, httpx.TransportError)


def translate(error: Exception, url: str) -> AppError:
    """The error of ours that says this failure of the SDK or of its HTTP client."""
    if isinstance(error, httpx.HTTPError):
        return LabelStudioUnreachable(
            f"Label Studio at {url} does not answer ({type(error).__name__}); see `sightloop status`, then "
            "try again"
        )
    if not isinstance(error, ApiError) or error.status_code is None:
        return LabelStudioRefused(
            f"what answers at {url} is not Label Studio; mend SIGHTLOOP_LABEL_STUDIO_URL"
        )
    if not _is_its_own(error):
        return LabelStudioUnreachable(
            f"what answers at {url} (HTTP {error.status_code}) is not Label Studio; see whether it runs "
            "behind its proxy, or mend SIGHTLOOP_LABEL_STUDIO_URL"
        )
    if error.status_code in (401, 403):
        return LabelStudioDenied(
            f"Label Studio at {url} does not take the access token ({_words(error)}); make a personal access "
            "token in its account settings and set SIGHTLOOP_LABEL_STUDIO_TOKEN to it"
        )
    if error.status_code in _BUSY:
        return LabelStudioUnreachable(
            f"Label Studio at {url} answered HTTP {error.status_code}; see its log, then try again"
        )
    kind = NotThere if error.status_code == 404 else LabelStudioRefused
    return kind(f"Label Studio at {url} answered HTTP {error.status_code}: {_words(error)}")


def _is_its_own(error: ApiError) -> bool:
    """Whether Label Studio speaks, or a proxy before it that cannot reach it: another server's 404 must not
    pass for a project that somebody has deleted, nor its page for an answer.
    """
    status = error.status_code or 0
    return isinstance(error.body, Mapping) or (status >= 400 and status != 404)


def _words(error: ApiError) -> str:
    """Label Studio's own words, short, without what it adds for its support."""
    body = error.body
    if not isinstance(body, Mapping):
        return f"HTTP {error.status_code}"
    said = body.get("validation_errors") or body.get("detail") or f"HTTP {error.status_code}"
    text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False, default=str)
    return text if len(text) <= _WORDS else f"{text[:_WORDS]}…"
