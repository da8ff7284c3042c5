"""What is made of answers that nobody wishes for: of the real Label Studio, and of a proxy without one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.datasets.tables import Dataset
from backend.errors import LabelStudioUnreachable
from backend.label_studio.client import LabelStudio
from backend.label_studio.faults import NotThere
from backend.label_studio.reconciling import reconcile
from backend.label_studio.tables import LabelingItem, LabelingProject
from backend.runtime import Runtime
from tests.label_studio.publishing import one, publish

NOBODY = 10**6


class _Proxy(BaseHTTPRequestHandler):
    """A proxy in front of a Label Studio that is gone."""

    status = 404

    def answer(self) -> None:
        page = b"<html><h1>404 page not found</h1></html>"
        self.send_response(self.status)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    do_GET = do_POST = do_PATCH = do_DELETE = answer

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class _Page(_Proxy):
    """One that answers with a page of its own, as one that wants a login."""

    status = 200


@pytest.fixture(params=[_Proxy, _Page], ids=["not found", "a page"])
def proxy(request: pytest.FixtureRequest) -> Iterator[str]:
    """Its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), request.param)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_what_is_not_in_label_studio_is_not_there(studio: LabelStudio) -> None:
    assert studio.project(NOBODY) is None
    with pytest.raises(NotThere):
        studio.update_item(NOBODY, meta={})
    with pytest.raises(NotThere):
        studio.update_annotation(NOBODY, [])
    studio.delete_annotation(NOBODY)


def test_a_proxy_without_label_studio_is_no_deleted_project(proxy: str) -> None:
    studio = LabelStudio(proxy, "0" * 40)
    try:
        with pytest.raises(LabelStudioUnreachable, match="is not Label Studio; see whether it runs"):
            studio.project(1)
        with pytest.raises(LabelStudioUnreachable, match=proxy):
            studio.update_item(1, meta={})
    finally:
        studio.close()


def test_a_reading_through_such_a_proxy_forgets_nothing(
    runtime: Runtime, session: Session, labelled: Dataset, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(runtime, session, labelled)
    monkeypatch.setitem(runtime.__dict__, "settings", replace(runtime.settings, label_studio_url=proxy))
    with pytest.raises(LabelStudioUnreachable):
        reconcile(runtime, labelled)
    assert "is not Label Studio" in one(session, select(LabelingProject.error))
    assert len(session.scalars(select(LabelingItem)).all()) == 6
