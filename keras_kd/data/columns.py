"""The columns of a table, and what was learned of its rows: how a row becomes numbers."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from keras_kd._common.typing import Config

# What stands for a number that is missing.
_MISSING = {"", "na", "n/a", "#n/a", "<na>", "nan", "null", "none"}
# Of words of one column: more are names or keys, of which nothing is learned.
MOST_CATEGORIES = 100


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of numbers, or of words.

    Args:
        name: as the file calls it.
        mean: of the numbers, which stands for one that is missing; `None` of words.
        categories: the words that are known; empty of numbers.
    """

    name: str
    mean: float | None = None
    categories: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the numbers that it becomes: one, or one a word."""
        return tuple(f"{self.name}={each}" for each in self.categories) or (self.name,)


@dataclasses.dataclass(frozen=True)
class Columns:
    """How a row of a table becomes the numbers that models take.

    A number stands as it is; for one that is missing stands the mean of its column. A word becomes
    a 1 among zeros, one place a word that is known; one that is unknown or missing becomes zeros
    alone. Nothing is scaled: a student standardises inside itself.

    A file of a student tells its columns, so that its user needs no more than the file:

    ```python
    import keras_kd as kd

    columns = kd.data.Columns((
        kd.data.Column("age", mean=40.0), kd.data.Column("town", categories=("Bonn", "Ulm"))
    ))
    assert columns.inputs == ("age", "town=Bonn", "town=Ulm")
    numbers = columns.encode([{"age": 31, "town": "Ulm"}, {"age": None, "town": "Rom"}])
    assert numbers.tolist() == [[31.0, 0.0, 1.0], [40.0, 0.0, 0.0]]
    assert kd.data.Columns.from_config(columns.get_config()) == columns
    ```

    Args:
        columns: the `Column`s, in their order.
    """

    columns: tuple[Column, ...]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the numbers that models take, in their order."""
        return tuple(name for column in self.columns for name in column.inputs)

    def encode(self, rows: Iterable[Mapping[str, Any]]) -> np.ndarray:
        """Return rows as models take them.

        Args:
            rows: a dict by column each, of numbers or texts; `None` or an empty text is missing.

        Returns:
            float32 `[n, len(inputs)]`.

        Raises:
            ValueError: if a column is missing, or a number is none.
        """
        if isinstance(rows, Mapping):
            raise ValueError(
                "Rows must be a list of dicts. Received: one dict. Put it into a list, `[row]`."
            )
        rows = list(rows)
        for number, row in enumerate(rows):
            if not isinstance(row, Mapping):
                raise ValueError(
                    f"Each row must be a dict by column. Received: {row!r} as row {number}."
                )
        return encoded(self, rows, lambda number: f"row {number}")

    def get_config(self) -> Config:
        """Return what makes it again, for JSON."""
        return {
            "columns": [
                {"name": each.name, "categories": list(each.categories)}
                if each.categories
                else {"name": each.name, "mean": each.mean}
                for each in self.columns
            ]
        }

    @classmethod
    def from_config(cls, config: Config) -> "Columns":
        """Make it again from `get_config`, or from what `export.embedded` returns of a file.

        Raises:
            ValueError: if that tells no columns: the file is not of a table.
        """
        if not isinstance(config, Mapping) or not isinstance(config.get("columns"), list):
            raise ValueError(
                "A file must tell the columns of its table. Received: none. Write it with "
                "`export.litert(..., columns=data.columns)`."
            )
        return cls(
            tuple(
                Column(each["name"], each.get("mean"), tuple(each.get("categories", ())))
                for each in config["columns"]
            )
        )


