"""Tables that cross stages: CSV files whose columns and types stand in one class, which writes and reads them."""

from io import BytesIO
from pathlib import Path
from typing import ClassVar

import pandas as pd

from stages.base.files import read_recorded, write_bytes
from stages.runtime.errors import RESTORE, UserError


class Table:
    """A CSV file with a header. A subclass names its columns and their types, in the order they are written."""

    columns: ClassVar[dict[str, type]]
    float_format: ClassVar[str | None] = None  # None: the shortest text that reads back as the same number
    may_be_empty: ClassVar[bool] = False

    @classmethod
    def save(cls, path: Path, table: pd.DataFrame) -> None:
        """Write the columns of ``table``, in one step."""
        rows = table[list(cls.columns)]
        text = rows.to_csv(index=False, lineterminator="\n", float_format=cls.float_format, na_rep="nan")
        write_bytes(path, text.encode())

    @classmethod
    def load(cls, path: Path) -> pd.DataFrame:
        """Read the file; columns that the class does not name are left as text.

        Raises UserError when it is absent, not what was written, lacks a column or a row, or has a value of
        another type.
        """
        table = read_csv(path)
        cls.check_header(path, table)
        try:
            table = table.astype(cls.columns)
        except ValueError as error:
            raise UserError(f"{path} was changed or damaged: {error}. {RESTORE}") from error
        cls.check(path, table)
        return table

    @classmethod
    def check_header(cls, path: Path, table: pd.DataFrame) -> None:
        """Raise UserError when a column is missing, or all rows are."""
        if missing := [name for name in cls.columns if name not in table.columns]:
            raise UserError(f"{path} lacks the column(s) {', '.join(missing)}. {RESTORE}")
        if table.empty and not cls.may_be_empty:
            raise UserError(f"{path} has no rows. {RESTORE}")

    @classmethod
    def check(cls, path: Path, table: pd.DataFrame) -> None:
        """Raise UserError when a row says what cannot be. Subclasses with such rules extend it."""


def read_csv(path: Path) -> pd.DataFrame:
    """All cells as text. Raises UserError when the file is absent, not what was written, or no CSV."""
    try:
        # keep_default_na=False: a class may be called "NA" or "null"
        return pd.read_csv(BytesIO(read_recorded(path)), dtype=str, keep_default_na=False)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing. Run `dvc repro`, which makes it.") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as CSV ({error}). {RESTORE}") from error
