from __future__ import annotations

from io import BytesIO

import jsonschema_rs
import pytest
from PIL import Image

from tests.model_server.bundles import body, labels, picture
from tests.model_server.servers import Server
from tests.model_server.tiny_plugin import REFUSED


def test_a_red_image_is_red(server: Server) -> None:
    answer = server.predict(body(picture("red", (40, 30))))
    assert answer.status_code == 200, answer.text
    values = answer.json()
    assert values["success"] is True
    assert labels(values) == ["red@1", "green@1", "blue@1"]
    assert all(0 <= output["conf"] <= 1 and "pos" not in output for output in values["result"]["output"])
    assert values["result"]["meta"] == {"height": 30, "width": 40}
    assert values["model"] == "colours1"
    assert "results" not in values


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "WEBP"])
def test_the_four_formats_are_read(server: Server, form: str) -> None:
    assert labels(server.predict(body(picture("blue", form=form))).json())[0] == "blue@1"


def test_width_and_height_are_those_of_the_upright_image(server: Server) -> None:
    buffer = BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30), "red").save(buffer, "JPEG", exif=exif)
    assert server.predict(body(buffer.getvalue())).json()["result"]["meta"] == {"height": 40, "width": 30}


def test_top_k_limits_the_classes(server: Server) -> None:
    assert labels(server.predict(body(picture("red")), "?top_k=1").json()) == ["red@1"]
    assert len(labels(server.predict(body(picture("red")), "?top_k=9").json())) == 3


@pytest.mark.parametrize("wrong", ["0", "-1", "x", "1.5", "", "٣", "99999999999999999999"])
def test_a_wrong_top_k_is_refused(server: Server, wrong: str) -> None:
    answer = server.predict(body(picture("red")), f"?top_k={wrong}")
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 1001)


def test_several_images_are_answered_in_order(server: Server) -> None:
    values = server.predict(body(picture("red"), picture("green"), picture("blue"))).json()
    assert [labels(entry)[0] for entry in values["results"]] == ["red@1", "green@1", "blue@1"]
    assert values["result"] == values["results"][0]["result"]


def test_a_bad_image_fails_no_other(server: Server) -> None:
    images = (picture("red"), b"no image", picture("green", (REFUSED, 9)), picture("blue"))
    answer = server.predict(body(*images))
    values = answer.json()
    assert (answer.status_code, values["success"]) == (200, True)
    assert [entry["success"] for entry in values["results"]] == [True, False, False, True]
    assert [entry.get("errorCode") for entry in values["results"]] == [None, 1002, 2003, None]
    assert labels(values["results"][3])[0] == "blue@1"


def test_the_first_image_decides_what_old_clients_see(server: Server) -> None:
    answer = server.predict(body(b"no image", picture("blue")))
    values = answer.json()
    assert (answer.status_code, values["success"], values["errorCode"]) == (200, False, 1002)
    assert values["results"][1]["success"] is True


def test_when_no_image_is_answered_the_status_is_the_first_ones(server: Server) -> None:
    answer = server.predict(body(b"no image", picture("blue", (REFUSED, 9))))
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 1002)


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/x-www-form-urlencoded", "text/plain", "", "x/y; charset=z"],
)
def test_the_content_type_does_not_matter(server: Server, content_type: str) -> None:
    answer = server.predict(body(picture("red")), **{"Content-Type": content_type})
    assert answer.status_code == 200, answer.text


def test_a_sane_request_id_is_kept_and_another_is_made(server: Server) -> None:
    answer = server.predict(body(picture("red")), **{"X-Request-Id": "order-7.a_B"})
    assert answer.json()["requestId"] == answer.headers["X-Request-Id"] == "order-7.a_B"
    for wrong in ("", "a b", "x" * 65, '"}{'):
        made = server.predict(body(picture("red")), **{"X-Request-Id": wrong}).json()["requestId"]
        assert made != wrong and made.isalnum()


def test_a_trailing_slash_is_forgiven(server: Server) -> None:
    with server.client() as client:
        assert client.post("/api/predict/colours/", content=body(picture("red"))).status_code == 200


def test_health_needs_no_token(server: Server) -> None:
    with server.client(headers={}) as client:
        assert client.get("/health/live").json() == {"live": True}
        assert client.get("/health/ready").json() == {
            "ready": True,
            "service": "colours",
            "model": "colours1",
        }


def test_metrics_count_over_all_instances(server: Server) -> None:
    def count(code: str) -> float:
        with server.client() as client:
            lines = client.get("/metrics").text.splitlines()
        found = [line for line in lines if line.startswith(f'sightloop_requests_total{{code="{code}"}}')]
        return float(found[0].split()[-1]) if found else 0.0

    before = count("0"), count("1002")
    for _ in range(6):
        server.predict(body(picture("red")))
    server.predict(body(b"no image"))
    assert (count("0") - before[0], count("1002") - before[1]) == (6, 1)
    with server.client() as client:
        assert "sightloop_instances_ready 2.0" in client.get("/metrics").text


def test_every_address_is_in_the_openapi_document(server: Server) -> None:
    with server.client() as client:
        paths = client.get("/openapi.json").json()["paths"]
        views = ("/health/live", "/health/ready", "/metrics", "/log", "/openapi.json")
        assert paths.keys() == {"/api/predict/colours", *views}
        for path in views:
            answer = client.get(path)
            documented = paths[path]["get"]["responses"][str(answer.status_code)]["content"]
            assert answer.headers["Content-Type"].partition(";")[0] in documented


def test_as_many_classes_as_the_document_allows_may_be_asked_for(server: Server) -> None:
    with server.client() as client:
        paths = client.get("/openapi.json").json()["paths"]
    most = paths["/api/predict/colours"]["post"]["parameters"][0]["schema"]["maximum"]
    assert server.predict(body(picture("red")), f"?top_k={most}").status_code == 200
    assert server.predict(body(picture("red")), f"?top_k={most + 1}").status_code == 400


def test_the_answers_are_as_the_openapi_document_says(server: Server) -> None:
    with server.client() as client:
        document = client.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    operation = document["paths"]["/api/predict/colours"]["post"]
    for images in ((picture("red"),), (picture("red"), b""), (b"no image",)):
        answer = server.predict(body(*images))
        reference = operation["responses"][str(answer.status_code)]["content"]["application/json"]["schema"]
        schema = {"components": document["components"], **reference}
        jsonschema_rs.validator_for(schema).validate(answer.json())
        for entry in answer.json().get("results", []):
            if "result" in entry:
                part = {"components": document["components"], "$ref": "#/components/schemas/Result"}
                jsonschema_rs.validator_for(part).validate(entry["result"])
