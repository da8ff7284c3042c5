"""The pretrained networks as they are, for reading labelled boxes before there is a model of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from plugins.ocr import bases, catalogue, exporter
from plugins.ocr.predictor import OcrPredictor, open_predictor
from plugins.ocr.text import SPACE, normalise, vocabulary


def open_reader(texts: Iterable[str], *, threads: int) -> tuple[str, OcrPredictor]:
    """PP-OCRv6 small, which reads ASCII and what it knows of the scripts of these texts; see
    `plugins.contract.OpenReader`. Raises `PluginError` as `bases.load` does.
    """
    base = bases.load(catalogue.PP_OCR.name, None, offline=True)
    known, unseen = vocabulary((normalise(text) for text in texts), base.characters)
    characters = "".join(one for one in known if one not in unseen) + SPACE
    with TemporaryDirectory(prefix="sightloop-base-") as scratch:
        folder = Path(scratch)
        draft = exporter.untrained(base, folder, characters)
        predictor = open_predictor(folder, json.loads(json.dumps(draft.model)), threads=threads)
    return base.name, predictor
