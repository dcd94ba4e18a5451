# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Every list format comes to the same entries; what cannot be understood is said by line."""

import json

import pytest

from vidpretrain.data import lists

CLASSES = ("a", "b", "c")


def entries(path, **options):
    listing = lists.read_list(str(path), root=path.parent, **options)
    return [(entry.path, entry.label) for entry in listing.entries], listing


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x.mp4 0\ny.mp4 1\n", [("x.mp4", 0), ("y.mp4", 1)]),
        ("x.mp4\t0\ny z.mp4\t1", [("x.mp4", 0), ("y z.mp4", 1)]),
        ("x.mp4,0\ny, z.mp4, 1\n", [("x.mp4", 0), ("y, z.mp4", 1)]),
        ("a b.mp4 0\nc,d.mp4 1", [("a b.mp4", 0), ("c,d.mp4", 1)]),
        ("\"a b.mp4\" 0\n'c.mp4' 1", [("a b.mp4", 0), ("c.mp4", 1)]),
        ('"a,b.mp4",0\n"c.mp4",1', [("a,b.mp4", 0), ("c.mp4", 1)]),
        ("\ufeffx.mp4 0\r\ny.mp4 1\r\n\r\n", [("x.mp4", 0), ("y.mp4", 1)]),
        ("x.mp4 0\ry.mp4 1\r", [("x.mp4", 0), ("y.mp4", 1)]),
        ("x.mp4 dog\ny.mp4 cat\n", [("x.mp4", "dog"), ("y.mp4", "cat")]),
        ("x.mp4\tlong jump\ny.mp4\trun\n", [("x.mp4", "long jump"), ("y.mp4", "run")]),
        ("part 2.mp4 0\npart 3.mp4 1", [("part 2.mp4", 0), ("part 3.mp4", 1)]),
        ("日本.mp4 0", [("日本.mp4", 0)]),
        ("x.mp4 -1\ny.mp4 1000000000", [("x.mp4", -1), ("y.mp4", 1000000000)]),
    ],
)
def test_lines(tmp_path, text, expected):
    (tmp_path / "list.txt").write_bytes(text.encode())
    assert entries(tmp_path / "list.txt")[0] == expected


def test_frames(tmp_path):
    (tmp_path / "list.txt").write_text("v/1 120 0\nv w/2 3 1\n")
    found, listing = entries(tmp_path / "list.txt")
    assert found == [("v/1", 0), ("v w/2", 1)]
    assert [entry.num_frames for entry in listing.entries] == [120, 3]


def test_kinetics_in_whatever_layout(tmp_path):
    (tmp_path / "train.csv").write_text(
        "label,youtube_id,time_start,time_end,split,is_cc\n"
        'abseiling,-3B32lodo2M,59,69,train,0\n"dancing, slowly",0_abc,5,15,train,0\n'
    )
    for layout in (
        "{label}/{id}_{start:06d}_{end:06d}.mp4",
        "{label_}/{id}_{start:06d}_{end:06d}.webm",
        "{id}.mkv",
        "train/{id}_{start:06d}_{end:06d}.mp4",
    ):
        root = tmp_path / f"root{len(layout)}"
        (tmp_path / "x").mkdir(exist_ok=True)
        name = layout.format(
            label="dancing, slowly", label_="dancing,_slowly", id="0_abc", start=5, end=15
        )
        (root / name).parent.mkdir(parents=True)
        (root / name).touch()
        listing = lists.read_list(str(tmp_path / "train.csv"), root=root)
        assert listing.entries[1].path == name
        assert listing.entries[1].label == "dancing, slowly"
        assert listing.entries[1].seconds == 10
    template = "{split}/{id}.mp4"
    listing = lists.read_list(str(tmp_path / "train.csv"), root=tmp_path, template=template)
    assert listing.entries[0].path == "train/-3B32lodo2M.mp4"
    with pytest.raises(lists.ListError, match="none of 2 videos of the list is under"):
        lists.read_list(str(tmp_path / "train.csv"), root=tmp_path / "x")
    with pytest.raises(lists.ListError, match="its fields are label, label_, id"):
        lists.read_list(str(tmp_path / "train.csv"), root=tmp_path, template="{ident}")


