"""Texts in a column of a CSV or JSON-lines file -> train, validation and test."""

from collections.abc import Sequence
from pathlib import Path

from keras_kd._common.typing import PathLike
from keras_kd.data.labelled_rows import labels_of
from keras_kd.data.rows import files_of, read_rows
from keras_kd.data.splits import Data
from keras_kd.data.text_folder import Reading
from keras_kd.data.texts import NUM_BYTES


def text_file(
    path: PathLike,
    *,
    text: str = "text",
    label: str = "label",
    class_names: Sequence[str] | None = None,
    num_bytes: int = NUM_BYTES,
    unreadable: str = "refuse",
    seed: int = 0,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    memory_limit: int = 1_000_000_000,
    cache: PathLike | None = None,
    name: str | None = None,
) -> Data:
    """Read texts and their labels from two columns of a CSV or JSON-lines file.

    The first line of a CSV file names its columns; they are parted by commas, semicolons or tabs.
    Each line of a `.jsonl` file is a JSON object. Files are UTF-8. A folder may hold `train.csv`,
    `validation.csv` and `test.csv` instead, or `.jsonl`; what is missing is carved from the
    training rows, as in `text_folder`.

    Args:
        path: the file, or the folder of files.
        text: the column of texts.
        label: the column of labels, words or numbers.
        class_names: the labels in the order in which the teacher knows them; sorted if `None`,
            whole numbers by their size.
        num_bytes: how many bytes of each text, from 1 to 65,536, see `encode_texts`.
        unreadable: `"refuse"`, or `"leave_out"` for going on without rows that have no text.
        seed: as in `text_folder`, also below.
        validation_fraction: the same.
        test_fraction: the same.
        memory_limit: the same.
        cache: the same.
        name: what the data set is called in reports; the file's name by default.

    Returns:
        A `Data` of texts, int32 `[n, num_bytes]`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a column is missing, a line is broken, a row has no text or no label, or an
            argument is out of range.

    Example:

    ```python
    import json
    import pathlib
    import keras_kd as kd

    rows = [{"text": f"spam and eggs {n}", "label": "spam" if n % 2 else "eggs"} for n in range(40)]
    pathlib.Path("mail.jsonl").write_text("\\n".join(map(json.dumps, rows)), encoding="utf-8")
    data = kd.data.text_file("mail.jsonl", num_bytes=32)
    assert data.class_names == ("eggs", "spam") and data.reads == "texts"
    ```
    """
    how = Reading(unreadable, seed, validation_fraction, test_fraction, memory_limit, cache)
    rows = {split: read_rows(file) for split, file in files_of(path).items()}
    for each in rows.values():
        each.check_has(text, of=" of texts", option="text")
    labels, class_names = labels_of(rows, label, class_names)
    return how.data_of(
        {split: texts_in(each, text) for split, each in rows.items()},
        labels,
        num_bytes=num_bytes,
        class_names=class_names,
        name=name or Path(path).resolve().stem,
        source=str(path),
    )


def texts_in(rows, text):
    """Return `(place, text)` of each row.

    Args:
        rows: `Rows`.
        text: name of the column.
    """
    return [
        (rows.at(number), "" if row[text] is None else str(row[text]))
        for number, row in enumerate(rows.rows)
    ]
