"""The one training loop. A plugin supplies the network, data, loss, score and optimiser (`Work`); the rest is
here: learning rate, averaging of the weights, progress, stop, time budget, checkpoint and resume, the guard
against a loss that is not a number, and the sharing of batches among several processes.
"""

from __future__ import annotations

from plugins.fitting.checkpoint import Weights, part, read_checkpoint, whole_file, write_checkpoint
from plugins.fitting.loop import fit
from plugins.fitting.precision import autocast
from plugins.fitting.ranks import Share
from plugins.fitting.work import Ending, Fitted, Plan, Score, Work

__all__ = [
    "fit",
    "Work",
    "Score",
    "Share",
    "Plan",
    "Fitted",
    "Ending",
    "Weights",
    "autocast",
    "whole_file",
    "write_checkpoint",
    "read_checkpoint",
    "part",
]
