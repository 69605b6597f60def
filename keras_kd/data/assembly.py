"""From encoded images and labels to `Data`: checked, of one shape, split, kept where they fit."""

import collections
import dataclasses
import math
from pathlib import Path

import numpy as np

from keras_kd._common.checks import MOST_SIDE, check_integer, check_number, check_part, check_seed
from keras_kd.data.cache import cached
from keras_kd.data.encoded import EncodedImages, name_of, read
from keras_kd.data.image_file import FITS, Form, facts_of
from keras_kd.data.splits import Data, Split, stratified

_MOST_NAMED = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """How a data set of encoded images is read; the arguments are those of `image_folder`."""

    name: str
    source: str
    class_names: tuple[str, ...]
    image_size: tuple[int, int] | None
    default_size: tuple[int, int] | None
    channels: int | None
    fit: str
    background: int
    unreadable: str
    seed: int
    validation_fraction: float
    test_fraction: float
    memory_limit: float
    cache: str | None

    def __post_init__(self):
        check_seed(self.seed)
        for name in ("validation_fraction", "test_fraction"):
            check_part(name, getattr(self, name))
        if self.channels not in (None, 1, 3):
            raise ValueError(f"`channels` must be 1 or 3. Received: channels={self.channels!r}.")
        if self.fit not in FITS:
            raise ValueError(f"`fit` must be one of {', '.join(FITS)}. Received: {self.fit!r}.")
        if self.unreadable not in ("refuse", "leave_out"):
            raise ValueError(
                "`unreadable` must be 'refuse' or 'leave_out'. "
                f"Received: unreadable={self.unreadable!r}."
            )
        check_number("memory_limit", self.memory_limit, (0, math.inf))
        check_integer("background", self.background, minimum=0)
        if self.background > 255:
            raise ValueError(
                f"`background` must be from 0 to 255. Received: background={self.background}."
            )
        for name in ("image_size", "default_size"):
            pair = getattr(self, name)
            if pair is None:
                continue
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise ValueError(f"`{name}` must be (height, width). Received: {name}={pair!r}.")
            for size in pair:
                check_integer(name, size, minimum=1, maximum=MOST_SIDE)


def assembled(sources, labels, reading):
    """Return the `Data` of encoded images.

    Args:
        sources: `{split: sources}`, see `EncodedImages`, for `"train"` and maybe `"validation"`
            and `"test"`.
        labels: `{split: integers}`, one a source.
        reading: a `Reading`.

    Raises:
        ValueError: if images cannot be read, differ in size with none asked for, or there are
            too few to split.
    """
    left_out = {}
    sources, facts = _with_facts(sources, left_out)
    _refuse(left_out, reading.unreadable)
    labels = {
        split: np.array([label for label, each in zip(labels[split], kept, strict=True) if each])
        for split, kept in facts.items()
    }
    form = form_of([each for kept in facts.values() for each in kept if each], reading)
    images = {split: EncodedImages(each, form) for split, each in sources.items()}
    images, labels = _carved(images, labels, reading)
    splits = _decoded(images, labels, left_out, reading)
    if left_out:
        _check_classes(splits["train"].labels, reading)
    return Data(
        name=reading.name,
        class_names=reading.class_names,
        source=reading.source,
        left_out=tuple(f"{name} ({reason})" for name, reason in sorted(left_out.items())),
        **splits,
    )


def checked_images(images, *, keep, unreadable):
    """Return those images that can be decoded, as an array or still encoded.

    Args:
        images: `EncodedImages`.
        keep: whether they are to be kept decoded.
        unreadable: `"refuse"` or `"leave_out"`.

    Raises:
        ValueError: if one cannot be decoded, and that is refused.
    """
    left_out = {}
    kept, array = _checked(images, left_out, keep)
    _refuse(left_out, unreadable)
    return array[kept] if keep else images.take(kept)


def form_of(facts, reading):
    """Return the `Form` of all images: what was asked for, else what the images agree on."""
    size = reading.image_size
    if size is None:
        sizes = collections.Counter((each.height, each.width) for each in facts)
        (size, count), *_ = sizes.most_common(1)
        if len(sizes) > 1 and reading.default_size is not None:
            size = reading.default_size
        elif len(sizes) > 1:
            raise ValueError(
                "Images of several sizes need `image_size`, (height, width). "
                f"Received: {len(sizes)} sizes, {size[0]}x{size[1]} the most frequent ({count} of "
                f"{len(facts)})."
            )
    channels = reading.channels or max(each.channels for each in facts)
    return Form(*map(int, size), channels, reading.fit, reading.background)


