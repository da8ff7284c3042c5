"""What is measured of a model, and what the numbers mean. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from plugins.contract.predicting import Judged


@dataclass(frozen=True)
class Metric:
    """One number of an `Evaluation`, for people who have never trained a model.

    `better` says which of two values is preferred; `neither` for counts. `share`: between 0 and 1, shown in
    percent.
    """

    name: str
    meaning: str
    better: Literal["higher", "lower", "neither"] = "higher"
    share: bool = False


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one model on one split: flat numbers for comparison, and details for people.

    `metrics` are finite numbers by name; `Plugin.metrics` describes them, and the one that
    `Plugin.headline` names ranks models. `details` are JSON values (per class, confusion matrix, mistakes).
    `answers` are all answers one by one, for whoever wants to look at them; none if a plugin keeps none.
    """

    metrics: Mapping[str, float]
    details: Mapping[str, Any] = field(default_factory=dict)
    answers: Sequence[Judged] = ()
