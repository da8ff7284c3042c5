"""From the bytes of a request to the bytes of its images."""

from __future__ import annotations

import binascii
import json
from typing import Any, NoReturn

from model_server.errors import InputFormatError

DEFAULT_TOP_K = 5
MAX_TOP_K = 10_000

Item = Any
"""One entry of `dataArray`, not checked yet: what is wrong with it concerns no other entry."""


def parse(body: bytes, *, max_images: int) -> list[Item]:
    """The entries of `dataArray`. Raises `InputFormatError`."""
    values = _json(body)
    if not isinstance(values, dict):
        raise InputFormatError("the body must be a JSON object with dataArray")
    if "dataArray" not in values:
        raise InputFormatError("dataArray is missing")
    items = values["dataArray"]
    if not isinstance(items, list) or not items:
        raise InputFormatError("dataArray must be a list of at least one image")
    if len(items) > max_images:
        raise InputFormatError(f"dataArray has {len(items)} images; at most {max_images} are accepted")
    return items


def _json(body: bytes) -> Any:
    if not body.strip():
        raise InputFormatError("the body is empty")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise InputFormatError("the body is not UTF-8 text") from None
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except RecursionError:
        raise InputFormatError("the JSON is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise InputFormatError(
            f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    except ValueError:  # a number of thousands of digits
        raise InputFormatError("the JSON holds a number that is too long") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise InputFormatError("the JSON names a key twice")
    return values


def _constant(name: str) -> NoReturn:
    raise InputFormatError(f"{name} is not JSON")


def image_bytes(item: Item) -> bytes:
    """The image of one entry. Raises `InputFormatError`."""
    if not isinstance(item, dict):
        raise InputFormatError(
            'each entry of dataArray must be {"name": "image", "type": "stream", "body": …}'
        )
    if item.get("type", "stream") != "stream":
        raise InputFormatError("type must be stream: send the image itself as base64 in body")
    if not isinstance(item.get("name", ""), str):
        raise InputFormatError("name must be a text")
    if "body" not in item:
        raise InputFormatError("body is missing: it holds the image as base64")
    return _decoded(item["body"])


def _decoded(text: Any) -> bytes:
    if not isinstance(text, str) or not text:
        raise InputFormatError("body must be a text that holds the image as base64, not an empty one")
    try:
        if len(text) % 4:  # the decoder below forgives too much padding
            raise ValueError
        return binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):
        raise InputFormatError(_why_not_base64(text)) from None


def _why_not_base64(text: str) -> str:
    if text.startswith("data:"):
        return (
            "body must be base64 alone: leave out the prefix up to and including the comma (data:…;base64,)"
        )
    if text.startswith(("http://", "https://")):
        return "body must hold the image as base64: addresses are not fetched"
    if any(character.isspace() for character in text):
        return "body holds spaces or line breaks: encode without wrapping (base64 -w0)"
    if "-" in text or "_" in text:
        return "body is in the URL-safe alphabet: use the standard one, with + and /"
    if len(text) % 4:
        return "body is not complete base64: its length must be a multiple of 4"
    return "body is not base64"