def test_something_something_v2(tmp_path):
    rows = [
        {"id": "7", "label": "holding a cup", "template": "Holding [something]"},
        {"id": 8, "label": "x", "template": "Putting [something] on [something]"},
        {"id": "9"},
        "nonsense",
    ]
    (tmp_path / "train.json").write_text(json.dumps(rows))
    (tmp_path / "labels.json").write_text(
        json.dumps({"Putting something on something": "1", "Holding something": "0"})
    )
    found, listing = entries(tmp_path / "train.json")
    assert found == [("7.webm", "Holding something"), ("8.webm", "Putting something on something")]
    assert [fault.where.rpartition(":")[2] for fault in listing.faults] == ["3", "4"]
    classes = lists.read_classes(tmp_path / "labels.json")
    assert lists.number_labels(listing, classes) == ([0, 1], [])


def test_something_something_v1_and_jester(tmp_path):
    (tmp_path / "train.csv").write_text("34870;Drumming Fingers\n56557;Sliding Two Fingers Left\n")
    (tmp_path / "labels.csv").write_text("Sliding Two Fingers Left\nDrumming Fingers\n")
    found, listing = entries(tmp_path / "train.csv")
    assert found == [("34870", "Drumming Fingers"), ("56557", "Sliding Two Fingers Left")]
    classes = lists.read_classes(tmp_path / "labels.csv")
    assert lists.number_labels(listing, classes)[0] == [1, 0]


def test_ucf101(tmp_path):
    (tmp_path / "classInd.txt").write_text("1 ApplyEyeMakeup\n2 Archery\n")
    (tmp_path / "trainlist01.txt").write_text("Archery/v_1.avi 2\r\nApplyEyeMakeup/v 2.avi 1\r\n")
    (tmp_path / "testlist01.txt").write_text("Archery/v_3.avi\n")
    found, listing = entries(tmp_path / "trainlist01.txt")
    assert found == [("Archery/v_1.avi", "Archery"), ("ApplyEyeMakeup/v 2.avi", "ApplyEyeMakeup")]
    assert listing.classes == ("ApplyEyeMakeup", "Archery")
    assert entries(tmp_path / "testlist01.txt")[0] == [("Archery/v_3.avi", "Archery")]


def test_hmdb51(tmp_path):
    (tmp_path / "wave_test_split1.txt").write_text("b a.avi 2 \nc.avi 1 \nd.avi 0 \n")
    (tmp_path / "catch_test_split1.txt").write_text("e.avi 1\n")
    (tmp_path / "catch_test_split2.txt").write_text("f.avi 1\n")
    pattern = tmp_path / "*_test_split1.txt"
    assert entries(pattern)[0] == [("catch/e.avi", "catch"), ("wave/c.avi", "wave")]
    assert entries(pattern, split="test")[0] == [("wave/b a.avi", "wave")]


def test_folders(tmp_path):
    for name in ("run/1.mp4", "run/note.txt", "jump/2.webm", ".hidden/3.mp4", "jump/frames/1.jpg"):
        path = tmp_path / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found, _ = entries(tmp_path / "train")
    assert found == [
        ("train/jump/2.webm", "jump"),
        ("train/jump/frames", "jump"),
        ("train/run/1.mp4", "run"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("x.mp4 0\ny.mp4\n", 2, "neither `path label` nor `path,label`"),
        ("x.mp4 0\ny.mp4 1\nz.mp4 dog\n", 3, "z.mp4: label 'dog' is no number"),
        ("v 3 0\nw 0 1\n", 2, "w: 0 frames"),
    ],
)
def test_lines_of_no_use(tmp_path, text, line, reason):
    (tmp_path / "list.txt").write_text(text)
    listing = entries(tmp_path / "list.txt")[1]
    assert [str(fault) for fault in listing.faults] == [f"{tmp_path / 'list.txt'}:{line}: {reason}"]
    with pytest.raises(lists.ListError, match=r"has 1 line\(s\) of no use:"):
        lists.check_no_faults(listing.faults, "list.txt")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("lst.txt", None, r"did you mean '.*list.txt'"),
        ("empty.txt", b"\n \n", "names no video"),
        ("binary.txt", b"ok 1\n\xff\xfe 2", "binary.txt:2: not UTF-8"),
        ("broken.json", b"[{", "broken.json: not JSON"),
        ("deep.json", b"[" * 100_000, "deep.json: not JSON"),
        ("object.json", b'[{"id": 1}', "not JSON"),
    ],
)
def test_files_that_are_no_lists(tmp_path, name, data, message):
    (tmp_path / "list.txt").write_text("x 0")
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(lists.ListError, match=message):
        lists.read_list(str(tmp_path / name), root=tmp_path)


