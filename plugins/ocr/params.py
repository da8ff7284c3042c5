"""What a user may choose when training a reader. Everything has a default that needs no thought."""

from __future__ import annotations

from dataclasses import dataclass, field

from plugins.ocr.catalogue import NAMES

SIDES = (256, 320, 384, 448, 512, 544, 576, 640, 736, 832, 960)


@dataclass(frozen=True)
class OcrParams:
    """Parameters of `ocr-high-performance`; None means: chosen from the data."""

    base: str = field(
        default=NAMES[0],
        metadata={"help": "The pretrained networks to start from.", "choices": NAMES},
    )
    input_side: int | None = field(
        default=None,
        metadata={
            "help": "Side in pixels of the squares that finding text is trained on; empty: chosen from the "
            "images and the time.",
            "choices": SIDES,
        },
    )
    detector_share: float | None = field(
        default=None,
        metadata={
            "help": "Share of the training time for finding text, the rest is for reading it; empty: by "
            "what goes wrong before training.",
            "minimum": 0.0,
            "maximum": 1.0,
        },
    )
    detector_epochs: int | None = field(
        default=None,
        metadata={
            "help": "How often training to find text sees every image; empty: as often as time allows.",
            "minimum": 1,
            "maximum": 10_000,
        },
    )
    recogniser_epochs: int | None = field(
        default=None,
        metadata={
            "help": "How often training to read sees every text; empty: as often as time allows.",
            "minimum": 1,
            "maximum": 10_000,
        },
    )
    learning_rate: float | None = field(
        default=None,
        metadata={
            "help": "Highest step size of the training; empty: a value that suits most data.",
            "minimum": 1e-6,
            "maximum": 0.01,
        },
    )
    fine_tune: bool = field(
        default=True,
        metadata={
            "help": "Train the networks; without it the pretrained ones are only fitted to the labels' "
            "characters and boxes, within minutes."
        },
    )
    language: bool = field(
        default=True,
        metadata={
            "help": "Let the labels' texts have a say where a character (no digit) is in doubt; without it "
            "every character is read by itself."
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
