"""Texts by class, a file each in the folder of its class -> train, validation and test."""

import codecs
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_kd._common.checks import check_number, check_part, check_seed
from keras_kd._common.typing import PathLike
from keras_kd.data.cache import cached
from keras_kd.data.class_folders import (
    Sought,
    carved,
    check_classes_kept,
    check_unreadable,
    files_by_class,
    refuse_unreadable,
)
from keras_kd.data.encoded import name_of
from keras_kd.data.splits import Data, Split
from keras_kd.data.texts import (
    NUM_BYTES,
    Texts,
    beginning,
    check_num_bytes,
    numbers_of,
    why_no_text,
)

TEXTS = Sought("text", (".txt",))
# Of a file no more is looked at.
_MOST_READ = 1_000_000


def text_folder(
    path: PathLike,
    *,
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
    """Read a folder of texts: `path/<class>/*.txt`, or `path/train/<class>/*.txt` and so on.

    Each `.txt` file is one text, in UTF-8. Of each the first `num_bytes` bytes are kept, see
    `encode_texts`. Below a class's folder they may lie in folders of their own. Hidden files and
    those of other suffixes are passed over. A class without texts is refused, and so is a text
    beside the folders of the classes.

    Beside `train` there may be `validation` (or `val`, `valid`) and `test`. What is missing is
    carved from the training texts, stratified by class: the test texts the same for every seed,
    the validation texts drawn by `seed`. Where texts come from one document, or one author, sort
    them into these folders yourself, so that none is in two of them.

    Args:
        path: the folder.
        class_names: the classes in the order of the labels, as the teacher knows them; the
            sorted names of their folders if `None`.
        num_bytes: how many bytes of each text, from 1 to 65,536.
        unreadable: `"refuse"`, or `"leave_out"` for going on without files that hold no text in
            UTF-8; the `left_out` of the result names them.
        seed: integer that the validation split depends on.
        validation_fraction: share of each class's training texts, above 0 and below 1.
        test_fraction: the same, where there is no folder `test`.
        memory_limit: the most bytes of numbers to keep in memory, where there is a `cache`.
        cache: a folder for numbers beyond the limit, which are memory-mapped; those of the same
            texts are used again.
        name: what the data set is called in reports; the folder's name by default.

    Returns:
        A `Data` of texts, int32 `[n, num_bytes]`.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if the folder holds no texts by class, one cannot be read, or an argument is
            out of range.

    Example:

    ```python
    import pathlib
    import keras_kd as kd

    for number in range(40):
        folder = pathlib.Path("letters", "de" if number % 2 else "en")
        folder.mkdir(parents=True, exist_ok=True)
        hello = "Guten Tag" if number % 2 else "Good day"
        (folder / f"{number}.txt").write_text(f"{hello}, number {number}", encoding="utf-8")
    data = kd.data.text_folder("letters", num_bytes=64)
    assert data.class_names == ("de", "en") and data.input_shape == (64,)
    assert kd.data.decode_texts(data.train.images)[0].startswith("Guten Tag")
    ```
    """
    root = Path(path)
    how = Reading(unreadable, seed, validation_fraction, test_fraction, memory_limit, cache)
    files, labels, class_names = files_by_class(root, TEXTS, class_names)
    return how.data_of(
        {split: _texts_of(each) for split, each in files.items()},
        labels,
        num_bytes=num_bytes,
        class_names=class_names,
        name=name or root.resolve().name,
        source=str(root),
    )


class Reading:
    """How texts are read and split; the arguments are those of `text_folder`."""

    def __init__(self, unreadable, seed, validation_fraction, test_fraction, memory_limit, cache):
        check_seed(seed)
        check_unreadable(unreadable)
        check_part("validation_fraction", validation_fraction)
        check_part("test_fraction", test_fraction)
        check_number("memory_limit", memory_limit, (0, math.inf))
        self.unreadable, self.memory_limit, self.cache = unreadable, memory_limit, cache
        self.carving = {
            "seed": seed,
            "validation_fraction": validation_fraction,
            "test_fraction": test_fraction,
        }

    def data_of(self, texts, labels, *, num_bytes, class_names, name, source):
        """Return the `Data` of texts.

        Args:
            texts: `{split: (place, text) of each}`, where an exception stands for what is no text.
            labels: `{split: integers}`, one a text.
            num_bytes: as in `encode_texts`.
            class_names: of all classes.
            name: of the data.
            source: where they were found.

        Raises:
            ValueError: if one is no text and is not to be left out, or there are too few.
        """
        check_num_bytes(num_bytes)
        found, splits, left_out = {}, {}, {}
        for split, each in texts.items():
            found[split], kept = readable(each, num_bytes, left_out)
            # Which texts: they become numbers once it is known in which split each is.
            places = np.arange(len(found[split]))
            splits[split] = Split(places, np.array(labels[split], np.int32)[kept])
        refuse_unreadable(left_out, self.unreadable, one="text", fault="that hold none")
        if left_out:
            check_classes_kept(splits["train"].labels, class_names, what="texts", source=source)
        splits = carved(splits, what="texts", source=source, **self.carving)
        size = Texts.dtype.itemsize * num_bytes * sum(len(each) for each in splits.values())
        in_memory = self.cache is None or size <= self.memory_limit
        for split, each in splits.items():
            own = found.get(split, found["train"])  # What was carved is of the training texts.
            chosen = Texts([own[place] for place in each.images], num_bytes)
            numbers = (
                numbers_of(chosen.beginnings, num_bytes)
                if in_memory
                else cached(chosen, Path(self.cache))
            )
            splits[split] = Split(numbers, each.labels)
        return Data(
            name=name,
            class_names=class_names,
            source=source,
            left_out=tuple(f"{place} ({reason})" for place, reason in sorted(left_out.items())),
            reads="texts",
            **splits,
        )


def readable(texts, num_bytes, left_out):
    """Return the beginnings of those that are texts, and which of all were.

    Args:
        texts: yields `(place, text)` of each, where an exception stands for what is no text.
        num_bytes: as in `encode_texts`.
        left_out: is told `{place: reason}` of what is no text.
    """
    kept, found = [], []
    for place, text in texts:
        reason = str(text) if isinstance(text, Exception) else why_no_text(text)
        kept.append(not reason)
        if reason:
            left_out[place] = reason
        else:
            found.append(beginning(text, num_bytes))
    return found, np.array(kept, bool)


def texts_below(path):
    """Return an iterator of `(place, text)` of each text file below a folder."""
    return _texts_of(TEXTS.below(path))


def _texts_of(files):
    # One after the other: a file may be a thousand times as long as what is kept of it.
    return ((name_of((file, None, None)), _text_of(file)) for file in files)


def _text_of(path):
    """Return the text of a file, or the exception that says why it is none."""
    try:
        with open(path, "rb") as file:
            head = file.read(_MOST_READ)
        # A longer file may be cut in the middle of a character.
        return codecs.getincrementaldecoder("utf-8-sig")().decode(head, len(head) < _MOST_READ)
    except UnicodeDecodeError as error:
        return ValueError(f"no UTF-8: byte 0x{head[error.start]:02x} at place {error.start}")
    except OSError as error:
        return OSError(error.strerror or str(error))
