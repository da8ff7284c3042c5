"""Every English sentence of the console, by its key: what a translation has to replace."""

from __future__ import annotations

ENGLISH = {
    "app.name": "Sightloop",
    "app.claim": "From a bucket of images to a deployed vision model, on your own machines.",
    "app.skip": "Skip to the content",
    "app.main_menu": "Main menu",
    "app.theme": "Light or dark",
    "app.assets_missing": "The console's stylesheet and scripts are not installed; run make up.",
    "app.sign_out": "Sign out",
    "error.back": "To the start page",
    "error.form_expired": "This form is of a session that has ended; go back, reload the page, send again.",
    "sign_in.title": "Sign in",
    "sign_in.token": "API token",
    "sign_in.button": "Sign in",
    "sign_in.refused": "This token is wrong, expired or revoked, or belongs to a host.",
    "sign_in.why": "There are no passwords yet: a workspace is opened with one of its API tokens.",
    "sign_in.first": "Where sightloop up runs, this shows the administrator's token (or in its --data-dir):",
    "sign_in.more": "This makes another one:",
    "front.title": "Start",
    "front.version": "Version {version}",
    "front.api_title": "REST API",
    "front.api_text": "Addresses under /api/v1, with a bearer token.",
    "front.api_link": "OpenAPI document",
    "front.cli_title": "Command line",
    "front.cli_text": "Does everything:",
    "front.health_title": "State",
    "front.health_text": "Whether the database and the queue answer.",
    "front.health_link": "Ask whether it is ready",
}


def text(key: str, **values: object) -> str:
    """The sentence of that key with its values. Raises `KeyError` for an unknown key or a missing value."""
    return ENGLISH[key].format(**values)
