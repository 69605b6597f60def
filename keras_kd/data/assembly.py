"""From encoded images and labels to `Data`: checked, of one shape, split, kept where they fit."""

import collections
import dataclasses
import math
from pathlib import Path

import numpy as np

from keras_kd._common.checks import MOST_SIDE, check_integer, check_number, check_part, check_seed
from keras_kd.data.cache import cached
from keras_kd.data.class_folders import (
    carved,
    check_classes_kept,
    check_unreadable,
    refuse_unreadable,
)
from keras_kd.data.encoded import EncodedImages, name_of, read
from keras_kd.data.image_file import FITS, Form, facts_of
from keras_kd.data.splits import Data, Split


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
        check_unreadable(self.unreadable)
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
    splits = carved(
        {split: Split(EncodedImages(each, form), labels[split]) for split, each in sources.items()},
        what="images",
        source=reading.source,
        seed=reading.seed,
        validation_fraction=reading.validation_fraction,
        test_fraction=reading.test_fraction,
    )
    splits = _decoded(splits, left_out, reading)
    if left_out:
        check_classes_kept(
            splits["train"].labels, reading.class_names, what="images", source=reading.source
        )
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
    refuse_unreadable(left_out, unreadable, one="image", fault="that cannot be decoded")


def _decoded(splits, left_out, reading):
    """Decode every image once; return `{split: Split}` with the images where they fit."""
    in_memory = sum(each.nbytes for each in splits.values()) <= reading.memory_limit
    images, labels = {}, {}
    for split, each in splits.items():
        kept, array = _checked(each.images, left_out, keep=in_memory)
        if in_memory:
            images[split] = array if kept.all() else array[kept]
        else:
            images[split] = each.images.take(kept)
        labels[split] = each.labels[kept].astype(np.int32)
    _refuse(left_out, reading.unreadable)
    if not in_memory and reading.cache is not None:
        images = {split: cached(each, Path(reading.cache)) for split, each in images.items()}
    return {split: Split(each, labels[split]) for split, each in images.items()}


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
