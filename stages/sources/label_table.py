"""The CSV of labels of a source: found, read and checked. Its columns are named in fetch.labels."""

import csv
import io
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from stages.photos.decoding import BadImage
from stages.runtime.errors import UserError
from stages.sources.archive import Listing
from stages.sources.layout import enumerate_some, find_fault, show
from stages.sources.params import LabelParams

SEPARATORS = ",;\t"


@dataclass(frozen=True)
class Label:
    """A row of the CSV: its line, from 1; how it names the photo; the class; its other cells by column."""

    line: int
    path: str
    class_name: str
    cells: Mapping[str, str]


def find_table(listing: Listing, wanted: str) -> str:
    """The file of the source that has this path, or else this name. Raises UserError unless there is exactly one."""
    if wanted in listing:
        return wanted
    files = sorted(name for name in listing if not name.endswith("/") and find_fault(name) != "hidden")
    found = [name for name in files if PurePosixPath(name).name == wanted]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(
            f"fetch.labels.file is {wanted}, and the source has several: {enumerate_some([show(n) for n in found])}. "
            "Write the path in the source."
        )
    tables = [show(name) for name in files if PurePosixPath(name).suffix.lower() in (".csv", ".tsv", ".txt")]
    raise UserError(
        f"fetch.labels.file is {wanted}, which is not in the source; tables there: "
        f"{enumerate_some(tables) or 'none'}. Name one of them, or set fetch.labels to null for a folder per class."
    )


def read_text(listing: Listing, file: str) -> str:
    """The text of a file of the source. Raises UserError when it cannot be read, or is not UTF-8."""
    try:
        return listing[file].read().decode("utf-8-sig")
    except BadImage as reason:
        raise UserError(f"{show(file)}, which fetch.labels names, cannot be read: {reason}.") from reason
    except UnicodeDecodeError as error:
        raise UserError(f"{show(file)} is not text in UTF-8 ({error.reason}). Save it as CSV in UTF-8.") from error


def read_labels(text: str, file: str, params: LabelParams) -> list[Label]:
    """The rows of a CSV whose separator is a comma, a semicolon or a tab.

    Raises UserError for a file that is no such table, lacks a column or a label, or has rows of different lengths.
    """
    header, rows = _parse(text, file, params)
    others = [i for i, column in enumerate(header) if column not in (params.path, params.label)]
    where, what = header.index(params.path), header.index(params.label)
    labels = []
    for line, row in rows:
        if len(row) != len(header):
            raise UserError(
                f"{file}: line {line} has {count(len(row), 'value')}, and the header {count(len(header), 'column')}. "
                "Put values that hold a separator in quotes."
            )
        class_name = unicodedata.normalize("NFC", row[what])
        labels.append(Label(line, row[where], class_name, {show(header[i]): show(row[i]) for i in others}))
    for column, empty in (
        (params.path, [label.line for label in labels if not label.path]),
        (params.label, [label.line for label in labels if not label.class_name]),
    ):
        if empty:
            raise UserError(
                f"{file}: the column {column} is empty in {count(len(empty), 'row')}: line "
                f"{enumerate_some([str(line) for line in empty])}. Fill it in, or remove these rows."
            )
    if not labels:
        raise UserError(f"{file} has a header, but no rows. Every photo needs a row with its class.")
    return labels


def count(number: int, noun: str) -> str:
    """``1 row`` or ``1,200 rows``."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _parse(text: str, file: str, params: LabelParams) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header and rows, each with the line that it ends in. The separator is the one that yields both columns."""
    headers = {separator: _read_header(text, file, separator) for separator in SEPARATORS}
    for separator, header in headers.items():
        if {params.path, params.label} <= set(header):
            if twice := sorted({column for column in header if header.count(column) > 1}):
                raise UserError(
                    f"{file} has several columns of one name: {enumerate_some([show(name) for name in twice])}. "
                    "Rename them there."
                )
            return header, list(_read_rows(text, file, separator))[1:]
    columns = max(headers.values(), key=len)
    missing = [name for name in (params.path, params.label) if name not in columns]
    raise UserError(
        f"{file} has no column {' and no column '.join(missing)}; its columns are "
        f"{enumerate_some([show(name) for name in columns]) or 'none'}. Fix fetch.labels in params.yaml: path and "
        "label name columns of a CSV with a header, separated by commas, semicolons or tabs."
    )


def _read_header(text: str, file: str, separator: str) -> list[str]:
    try:
        return next(_read_rows(text, file, separator), (0, []))[1]
    except UserError:  # with another separator it may be one
        return []


def _read_rows(text: str, file: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Line and cells of every row that is not empty."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise UserError(f"{file}: line {reader.line_num} is not CSV ({error}). Save the table as CSV again.") from error
