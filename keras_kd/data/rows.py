"""A CSV or JSON-lines file with named columns -> its rows."""

import csv
import dataclasses
import json
from pathlib import Path

from keras_kd.data.class_folders import SPLITS
from keras_kd.data.encoded import name_of

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")
_DELIMITERS = ",;\t"
_LONGEST_FIELD = 10_000_000


@dataclasses.dataclass(frozen=True)
class Rows:
    """The rows of a file.

    Args:
        path: of the file.
        columns: their names.
        rows: a dict by column each: texts of a CSV file; of JSON also numbers, and `None`.
        lines: the number of the line of each, from 1.
    """

    path: Path
    columns: tuple[str, ...]
    rows: list[dict[str, object]]
    lines: list[int]

    def check_has(self, *columns, of="", option="columns"):
        """Refuse rows without some columns.

        Args:
            *columns: their names.
            of: what one holds, such as `" of labels"`.
            option: the argument that names them.

        Raises:
            ValueError: in one sentence.
        """
        command = f" (--{option})" if of else ""
        for column in columns:
            if column not in self.columns:
                raise ValueError(
                    f"The file must have a column {column!r}{of}. Received: {_shown(self.path)} "
                    f"with {', '.join(map(repr, self.columns[:20]))}. Name the one that holds them "
                    f"with `{option}`{command}."
                )

    def at(self, number):
        """Return where a row stands, for people."""
        return f"{_shown(self.path)}, line {self.lines[number]}"


def files_of(path):
    """Return `{split: Path}` of a file, or of a folder of `train.csv`, `test.csv` and so on.

    Args:
        path: of the file or folder.

    Raises:
        FileNotFoundError: if it is neither.
        ValueError: if it is a file of another kind, or there are two of one split.
    """
    path = Path(path)
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise ValueError(
                f"Rows must lie in a file {', '.join(SUFFIXES)}. Received: {_shown(path)}."
            )
        return {"train": path}
    found = {}
    for split, names in SPLITS.items():
        there = [path / f"{name}{suffix}" for name in names for suffix in SUFFIXES]
        there = [each for each in there if each.is_file()]
        if len(there) > 1:
            raise ValueError(
                f"There must be one file of {split} rows. Received: "
                f"{' and '.join(each.name for each in there)} in {_shown(path)}. Remove one."
            )
        if there:
            found[split] = there[0]
    if "train" not in found:
        raise FileNotFoundError(
            "Rows must lie in a CSV or JSON-lines file, or in a folder with train.csv. "
            f"Received: {_shown(path)}, neither."
        )
    return found


def read_rows(path):
    """Return the `Rows` of a file, told by its suffix.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is no such file, with the number of the line.
    """
    path = Path(path)
    read = _of_json if path.suffix.lower() in (".jsonl", ".ndjson") else _of_csv
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = read(path, file)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{_shown(path)} must be UTF-8. Received: byte 0x{error.object[error.start]:02x}. "
            "Save it as UTF-8."
        ) from error
    if not rows.rows:
        raise ValueError(f"There must be rows. Received: {_shown(path)}, which has none.")
    return rows


def _of_csv(path, file):
    before = csv.field_size_limit(_LONGEST_FIELD)
    try:
        start = file.readline()
        file.seek(0)
        delimiter = max(_DELIMITERS, key=start.count)
        lines = csv.reader(file, delimiter=delimiter, strict=True)
        columns = tuple(each.strip() for each in next(lines, ()))
        _check_columns(path, columns)
        rows, numbers = [], []
        begins = lines.line_num + 1
        for fields in lines:
            if fields:
                if len(fields) != len(columns):
                    raise ValueError(
                        f"{_shown(path)} must have {len(columns)} fields in every line. Received: "
                        f"{len(fields)} in line {begins}. Look at its quotes and {delimiter!r}."
                    )
                rows.append(dict(zip(columns, fields, strict=True)))
                numbers.append(begins)
            begins = lines.line_num + 1
        return Rows(path, columns, rows, numbers)
    except csv.Error as error:
        raise ValueError(
            f"{_shown(path)} must be CSV. Received: {error} in line {lines.line_num}."
        ) from error
    finally:
        csv.field_size_limit(before)


def _check_columns(path, columns):
    twice = {each for each in columns if columns.count(each) > 1}
    if not columns or "" in columns or twice:
        received = "no columns" if not columns else "one without a name"
        received = f"{sorted(twice)[0]!r} twice" if twice - {""} else received
        # pandas writes its index so.
        remedy = " or leave the column out (`to_csv(index=False)`)" if "" in columns else ""
        raise ValueError(
            f"The first line of {_shown(path)} must name the columns, each once. Received: "
            f"{received}. Write the names there{remedy}."
        )


def _of_json(path, file):
    rows, numbers, columns = [], [], {}
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(
                f"Each line of {_shown(path)} must be a JSON object. Received: line {number}, "
                f"which is broken ({error})."
            ) from error
        if not isinstance(row, dict):
            raise ValueError(
                f"Each line of {_shown(path)} must be a JSON object. Received: "
                f"{type(row).__name__} in line {number}."
            )
        for column, value in row.items():
            if isinstance(value, (dict, list)):
                raise ValueError(
                    f"Each column of {_shown(path)} must hold numbers or texts. Received: "
                    f"{type(value).__name__} as {column!r} in line {number}."
                )
            if isinstance(value, bool):
                row[column] = str(value).lower()  # As a CSV file has it.
        columns |= dict.fromkeys(row)
        rows.append(row)
        numbers.append(number)
    # What is missing in a line is `None`.
    return Rows(path, tuple(columns), [dict.fromkeys(columns) | row for row in rows], numbers)


def _shown(path):
    return name_of((path, None, None))
