"""The pretrained networks for reading text: what they are and what their files must be."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

APACHE = "Apache-2.0"


@dataclass(frozen=True)
class File:
    """A file of weights as it was published; see `plugins.weights.Published`."""

    file: str
    sha256: str
    size: int
    package: str = ""
    url: str = ""


@dataclass(frozen=True)
class Entry:
    """What a base is made of. `architectures` are docTR's names of detector and recogniser, empty for PP-OCR;
    `files` those of detector and recogniser, empty for random weights.
    """

    name: str
    license: str
    attribution: str
    files: tuple[File, ...] = ()
    architectures: tuple[str, ...] = ()


def _doctr(architecture: str, release: str, name: str, size: int) -> File:
    """docTR publishes no more of the sha256 than the eight digits in a file's name; these are pinned, the
    connection is https, and the file is read without unpickling code. `size` is that of the same weights
    saved here, and a tenth more.
    """
    return File(
        file=name,
        sha256=name.removesuffix(".pt").rpartition("-")[2],
        size=size,
        url=f"https://doctr-static.mindee.com/models?id={release}/{name}&src=0",
    )


PP_OCR = Entry(
    name="pp-ocrv6-small",
    license=APACHE,
    attribution="PP-OCRv6 small by the PaddleOCR authors, converted to ONNX by the RapidOCR authors "
    "(package rapidocr); Apache-2.0",
    files=(
        File(
            "PP-OCRv6_det_small.onnx",
            "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
            9_929_594,
            package="rapidocr",
        ),
        File(
            "PP-OCRv6_rec_small.onnx",
            "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
            21_234_383,
            package="rapidocr",
        ),
    ),
)
DOCTR = Entry(
    name="doctr-mobilenet",
    license=APACHE,
    attribution="db_mobilenet_v3_large and crnn_mobilenet_v3_large of docTR by Mindee; Apache-2.0",
    files=(
        _doctr("db_mobilenet_v3_large", "v0.8.1", "db_mobilenet_v3_large-21748dd0.pt", 18_600_000),
        _doctr("crnn_mobilenet_v3_large", "v0.3.1", "crnn_mobilenet_v3_large_pt-f5259ec2.pt", 20_000_000),
    ),
    architectures=("db_mobilenet_v3_large", "crnn_mobilenet_v3_large"),
)
SCRATCH = Entry(
    name="scratch",
    license=APACHE,
    attribution="architectures db_mobilenet_v3_large and crnn_mobilenet_v3_large of docTR by Mindee, "
    "without its weights; Apache-2.0",
    architectures=DOCTR.architectures,
)
ALL = (PP_OCR, DOCTR, SCRATCH)
"""The first one is the default."""
NAMES = tuple(entry.name for entry in ALL)


def doctr_cache() -> Path:
    """The folder into which docTR itself downloads (`DOCTR_CACHE_DIR` decides)."""
    return Path(os.environ.get("DOCTR_CACHE_DIR") or Path.home() / ".cache" / "doctr") / "models"
