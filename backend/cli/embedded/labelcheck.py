"""What `sightloop doctor` asks of Label Studio and of the ML backend beside it."""

from __future__ import annotations

from typing import Any

import httpx

from backend.cli.embedded import health, programs
from backend.cli.embedded.diagnosis import OK, PROBLEM, WARNING, Verdict
from backend.cli.embedded.home import Choices, Home

TESTED_VERSION = "1.23.2"
# The metadata service of clouds: an address that Label Studio must refuse to call.
_FORBIDDEN = "http://169.254.169.254/"
_RESTART = "run `sightloop down`, then `sightloop up`"
_NAME = "label studio"


def label_studio(home: Home, choices: Choices) -> Verdict:
    """It answers, takes the stack's token, admits nobody by itself and calls no internal network."""
    url = programs.label_studio_url(choices)
    if not url:
        return Verdict(_NAME, OK, "left out of this stack")
    if trouble := health.label_studio_answers(url):
        log = home.logs / "label-studio.log"
        fix = f"see {log}, then run `sightloop up`" if choices.label_studio else "start it"
        return Verdict(_NAME, PROBLEM, trouble, fix)
    headers = {"Authorization": f"Token {programs.label_studio_token(home, choices)}"}
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=10, trust_env=False) as client:
            return _token(client, choices) or _open(client, choices) or _version(client, url)
    except (httpx.HTTPError, ValueError) as error:
        return Verdict(_NAME, PROBLEM, f"it does not answer as expected ({type(error).__name__})", _RESTART)


def _token(client: httpx.Client, choices: Choices) -> Verdict | None:
    answer = client.get("/api/current-user/whoami")
    if answer.is_success:
        return None
    if "legacy token" in answer.text:
        fix = (
            "in Label Studio, open Organization, API Tokens Settings, and turn Legacy Tokens on; "
            f"then {_RESTART}"
        )
        return Verdict(_NAME, PROBLEM, "it does not take access tokens of this kind", fix)
    fix = (
        f"{_RESTART}: that sets its token again"
        if choices.label_studio
        else f"make a token there, set SIGHTLOOP_LABEL_STUDIO_TOKEN to it, then {_RESTART}"
    )
    return Verdict(_NAME, PROBLEM, f"it refuses the stack's token ({answer.status_code})", fix)


def _open(client: httpx.Client, choices: Choices) -> Verdict | None:
    """What stands open, if something does. The user's own Label Studio is only warned about."""
    severity = PROBLEM if choices.label_studio else WARNING
    fix = _RESTART if choices.label_studio else "set the variable named and start it again"
    if _admits_strangers(client):
        detail = "anybody can sign up (LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK=true closes it)"
        return Verdict(_NAME, severity, detail, fix)
    if _calls_internal_networks(client):
        detail = "it calls addresses of internal networks (LABEL_STUDIO_SSRF_PROTECTION_ENABLED=true ends it)"
        return Verdict(_NAME, severity, detail, fix)
    return None


def _admits_strangers(client: httpx.Client) -> bool:
    """Whether an empty form is looked at rather than refused; an empty form makes no user."""
    with httpx.Client(base_url=client.base_url, timeout=10, trust_env=False) as stranger:
        stranger.get("/user/signup/")
        form = {"csrfmiddlewaretoken": stranger.cookies.get("csrftoken") or "", "email": ""}
        headers = {"Referer": str(client.base_url)}
        return stranger.post("/user/signup/", data=form, headers=headers).status_code == httpx.codes.OK


def _calls_internal_networks(client: httpx.Client) -> bool:
    """Whether a webhook to such an address can be made; one that is made is switched off, and deleted."""
    made = client.post("/api/webhooks/", json={"url": _FORBIDDEN, "is_active": False})
    if made.is_success:
        client.delete(f"/api/webhooks/{made.json()['id']}/")
    return made.is_success


def _version(client: httpx.Client, url: str) -> Verdict:
    found: Any = client.get("/api/version/").raise_for_status().json()
    version = str(found.get("release", "unknown")) if isinstance(found, dict) else "unknown"
    detail = f"{version} at {url} takes the stack's token and is closed to strangers"
    if version != TESTED_VERSION:
        fix = f"where something does not work with it, use the version that is tested, {TESTED_VERSION}"
        return Verdict(_NAME, WARNING, detail, fix)
    return Verdict(_NAME, OK, detail)


def ml_backend(home: Home, choices: Choices) -> Verdict:
    """The ML backend answers."""
    name = "ml backend"
    if not choices.labels:
        return Verdict(name, OK, "left out, like Label Studio")
    url = programs.ml_backend_url(choices)
    if trouble := health.ml_backend_answers(url):
        return Verdict(name, PROBLEM, trouble, f"see {home.logs / 'ml-backend.log'}, then run `sightloop up`")
    return Verdict(name, OK, f"answers at {url}")
