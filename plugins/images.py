"""The one safe image decoder: every image from outside passes through `probe` or `decode`.

Formats are an allow-list, size and pixels are checked from the header before a pixel is decoded, and
whatever the decoder library raises becomes one `ImageError` with a code and a sentence.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from math import ceil
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
TRAINING_FORMATS = ("JPEG", "PNG")
EXTENSIONS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".bmp": "BMP",
    ".webp": "WEBP",
}
_ORIENTATION = 0x0112  # the EXIF tag; 1 means upright (EXIF 2.32, section 4.6.4)
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# The highest value of a 16-bit grey image, and by how many bits it is too long. The file does not say how
# many bits the camera fills: 12 of them taken for 16 would leave sixteen greys.
_DEPTHS = ((255, 0), (4095, 4), (65535, 8))

# `Limits` is what counts here; Pillow's own limit would warn from 89 million pixels on, whatever they say.
Image.MAX_IMAGE_PIXELS = None

ImageErrorCode = Literal[
    "empty_file", "too_many_bytes", "format_not_supported", "too_many_pixels", "unreadable", "truncated"
]


class ImageError(Exception):
    """An image is refused; `code` names the reason, the message is a sentence for a person."""

    def __init__(self, code: ImageErrorCode, message: str) -> None:
        super().__init__(message)
        self.code: ImageErrorCode = code


@dataclass(frozen=True)
class Limits:
    """What is accepted: bytes of the file and pixels (width x height) of the decoded image."""

    max_bytes: int = 20 * 1024 * 1024
    max_pixels: int = 64_000_000


DEFAULT_LIMITS = Limits()
# For images of a snapshot: the check has let exactly these bytes in, by the limits of the settings.
CHECKED = Limits(2**31, 2**31)


@dataclass(frozen=True)
class Header:
    """What the header says, no pixel decoded. `width` and `height` are upright pixels; `rotated` says that
    an EXIF orientation was applied to get them.
    """

    format: str
    mode: str
    width: int
    height: int
    frames: int
    rotated: bool


@dataclass(frozen=True)
class Decoded:
    """An upright RGB image, perhaps reduced; `width` and `height` are those of the upright original."""

    image: Image.Image
    width: int
    height: int
    header: Header


def probe(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Header:
    """Read the header only. Raises `ImageError`; the cost does not depend on the number of pixels."""
    opened = _open(data, limits)
    return _header(opened, opened.size)


def decode(data: bytes, *, wanted_side: int | None = None, limits: Limits = DEFAULT_LIMITS) -> Decoded:
    """Decode to upright RGB: alpha laid on white, the first frame of an animation, grey of 16 bits scaled to
    8 (as 12 or 8 bits where no pixel is above 4095 or 255).

    `wanted_side`: a JPEG may be decoded at 1/2, 1/4 or 1/8 size as long as its shorter side keeps at least
    this many pixels, which is several times faster for photographs.

    Raises `ImageError`.
    """
    opened = _open(data, limits)
    size = opened.size  # before `draft` changes it
    try:
        if wanted_side is not None and opened.format in ("JPEG", "MPO"):
            scale = wanted_side / min(opened.size)
            if scale < 1:
                opened.draft(None, (ceil(opened.width * scale), ceil(opened.height * scale)))
        opened.load()
        header = _header(opened, size)  # now: a PNG may carry its EXIF data behind the pixels
        image = _to_rgb(opened)
        if header.rotated:
            image = image.transpose(_UPRIGHT[_orientation(opened)])
    except MemoryError:
        raise ImageError("too_many_pixels", "the image does not fit into memory; send it smaller") from None
    except Exception as error:  # a decoder fed with hostile bytes raises almost anything
        if "truncated" in str(error) or isinstance(error, EOFError):
            raise ImageError("truncated", f"the image is cut off: {error}") from None
        raise ImageError("unreadable", f"the image is damaged: {error}") from None
    return Decoded(image, header.width, header.height, header)


def _open(data: bytes, limits: Limits) -> Image.Image:
    if not data:
        raise ImageError("empty_file", "the file is empty")
    if len(data) > limits.max_bytes:
        raise ImageError(
            "too_many_bytes", f"the file has {len(data):,} bytes; at most {limits.max_bytes:,} are accepted"
        )
    try:
        opened = Image.open(BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise ImageError("format_not_supported", "not a JPEG, PNG, BMP or WEBP image") from None
    except Exception as error:  # see decode
        raise ImageError("unreadable", f"the image's header is damaged: {error}") from None
    if opened.width * opened.height > limits.max_pixels:
        raise ImageError(
            "too_many_pixels",
            f"the image has {opened.width} x {opened.height} pixels; at most {limits.max_pixels:,} are read",
        )
    return opened


def _header(opened: Image.Image, size: tuple[int, int]) -> Header:
    turned = _orientation(opened)
    width, height = size
    if turned >= 5:  # orientations 5 to 8 swap the axes
        width, height = height, width
    return Header(
        format="JPEG" if opened.format == "MPO" else str(opened.format),
        mode=opened.mode,
        width=width,
        height=height,
        frames=int(getattr(opened, "n_frames", 1)),
        rotated=turned != 1,
    )


def _orientation(opened: Image.Image) -> int:
    try:
        # Not `opened.getexif()`: that of a PNG decodes the image, and a damaged one then counts as loaded.
        value = Image.Image.getexif(opened).get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF: many programs write it, and the pixels are fine
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _to_rgb(opened: Image.Image) -> Image.Image:
    if opened.mode.startswith("I"):  # 16-bit grey: Pillow's own conversion would clip at 255
        grey = np.asarray(opened)
        top = int(grey.max(initial=0))
        excess = next(bits for most, bits in _DEPTHS if top <= most)
        return Image.fromarray((grey >> excess).astype(np.uint8)).convert("RGB")
    if "transparency" in opened.info or opened.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        rgba = opened.convert("RGBA")
        white = Image.new("RGB", rgba.size, (255, 255, 255))
        white.paste(rgba, mask=rgba)  # the same pixels as `alpha_composite`, in half of its memory
        return white
    return opened if opened.mode == "RGB" else opened.convert("RGB")
