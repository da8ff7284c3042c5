"""Label Studio as Sightloop sees it: its SDK behind one class that translates, bounds and retries.

Every failure leaves as `LabelStudioUnreachable`, `LabelStudioDenied` or `LabelStudioRefused`, in one sentence
with the address in it and never with a token. What may be done twice is tried again; what may not (an import)
is asked once, and whoever asked looks at what came of it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import httpx
from label_studio_sdk.base_client import LabelStudioBase
from label_studio_sdk.core.api_error import ApiError

from backend.errors import LabelStudioMissing
from backend.label_studio.faults import NotThere, passing, translate
from backend.settings import Settings

PAGE = 500
IMPORT_SECONDS = 600.0  # an import is one request, however long it takes
_ATTEMPTS = 4

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class RemoteProject:
    """A project: what of it is of interest. `items` counts all of its items, `annotations` those submitted
    and `skipped` those skipped.
    """

    id: int
    title: str
    description: str
    config: str
    items: int = 0
    annotations: int = 0
    skipped: int = 0
    model_version: str = ""


class LabelStudio:
    """One Label Studio and the user whose token is given. Thread-safe; to be made anew in every process."""

    def __init__(self, url: str, token: str, *, timeout: float = 60.0, pause: float = 0.5) -> None:
        """Connects to nothing yet; `timeout` in seconds for each answer, `pause` in seconds before the first
        new attempt (it doubles). Raises `LabelStudioDenied` for a token that has expired.
        """
        self.url = url.rstrip("/")
        self._pause = pause
        self._http = httpx.Client(
            timeout=httpx.Timeout(timeout, connect=5.0), mounts=_DIRECT, follow_redirects=True
        )
        try:
            # The slash keeps a path of the address when the SDK refreshes a personal access token.
            self.sdk = LabelStudioBase(
                base_url=f"{self.url}/", api_key=token, httpx_client=self._http, max_retries=0
            )
        except ApiError as error:
            raise translate(error, self.url) from None

    def close(self) -> None:
        """Close idle connections."""
        self._http.close()

    def ask(self, call: Callable[[], Answer], *, again: bool = True) -> Answer:
        """What `call`, a call of `self.sdk`, answers; with `again` it is tried a few times while Label Studio
        is busy or cannot be reached. Raises the errors of this module.
        """
        for attempt in range(1, (_ATTEMPTS if again else 1) + 1):
            try:
                return call()
            except (ApiError, httpx.HTTPError, ValueError) as error:
                last = attempt == _ATTEMPTS or not again or not passing(error)
                if last:
                    raise translate(error, self.url) from error
            time.sleep(self._pause * 2 ** (attempt - 1))
        raise AssertionError("the last attempt returns or raises")

    # --- who asks, and what there is

    def whoami(self) -> str:
        """The e-mail of the token's user."""
        return str(self.ask(self.sdk.users.whoami).email)

    def users(self) -> dict[int, str]:
        """E-mails by the ids of all users."""
        return {int(user.id): str(user.email) for user in self.ask(self.sdk.users.list) if user.id}

    def version(self) -> str:
        """Such as 1.23.2."""
        found = self.ask(self.sdk.versions.get).model_dump()
        return str(found.get("release") or found.get("label_studio_os_package", {}).get("version", ""))

    # --- projects

    def project(self, project: int) -> RemoteProject | None:
        """A project, or None when there is none of that id."""
        try:
            return _project(self.ask(lambda: self.sdk.projects.get(project)))
        except NotThere:
            return None

    def projects(self) -> Iterator[RemoteProject]:
        """Every project, without its counts."""
        page = 1
        while True:
            try:
                found = self.ask(lambda number=page: self.sdk.projects.list(page=number, page_size=100))  # type: ignore[misc]
            except NotThere:  # a page behind the last one
                return
            yield from map(_project, found.items or [])
            if len(found.items or []) < 100:
                return
            page += 1

    def create_project(self, *, title: str, description: str, config: str, **options: Any) -> RemoteProject:
        """A new project that shows predictions, wants one annotation an item, and is done with an item that
        was skipped. Not tried again.
        """
        return _project(
            self.ask(
                lambda: self.sdk.projects.create(
                    title=title,
                    description=description,
                    label_config=config,
                    show_collab_predictions=True,
                    maximum_annotations=1,
                    skip_queue="IGNORE_SKIPPED",
                    **options,
                ),
                again=False,
            )
        )

    def update_project(self, project: int, **fields: Any) -> None:
        """Change fields of a project, named as in the SDK."""
        self.ask(lambda: self.sdk.projects.update(project, **fields))

    # --- items

    def import_items(self, project: int, items: Sequence[Mapping[str, Any]]) -> list[int]:
        """Make items (`data`, `meta`, `annotations`); their ids in order, which may be fewer than were sent.

        Not tried again: after an error nobody knows what was made before somebody has looked.
        """
        answer = self.ask(
            lambda: self.sdk.projects.import_tasks(
                project,
                request=list(items),
                return_task_ids=True,
                request_options={"timeout": IMPORT_SECONDS, "max_retries": 0},
            ),
            again=False,
        )
        return [int(item) for item in getattr(answer, "task_ids", None) or ()]

    def items(
        self,
        project: int,
        filters: Sequence[Mapping[str, Any]] = (),
        *,
        after: int = 0,
        whole: bool = True,
        page_size: int = PAGE,
    ) -> Iterator[list[dict[str, Any]]]:
        """The project's items by id, page by page; with `whole` their annotations and predictions too, else
        only `id`, `meta` and `data`. A page begins behind the last id, so what is made or deleted meanwhile
        shifts nothing.
        """
        while True:
            behind = {
                "filter": "filter:tasks:id",
                "operator": "greater",
                "type": "Number",
                "value": after,
            }
            query = {
                "filters": {"conjunction": "and", "items": [behind, *filters]},
                "ordering": ["tasks:id"],
            }
            page = self._items(project, query, page_size, whole)
            if page:
                yield page
            if len(page) < page_size:
                return
            after = int(page[-1]["id"])

    def items_of(self, project: int, ids: Sequence[int]) -> list[dict[str, Any]]:
        """The items of these ids (at most a page) with annotations; those that are gone are missing."""
        if not ids:
            return []
        return self._items(project, {"selectedItems": {"all": False, "included": list(ids)}}, len(ids), True)

    def _items(
        self, project: int, query: Mapping[str, Any], page_size: int, whole: bool
    ) -> list[dict[str, Any]]:
        def call() -> list[dict[str, Any]]:
            found = self.sdk.tasks.list(
                project=project,
                fields="all" if whole else "task_only",
                include=None if whole else "id,meta,data",
                resolve_uri=False,
                page=1,
                page_size=page_size,
                query=json.dumps(query),
            )
            return [item.model_dump() for item in found.items or []]

        return self.ask(call)

    def update_item(self, item: int, **fields: Any) -> None:
        """Replace fields of an item, such as `data` or `meta`. Raises `NotThere`."""
        self.ask(lambda: self.sdk.tasks.update(str(item), **fields))

    def delete_items(self, project: int, items: Sequence[int]) -> None:
        """Delete items with all that is in them; those that are gone are no error."""
        if items:
            chosen = {"all": False, "included": list(items)}
            self.ask(
                lambda: self.sdk.actions.create(
                    id="delete_tasks",
                    project=project,
                    selected_items=chosen,
                )
            )

    # --- tabs of the data manager

    def views(self, project: int) -> list[int]:
        """The ids of the tabs that are kept; there is one more, of all items, where none is."""
        return [int(view.id) for view in self.ask(lambda: self.sdk.views.list(project=project))]

    def create_view(self, project: int, data: Mapping[str, Any]) -> int:
        """A new tab; its id. Not tried again."""
        made = self.ask(lambda: self.sdk.views.create(project=project, data=dict(data)), again=False)
        return int(made.id)

    # --- annotations

    def create_annotation(
        self, item: int, result: Sequence[Mapping[str, Any]], import_id: int
    ) -> dict[str, Any]:
        """A new annotation. Not tried again."""
        return self.ask(
            lambda: self.sdk.annotations.create(
                item,
                result=list(result),
                import_id=import_id,
            ).model_dump(),
            again=False,
        )

    def update_annotation(self, annotation: int, result: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Give an annotation another result. Raises `NotThere`."""
        return self.ask(lambda: self.sdk.annotations.update(annotation, result=list(result)).model_dump())

    def delete_annotation(self, annotation: int) -> None:
        """Delete an annotation; one that is gone is no error."""
        try:
            self.ask(lambda: self.sdk.annotations.delete(annotation))
        except NotThere:
            return


# What runs on this machine is never asked through a proxy.
_DIRECT: dict[str, httpx.BaseTransport | None] = {
    "all://127.0.0.1": None,
    "all://localhost": None,
    "all://[::1]": None,
}


def connect(settings: Settings) -> LabelStudio:
    """The Label Studio of the settings. Raises `LabelStudioMissing` when they name none."""
    if not settings.label_studio_url or not settings.label_studio_token:
        raise LabelStudioMissing(
            "no Label Studio is set up: start the stack with it (`sightloop up`), or set "
            "SIGHTLOOP_LABEL_STUDIO_URL and SIGHTLOOP_LABEL_STUDIO_TOKEN"
        )
    return LabelStudio(settings.label_studio_url, settings.label_studio_token)


def stamp(moment: Any) -> str:
    """A time of Label Studio, which the SDK gives as text or as a time, in the one form that sorts and that
    filters understand; empty for none.
    """
    if not moment:
        return ""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    return str(moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))


def _project(found: Any) -> RemoteProject:
    return RemoteProject(
        id=int(found.id),
        title=str(found.title or ""),
        description=str(found.description or ""),
        config=str(found.label_config or ""),
        items=int(getattr(found, "task_number", None) or 0),
        annotations=int(getattr(found, "total_annotations_number", None) or 0),
        skipped=int(getattr(found, "skipped_annotations_number", None) or 0),
        model_version=str(getattr(found, "model_version", None) or ""),
    )
