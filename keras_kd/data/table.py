"""Numbers and words in the columns of a CSV or JSON-lines file -> train, validation and test."""

from collections.abc import Sequence
from pathlib import Path

from keras_kd._common.checks import check_part, check_seed
from keras_kd._common.typing import PathLike
from keras_kd.data.class_folders import carved
from keras_kd.data.columns import encoded, learned
from keras_kd.data.labelled_rows import labels_of
from keras_kd.data.rows import files_of, read_rows
from keras_kd.data.splits import Data, Split, stratified


def table(
    path: PathLike,
    *,
    label: str = "label",
    columns: Sequence[str] | None = None,
    categorical: Sequence[str] = (),
    class_names: Sequence[str] | None = None,
    seed: int = 0,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    name: str | None = None,
) -> Data:
    """Read a table: a CSV or JSON-lines file with a column of labels, and others to tell them by.

    Files, and folders of `train.csv` and `test.csv`, are read as `text_file` reads them.

    | a column | becomes | where a value is missing |
    | --- | --- | --- |
    | of numbers | one number, as it is | the mean of the column |
    | of words, at most 100 | a 1 among zeros, a place a word | zeros alone |

    Means and words are learned of all rows but the test rows, so that they are the same for every
    seed. They are the `columns` of the result, which turn rows of another day into the same
    numbers, and lie inside the files of a student. Numbers are not scaled: a student standardises
    inside itself, and a tree does not care. An empty value, `NA`, `NaN` or `null` is missing.

    Args:
        path: the file, or the folder of files.
        label: the column of labels, words or whole numbers.
        columns: the columns to tell them by, in the order in which the teacher takes them; all
            others, as the file has them, if `None`.
        categorical: of those, the columns that hold words though they look like numbers, such as
            postcodes.
        class_names: as in `text_file`, also below.
        seed: the same.
        validation_fraction: the same.
        test_fraction: the same.
        name: the same.

    Returns:
        A `Data` of float32 `[n, features]`, with its `columns`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a column is missing, or holds numbers and words, a line is broken, a row has
            no label, or an argument is out of range.

    Example:

    ```python
    import pathlib
    import keras_kd as kd

    rows = [f"{n},{'red' if n % 3 else 'blue'},{'big' if n > 20 else 'small'}" for n in range(40)]
    text = "\\n".join(["weight,colour,label", *rows])
    pathlib.Path("things.csv").write_text(text, encoding="utf-8")
    data = kd.data.table("things.csv")
    assert data.columns.inputs == ("weight", "colour=blue", "colour=red")
    assert data.train.images.shape[1:] == (3,) and data.class_names == ("big", "small")
    ```
    """
    check_seed(seed)
    check_part("validation_fraction", validation_fraction)
    check_part("test_fraction", test_fraction)
    rows = {split: read_rows(file) for split, file in files_of(path).items()}
    labels, class_names = labels_of(rows, label, class_names)
    names = _names(rows["train"], columns, categorical, label)
    for each in rows.values():
        each.check_has(*names)
    known, at = _known(rows, labels, test_fraction)
    found = learned(known, names, categorical, at)
    splits = {
        split: Split(encoded(found, each.rows, each.at), labels[split])
        for split, each in rows.items()
    }
    return Data(
        name=name or Path(path).resolve().stem,
        class_names=class_names,
        source=str(path),
        reads="numbers",
        columns=found,
        **carved(
            splits,
            what="rows",
            source=str(path),
            seed=seed,
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
        ),
    )


def _names(train, columns, categorical, label):
    """Return the columns to tell the labels by."""
    for argument, names in (("columns", columns), ("categorical", categorical)):
        if names is not None and not isinstance(names, (list, tuple)):
            raise ValueError(
                f"`{argument}` must be a list of names. Received: {argument}={names!r}."
            )
    names = [each for each in train.columns if each != label] if columns is None else list(columns)
    train.check_has(*names, *categorical)
    wrong = [each for each in categorical if each not in names]
    if not names or label in names or wrong:
        received = f"the label {label!r}" if label in names else (wrong or ["none"])[0]
        raise ValueError(
            "There must be columns to tell the labels by, `categorical` ones among them. "
            f"Received: {received}. Name columns other than the label."
        )
    return names


def _known(rows, labels, test_fraction):
    """Return all rows but the test rows, and a function to where one stands."""
    train = rows["train"]
    known = [(train, number) for number in range(len(train.rows))]
    if "test" not in rows:
        # As `carved` draws them.
        is_test = stratified(labels["train"], test_fraction, 0)
        known = [each for each, taken in zip(known, is_test, strict=True) if not taken]
    if "validation" in rows:
        others = rows["validation"]
        known += [(others, number) for number in range(len(others.rows))]
    return [each.rows[number] for each, number in known], lambda at: known[at][0].at(known[at][1])
