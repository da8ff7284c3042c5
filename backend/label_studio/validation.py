"""Whether Label Studio can show a prediction in a project.

It keeps what it cannot show without a word: regions of controls that the labeling configuration lacks, of
classes that were taken out of it. So every prediction is held against the configuration before it is sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from label_studio_sdk.label_interface.interface import LabelInterface

from backend.errors import InvalidRequest

_MOST_SHOWN = 3


class Validator:
    """Holds predictions against one labeling configuration. Raises `InvalidRequest` for one that is none."""

    def __init__(self, config: str) -> None:
        try:
            self._interface: Any = LabelInterface(config)
        except Exception as error:  # an XML parser fed with what users wrote, behind the SDK
            raise InvalidRequest(f"the project's labeling configuration cannot be read: {error}") from None

    def complaint(self, body: Mapping[str, Any]) -> str:
        """Why this prediction (`result`, `score`) cannot be shown; empty when it can."""
        result: Sequence[Mapping[str, Any]] = body["result"]
        if not result:  # the SDK asks for at least one region; an image without text has none
            return ""
        try:
            faults = self._interface.validate_prediction(dict(body), return_errors=True)
        except Exception as error:  # it walks values of any shape
            faults = [f"{type(error).__name__}: {error}"]
        listed = faults if isinstance(faults, list) else []
        more = f" and {len(listed) - _MOST_SHOWN} more" if len(listed) > _MOST_SHOWN else ""
        return "; ".join(str(fault) for fault in listed[:_MOST_SHOWN]) + more


@lru_cache(maxsize=8)
def validator(config: str) -> Validator:
    """The validator of a configuration; those that were asked for last are kept."""
    return Validator(config)
