"""What trainers do about a model to go on from that does not fit."""

from __future__ import annotations

from plugins.contract import PluginError, Previous, TrainingContext


class Unfit(Exception):
    """The model cannot be gone on from; the message is the end of a sentence about it."""


def say_or_refuse(context: TrainingContext, previous: Previous, base: str, reason: Unfit) -> None:
    """Log that training starts from `base` instead, and why. Raises `PluginError` (`previous_differs`) when
    the user named the model.
    """
    if previous.required:
        raise PluginError(
            "previous_differs", f"training cannot start from model {previous.name}: it {reason}"
        ) from None
    context.log(f"Starting from {base} and not from model {previous.name}, which {reason}.")
