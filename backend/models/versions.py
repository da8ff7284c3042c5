"""How a model is named where predictions are kept: Label Studio's `model_version`."""

from __future__ import annotations

import re

from backend.models.tables import Model

NONE = "none"  # the version of a dataset that has no model yet
_OURS = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,29}@[0-9a-f]{12}")


def version_of(model: Model) -> str:
    """The model's name and the start of its digest, such as `parts3@0f3c5a9b12de`.

    The digest, because a deleted model's name may be given again. An `@` stands in no title of a project or
    ML backend of ours: Label Studio takes a project whose `model_version` is an ML backend's title for one
    that shows live predictions only.
    """
    return f"{model.name}@{model.digest[:12]}"


def is_ours(version: str) -> bool:
    """Whether predictions of this version were made by Sightloop, by whichever model."""
    return _OURS.fullmatch(version) is not None
