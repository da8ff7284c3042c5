"""A linear layer on features of the pretrained network: logistic regression on one plain and two augmented
views.

Its strength of regularisation is the one with the least log loss on the validation side.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from PIL import Image
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from torch import nn
from torchvision.transforms import v2

from benchmarks.classification import network
from benchmarks.classification.measuring import Outcome, Probabilities, Task
from benchmarks.classification.plain import augmentation, plain_view

_STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)
_VIEWS = 2


def run(task: Task) -> Outcome:
    """Fit and predict; ready long before any budget, which is not looked at."""
    torch.manual_seed(task.seed)
    extract = nn.Sequential(network.body(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    pictures = network.pictures(task, "train")
    views = [plain_view(), *[augmentation()] * _VIEWS]
    rows = np.concatenate([_features(extract, pictures, view) for view in views])
    targets = np.tile(task.targets("train"), len(views))
    validation = _features(extract, network.pictures(task, "validation"), plain_view())
    fitted = {}
    for strength in _STRENGTHS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # close enough is good enough
            model = LogisticRegression(C=strength, max_iter=500).fit(rows, targets)
        given = _probabilities(model, validation, len(task.labels))
        loss = log_loss(task.targets("validation"), given, labels=range(len(task.labels)))
        fitted[strength] = loss, model, given
    strength = min(fitted, key=lambda one: fitted[one][0])
    _, model, given = fitted[strength]
    seconds = task.clock.elapsed()
    with task.clock.paused():
        features = _features(extract, network.pictures(task, "test"), plain_view())
        test = _probabilities(model, features, len(task.labels))
    return Outcome(test, given, seconds, len(rows) / seconds, facts={"strength": strength})


def _features(extract: nn.Module, pictures: list[Image.Image], view: v2.Transform) -> Probabilities:
    parts = []
    with torch.inference_mode():
        for start in range(0, len(pictures), 32):
            x = torch.stack([view(one) for one in pictures[start : start + 32]])
            parts.append(extract(x.contiguous(memory_format=torch.channels_last)).numpy())
    return np.concatenate(parts)


def _probabilities(model: LogisticRegression, rows: Probabilities, classes: int) -> Probabilities:
    """A column for every class, also for those without an image to train on."""
    table: Probabilities = np.full((len(rows), classes), 1e-7)
    table[:, model.classes_] = model.predict_proba(rows)
    table /= table.sum(1, keepdims=True)
    return table
