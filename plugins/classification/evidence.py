"""Where in an image the evidence for a class lies, and how to show it.

Class activation mapping (Zhou et al., Learning Deep Features for Discriminative Localization,
arXiv:1512.04150). The scores are linear in the mean of the last feature maps, so that what each place adds to
a score is no estimate but the exact share: score = mean over places of (maps[:, y, x] @ weight) + bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from plugins.contract import Evidence, PluginError

Floats = npt.NDArray[np.float32]

HEAD = "head.npz"
"""The file of a bundle with the arrays `weight` (classes, channels) and `bias` (classes)."""

_DIGITS = 3  # of a value in -1..1: finer than any eye or colour

# Oklab (Ottosson 2020, https://bottosson.github.io/posts/oklab/): equal distances look equally different.
_RGB_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_LMS_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
_LAB_TO_LMS, _LMS_TO_RGB = np.linalg.inv(_LMS_TO_LAB), np.linalg.inv(_RGB_TO_LMS)
# Lightness is squeezed into this range, so that colour shows on the darkest and the lightest images.
_DARKEST, _LIGHTEST = 0.35, 0.80
# Where in the (a, b) plane 1 and -1 lie: orange and blue, which nearly all people tell apart.
_FOR, _AGAINST = np.array([0.10, 0.13]), np.array([-0.04, -0.15])


@dataclass(frozen=True)
class Head:
    """The last layer: scores are features @ weight.T + bias. `weight` is (classes, channels)."""

    weight: Floats
    bias: Floats


def read_head(folder: Path, classes: int) -> Head | None:
    """The last layer in a bundle or draft, None if it holds none. Raises `PluginError`."""
    path = folder / HEAD
    if not path.is_file():
        return None
    try:
        with np.load(BytesIO(path.read_bytes()), allow_pickle=False) as file:
            head = Head(file["weight"].astype(np.float32), file["bias"].astype(np.float32))
    except Exception as error:  # NumPy raises almost anything for a file that is not one of its own
        raise PluginError("model_unreadable", f"{HEAD} cannot be read: {error}") from error
    shapes = head.weight.shape, head.bias.shape
    if head.weight.ndim != 2 or shapes != ((classes, shapes[0][1]), (classes,)):
        raise PluginError(
            "model_unreadable", f"{HEAD} has the shapes {shapes}, not those of {classes} classes"
        )
    if not (np.isfinite(head.weight).all() and np.isfinite(head.bias).all()):
        raise PluginError("model_unreadable", f"{HEAD} holds a value that is not a number")
    return head


def shares(maps: Floats, head: Head, targets: npt.NDArray[np.intp]) -> Floats:
    """What each place adds to the score of a class, less what it adds to the mean score of all classes.

    `maps` (images, channels, height, width) and `targets` (images), places in the order of the labels, give
    (images, height, width). The mean over all places plus `bias[target] - bias.mean()` is the score of the
    class less the mean score. Only differences of scores count in a softmax; without taking the mean off, a
    place that speaks for every class alike would look like evidence.
    """
    weight = head.weight[targets] - head.weight.mean(0)
    added: Floats = np.einsum("nchw,nc->nhw", maps, weight, optimize=True)
    return added


def evidence(label: str, share: Floats) -> Evidence:
    """The grid of one image, (height, width) as `shares` gives it, scaled as the contract says."""
    peak = float(np.abs(share).max(initial=0.0))
    scaled = share / peak if peak else share
    # Adding 0.0 turns the negative zero, which would look like a slip, into the other.
    rows = (np.round(scaled.astype(np.float64), _DIGITS) + 0.0).tolist()
    return Evidence(label, tuple(tuple(row) for row in rows), round(peak, _DIGITS))


def overlay(image: Image.Image, evidence: Evidence, *, longest: int = 1024) -> Image.Image:
    """The image with its evidence laid over, at most `longest` pixels on its longer side.

    The image becomes grey and keeps its light and dark, what speaks for the class is orange, what speaks
    against it blue, both the stronger the more it says.
    """
    shown = image.convert("RGB")
    shown.thumbnail((longest, longest))
    grid = Image.fromarray(np.array(evidence.grid, np.float32))
    values = np.asarray(grid.resize(shown.size, Image.Resampling.BICUBIC), np.float64).clip(-1, 1)
    lightness = _lightness(np.asarray(shown))
    lab = np.empty((*lightness.shape, 3))
    lab[..., 0] = _DARKEST + (_LIGHTEST - _DARKEST) * lightness
    lab[..., 1:] = np.maximum(values, 0)[..., None] * _FOR + np.maximum(-values, 0)[..., None] * _AGAINST
    return Image.fromarray(_to_bytes(lab))


def _lightness(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """sRGB bytes (height, width, 3) -> Oklab's lightness (height, width), 0 black to 1 white."""
    levels = np.arange(256) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    lms = np.cbrt(linear[pixels] @ _RGB_TO_LMS.T)
    lightness: npt.NDArray[np.float64] = lms @ _LMS_TO_LAB[0]
    return lightness.clip(0, 1)


def _to_bytes(lab: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Oklab (height, width, 3) -> sRGB bytes; colours outside of sRGB are cut."""
    linear = ((lab @ _LAB_TO_LMS.T) ** 3 @ _LMS_TO_RGB.T).clip(0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    pixels: npt.NDArray[np.uint8] = (srgb * 255).round().astype(np.uint8)
    return pixels
