"""Sample images of text: made-up price tags of a shop, drawn on the spot with fonts that matplotlib ships.

Much is sold in litres: the pretrained networks often read "1 l" as "11", so there is something to learn.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from backend.labels import voc
from demo.scenes import SIZE, Box, Printed, photographed
from plugins.contract import Label

IMAGES = 64
_TAG = (480, 264)
_EDGE = 18
_PAPERS = ((252, 252, 248), (255, 236, 120), (246, 240, 226), (255, 214, 60))
_INKS = ((24, 24, 28), (40, 36, 34), (20, 24, 60))
_RED, _WHITE = (196, 24, 32), (255, 255, 255)
_FAMILIES = ("DejaVuSans", "DejaVuSans", "DejaVuSerif")
_ARTICLES = (
    ("Apple juice", "1 l"), ("Basmati rice", "1 kg"), ("Black tea", "100 g"), ("Butter", "250 g"),
    ("Cider vinegar", "0.7 l"), ("Coffee beans", "500 g"), ("Dish soap", "750 ml"), ("Hazelnuts", "150 g"),
    ("Ginger biscuits", "180 g"), ("Lemonade", "0.33 l"), ("Mountain honey", "350 g"), ("Oat drink", "1.5 l"),
    ("Oat flakes", "800 g"), ("Olive oil", "0.5 l"), ("Peanut butter", "400 g"), ("Red lentils", "500 g"),
    ("Rye bread", "750 g"), ("Soy sauce", "0.15 l"), ("Spaghetti", "500 g"), ("Sparkling water", "6 x 1 l"),
    ("Tomato soup", "390 ml"), ("Whole milk", "1 l"),
)  # fmt: skip
_UNSEEN = ("Lemonade", "0.33 l")
_KINDS = ("Classic", "Organic", "Extra fine", "Family pack", "Mild", "New recipe", "Original", "Our best")
_BANNERS = ("OFFER", "NEW", "SALE")
Ink = tuple[int, int, int]
Font = ImageFont.FreeTypeFont


def make(folder: Path) -> tuple[Path, Path]:
    """The folder to upload and the image to predict, made unless they are there."""
    training, unseen = folder / "price-tags", folder / "unseen-tag.jpg"
    if unseen.exists():
        return training, unseen
    training.mkdir(parents=True, exist_ok=True)
    chance = random.Random(8700)
    for number in range(IMAGES):
        picture, regions = photographed(*_tag(chance.choice(_ARTICLES), chance), chance)
        path = training / f"{number:03}.jpg"
        path.write_bytes(picture)
        label = voc.write(path.name, Label(regions=regions), width=SIZE[0], height=SIZE[1])
        path.with_suffix(".xml").write_bytes(label)
    unseen.write_bytes(photographed(*_tag(_UNSEEN, chance), chance)[0])
    return training, unseen


def _tag(article: tuple[str, str], chance: random.Random) -> tuple[Image.Image, list[Printed]]:
    """One tag from the front, and what is printed on it."""
    image = Image.new("RGB", _TAG, chance.choice(_PAPERS))
    pen = _Pen(ImageDraw.Draw(image))
    family, ink = chance.choice(_FAMILIES), chance.choice(_INKS)
    top, of_price = 14, ink
    if chance.random() < 0.35:
        pen.draw.rectangle((0, 0, _TAG[0], 44), fill=_RED)
        pen.write(chance.choice(_BANNERS), (_EDGE, 7), _font(f"{family}-Bold", 26), _WHITE)
        top, of_price = 54, _RED
    pen.write(article[0], (_EDGE, top), _font(f"{family}-Bold", 34), ink)
    pen.write(chance.choice(_KINDS), (_EDGE, top + 44), _font(family, 24), ink)
    pen.price(chance.randrange(49, 1_999, 10), (_TAG[0] - 20, 232), f"{family}-Bold", of_price)
    pen.write(article[1], (_EDGE, 176), _font(family, 22), ink)
    code = "".join(chance.choice("0123456789") for _ in range(8))
    pen.bars(code, (_EDGE, 206), ink)
    pen.write(f"{code[:4]} {code[4:]}", (_EDGE, 238), _font("DejaVuSansMono", 18), ink)
    return image, pen.printed


@dataclass
class _Pen:
    """Writes on a tag and remembers what stands where."""

    draw: ImageDraw.ImageDraw
    printed: list[Printed] = field(default_factory=list)

    def write(self, text: str, place: tuple[int, int], font: Font, ink: Ink) -> None:
        """A text that begins at this upper left corner."""
        self.draw.text(place, text, ink, font=font)
        self.printed.append(Printed(text, _around(self.draw.textbbox(place, text, font=font))))

    def price(self, cents: int, end: tuple[int, int], family: str, ink: Ink) -> None:
        """A price whose cents are smaller, with its lower right corner at `end`."""
        parts = ((f"{cents // 100}.", _font(family, 92)), (f"{cents % 100:02}", _font(family, 64)))
        left = end[0] - sum(self.draw.textlength(text, font=font) for text, font in parts)
        boxes = []
        for text, font in parts:
            self.draw.text((left, end[1]), text, ink, font=font, anchor="ls")
            boxes.append(self.draw.textbbox((left, end[1]), text, font=font, anchor="ls"))
            left += self.draw.textlength(text, font=font)
        whole, small = boxes
        box = (whole[0], min(whole[1], small[1]), small[2], max(whole[3], small[3]))
        self.printed.append(Printed("".join(text for text, _ in parts), _around(box)))

    def bars(self, code: str, place: tuple[int, int], ink: Ink) -> None:
        """Bars as a scanner wants them, more or less."""
        left, top = place
        for digit in map(int, code):
            for width in (1 + digit % 3, 1 + digit // 4):
                self.draw.rectangle((left, top, left + width, top + 28), fill=ink)
                left += width + 4


def _around(box: Box) -> Box:
    """Two pixels more on every side, as people draw boxes."""
    left, top, right, bottom = box
    return left - 2, top - 2, right + 2, bottom + 2


def _font(name: str, size: int) -> Font:
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", f"{name}.ttf")), size)
