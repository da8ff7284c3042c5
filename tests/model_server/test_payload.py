from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_server import payload
from model_server.errors import InputFormatError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["dataArray", "body"]), inner)
    ),
)


@given(st.binary())
def test_bytes_give_items_or_a_refusal(content: bytes) -> None:
    read(content)


@given(JSON)
def test_json_gives_items_or_a_refusal(value: object) -> None:
    read(json.dumps(value).encode())
    read(json.dumps({"dataArray": value}).encode())


@given(st.text(alphabet="ABab01+/=-_ \n"))
def test_a_text_is_base64_or_refused(text: str) -> None:
    try:
        decoded = payload.image_bytes({"body": text})
    except InputFormatError:
        return
    assert len(text) % 4 == 0 and len(decoded) == len(text) // 4 * 3 - text.count("=")


@given(st.binary(min_size=1))
def test_what_was_encoded_is_decoded(content: bytes) -> None:
    assert payload.image_bytes({"body": base64.b64encode(content).decode()}) == content


def read(content: bytes) -> None:
    try:
        items = payload.parse(content, max_images=3)
    except InputFormatError as error:
        assert error.detail
        return
    assert 1 <= len(items) <= 3
    for item in items:
        try:
            payload.image_bytes(item)
        except InputFormatError as error:
            assert error.detail


def test_a_refusal_never_repeats_the_image() -> None:
    with pytest.raises(InputFormatError) as refused:
        payload.image_bytes({"body": "!secret"})
    assert "secret" not in refused.value.detail
