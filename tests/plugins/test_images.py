"""The image decoder against everything that a folder of images, or an enemy, may hold."""

from __future__ import annotations

import csv
import os
import struct
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from plugins.images import EXTENSIONS, FORMATS, ImageError, Limits, decode, probe

TORTURE = Path(os.environ.get("SIGHTLOOP_BENCH_DATA", "../shared/data")) / "torture"


def _picture(width: int = 48, height: int = 32) -> Image.Image:
    """Four quarters of different colours, so that every turn of it looks different."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[: height // 2, : width // 2] = (200, 30, 30)
    pixels[: height // 2, width // 2 :] = (30, 200, 30)
    pixels[height // 2 :, : width // 2] = (30, 30, 200)
    pixels[height // 2 :, width // 2 :] = (220, 220, 60)
    return Image.fromarray(pixels)


def _bytes(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def _png(*chunks: tuple[bytes, bytes]) -> bytes:
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in chunks:
        data += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return data


def _head(width: int, height: int) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)


def _bmp(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 1000, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


PNG_BOMB = _png(_head(50_000, 50_000), (b"IDAT", zlib.compress(b"\0" * 1_000_000)), (b"IEND", b""))
# A lossless WEBP of 16,383 x 16,383 pixels: the largest that its header can say.
WEBP_BOMB = b"RIFF" + struct.pack("<I", 1000) + b"WEBPVP8L" + struct.pack("<I", 988)
WEBP_BOMB += b"\x2f" + struct.pack("<I", 16_382 | 16_382 << 14) + b"\0" * 983
TEXT_BOMB = _png(
    _head(8, 8),
    (b"zTXt", b"bomb\0\0" + zlib.compress(b"\0" * 100_000_000, 9)),
    (b"IDAT", zlib.compress(b"\0" * 25 * 8)),
    (b"IEND", b""),
)
PROFILE_BOMB = _png(
    _head(8, 8),
    (b"iCCP", b"bomb\0\0" + zlib.compress(b"\0" * 100_000_000, 9)),
    (b"IDAT", zlib.compress(b"\0" * 25 * 8)),
    (b"IEND", b""),
)


def _refusal(data: bytes, limits: Limits | None = None) -> str:
    with pytest.raises(ImageError) as caught:
        decode(data, limits=limits or Limits())
    assert str(caught.value)
    return caught.value.code


@pytest.mark.parametrize("format", FORMATS)
def test_the_four_formats_are_decoded(format: str) -> None:
    options = {"lossless": True} if format == "WEBP" else {"quality": 95} if format == "JPEG" else {}
    decoded = decode(_bytes(_picture(), format, **options))
    assert (decoded.header.format, decoded.width, decoded.height) == (format, 48, 32)
    assert decoded.image.mode == "RGB"
    difference = np.abs(np.asarray(decoded.image, dtype=int) - np.asarray(_picture(), dtype=int))
    assert np.median(difference) <= 3


def test_every_extension_names_a_format() -> None:
    assert set(EXTENSIONS.values()) == set(FORMATS)
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in EXTENSIONS)


@pytest.mark.parametrize(
    "format", ["GIF", "TIFF", "ICO", "PPM", "TGA", "PDF", "JPEG2000", "PCX", "EPS", "AVIF"]
)
def test_other_formats_are_refused_whatever_their_name(format: str) -> None:
    assert _refusal(_bytes(_picture(), format)) == "format_not_supported"


@pytest.mark.parametrize(
    "data",
    [
        b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        b"8BPS\0\1" + b"\0" * 100,
        b"%PDF-1.7\n",
        b"PK\x03\x04" + b"\0" * 100,
        b"\x7fELF" + b"\0" * 100,
        b"push graphic-context\nviewbox 0 0 640 480\n",
        b"hello",
        b"\0" * 1000,
    ],
)
def test_what_is_no_image_is_refused(data: bytes) -> None:
    assert _refusal(data) == "format_not_supported"


def test_an_empty_file_is_refused() -> None:
    assert _refusal(b"") == "empty_file"
    with pytest.raises(ImageError) as caught:
        probe(b"")
    assert caught.value.code == "empty_file"


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("share", [0.99, 0.75, 0.5])
def test_an_image_cut_off_is_refused(format: str, share: float) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = _bytes(noise, format)
    assert _refusal(data[: int(len(data) * share)]) in ("truncated", "unreadable")


def test_a_jpeg_cut_off_is_refused_at_every_scale() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8))
    data = _bytes(noise, "JPEG")
    for wanted in (None, 256, 128, 32, 1):
        with pytest.raises(ImageError) as caught:
            decode(data[:-2000], wanted_side=wanted)
        assert caught.value.code == "truncated"


def test_limits_are_inclusive() -> None:
    data = _bytes(_picture(), "PNG")
    decode(data, limits=Limits(max_bytes=len(data), max_pixels=48 * 32))
    assert _refusal(data, Limits(max_bytes=len(data) - 1)) == "too_many_bytes"
    assert _refusal(data, Limits(max_pixels=48 * 32 - 1)) == "too_many_pixels"


@pytest.mark.parametrize(
    "data", [PNG_BOMB, _bmp(50_000, 50_000), _bmp(50_000, -50_000), _bmp(2**31 - 1, 2**31 - 1)]
)
def test_bombs_are_refused_from_their_header(data: bytes) -> None:
    assert _refusal(data) == "too_many_pixels"
    with pytest.raises(ImageError):
        probe(data)


def test_the_header_of_a_png_is_read_without_its_pixels() -> None:
    broken = _png(_head(5000, 5000), (b"IDAT", b"not compressed data"), (b"IEND", b""))
    assert probe(broken).width == 5000
    assert _refusal(broken) == "unreadable"


def test_exif_data_behind_the_pixels_count() -> None:
    data = _bytes(_picture(), "PNG")
    exif = Image.Exif()
    exif[0x0112] = 6
    body = exif.tobytes().removeprefix(b"Exif\0\0")
    late = data[:-12] + _png((b"eXIf", body))[8:] + data[-12:]
    decoded = decode(late)
    assert (decoded.width, decoded.height, decoded.header.rotated) == (32, 48, True)


def test_the_largest_allowed_image_of_pillow_does_not_limit_ours() -> None:
    side = 10_000  # 100 million pixels: Pillow warns from 89 million on
    data = _png(_head(side, side), (b"IEND", b""))
    assert probe(data, Limits(max_pixels=side * side)).width == side
    assert _refusal(data) == "too_many_pixels"


_IN_A_CAGE = """
import resource, sys, time
from pathlib import Path
from plugins.images import ImageError, decode
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 100 * 2**20,) * 2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.process_time()
try:
    decode(sys.stdin.buffer.read())
    print("decoded", end=" ")
