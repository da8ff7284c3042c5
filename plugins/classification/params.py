"""What a user may choose when training a classifier. Everything has a default that needs no thought."""

from __future__ import annotations

from dataclasses import dataclass, field

from plugins.classification.catalogue import PRECISE

IMAGE_SIZES = (64, 96, 128, 160, 192, 224, 256, 288, 320, 384)


@dataclass(frozen=True)
class ClassificationParams:
    """Parameters of both classification algorithms; None means: chosen from the data."""

    epochs: int | None = field(
        default=None,
        metadata={
            "help": "How often fine-tuning sees every image; empty: as often as images and time allow.",
            "minimum": 1,
            "maximum": 1000,
        },
    )
    image_size: int | None = field(
        default=None,
        metadata={
            "help": "Side in pixels of the square that images are scaled to; empty: chosen from the images.",
            "choices": IMAGE_SIZES,
        },
    )
    learning_rate: float | None = field(
        default=None,
        metadata={
            "help": "Highest step size of fine-tuning; empty: chosen from what the first model has wrong.",
            "minimum": 1e-6,
            "maximum": 0.1,
        },
    )
    fine_tune: bool = field(
        default=True,
        metadata={"help": "Train the whole network; without it only its last layer, within a minute."},
    )
    precision: float = field(
        default=0.95,
        metadata={
            "help": "Share of right answers wanted among those acted on; the others are marked as not sure.",
            "minimum": 0.5,
            "maximum": 0.999,
        },
    )
    seed: int = field(
        default=0,
        metadata={
            "help": "Start of the random numbers; the same seed gives the same model on the same machine "
            "unless it is the time that ends the training.",
            "minimum": 0,
            "maximum": 2**31 - 1,
        },
    )


@dataclass(frozen=True)
class PrecisionParams(ClassificationParams):
    """Parameters of `classification-high-precision`."""

    base: str | None = field(
        default=None,
        metadata={
            "help": "The pretrained network to start from; empty: the most accurate one at hand that the "
            "time budget allows.",
            "choices": tuple(base.name for base in PRECISE),
        },
    )
