"""The column of labels -> class names, and a number a row."""

import collections

import numpy as np

from keras_kd.data.splits import check_class_names


def labels_of(rows, label, class_names=None):
    """Return `{split: int32 labels}` and the names of the classes.

    Args:
        rows: `{split: Rows}`.
        label: name of the column.
        class_names: in the order of the labels; sorted if `None`, integers by their size.

    Raises:
        ValueError: if a row has no label, one of another class, or one that appears once.
    """
    for each in rows.values():
        each.check_has(label, of=" of labels", option="label")
    words = {
        split: [_word(each, number, label) for number in range(len(each.rows))]
        for split, each in rows.items()
    }
    _check_counts(rows, words, label)
    there = {word for each in words.values() for word in each}
    if len(there) == 1:
        raise ValueError(
            f"There must be several classes. Received: {next(iter(there))!r} as {label!r} of every "
            f"row in {rows['train'].path}. Name the column of classes."
        )
    class_names = check_class_names(
        sorted(there, key=_order(there)) if class_names is None else class_names
    )
    known = {name: number for number, name in enumerate(class_names)}
    for split, each in words.items():
        for number, word in enumerate(each):
            if word not in known:
                raise ValueError(
                    f"Each label must be one of the {len(known)} classes. Received: {word!r} in "
                    f"{rows[split].at(number)}. Correct it, or give the names in the teacher's "
                    "order with `class_names` (or class_names.json)."
                )
    missing = [name for name in class_names if name not in set(words["train"])]
    if missing:
        raise ValueError(
            f"Each class must have training rows. Received: none of {missing[0]!r} in "
            f"{rows['train'].path}. Add some, or remove the class."
        )
    labels = {
        split: np.array([known[word] for word in each], np.int32) for split, each in words.items()
    }
    return labels, class_names


def _word(rows, number, label):
    value = rows.rows[number][label]
    word = "" if value is None else str(value).strip()
    if not word:
        raise ValueError(
            f"Each row must have a label. Received: none as {label!r} in {rows.at(number)}. Fill "
            "it in, or give the rows without labels to `unlabelled`."
        )
    return word


def _check_counts(rows, words, label):
    """Refuse a label of one row: a slip of the pen, or a number that is no class."""
    counts = collections.Counter(word for each in words.values() for word in each)
    once = [word for word, count in counts.items() if count == 1]
    if not once:
        return
    split, number = next(
        (split, each.index(once[0])) for split, each in words.items() if once[0] in each
    )
    more = f" and {len(once) - 1} others" if once[1:] else ""
    raise ValueError(
        f"Each label must be there more than once. Received: {once[0]!r}{more} once as {label!r} "
        f"in {rows[split].at(number)}. Correct or remove it, or name the column of classes."
    )


def _order(words):
    return int if all(word.lstrip("-").isdecimal() for word in words) else str
