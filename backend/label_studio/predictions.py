"""Predictions in a Label Studio project: put there in bulk, told apart by their model version, shown.

Label Studio shows the predictions whose version is the project's `model_version`. A user may choose the title
of an ML backend there instead: then it asks that one for every item it opens. That choice is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
from label_studio_sdk.core.api_error import ApiError

from backend.label_studio.bodies import Body
from backend.label_studio.client import IMPORT_SECONDS, PAGE, LabelStudio

_NOBODY_HAS_SAID = (
    {"filter": "filter:tasks:total_annotations", "operator": "equal", "type": "Number", "value": 0},
    {"filter": "filter:tasks:cancelled_annotations", "operator": "equal", "type": "Number", "value": 0},
)
_SEVERAL = (
    {"filter": "filter:tasks:total_predictions", "operator": "greater", "type": "Number", "value": 1},
)


class Predictions:
    """The predictions of one project. Raises the errors of `backend.label_studio.client`."""

    def __init__(self, studio: LabelStudio, project: int) -> None:
        self._studio, self._project = studio, project

    def versions(self) -> dict[str, int]:
        """How many predictions of which model version there are."""
        found = self._call("GET", self._path("model-versions/"))
        return {str(version): int(number) for version, number in found.items()}

    def open_items(self, version: str) -> Iterator[list[int]]:
        """The items that nobody has labelled or skipped and that have no prediction of that version, page by
        page, in the order of their numbers.
        """
        lacking = {
            "filter": "filter:tasks:predictions_model_versions",
            "operator": "not_contains",
            "type": "List",
            "value": [version],
        }
        for page in self._studio.items(self._project, [*_NOBODY_HAS_SAID, lacking], whole=False):
            yield [int(item["id"]) for item in page]

    def add(self, bodies: Sequence[Body]) -> int:
        """Import predictions (`task`, `result`, `score`, `model_version`); how many were taken.

        Asked once: the SDK would send them again after a lost answer, and they would stand there twice. Label
        Studio leaves out silently what it does not like, and takes none at all when an item is gone
        (`LabelStudioRefused`).
        """
        answer = self._call("POST", self._path("import/predictions"), list(bodies), again=False)
        return int(answer["created"])

    def lacking(self, items: Sequence[int], version: str) -> tuple[set[int], set[int]]:
        """Of these items, those without a prediction of that version, and those that are gone."""
        without: set[int] = set()
        gone = set(items)
        for start in range(0, len(items), PAGE):
            for item in self._studio.items_of(self._project, items[start : start + PAGE]):
                gone.discard(int(item["id"]))
                if all(one.get("model_version") != version for one in item.get("predictions") or []):
                    without.add(int(item["id"]))
        return without, gone

    def remove_twins(self, version: str) -> int:
        """Remove all but the newest prediction of that version from each item; how many.

        They come of an import whose answer was lost, and of an item that was opened while it was predicted.
        """
        surplus: list[int] = []
        for page in self._studio.items(self._project, _SEVERAL):
            for item in page:
                same = [one for one in item["predictions"] if one.get("model_version") == version]
                surplus += sorted(int(one["id"]) for one in same)[:-1]
        for prediction in surplus:
            self._call("DELETE", f"api/predictions/{prediction}/", gone=(404,))
        return len(surplus)

    def remove(self, version: str) -> int:
        """Remove the predictions of a version; how many. What was submitted stays as it is."""
        shown = self.shown()
        answer = self._call("DELETE", self._path("model-versions/"), {"model_version": version})
        if shown not in ("", version) and self.shown() != shown:  # it forgets an ML backend's title then
            self._studio.update_project(self._project, model_version=shown)
        return int(answer.get("deleted_predictions", 0))

    def shown(self) -> str:
        """The project's `model_version`: that of what it shows, an ML backend's title, or empty."""
        project = self._studio.project(self._project)
        return project.model_version if project is not None else ""

    def show(self, version: str, *, titles: Sequence[str] = ()) -> bool:
        """Show the predictions of that version; Label Studio wants one of them to be there. Whether it does
        now: with one of the `titles`, which a user has chosen, it shows live predictions instead.
        """
        shown = self.shown()
        if shown in titles:
            return False
        if shown != version:
            self._studio.update_project(self._project, model_version=version)
        return True

    def _path(self, rest: str) -> str:
        return f"api/projects/{self._project}/{rest}"

    def _call(
        self, method: str, path: str, body: Any = None, *, again: bool = True, gone: tuple[int, ...] = ()
    ) -> Any:
        return self._studio.ask(_request(self._studio, method, path, body, gone), again=again)


def _request(
    studio: LabelStudio, method: str, path: str, body: Any, gone: tuple[int, ...]
) -> Callable[[], Any]:
    """A call that the SDK has no method for (model versions), or one that walks every value of what is sent
    (an import); with the SDK's own connection and token.
    """

    def call() -> Any:
        answer: httpx.Response = studio.sdk._client_wrapper.httpx_client.request(
            path,
            method=method,
            json=body,
            request_options={"timeout_in_seconds": int(IMPORT_SECONDS), "max_retries": 0},
        )
        if answer.status_code in gone:
            return {}
        content = answer.json() if answer.content else {}
        if not answer.is_success:
            raise ApiError(status_code=answer.status_code, headers=dict(answer.headers), body=content)
        return content

    return call
