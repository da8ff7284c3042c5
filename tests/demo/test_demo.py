"""What `make demo` shows, and what it says of folders that it cannot show. The main job itself is tested in
`tests/main_job`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from backend.labels import voc
from backend.labels.records import Entry
from demo import __main__ as demo
from demo import tags
from demo.kinds import KINDS, Unusable


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30)).save(path)
    return path


def test_price_tags_have_their_texts_beside_them_inside_of_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tags, "IMAGES", 3)
    folder, unseen = tags.make(tmp_path)
    assert unseen.parent == tmp_path and unseen.is_file()
    assert sorted(path.name for path in folder.iterdir()) == [
        f"00{number}.{kind}" for number in range(3) for kind in ("jpg", "xml")
    ]
    for path in folder.glob("*.xml"):
        (entry,) = voc.read(path.read_bytes(), text=True)
        assert isinstance(entry, Entry)
        with Image.open(path.with_suffix(".jpg")) as image:
            width, height = image.size
        assert (entry.width, entry.height) == (width, height)
        assert len(entry.label.regions) >= 5 and all(region.text for region in entry.label.regions)
        points = [point for region in entry.label.regions for point in region.points]
        assert all(0 <= x <= width and 0 <= y <= height for x, y in points)
    written = unseen.stat().st_mtime_ns
    assert tags.make(tmp_path) == (folder, unseen) and unseen.stat().st_mtime_ns == written


def test_an_own_folder_shows_an_image_that_has_a_label(tmp_path: Path) -> None:
    first = picture(tmp_path / "bolt" / "1.jpg")
    assert KINDS["classification"].own(tmp_path) == first
    labelled = picture(tmp_path / "tags" / "2.png")
    labelled.with_suffix(".xml").write_text("<annotation/>")
    assert KINDS["ocr"].own(tmp_path) == labelled
    listed = picture(tmp_path / "a" / "3.png")
    (tmp_path / "a" / "Label.txt").touch()
    assert KINDS["ocr"].own(tmp_path) == listed


@pytest.mark.parametrize("type", sorted(KINDS))
def test_a_folder_without_labels_is_refused_with_what_to_do(tmp_path: Path, type: str) -> None:
    picture(tmp_path / "1.jpg")
    with pytest.raises(Unusable, match="put "):
        KINDS[type].own(tmp_path)
    with pytest.raises(Unusable, match="is no folder"):
        KINDS[type].own(tmp_path / "not there")


def test_an_unknown_type_is_refused_in_one_sentence() -> None:
    result = CliRunner().invoke(demo.main, ["--type", "words"])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1 and "classification, ocr" in result.stderr
