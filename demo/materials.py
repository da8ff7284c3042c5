"""Sample images: small photographs of three materials, cut from the photographs in scikit-image.

The photographs are 512 pixels wide. Training images come from their left part, the images to predict from the
right part, so that no pixel is in both.
"""

from __future__ import annotations

import random
from pathlib import Path

from PIL import Image, ImageEnhance
from skimage import data

CLASSES = ("brick", "grass", "gravel")
IMAGES_PER_CLASS = 120
_TRAINING = (0, 0, 320, 512)
_UNSEEN = (324, 0, 512, 512)
_DIAGONAL = 1.45  # of a square, and a little: what must surround a crop so that it can be turned


def make(folder: Path) -> tuple[Path, Path]:
    """The folder to upload and the image to predict, made unless they are there."""
    training, unseen = folder / "materials", folder / "unseen-brick.jpg"
    if unseen.exists():
        return training, unseen
    chance = random.Random(8700)
    for name in CLASSES:
        photograph = Image.fromarray(getattr(data, name)()).convert("RGB")
        (training / name).mkdir(parents=True, exist_ok=True)
        for number in range(IMAGES_PER_CLASS):
            _save(_crop(photograph, _TRAINING, chance), training / name / f"{number:03}.jpg", chance)
        if name == "brick":
            part = _crop(photograph, _UNSEEN, chance)
    _save(part, unseen, chance)
    return training, unseen


def _crop(photograph: Image.Image, region: tuple[int, int, int, int], chance: random.Random) -> Image.Image:
    """A square of the region: place, scale, angle, brightness and contrast as chance will have them."""
    left, top, right, bottom = region
    side = chance.randint(80, min(200, int((right - left) / _DIAGONAL)))
    around = int(side * _DIAGONAL)
    x, y = chance.randint(left, right - around), chance.randint(top, bottom - around)
    turned = photograph.crop((x, y, x + around, y + around)).rotate(
        chance.uniform(-25, 25), resample=Image.Resampling.BICUBIC
    )
    margin = (around - side) // 2
    square = turned.crop((margin, margin, margin + side, margin + side))
    length = chance.randint(128, 224)
    resized = square.resize((length, length), Image.Resampling.LANCZOS)
    brightened = ImageEnhance.Brightness(resized).enhance(chance.uniform(0.65, 1.35))
    return ImageEnhance.Contrast(brightened).enhance(chance.uniform(0.75, 1.25))


def _save(image: Image.Image, path: Path, chance: random.Random) -> None:
    image.save(path, quality=chance.randint(70, 95))
