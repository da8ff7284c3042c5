"""Decisions and evidence of a service, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jsonschema_rs
import pytest

from model_server.engine import Asked, Engine, open_predictor
from model_server.errors import ModelForwardError, ServingError
from plugins import images, registry
from plugins.bundle import Bundle
from plugins.contract import Evidence
from tests.model_server.bundles import body, make_bundle, picture
from tests.model_server.servers import Server, running, service_config
from tests.model_server.tiny_plugin import UNEXPLAINED


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory, hold: Path) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundles") / "explained", hold, can_explain=True)


@pytest.fixture(scope="module")
def explainer(
    tmp_path_factory: pytest.TempPathFactory, plugins_folder: Path, explained: Bundle
) -> Iterator[Server]:
    """A service whose model decides and explains."""
    with running(tmp_path_factory.mktemp("explainer"), plugins_folder, explained, queue_size=64) as started:
        yield started


def test_a_decision_stands_beside_the_output(explainer: Server) -> None:
    values = explainer.predict(body(picture("red"), picture("blue"))).json()
    assert set(values["result"]) == {"output", "meta", "decision"}
    decisions = [entry["result"]["decision"] for entry in values["results"]]
    assert decisions == [{"label": "red@1", "reason": ""}, {"label": None, "reason": "not_sure"}]


def test_a_model_without_decisions_answers_as_ever(server: Server) -> None:
    for query in ("", "?explain=false"):
        assert set(server.predict(body(picture("red")), query).json()["result"]) == {"output", "meta"}


def test_evidence_comes_when_it_is_asked_for(explainer: Server) -> None:
    one, other = picture("blue", (40, 30)), picture("red", (60, 30))
    values = explainer.predict(body(one, b"no image", other), "?explain=true&top_k=1").json()
    assert values["results"][1]["errorCode"] == 1002
    assert [entry["result"]["evidence"] for entry in (values["results"][0], values["results"][2])] == [
        {"label": "blue@1", "grid": [[0.4, -1.0]], "peak": 2.5},
        {"label": "red@1", "grid": [[0.6, -1.0]], "peak": 2.5},
    ]
    for query in ("", "?explain=false"):
        assert "evidence" not in explainer.predict(body(one), query).json()["result"]


@pytest.mark.parametrize("wrong", ["1", "True", "yes", "", "true "])
def test_a_wrong_explain_is_refused(explainer: Server, wrong: str) -> None:
    answer = explainer.predict(body(picture("red")), f"?explain={wrong}")
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 1001)
    assert answer.json()["errorDetail"] == "explain must be true or false"


def test_a_model_that_cannot_explain_says_so(server: Server) -> None:
    answer = server.predict(body(picture("red")), "?explain=true")
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 1001)
    assert answer.json()["errorMsg"] == "INPUT_FORMAT_ERROR"
    detail = answer.json()["errorDetail"]
    assert detail == "explain is not possible: this kind of model has no evidence maps"


def test_a_model_whose_kind_could_explain_says_why_it_does_not(
    tmp_path: Path, plugins_folder: Path, hold: Path
) -> None:
    bundle = make_bundle(tmp_path / "bundle", hold, can_explain=False)
    with running(tmp_path / "service", plugins_folder, bundle) as started:
        answer = started.predict(body(picture("red")), "?explain=true")
        assert (answer.status_code, answer.json()["errorCode"]) == (400, 1001)
        assert answer.json()["errorDetail"] == "explain is not possible: this model is too old for it"
        assert started.predict(body(picture("red"))).json()["result"]["decision"]["label"] == "red@1"


def test_an_image_without_evidence_fails_no_other(explainer: Server) -> None:
    images = (picture("red", (UNEXPLAINED, 9)), picture("green"))
    values = explainer.predict(body(*images), "?explain=true").json()
    assert [entry.get("errorCode") for entry in values["results"]] == [2003, None]
    assert values["errorDetail"] == "there is nothing to see here"
    assert explainer.predict(body(images[0])).json()["success"] is True


def test_requests_at_once_get_what_each_asked_for(explainer: Server) -> None:
    def ask(number: int) -> None:
        width, colour = 20 + number, ("red", "green", "blue")[number % 3]
        query = "?explain=true" if number % 2 else ""
        result = explainer.predict(body(picture(colour, (width, 30))), query).json()["result"]
        assert result["output"][0]["label"] == f"{colour}@1"
        assert result["meta"]["width"] == width
        wanted = {"label": f"{colour}@1", "grid": [[width / 100, -1.0]], "peak": 2.5}
        assert result.get("evidence") == (wanted if query else None)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(48))) == [None] * 48


def test_images_that_go_to_the_model_together_are_not_mixed_up(
    explained: Bundle, plugins_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(plugins_folder))
    registry.forget()
    try:
        config = service_config(explained)
        engine = Engine(open_predictor(config), config)
    finally:
        registry.forget()
    pictures = [images.decode(picture("red", (width, 9))) for width in (20, UNEXPLAINED, 30, UNEXPLAINED)]
    together = list(zip(pictures, (True, False, False, True), strict=True))
    answers = engine._predict([Asked(picture, explain) for picture, explain in together])
    found = [None if isinstance(answer, ServingError) else answer.evidence for answer in answers]
    assert found == [Evidence("red@1", ((0.2, -1.0),), 2.5), None, None, None]
    assert [isinstance(answer, ModelForwardError) for answer in answers] == [False, False, False, True]


def test_the_openapi_document_knows_decisions_and_evidence(explainer: Server) -> None:
    with explainer.client() as client:
        document = client.get("/openapi.json").json()
    operation = document["paths"]["/api/predict/colours"]["post"]
    assert [parameter["name"] for parameter in operation["parameters"]] == ["top_k", "explain"]
    schema = {"components": document["components"], "$ref": "#/components/schemas/Result"}
    validator = jsonschema_rs.validator_for(schema)
    for colour in ("red", "blue"):
        result = explainer.predict(body(picture(colour)), "?explain=true").json()["result"]
        validator.validate(result)
        assert not validator.is_valid({**result, "decision": {"label": "x", "reason": "mood"}})
        assert not validator.is_valid({**result, "evidence": {"label": "x", "grid": [[2]], "peak": 1}})
