"""PPOCRLabel's Label.txt."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.labels import ppocrlabel
from backend.labels.records import Entry, Problem
from plugins.boxes import rounded, upright
from plugins.contract import Label, Region

LINE = (
    b'train/wire_1.jpg\t[{"transcription": "2P24", "points": [[48, 9], [94, 17], [88, 40], [42, 33]], '
    b'"difficult": false}]\n'
)


def records(data: bytes) -> list[Entry | Problem]:
    return list(ppocrlabel.read(BytesIO(data)))


def test_a_line_is_an_image_with_quadrilaterals() -> None:
    points = ((48, 9), (94, 17), (88, 40), (42, 33))
    region = Region(points, "2P24", shape="polygon", id="r1")
    assert records(b"\xef\xbb\xbf" + LINE + b"\r\n") == [
        Entry("train/wire_1.jpg", Label(regions=(region,)), 1)
    ]


def test_what_nobody_can_read_is_ignored() -> None:
    entries = records(b'a.jpg\t[{"transcription": "###", "points": [[0,0],[9,0],[9,5],[0,5]]}]\nb.jpg\t[]\n')
    assert [entry.label for entry in entries if isinstance(entry, Entry)] == [
        Label(regions=(Region(upright(0, 0, 9, 5), "###", ignored=True, id="r1"),)),
        Label(),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"a.jpg []", "no tab"),
        (b"a.jpg\t[{", "not JSON"),
        (b"a.jpg\t" + b"[" * 100_000, "not JSON"),
        (b"a.jpg\t{}", "no list"),
        (b"\xff\xfe\t[]", "UTF-8"),
        (b"a.jpg\t[" + b"1," * 10_000 + b"1]", "10,001 regions"),
    ],
)
def test_a_bad_line_is_named_and_the_next_is_read(line: bytes, reason: str) -> None:
    problem, entry = records(line + b"\n" + LINE)
    assert isinstance(problem, Problem)
    assert problem.line == 1
    assert reason in problem.reason
    assert isinstance(entry, Entry)
    assert entry.line == 2


@pytest.mark.parametrize("points", [b"null", b"[[1,2]]", b'[[1,2],[3,4],["a",1]]', b"[[1,2],[3,4],[NaN,1]]"])
def test_a_bad_region_does_not_take_the_others_with_it(points: bytes) -> None:
    good = b'{"transcription": "x", "points": [[0,0],[9,0],[9,5],[0,5]]}'
    problem, entry = records(b'a.jpg\t[{"transcription": "b", "points": ' + points + b"}, " + good + b"]")
    assert isinstance(problem, Problem)
    assert problem.reason.startswith("region 1")
    assert isinstance(entry, Entry)
    assert len(entry.label.regions) == 1


def test_a_line_whose_every_region_is_refused_does_not_say_that_there_is_no_text() -> None:
    (record,) = records(b'a.jpg\t[{"transcription": "b", "points": null}]')
    assert isinstance(record, Problem)


coordinates = st.tuples(st.floats(0, 5000), st.floats(0, 5000))
regions = st.builds(
    Region,
    points=st.lists(coordinates, min_size=3, max_size=6).map(rounded),
    text=st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=9).filter("###".__ne__),
    label=st.sampled_from(["", "Text"]),
    shape=st.just("polygon"),
    ignored=st.booleans(),
    id=st.just("w1"),
    extra=st.sampled_from([{}, {"ppocrlabel": {"key_cls": "total"}}]),
)


@given(st.lists(regions, max_size=3))
def test_regions_come_back_as_they_were(drawn: list[Region]) -> None:
    label = Label(regions=tuple(drawn))
    data = b"".join(ppocrlabel.write([("ä/b.jpg", label), ("c.jpg", Label())]))
    assert data.count(b"\n") == 2
    assert records(data) == [Entry("ä/b.jpg", label, 1), Entry("c.jpg", Label(), 2)]
