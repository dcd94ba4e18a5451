# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Lists of videos, as the data sets' authors publish them.

Every format comes to the same: entries with a path below a root and a label, which is a number or
the name of a class. `read_list` tells the formats apart by what the files look like:

| format | looks like | label |
|---|---|---|
| `lines` | `path label`, separated by spaces, a tab or a comma | number or name |
| `frames` | `folder num_frames label` (TSN, TSM) | number |
| `kinetics` | CSV with the header `label,youtube_id,time_start,time_end,split` | name |
| `something` | JSON list of `{"id", "template"}` (Something-Something V2) | name |
| `ids` | `id;name` lines (Something-Something V1, Jester) | name |
| `ucf101` | `trainlist01.txt` beside `classInd.txt` | folder's name |
| `hmdb51` | `*_test_split1.txt`, a pattern that stands for one file a class | file's name |
| `folders` | a folder with a folder per class | folder's name |

Lists are read as text and nothing else; a line that cannot be understood becomes a `ListFault`,
and no entry.
"""

from __future__ import annotations

import csv
import dataclasses
import enum
import glob
import hashlib
import io
import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from vidpretrain.data.bad_input import BadInput
from vidpretrain.data.files import locate
from vidpretrain.suggest import closest

VIDEO_EXTENSIONS: tuple[str, ...] = (
    ".mp4",
    ".webm",
    ".mkv",
    ".avi",
    ".mov",
    ".m4v",
    ".mpg",
    ".mpeg",
)
VIDEO_EXTENSIONS += (".flv", ".ts", ".wmv", ".ogv", ".3gp")
IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
MAX_CLASSES = 1_000_000
JOIN = "+"
"""Between the names of lists that are read as one."""

_KINETICS_STEMS = ("{id}_{start:06d}_{end:06d}", "{id}")
_KINETICS_CLASSES = ("", "{label}/", "{label_}/")
_KINETICS_SPLITS = ("", "{split}/", "train/", "val/", "validation/", "test/")
_PROBED_ENTRIES = 50
_HMDB_NAME = re.compile(r"(?P<name>.+)_test_split(?P<split>[0-9])\.txt")
_HMDB_TRAIN, _HMDB_TEST = "1", "2"
_MOST_FAULTS_SHOWN = 5


class ListFormat(enum.StrEnum):
    """How a list is written."""

    AUTO = "auto"
    LINES = "lines"
    FRAMES = "frames"
    KINETICS = "kinetics"
    SOMETHING = "something"
    IDS = "ids"
    UCF101 = "ucf101"
    HMDB51 = "hmdb51"
    FOLDERS = "folders"


class ListError(ValueError):
    """A list, or what is said about its classes, that cannot be used; the message says why."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One video of a list.

    Attributes:
        path: Of the file, or of the folder of frames, below the root.
        label: Number of the class, from 0, or its name.
        line: Where the list says so, from 1; 0 where the list is no text.
        num_frames: What the list says of its length; None if nothing.
        seconds: What the list says of its duration; None if nothing.
    """

    path: str
    label: int | str
    line: int
    num_frames: int | None = None
    seconds: float | None = None


@dataclasses.dataclass(frozen=True)
class ListFault:
    """A line of a list that is of no use.

    Attributes:
        where: List and line, "train.txt:3".
        reason: What is wrong with it.
    """

    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


@dataclasses.dataclass(frozen=True)
class Listing:
    """What a list says.

    Attributes:
        name: What was asked for.
        entries: Videos, in the list's order.
        faults: Lines that are of no use.
        classes: Names of the classes in the order of their labels, if the format fixes them.
        sha256: Hash of the lists' bytes (of the entries, where the list is a folder).
    """

    name: str
    entries: tuple[Entry, ...]
    faults: tuple[ListFault, ...] = ()
    classes: tuple[str, ...] | None = None
    sha256: str = ""


def read_list(
    name: str, *, root: Path, list_format: str = "auto", template: str = "", split: str = "train"
) -> Listing:
    """Read a list of videos.

    Args:
        name: Path of the list.
        root: Folder that the entries' paths start from.
        list_format: One of `ListFormat`; "auto" finds out.
        template: How paths are made where a list has only identifiers, such as
            "{label}/{id}_{start:06d}_{end:06d}.mp4" (Kinetics) or "{id}.webm"; the fields are
            `id`, `label`, `label_` (spaces replaced by underscores), `start`, `end` and `split`.
            Empty for what the data sets' own downloads look like; for Kinetics, the one of the
            known layouts that finds most files.
        split: "train" or another; where one list holds both, the part that is read (HMDB-51).

    Raises:
        ListError: There is no such list, or it is not text in the format.
    """
    formats = [str(known) for known in ListFormat]
    if list_format not in formats:
        raise ListError(f"source.list_format={list_format!r}; {closest(list_format, formats)}")
    text = "" if os.path.isdir(name) or _HMDB_NAME.fullmatch(Path(name).name) else _read_text(name)
    known = ListFormat(list_format)
    if known is ListFormat.AUTO:
        known = _recognise(name, text)
    entries: list[Entry] = []
    faults: list[ListFault] = []
    classes = None
    if known is ListFormat.FOLDERS:
        entries = _read_folders(Path(name), root)
        text = "\n".join(entry.path for entry in entries)
    elif known is ListFormat.HMDB51:
        entries, text = _read_hmdb51(name, split)
    elif known is ListFormat.UCF101:
        classes = read_classes(Path(name).parent / "classInd.txt")
        entries = _read_ucf101(text)
    else:
        reader: Callable[..., None] = {
            ListFormat.LINES: _read_lines,
            ListFormat.FRAMES: _read_frames,
            ListFormat.KINETICS: _read_kinetics,
            ListFormat.SOMETHING: _read_something,
            ListFormat.IDS: _read_ids,
        }[known]
        reader(text, _Sink(name, entries, faults), root=root, template=template)
    if not entries and not faults:
        raise ListError(f"{name} names no video (read as {known}); give list_format if it is not")
    return Listing(
        name, tuple(entries), tuple(faults), classes, hashlib.sha256(text.encode()).hexdigest()
    )


def read_classes(path: Path) -> tuple[str, ...]:
    """Read the names of classes, in the order of their labels.

    Args:
        path: One name a line, perhaps behind its number (`classInd.txt`); or JSON, a list of
            names or `{"name": number}` (Something-Something V2).

    Raises:
        ListError: There is no such file, it is none of these, or a name comes twice.
    """
    text = _read_text(str(path))
    if text.lstrip()[:1] in ("{", "["):
        names = _json_classes(text, path)
    else:
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        numbered = [re.fullmatch(r"(\d+)[\s,]+(\S.*)", line) for line in lines]
        first = 1 if numbered and numbered[0] and numbered[0][1] == "1" else 0
        if lines and all(m and int(m[1]) == i + first for i, m in enumerate(numbered)):
            names = [match[2] for match in numbered if match]
        else:
            names = [line.strip('"') for line in lines]
    if not names or len(set(names)) != len(names):
        twice = next((name for name in names if names.count(name) > 1), None)
        raise ListError(f"{path}: {f'class {twice!r} comes twice' if twice else 'no class'}")
    return tuple(names)


def number_labels(
    listing: Listing, classes: Sequence[str] | None, num_classes: int = 0
) -> tuple[list[int], list[ListFault]]:
    """Bring every label to a number, and check it.

    Args:
        listing: A list.
        classes: Names of the classes, in the order of their labels; None if they have none.
        num_classes: Number of the classes if they have no names.

    Returns:
        The labels from 0, -1 for those at fault; and the faults.

    Raises:
        ListError: The list has names, but there are none to compare them with.
    """
    number_of = {name: number for number, name in enumerate(classes or ())}
    count = len(number_of) or num_classes
    labels, faults = [], []
    for entry in listing.entries:
        label, reason = _number(entry.label, number_of, count)
        labels.append(label)
        if reason:
            faults.append(ListFault(f"{listing.name}:{entry.line}", f"{entry.path}: {reason}"))
    return labels, faults


def infer_classes(listing: Listing) -> tuple[tuple[str, ...] | None, int]:
    """Find the classes of a list that comes without.

    Returns:
        The names in alphabetical order, or None if labels are numbers; and how many there are.

    Raises:
        ListError: Some labels are names and others numbers, a number is out of range, or numbers
            in between are missing, so that the true number of classes cannot be known.
    """
    if listing.classes is not None:
        return listing.classes, len(listing.classes)
    kinds = {type(entry.label) for entry in listing.entries}
    if kinds == {str}:
        names = tuple(sorted({str(entry.label) for entry in listing.entries}))
        return names, len(names)
    if len(kinds) != 1:
        raise ListError(f"{listing.name}: some labels are numbers and others names")
    first: dict[int, int] = {}
    for entry in listing.entries:
        first.setdefault(int(entry.label), entry.line)
    for label, line in first.items():
        if not 0 <= label < MAX_CLASSES:
            raise ListError(f"{listing.name}:{line}: label {label}; labels are numbered from 0")
    count = max(first) + 1
    if len(first) < count:
        missing = next(label for label in range(count) if label not in first)
        raise ListError(
            f"{listing.name}: labels go up to {count - 1}, but none is {missing}. Give "
            "num_classes, or a file with the classes' names."
        )
    return None, count


def check_no_faults(faults: Iterable[ListFault], name: str) -> None:
    """Raise `ListError` that shows the first faults, if there are any."""
    shown = list(itertools.islice(faults, 1_000_000))
    if shown:
        head = "\n  ".join(str(fault) for fault in shown[:_MOST_FAULTS_SHOWN])
        more = len(shown) - _MOST_FAULTS_SHOWN
        raise ListError(
            f"{name} has {len(shown)} line(s) of no use:\n  {head}"
            + (f"\n  and {more} more" if more > 0 else "")
            + "\n`python -m vidpretrain.data check` writes a clean list."
        )


def mirrored_labels(classes: Sequence[str]) -> tuple[int, ...] | None:
    """Return the class of every class's mirror image, as far as names tell.

    Left and right change places, as do clockwise and counterclockwise.

    Args:
        classes: Names, in the order of their labels.

    Returns:
        Labels by label; None if a mirror image would be of a class that does not exist.
    """
    number_of = {name.lower(): number for number, name in enumerate(classes)}
    mirrored = [number_of.get(_mirror_words(name.lower())) for name in classes]
    if None in mirrored:
        return None
    return tuple(label for label in mirrored if label is not None)


_MIRRORED = {
    "left": "right",
    "right": "left",
    "clockwise": "counterclockwise",
    "counterclockwise": "clockwise",
}


def _mirror_words(name: str) -> str:
    return re.sub(r"[a-z]+", lambda word: _MIRRORED.get(word[0], word[0]), name)


@dataclasses.dataclass(frozen=True)
class _Sink:
    """Takes what is read of a list."""

    name: str
    entries: list[Entry]
    faults: list[ListFault]

    def add(self, line: int, path: str, label: int | str, **known: int | float | None) -> None:
        self.entries.append(Entry(path, label, line, **known))  # type: ignore[arg-type]

    def refuse(self, line: int, reason: str) -> None:
        self.faults.append(ListFault(f"{self.name}:{line}", reason))


def list_names(name: str) -> tuple[str, ...]:
    """Return the names of the lists that "a.txt+b.txt" stands for."""
    return (name,) if os.path.exists(name) else tuple(name.split(JOIN))


def join_listings(name: str, parts: Sequence[Listing]) -> Listing:
    """Return several lists as one.

    Args:
        name: What to call it.
        parts: One list or more.

    Raises:
        ListError: Their formats fix different classes.
    """
    classes = {part.classes for part in parts}
    if len(classes) > 1:
        raise ListError(f"{name}: the lists do not have the same classes")
    hashes = "".join(part.sha256 for part in parts)
    return Listing(
        name,
        tuple(entry for part in parts for entry in part.entries),
        tuple(fault for part in parts for fault in part.faults),
        classes.pop(),
        hashes if len(parts) == 1 else hashlib.sha256(hashes.encode()).hexdigest(),
    )


def _read_text(name: str) -> str:
    try:
        data = Path(name).read_bytes()
    except OSError as error:
        folder = Path(name).parent
        near = sorted(map(str, folder.glob("*"))) if folder.is_dir() else []
        hint = (
            closest(name, near) if near else f"{folder}/ is not there, or empty; see docs/data.md"
        )
        raise ListError(f"list {name}: {error.strerror}; {hint}") from None
    try:
        # Files from Windows begin with a byte order mark and end lines with two characters.
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ListError(f"{name}:{line}: not UTF-8 text ({error.reason})") from None


def _lines(text: str) -> list[tuple[int, str]]:
    return [(n, line.strip()) for n, line in enumerate(text.split("\n"), 1) if line.strip()]


def _recognise(name: str, text: str) -> ListFormat:
    path = Path(name)
    if path.is_dir():
        return ListFormat.FOLDERS
    if _HMDB_NAME.fullmatch(path.name):
        return ListFormat.HMDB51
    if text.lstrip()[:1] == "[":
        return ListFormat.SOMETHING
    lines = [line for _, line in _lines(text)[:_PROBED_ENTRIES]]
    if lines and "youtube_id" in lines[0]:
        return ListFormat.KINETICS
    if re.fullmatch(r"(train|test)list\d+\.txt", path.name) and (
        (path.parent / "classInd.txt").is_file()
    ):
        return ListFormat.UCF101
    if lines and all(line.count(";") == 1 for line in lines):
        return ListFormat.IDS
    if lines and all(re.search(r"[\s,]\d+[\s,]+-?\d+$", line) for line in lines):
        # "folder 120 3" and not the file "part 2.mp4": the number is a word of its own.
        return ListFormat.FRAMES
    return ListFormat.LINES


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _separator(lines: Sequence[str]) -> str:
    """Return what stands before the label: a tab, a comma, or else any space."""
    for separator in ("\t", ","):
        if lines and all(separator in line for line in lines):
            return separator
    return " "


def _split_label(line: str, separator: str) -> tuple[str, str] | None:
    parts = line.rsplit(None if separator == " " else separator, 1)
    if len(parts) < 2 or not parts[0].strip() or not parts[1].strip():
        return None
    return _unquoted(parts[0]), _unquoted(parts[1])


def _integer(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[+-]?\d{1,18}", text) else None


def _read_lines(text: str, sink: _Sink, **_: object) -> None:
    lines = _lines(text)
    separator = _separator([line for _, line in lines])
    split = [(number, _split_label(line, separator)) for number, line in lines]
    numbers = [parts and _integer(parts[1]) for _, parts in split]
    # One word among numbers is a mistake, not a class; one number among words is a name.
    numeric = 2 * sum(number is not None for number in numbers) > len(numbers)
    for (line, parts), number in zip(split, numbers, strict=True):
        if parts is None:
            sink.refuse(line, "neither `path label` nor `path,label`")
        elif numeric and number is None:
            sink.refuse(line, f"{parts[0]}: label {parts[1]!r} is no number")
        else:
            sink.add(line, parts[0], parts[1] if number is None or not numeric else number)


def _read_frames(text: str, sink: _Sink, **_: object) -> None:
    lines = _lines(text)
    separator = _separator([line for _, line in lines])
    for line, content in lines:
        rest = _split_label(content, separator)
        parts = rest and _split_label(rest[0], separator)
        count, label = (_integer(parts[1]), _integer(rest[1])) if parts and rest else (None, None)
        if parts is None or count is None or label is None:
            sink.refuse(line, "not `folder num_frames label`")
        elif count < 1:
            sink.refuse(line, f"{parts[0]}: {count} frames")
        else:
            sink.add(line, parts[0], label, num_frames=count)


def _read_kinetics(text: str, sink: _Sink, *, root: Path, template: str) -> None:
    rows = []
    try:
        for line, row in enumerate(csv.DictReader(io.StringIO(text)), 2):
            if not row.get("label") or not row.get("youtube_id"):
                sink.refuse(line, "label or youtube_id is missing")
                continue
            start, end = (_number_of(row.get(name)) for name in ("time_start", "time_end"))
            fields = {
                "label": row["label"],
                "label_": row["label"].replace(" ", "_"),
                "id": row["youtube_id"],
                "start": start,
                "end": end,
                "split": row.get("split") or "",
            }
            rows.append((line, fields, float(end - start) if end > start else None))
    except csv.Error as error:
        raise ListError(f"{sink.name}: not CSV ({error})") from None
    template = template or _kinetics_template([fields for _, fields, _ in rows], root)
    for line, fields, seconds in rows:
        sink.add(line, _fill(template, fields), str(fields["label"]), seconds=seconds)


def _number_of(text: str | None) -> int:
    return int(float(text)) if text and re.fullmatch(r"\d{1,9}(\.\d*)?", text.strip()) else 0


def _kinetics_template(rows: Sequence[dict[str, str | int]], root: Path) -> str:
    """Return the layout that finds most of the files probed, spread over the list."""
    probed = rows[:: max(1, len(rows) // _PROBED_ENTRIES)]
    best, most = "", 0
    for parts in itertools.product(
        _KINETICS_SPLITS, _KINETICS_CLASSES, _KINETICS_STEMS, VIDEO_EXTENSIONS[:4]
    ):
        template = "".join(parts)
        found = sum(_exists(root, _fill(template, fields)) for fields in probed)
        if found > most:
            best, most = template, found
    if not best:
        raise ListError(
            f"none of {len(probed)} videos of the list is under {root} in a layout that is known, "
            f"such as {{label}}/{_KINETICS_STEMS[0]}.mp4. Give the root that the layout starts "
            "from, or a template."
        )
    return best


def _exists(root: Path, name: str) -> bool:
    try:
        return locate(root, name).is_file()
    except BadInput:
        return False


def _fill(template: str, fields: dict[str, str | int]) -> str:
    try:
        return template.format(**fields)
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise ListError(
            f"source.template={template!r}: {error}; its fields are {', '.join(fields)}"
        ) from None


def _read_something(text: str, sink: _Sink, *, root: Path, template: str) -> None:
    rows = _json(text, sink.name)
    if not isinstance(rows, list):
        raise ListError(f"{sink.name}: not a list of videos")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not row.get("id"):
            sink.refuse(number, 'not `{"id": ..., "template": ...}`')
            continue
        label = row.get("template") or row.get("label")
        if not isinstance(label, str):
            sink.refuse(number, f"{row['id']}: it has no template, so no class")
            continue
        label = label.replace("[", "").replace("]", "")
        sink.add(number, _fill(template or "{id}.webm", {"id": str(row["id"])}), label)


def _read_ids(text: str, sink: _Sink, *, root: Path, template: str) -> None:
    for line, content in _lines(text):
        name, _, label = content.partition(";")
        if not name.strip() or not label.strip():
            sink.refuse(line, "not `id;class`")
            continue
        sink.add(line, _fill(template or "{id}", {"id": name.strip()}), label.strip())


def _read_ucf101(text: str) -> list[Entry]:
    entries = []
    for line, content in _lines(text):
        path = re.sub(r"\s+\d+$", "", content)  # Training lists have a label, test lists none.
        entries.append(Entry(path, path.replace("\\", "/").split("/")[0], line))
    return entries


def _read_hmdb51(pattern: str, split: str) -> tuple[list[Entry], str]:
    code = _HMDB_TRAIN if split == "train" else _HMDB_TEST
    entries, texts = [], []
    for path in sorted(glob.glob(pattern)):
        match = _HMDB_NAME.fullmatch(Path(path).name)
        if match is None:
            continue
        texts.append(_read_text(path))
        for line, content in _lines(texts[-1]):
            name, _, use = content.rpartition(" ")
            if use == code:
                entries.append(Entry(f"{match['name']}/{name.strip()}", match["name"], line))
    return entries, "".join(texts)


def _read_folders(folder: Path, root: Path) -> list[Entry]:
    """Return the videos, images, or folders of frames in the folders of classes."""
    prefix = os.path.relpath(folder, root)
    entries = []
    for of_class in sorted(os.scandir(folder), key=lambda item: item.name):
        if not of_class.is_dir() or of_class.name.startswith("."):
            continue
        for item in sorted(os.scandir(of_class.path), key=lambda item: item.name):
            extensions = VIDEO_EXTENSIONS + IMAGE_EXTENSIONS
            known = item.name.lower().endswith(extensions) or item.is_dir()
            if known and not item.name.startswith("."):
                path = os.path.normpath(os.path.join(prefix, of_class.name, item.name))
                entries.append(Entry(path, of_class.name, 0))
    return entries


def _json(text: str, name: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ListError(f"{name}: not JSON ({error})") from None


def _json_classes(text: str, path: Path) -> list[str]:
    content = _json(text, str(path))
    if isinstance(content, dict):
        try:
            numbers = {name: int(number) for name, number in content.items()}
        except (TypeError, ValueError):
            raise ListError(f"{path}: a class's number is no number") from None
        if sorted(numbers.values()) != list(range(len(numbers))):
            raise ListError(f"{path}: classes are not numbered 0 to {len(numbers) - 1}")
        return sorted(numbers, key=lambda name: numbers[name])
    if isinstance(content, list) and all(isinstance(name, str) for name in content):
        return content
    raise ListError(f"{path}: neither a list of names nor names with numbers")


def _number(label: int | str, number_of: dict[str, int], count: int) -> tuple[int, str]:
    if isinstance(label, int):
        if 0 <= label < count:
            return label, ""
        return -1, f"label {label} is not within 0 to {count - 1}"
    if label in number_of:
        return number_of[label], ""
    if not number_of:
        return -1, f"label {label!r} is a name, but classes have only numbers"
    return -1, f"class {label!r}; {closest(label, number_of)}"