def test_an_unknown_format(tmp_path):
    (tmp_path / "list.txt").write_text("x 0")
    with pytest.raises(lists.ListError, match="did you mean 'kinetics'"):
        lists.read_list(str(tmp_path / "list.txt"), root=tmp_path, list_format="kinetic")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a\nb\nc\n", CLASSES),
        ("1 a\n2 b\n3 c", CLASSES),
        ("0,a\n1,b\n2,c", CLASSES),
        ('"a"\n"b"\n"c"', CLASSES),
        ("1 ball\n3 balls\n", ("1 ball", "3 balls")),
        ('{"b": "1", "a": "0", "c": 2}', CLASSES),
        ('["a", "b", "c"]', CLASSES),
        ("\ufeffa\r\nb\r\nc", CLASSES),
    ],
)
def test_class_files(tmp_path, text, names):
    (tmp_path / "classes").write_bytes(text.encode())
    assert lists.read_classes(tmp_path / "classes") == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\nb\na\n", "class 'a' comes twice"),
        ("", "no class"),
        ('{"a": 0, "b": 2}', "not numbered 0 to 1"),
        ('{"a": "x"}', "no number"),
        ("[1, 2]", "neither a list of names"),
    ],
)
def test_files_that_are_no_classes(tmp_path, text, message):
    (tmp_path / "classes").write_text(text)
    with pytest.raises(lists.ListError, match=message):
        lists.read_classes(tmp_path / "classes")


def listing_of(*labels):
    return lists.Listing(
        "l", tuple(lists.Entry(f"{i}.mp4", label, i) for i, label in enumerate(labels, 1))
    )


def test_classes_are_inferred():
    assert lists.infer_classes(listing_of("b", "a", "b")) == (("a", "b"), 2)
    assert lists.infer_classes(listing_of(2, 0, 1)) == (None, 3)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ((0, 2), "labels go up to 2, but none is 1"),
        ((0, -1), "l:2: label -1"),
        ((0, 10**9), "l:2: label 1000000000"),
        ((0, "a"), "some labels are numbers and others names"),
    ],
)
def test_classes_that_cannot_be_inferred(labels, message):
    with pytest.raises(lists.ListError, match=message):
        lists.infer_classes(listing_of(*labels))


def test_labels_are_checked():
    numbers, faults = lists.number_labels(listing_of(0, 3, -1, 10**9), None, 3)
    assert numbers == [0, -1, -1, -1]
    assert "l:2: 2.mp4: label 3 is not within 0 to 2" in str(faults[0])
    numbers, faults = lists.number_labels(listing_of("a", "cc"), CLASSES)
    assert numbers == [0, -1]
    assert "did you mean 'c'" in str(faults[0])


@pytest.mark.parametrize(
    ("names", "mirrored"),
    [
        (("walk", "run"), (0, 1)),
        (("Swiping Left", "Swiping Right", "Swiping Up"), (1, 0, 2)),
        (("from left to right", "from right to left"), (1, 0)),
        (("Turn Clockwise", "Turn Counterclockwise"), (1, 0)),
        (("Swiping Left", "Swiping Up"), None),
    ],
)
def test_mirror_images_by_name(names, mirrored):
    assert lists.mirrored_labels(names) == mirrored
