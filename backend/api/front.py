"""The page at `/`: where things are, for somebody who opens the API's address in a browser."""

from __future__ import annotations

from flask import Blueprint, Response, make_response

from backend.version import VERSION

bp = Blueprint("front", __name__)

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sightloop</title>
<style>
  body {{ font: 1rem/1.6 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem;
    color: #1b2733 }}
  h1 {{ margin-bottom: 0 }}
  code {{ background: #eef2f6; padding: .1rem .3rem; border-radius: .2rem }}
  a {{ color: #0b62c4 }}
</style>
<h1>Sightloop {version}</h1>
<p>From a bucket of images to a deployed vision model, on your own machines.</p>
<ul>
  <li>This is the REST API: <a href="/api/v1/openapi.json">its OpenAPI document</a>, addresses under
    <code>/api/v1</code>, with a bearer token.</li>
  <li>The command line does everything: <code>sightloop --help</code>, <code>sightloop datasets list</code>,
    <code>sightloop services list</code>.</li>
  <li>Whether it is <a href="/health/ready">ready</a>.</li>
</ul>
</html>
"""


@bp.get("/")
def front() -> Response:
    """Static; shows nothing of the data."""
    response = make_response(_PAGE.format(version=VERSION))
    response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
    return response
