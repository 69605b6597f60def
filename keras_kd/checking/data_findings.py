"""What may be wrong with images, or other examples, and their labels."""

import hashlib

import keras
import numpy as np

from keras_kd.checking.findings import Finding, examples_of, percent
from keras_kd.data.encoded import EncodedImages, read

_MOST_UNBALANCED = 10
_FEWEST_A_CLASS = 10
_BLANK_SHARE = 0.01
_CHUNK = 1000


def data_findings(data):
    """Return the findings on a `Data`, and the figures of its labels.

    Every example of every split is looked at.

    Args:
        data: a `Data`.
    """
    digests = {name: _digests(getattr(data, name)) for name in ("train", "validation", "test")}
    contradicted = _contradicted(data, digests["train"])
    findings = [
        *_unreadable(data),
        *(_range(data) if data.is_images else _finite(data)),
        *(_blank(data) if data.is_images else ()),
        *_balance(data),
        *_duplicates(data, digests),
        *_contradictions(data, contradicted),
    ]
    counts = np.bincount(data.train.labels, minlength=data.num_classes)
    return findings, {
        "labels_of_classes": counts.tolist(),
        "contradicting": len(contradicted) / len(data.train),
    }


def _unreadable(data):
    if data.left_out:
        yield Finding(
            "unreadable",
            f"{len(data.left_out)} {examples_of(data)} cannot be read, the first "
            f"{data.left_out[0]}",
            data.source,
            "Repair or remove them, or leave them out with --leave-out-unreadable.",
        )


def _range(data):
    """Raw pixels are what every student here expects: its scale is inside it."""
    if data.train.images.dtype == np.uint8:
        return
    some = np.asarray(data.train.images[:_CHUNK])
    if not np.isfinite(some).all():
        yield Finding(
            "pixels",
            "pixels are NaN or infinite",
            "train",
            "Look at how the arrays were made.",
            wasted=True,
        )
    elif some.min() < 0 or some.max() <= 2:
        yield Finding(
            "pixels",
            f"pixels go from {some.min():.3g} to {some.max():.3g}",
            "train",
            "Give raw pixels, 0 to 255: the students normalise inside themselves.",
            wasted=True,
        )


def _finite(data):
    for path, array in keras.tree.flatten_with_path(data.train.images):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            yield Finding(
                "values",
                f"numbers{' of ' if path else ''}{'/'.join(map(str, path))} are NaN or infinite",
                "train",
                "Fill them in or leave these examples out.",
                wasted=True,
            )


def _blank(data):
    num_blank = 0
    for start in range(0, len(data.train), _CHUNK):
        images = np.asarray(data.train.images[start : start + _CHUNK])
        num_blank += int((np.ptp(images.reshape(len(images), -1), axis=1) == 0).sum())
    if num_blank > _BLANK_SHARE * len(data.train):
        yield Finding(
            "blank_images",
            f"{num_blank} of {len(data.train)} images ({percent(num_blank / len(data.train))}) "
            "are of one colour",
            "train",
            "Look at how they were written; remove them.",
        )


def _balance(data):
    examples = examples_of(data)
    counts = np.bincount(data.train.labels, minlength=data.num_classes)
    fewest, most = int(counts.argmin()), int(counts.argmax())
    if counts.min() < _FEWEST_A_CLASS:
        yield Finding(
            "few_images",
            f"class {data.class_names[fewest]!r} has {counts.min()} {examples}",
            "train",
            f"Add {examples}: below {_FEWEST_A_CLASS} a class is hardly learned.",
        )
    elif counts.max() > _MOST_UNBALANCED * counts.min():
        yield Finding(
            "class_balance",
            f"class {data.class_names[most]!r} has {counts.max()} {examples}, "
            f"{data.class_names[fewest]!r} has {counts.min()}",
            "train",
            f"Add {examples} of the rare class, or read the accuracy class by class.",
        )
    for split in ("validation", "test"):
        missing = np.flatnonzero(
            np.bincount(getattr(data, split).labels, minlength=data.num_classes) == 0
        )
        if len(missing):
            yield Finding(
                "missing_class",
                f"{len(missing)} classes have no {examples}, the first "
                f"{data.class_names[missing[0]]!r}",
                split,
                f"Add {split} {examples} of them, or nothing is known of these classes.",
            )


def _duplicates(data, digests):
    train, examples = set(digests["train"]), examples_of(data)
    for split in ("test", "validation"):
        twice = [number for number, each in enumerate(digests[split]) if each in train]
        if twice:
            yield Finding(
                f"duplicates_in_{split}",
                f"{len(twice)} of {len(digests[split])} {examples} are among the training "
                f"{examples} too, the first {_name(getattr(data, split).images, twice[0])}",
                split,
                f"Remove them from one side: the {split} accuracy is too good by them.",
            )


def _contradicted(data, digests):
    """Return the numbers of training examples that came before under another class."""
    first = {}
    pairs = enumerate(zip(digests, data.train.labels, strict=True))
    return [number for number, (digest, label) in pairs if first.setdefault(digest, label) != label]


def _contradictions(data, contradicted):
    if contradicted:
        yield Finding(
            "contradicting_labels",
            f"{len(contradicted)} {examples_of(data)} are there under another class too, the first "
            f"{_name(data.train.images, contradicted[0])}",
            "train",
            "Remove them from one class.",
        )


def _digests(split):
    """Return a digest of every example: of its numbers, or of its file if it is not decoded."""
    if isinstance(split.images, EncodedImages):
        return [hashlib.sha1(read(source)).digest() for source in split.images.sources]
    arrays = keras.tree.flatten(split.images)
    return [
        hashlib.sha1(b"".join(np.asarray(each).tobytes() for each in example)).digest()
        for example in zip(*arrays, strict=True)
    ]


def _name(images, number):
    return images.name(number) if isinstance(images, EncodedImages) else f"number {number}"
