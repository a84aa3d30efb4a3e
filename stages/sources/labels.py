"""Labels from a CSV beside the photos, as in many datasets of Kaggle: which class a photo has, and what else is known.

The path column names a photo by its path from the CSV or from the source's root, or by as much of the end of its path
as no other photo has, such as its file name; each with or without suffix.
"""

import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping

from stages.runtime.errors import UserError
from stages.sources.archive import Listing
from stages.sources.label_table import Label, count, find_table, read_labels, read_text
from stages.sources.layout import (
    Photo,
    Selection,
    check_classes,
    choose_subsets,
    enumerate_some,
    find_fault,
    get_subset,
    group_by_reason,
    name_unchosen,
    show,
    takes_all,
    to_wanted,
)
from stages.sources.params import LabelParams

FILE_DEPTH = 1  # parts of a photo's path that are not above it: its own name


def select_labelled(listing: Listing, params: LabelParams, subset: str | list[str]) -> Selection:
    """Choose the photos that a CSV of the source labels, of one or several subsets, or of ``"all"``.

    A subset is a folder above a photo whose name is in `SUBSETS` or chosen, in any case. A row may name a photo that
    is not there when its path lies in a subset that is not chosen.
    Raises UserError when the CSV is absent or no such table, when a row names no photo, several photos, or another
    class than an earlier row, and when a subset or the names of the classes cannot be used.
    """
    file = find_table(listing, params.file)
    wanted = to_wanted(subset)
    labels = read_labels(read_text(listing, file), show(file), params)
    unused = {name: fault for name in listing if name != file and (fault := find_fault(name))}
    names = sorted(name for name in listing if name != file and name not in unused and not name.endswith("/"))
    rows, absent = match_labels(labels, names, file)
    notes = check_absent(absent, show(file), wanted) + check_repeats(rows, show(file))

    unused |= {name: f"not in {show(file)}" for name in names if name not in rows}
    photos = {
        name: Photo(get_subset(name.split("/")[:-FILE_DEPTH], wanted), rows[name][0].class_name, rows[name][0].cells)
        for name in sorted(rows)
    }
    chosen = photos if takes_all(wanted, photos) else choose_subsets(photos, wanted, FILE_DEPTH)
    check_classes(chosen.values(), f"classes in {show(file)}", "Rename them there.")
    return Selection(chosen, group_by_reason(unused | name_unchosen(photos, chosen)), (file,), tuple(notes))


def match_labels(labels: Iterable[Label], names: list[str], file: str) -> tuple[dict[str, list[Label]], list[Label]]:
    """The rows of every photo, and those that name none of ``names``.

    Raises UserError when a row may name several photos.
    """
    exact, tails = _index_exact(names), _index_tails(names)
    rows: dict[str, list[Label]] = defaultdict(list)
    absent: list[Label] = []
    unclear: list[str] = []
    for label in labels:
        path = _normalize(label.path)
        beside = _normalize(f"{posixpath.dirname(file)}/{label.path}")
        found = exact.get(beside) or exact.get(path) or tails.get(path, [])
        if len(found) == 1:
            rows[found[0]].append(label)
        elif found:
            unclear.append(f"{show(label.path)} (line {label.line}) may be {enumerate_some([show(n) for n in found])}")
        else:
            absent.append(label)
    if unclear:
        raise UserError(
            f"{show(file)} names {count(len(unclear), 'photo')} in a way that fits several:\n  "
            + "\n  ".join(unclear[:5])
            + "\nWrite whole paths in that column, or remove the other photos from the source."
        )
    return rows, absent


def _index_exact(names: list[str]) -> dict[str, list[str]]:
    """Photos by path; and by path without suffix, where that is no photo's path."""
    exact = {_normalize(name): [name] for name in names}
    stems: dict[str, list[str]] = defaultdict(list)
    for name in names:
        stems[posixpath.splitext(_normalize(name))[0]].append(name)
    return stems | exact


def _index_tails(names: list[str]) -> dict[str, list[str]]:
    """Photos by every end of their path, from the file name up to all of it, each with and without suffix."""
    tails: dict[str, list[str]] = defaultdict(list)
    for name in names:
        parts = _normalize(name).split("/")
        for start in range(len(parts)):
            tail = "/".join(parts[start:])
            for key in {tail, posixpath.splitext(tail)[0]}:
                tails[key].append(name)
    return tails


def _normalize(path: str) -> str:
    """A path in one spelling of accents and of folders: without ``./``, ``..``, ``\\`` and a ``/`` before it."""
    return posixpath.normpath(unicodedata.normalize("NFC", path.replace("\\", "/"))).lstrip("/")


def check_absent(absent: list[Label], file: str, wanted: set[str]) -> list[str]:
    """A note on rows whose photos are not there; UserError unless all of them lie in subsets that are not chosen."""
    missing = [label for label in absent if not _lies_elsewhere(label.path, wanted)]
    if missing:
        examples = enumerate_some([f"{show(label.path)} (line {label.line})" for label in missing], most=3)
        raise UserError(
            f"no photo of the source is named by {count(len(missing), 'row')} of {file}: {examples}. A row names a "
            "photo by its path from the CSV or from the source's root, or by its file name, with or without suffix. "
            "Add the photos, remove the rows, or fix fetch.labels.path in params.yaml."
        )
    return [f"{count(len(absent), 'row')} of {file} for photos of other subsets, which are not there"] if absent else []


def _lies_elsewhere(path: str, wanted: set[str]) -> bool:
    subset = get_subset(_normalize(path).split("/")[:-FILE_DEPTH], wanted)
    return "all" not in wanted and subset not in wanted | {""}


def check_repeats(rows: Mapping[str, list[Label]], file: str) -> list[str]:
    """A note on rows that say something else of a photo than its first; UserError when that is another class."""
    repeated = {name: labels for name, labels in rows.items() if len(labels) > 1}
    torn = [
        f"{show(name)}: {', '.join(f'{label.class_name} (line {label.line})' for label in labels[:3])}"
        for name, labels in sorted(repeated.items())
        if len({label.class_name for label in labels}) > 1
    ]
    if torn:
        raise UserError(
            f"{file} gives {count(len(torn), 'photo')} several labels:\n  "
            + "\n  ".join(torn[:5])
            + "\nRemove the wrong rows: a photo has one class here."
        )
    again = sum(map(len, repeated.values())) - len(repeated)
    notes = [f"{count(again, 'row')} of {file} for photos that have a row already"] if again else []
    differ = {
        column
        for labels in repeated.values()
        for label in labels[1:]
        for column, cell in label.cells.items()
        if cell != labels[0].cells[column]
    }
    if differ:
        notes.append(f"where they differ in {enumerate_some(sorted(differ))}, the first row of a photo counts")
    return notes