def _check_classes(labels, reading):
    """Refuse data of which leaving out what is unreadable has left a class without images."""
    missing = np.setdiff1d(np.arange(len(reading.class_names)), labels)
    if len(missing):
        raise ValueError(
            "Every class must keep training images. Received: none that can be read of "
            f"{reading.class_names[missing[0]]!a} in {reading.source}. Repair them, or remove "
            "the class."
        )


def _with_facts(sources, left_out):
    """Return the sources whose header can be read, and the `Facts` of all, `None` for others."""
    facts = {
        split: [_facts_or_note(source, left_out) for source in each]
        for split, each in sources.items()
    }
    kept = {
        split: [source for source, fact in zip(each, facts[split], strict=True) if fact]
        for split, each in sources.items()
    }
    return kept, facts


def _facts_or_note(source, left_out):
    try:
        return facts_of(read(source))
    except (OSError, ValueError) as error:
        left_out[name_of(source)] = getattr(error, "strerror", None) or str(error)
        return None


def _refuse(left_out, unreadable):
    if left_out and unreadable == "refuse":
        some = [f"{name} ({reason})" for name, reason in sorted(left_out.items())[:_MOST_NAMED]]
        more = f" and {len(left_out) - _MOST_NAMED} more" if len(left_out) > _MOST_NAMED else ""
        raise ValueError(
            f"Every image must be readable. Received: {len(left_out)} that cannot be decoded: "
            f"{', '.join(some)}{more}. Repair or remove them, or go on without them by "
            'unreadable="leave_out" (--leave-out-unreadable).'
        )


def _carved(images, labels, reading):
    """Return images and labels of all three splits, those that were missing carved from train."""
    images, labels = dict(images), dict(labels)
    # The test images are the same for every seed of ours.
    for split, fraction, seed in (
        ("test", reading.test_fraction, 0),
        ("validation", reading.validation_fraction, reading.seed),
    ):
        if split in images:
            if not len(labels[split]):
                raise ValueError(
                    f"There must be {split} images where there is a folder for them. Received: "
                    f"none in {reading.source}. Fill or remove the folder."
                )
            continue
        chosen = stratified(labels["train"], fraction, seed)
        if not chosen.any() or chosen.all():
            raise ValueError(
                f"There must be enough images to carve {split} images from. Received: "
                f"{len(chosen)} training images, of which a share of {fraction} a class leaves "
                f"one side empty. Add images, or pass another `{split}_fraction`."
            )
        images[split], labels[split] = images["train"].take(chosen), labels["train"][chosen]
        images["train"], labels["train"] = images["train"].take(~chosen), labels["train"][~chosen]
    return images, labels


def _decoded(images, labels, left_out, reading):
    """Decode every image once; return `{split: Split}` with the images where they fit."""
    in_memory = sum(each.nbytes for each in images.values()) <= reading.memory_limit
    splits = {}
    for split, encoded in images.items():
        kept, array = _checked(encoded, left_out, keep=in_memory)
        splits[split] = (array[kept] if not kept.all() else array) if in_memory else encoded
        splits[split] = splits[split] if in_memory else encoded.take(kept)
        labels[split] = labels[split][kept].astype(np.int32)
    _refuse(left_out, reading.unreadable)
    if not in_memory and reading.cache is not None:
        splits = {split: cached(each, Path(reading.cache)) for split, each in splits.items()}
    return {split: Split(each, labels[split]) for split, each in splits.items()}


def _checked(encoded, left_out, keep):
    """Decode all; return which could be, and the images if they are to be kept."""
    kept = np.ones(len(encoded), bool)
    array = np.empty(encoded.shape, np.uint8) if keep else None
    for start, images, failures in encoded.chunks():
        if keep:
            array[start : start + len(images)] = images
        for position, reason in failures.items():
            kept[position] = False
            left_out[encoded.name(position)] = reason
    return kept, array