except ImageError as error:
    print(error.code, end=" ")
print(time.process_time() - started, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize(
    ("data", "outcomes"),
    [
        (PNG_BOMB, {"too_many_pixels"}),
        (_bmp(50_000, 50_000), {"too_many_pixels"}),
        (WEBP_BOMB, {"too_many_pixels", "unreadable", "format_not_supported"}),
        (TEXT_BOMB, {"unreadable", "too_many_pixels", "decoded"}),
        (PROFILE_BOMB, {"unreadable", "format_not_supported", "decoded"}),
    ],
    ids=["png", "bmp", "webp", "text", "profile"],
)
def test_a_bomb_costs_neither_memory_nor_time(data: bytes, outcomes: set[str]) -> None:
    caged = subprocess.run(
        [sys.executable, "-c", _IN_A_CAGE], input=data, capture_output=True, check=True, timeout=60
    )
    outcome, seconds, megabytes = caged.stdout.split()
    assert outcome.decode() in outcomes
    assert float(seconds) < 5  # processor time: bombs take minutes
    assert int(megabytes) < 100


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_exif_orientations_are_undone(orientation: int, format: str) -> None:
    upright = _picture()
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = upright if undo is None else upright.transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = (
        {"quality": 100, "subsampling": 0}
        if format == "JPEG"
        else {"lossless": True}
        if format == "WEBP"
        else {}
    )
    data = _bytes(stored, format, exif=exif, **options)
    header = probe(data)
    assert (header.width, header.height, header.rotated) == (48, 32, orientation != 1)
    decoded = decode(data)
    assert (decoded.width, decoded.height, decoded.image.size) == (48, 32, (48, 32))
    difference = np.abs(np.asarray(decoded.image, dtype=int) - np.asarray(upright, dtype=int))
    assert np.median(difference) <= 3
    assert np.percentile(difference, 90) <= 12


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_senseless_orientations_are_ignored(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert not probe(_bytes(_picture(), "JPEG", exif=exif)).rotated


def test_a_reduced_image_keeps_its_upright_size() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = _bytes(_picture(1600, 800), "JPEG", exif=exif)
    decoded = decode(data, wanted_side=100)
    assert (decoded.width, decoded.height) == (800, 1600)
    assert decoded.image.size == (100, 200)
    assert decode(data, wanted_side=101).image.size == (200, 400)
    assert decode(data, wanted_side=5000).image.size == (800, 1600)
    assert decode(_bytes(_picture(), "PNG"), wanted_side=8).image.size == (48, 32)


def test_alpha_is_laid_on_white() -> None:
    image = _picture().convert("RGBA")
    image.putalpha(0)
    for format in ("PNG", "WEBP"):
        options = {"lossless": True} if format == "WEBP" else {}
        assert decode(_bytes(image, format, **options)).image.getpixel((5, 5)) == (255, 255, 255)
    grey = Image.new("LA", (4, 4), (0, 128))
    [value, *_] = decode(_bytes(grey, "PNG")).image.getpixel((0, 0))  # type: ignore[misc]
    assert 126 <= value <= 128


def test_transparent_palettes_and_colours_are_laid_on_white() -> None:
    palette = _picture().quantize(4)
    index = palette.getpixel((0, 0))
    decoded = decode(_bytes(palette, "PNG", transparency=index)).image
    assert decoded.getpixel((0, 0)) == (255, 255, 255)
    assert decoded.getpixel((47, 31)) == (220, 220, 60)
    assert decode(_bytes(Image.new("RGB", (2, 2), (1, 2, 3)), "PNG", transparency=(1, 2, 3))).image.getpixel(
        (0, 0)
    ) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr"])
def test_colour_modes_become_rgb(mode: str) -> None:
    image = _picture().convert(mode)
    decoded = decode(_bytes(image, "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"))
    assert (decoded.image.mode, decoded.image.size) == ("RGB", (48, 32))


def test_cmyk_keeps_its_colours() -> None:
    red, _, _ = decode(
        _bytes(Image.new("RGB", (16, 16), (250, 10, 10)).convert("CMYK"), "JPEG")
    ).image.getpixel((8, 8))  # type: ignore[misc]
    assert red > 200


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 256, dtype=np.uint16).reshape(16, 16)
    decoded = np.asarray(decode(_bytes(Image.fromarray(ramp), "PNG")).image)[:, :, 0]
    assert (decoded.min(), decoded.max()) == (0, 255)
    assert np.abs(decoded.ravel().astype(int) - np.arange(256)).max() <= 1


def test_twelve_bits_in_sixteen_keep_their_greys() -> None:
    ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    decoded = np.asarray(decode(_bytes(Image.fromarray(ramp), "PNG")).image)[:, :, 0]
    assert np.array_equal(decoded.ravel(), np.arange(4096) // 16)


def test_one_bright_pixel_does_not_blacken_a_dark_picture_of_sixteen_bits() -> None:
    dark = np.arange(256, dtype=np.uint16).reshape(16, 16)
    bright = dark.copy()
    bright[0, 0] = 256
    seen, other = (
        np.asarray(decode(_bytes(Image.fromarray(one), "PNG")).image)[:, :, 0] for one in (dark, bright)
    )
    assert np.array_equal(seen, dark)
    assert np.array_equal(other, bright // 16)


def test_animations_give_their_first_frame() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "green")]
    for format in ("PNG", "WEBP"):
        options = {"lossless": True} if format == "WEBP" else {}
        data = _bytes(frames[0], format, save_all=True, append_images=frames[1:], **options)
        decoded = decode(data)
        assert decoded.header.frames == 3
        assert decoded.image.getpixel((8, 8)) == (255, 0, 0)


def test_mpo_is_a_jpeg() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    decoded = decode(_bytes(frames[0], "MPO", save_all=True, append_images=frames[1:]))
    assert (decoded.header.format, decoded.header.frames) == ("JPEG", 2)
    red, _, blue = decoded.image.getpixel((8, 8))  # type: ignore[misc]
    assert red > 200
    assert blue < 100


def test_text_in_a_png_does_no_harm() -> None:
    text = PngInfo()
    text.add_text("comment", "x" * 10_000, zip=True)
    assert decode(_bytes(_picture(), "PNG", pnginfo=text)).width == 48


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (20, 32)])
def test_tiny_and_thin_images_are_decoded(size: tuple[int, int]) -> None:
    for wanted in (None, 128):
        assert decode(_bytes(_picture(*size), "JPEG"), wanted_side=wanted).image.size == size


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([_bytes(_picture(), format) for format in FORMATS]),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=8),
    st.integers(0, 100),
)
@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_raise_nothing_but_image_errors(
    data: bytes, changes: list[tuple[int, int]], cut: int
) -> None:
    damaged = bytearray(data)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    try:
        decoded = decode(bytes(damaged[: len(damaged) - cut]), limits=Limits(max_pixels=10_000))
    except ImageError:
        return
    assert decoded.image.mode == "RGB"
    assert decoded.image.width * decoded.image.height <= 10_000


def _torture() -> list[tuple[str, str]]:
    manifest = TORTURE / "MANIFEST.tsv"
    if not manifest.exists():
        return []
    with manifest.open(newline="") as file:
        return [(row["file"], row["pillow_13_0"]) for row in csv.DictReader(file, delimiter="\t")]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("file", "pillow"), _torture())
def test_the_torture_files_end_as_an_image_or_an_image_error(file: str, pillow: str) -> None:
    data = (TORTURE / file).read_bytes()
    for wanted in (None, 128):
        try:
            decoded = decode(data, wanted_side=wanted)
        except ImageError as error:
            supported = any(pillow.startswith(f"decodes: {name}") for name in (*FORMATS, "MPO"))
            assert not supported, error
        else:
            assert decoded.image.mode == "RGB"
            assert pillow.startswith("decodes"), pillow
