"""A folder with a folder of images for each class -> train, validation and test."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_kd._common.typing import PathLike
from keras_kd.data.assembly import Reading, assembled, checked_images
from keras_kd.data.class_folders import Sought, files_by_class
from keras_kd.data.encoded import EncodedImages, name_of
from keras_kd.data.image_file import OTHER_SUFFIXES, SUFFIXES, Form, require_decoder
from keras_kd.data.splits import Data

IMAGES = Sought("image", SUFFIXES, OTHER_SUFFIXES)


def image_folder(
    path: PathLike,
    *,
    class_names: Sequence[str] | None = None,
    image_size: tuple[int, int] | None = None,
    default_size: tuple[int, int] | None = None,
    channels: int | None = None,
    fit: str = "stretch",
    background: int = 255,
    unreadable: str = "refuse",
    seed: int = 0,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    memory_limit: int = 1_000_000_000,
    cache: PathLike | None = None,
    name: str | None = None,
) -> Data:
    """Read a folder of images: `path/<class>/...`, or `path/train/<class>/...` and so on.

    Images are PNG, JPEG, BMP, WebP or GIF (told by their content, of an animation the first
    picture), of any size and colours: turned as their EXIF orientation says, transparent pixels
    laid on `background`, 16 bits reduced to 8, all made grey or all coloured, and resized to one
    size. Below a class's folder they may lie in folders of their own. Hidden files and those that
    are no images by their suffix are passed over; TIFF, HEIC and the like are images that cannot
    be read. A class without images is refused, and so is an image beside the folders of the
    classes. A file may unpack to a gigabyte, a picture to half of it, which is 31 million pixels;
    the environment variable `KERAS_KD_MAX_GB` holds another number of gigabytes.

    Beside `train` there may be `validation` (or `val`, `valid`) and `test`. What is missing is
    carved from the training images, stratified by class: the test images the same for every
    seed, the validation images drawn by `seed`. Every image is decoded once before anything
    else, so that a broken one is found now, not in the third epoch.

    Where decoded images take less than `memory_limit` they are kept as arrays. Else they stay
    encoded and are decoded batch by batch, or, with `cache`, lie decoded in files that are
    memory-mapped. The order of an epoch is the same in all three.

    Args:
        path: the folder.
        class_names: the classes in the order of the labels, as the teacher knows them; the
            sorted names of their folders if `None`.
        image_size: `(height, width)` of all images; that of the files if `None`.
        default_size: `(height, width)` where `image_size` is `None` and the files disagree, which
            is refused without it.
        channels: 1 (grey) or 3; if `None`, 1 where every image is grey, else 3.
        fit: how an image of another shape is brought to `image_size`: `"stretch"`, `"crop"` (its
            centre) or `"pad"`.
        background: the grey, 0 to 255, behind transparent pixels and in padding.
        unreadable: `"refuse"`, or `"leave_out"` for going on without images that cannot be
            decoded; the `left_out` of the result names them.
        seed: integer that the validation split depends on.
        validation_fraction: share of each class's training images, above 0 and below 1.
        test_fraction: the same, where there is no folder `test`.
        memory_limit: the most bytes of decoded images to keep in memory.
        cache: a folder for decoded images beyond the limit; one of the same images is used again.
        name: what the data set is called in reports; the folder's name by default.

    Returns:
        A `Data`.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if the folder holds no images by class, an image cannot be read, or an
            argument is out of range.
        ImportError: if Pillow is not installed (extra `images`).

    Example:

    ```python
    import os
    import numpy as np
    from PIL import Image
    import keras_kd as kd

    for number in range(40):
        folder = f"pictures/{'cat' if number % 2 else 'dog'}"
        os.makedirs(folder, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (12, 10, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(f"{folder}/{number}.png")
    data = kd.data.image_folder("pictures", image_size=(8, 8))
    assert data.class_names == ("cat", "dog") and data.image_shape == (8, 8, 3)
    ```
    """
    require_decoder()
    root = Path(path)
    files, labels, class_names = files_by_class(root, IMAGES, class_names)
    sources = {split: [(file, None, None) for file in each] for split, each in files.items()}
    return assembled(
        sources,
        labels,
        Reading(
            name=name or root.resolve().name,
            source=str(root),
            class_names=class_names,
            image_size=image_size,
            default_size=default_size,
            channels=channels,
            fit=fit,
            background=background,
            unreadable=unreadable,
            seed=seed,
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
            memory_limit=memory_limit,
            cache=cache,
        ),
    )


def unlabelled_images(path, like, unreadable):
    """Do what `data.unlabelled` does, of images."""
    require_decoder()
    if not Path(path).is_dir():
        raise FileNotFoundError(
            "Unlabelled images must lie in a folder. Received: "
            f"{name_of((path, None, None))}, no folder."
        )
    files = IMAGES.below(path)
    if not files:
        raise ValueError(
            f"A folder of unlabelled images must hold some ({', '.join(SUFFIXES)}). Received: "
            f"{name_of((path, None, None))}, which holds none."
        )
    form = getattr(like.train.images, "form", None) or Form(*map(int, like.image_shape))
    images = EncodedImages([(file, None, None) for file in files], form)
    return checked_images(images, keep=type(like.train.images) is np.ndarray, unreadable=unreadable)
