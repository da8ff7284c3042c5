from __future__ import annotations

from tests.model_server.bundles import body, labels, picture
from tests.model_server.servers import Server


def test_a_red_image_is_red(server: Server) -> None:
    answer = server.predict(body(picture("red", (40, 30))))
    assert answer.status_code == 200, answer.text
    values = answer.json()
    assert values["success"] is True
    assert labels(values) == ["red@1", "green@1", "blue@1"]
    assert values["result"]["meta"] == {"height": 30, "width": 40}
    assert values["model"] == "colours1"