def encoded(columns, rows, at):
    """Do what `Columns.encode` does, with a function from a row's number to where it stands."""
    found = np.zeros((len(rows), len(columns.inputs)), np.float32)
    first = 0
    for column in columns.columns:
        for number, row in enumerate(rows):
            if column.name not in row:
                raise ValueError(
                    f"Each row must have a column {column.name!r}. Received: {at(number)} "
                    f"with {', '.join(map(repr, row))}. Give `None` where it is missing."
                )
            place = found[number, first : first + len(column.inputs)]
            if not _put(place, column, row[column.name]):
                raise ValueError(
                    f"The column {column.name!r} must hold finite numbers. Received: "
                    f"{row[column.name]!r} in {at(number)}. Leave it empty where it is missing."
                )
        first += len(column.inputs)
    return found


def _put(place, column, value):
    """Put a value where its numbers belong; return whether it is one that can stand there."""
    if column.categories:
        word = word_of(value)
        if word in column.categories:
            place[column.categories.index(word)] = 1
        return True
    number = number_of(value)
    if number is None:
        return False
    with np.errstate(over="ignore"):
        place[0] = column.mean if math.isnan(number) else number
    return np.isfinite(place[0])


def learned(rows: Sequence[Mapping], names: Sequence[str], categorical: Sequence[str], at):
    """Return the `Columns` of rows.

    Args:
        rows: dicts by column.
        names: of the columns to take.
        categorical: of those that hold words whatever they look like.
        at: a function from a row's number to where it stands.

    Raises:
        ValueError: if one holds numbers and words, nothing, or too many words.
    """
    return Columns(tuple(_learned(rows, name, name in categorical, at) for name in names))


def _learned(rows, name, is_categorical, at):
    values = [row[name] for row in rows]
    numbers = [] if is_categorical else [number_of(value) for value in values]
    known = np.array([each for each in numbers if each is not None and not math.isnan(each)])
    wrong = [number for number, each in enumerate(numbers) if each is None]
    if is_categorical or (wrong and not len(known)):
        return _of_words(name, values)
    if wrong:
        raise ValueError(
            f"A column must hold numbers or words. Received: {name!r} with {len(known)} numbers "
            f"and {len(wrong)} words, such as {values[wrong[0]]!r} in {at(wrong[0])}. Empty it "
            "where it is missing, or name the column in `categorical`."
        )
    if not len(known):
        raise _empty(name)
    with np.errstate(over="ignore"):
        is_finite = np.isfinite(known.astype(np.float32)).all()
    if not is_finite:
        raise ValueError(
            f"A column must hold finite numbers. Received: {name!r} with one that float32 does not "
            "hold. Correct it, or empty it where it is missing."
        )
    return Column(name, mean=float(known.mean()))


def _of_words(name, values):
    words = [word for word in map(word_of, values) if word is not None]
    categories = tuple(sorted(set(words)))
    if not categories:
        raise _empty(name)
    if all(number_of(word.replace(",", ".", 1)) is not None for word in words) and any(
        "," in word for word in words
    ):
        raise ValueError(
            f"Numbers must have a point. Received: {name!r} with commas, such as {words[0]!r}. "
            "Write them with a point, or name the column in `categorical`."
        )
    if len(categories) > MOST_CATEGORIES:
        raise ValueError(
            f"A column of words must hold at most {MOST_CATEGORIES} of them. Received: {name!r} "
            f"with {len(categories)} in {len(values)} rows, such as {words[0]!r}. Remove it, or "
            "name the others with `columns`."
        )
    return Column(name, categories=categories)


def _empty(name):
    return ValueError(
        f"A column must hold numbers or words. Received: {name!r}, which is empty. Remove it."
    )


def word_of(value):
    """Return a value as a word, `None` if it is missing."""
    word = "" if value is None else str(value).strip()
    return word or None


def number_of(value):
    """Return a value as a number, NaN if it is missing, `None` if it is none."""
    if value is None:
        return math.nan
    if isinstance(value, str):
        value = value.strip()
        if value.lower() in _MISSING:
            return math.nan
        if "_" in value:  # Python's own way of writing a million.
            return None
    try:
        return float(value)
    except OverflowError:  # An integer of hundreds of digits.
        return math.inf
    except (TypeError, ValueError):
        return None
