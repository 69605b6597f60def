"""Make what README and start pages call yours: `yours.keras` and `photos/`, in the current folder.

Command: `python docs/yours.py clothes` for the start pages: a teacher of 9 000 pictures of
Fashion-MNIST, 1 500 others as photos, and of these `few/` with labels and `more/` without.
And for the README's first example. `python docs/yours.py cifar10 --images FOLDER` for its picture:
4 000 photos of five classes of CIFAR-10, which lies in the folder as `train/<class>/*.jpg` and
`test/<class>/*.jpg`, and a teacher that trained on these, mirrored and shifted.
Cost: one minute, and four. The commands that use it stand on the pages.
"""

import argparse
import shutil
from pathlib import Path

import keras
import numpy as np
from keras import layers
from PIL import Image

import keras_kd as kd

CLOTHES = {"coat": 4, "pullover": 2, "shirt": 6}
PHOTOS, TAUGHT, CHECKED = 500, 3000, 500  # Of each kind of clothes; the last are of all.
LABELS, TESTED = 40, 100
CLASSES = ("airplane", "automobile", "cat", "horse", "ship")
OF_SPLIT = {"train": 800, "test": 200}


def clothes():
    """Write photos and teacher of three kinds of clothes, and the photos again with few labels."""
    data = kd.data.load("fashion_mnist", seed=0)
    images, labels = np.asarray(data.train.images), np.asarray(data.train.labels)
    x = []
    for name, number in CLOTHES.items():
        mine = images[labels == number][..., 0]
        _write_clothes(name, mine[:PHOTOS])
        x.append(mine[PHOTOS : PHOTOS + TAUGHT])
    x, y = np.concatenate(x)[..., None], np.repeat(np.arange(len(CLOTHES)), TAUGHT)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = x[order], y[order]
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((28, 28, 1)), layers.Rescaling(1 / 255), layers.RandomFlip("horizontal")]
    )
    for filters in (24, 48, 96):
        model.add(layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu"))
    model.add(layers.Flatten())
    model.add(layers.Dropout(0.4))
    model.add(layers.Dense(128, activation="relu"))
    model.add(layers.Dropout(0.4))
    model.add(layers.Dense(len(CLOTHES), activation="softmax"))
    rate = keras.optimizers.schedules.CosineDecay(2e-3, 15 * -(-len(x[:-CHECKED]) // 64))
    _compile(model, keras.optimizers.Adam(rate))
    checked = x[-CHECKED:], y[-CHECKED:]
    model.fit(x[:-CHECKED], y[:-CHECKED], 64, epochs=15, validation_data=checked, verbose=2)
    model.save("yours.keras")


def _write_clothes(name, images):
    more = Path("more")
    more.mkdir(exist_ok=True)
    for number, image in enumerate(images):
        file = Path("photos", name, f"{number:04}.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
        if number < LABELS + TESTED:
            split = "train" if number < LABELS else "test"
            copy = Path("few", split, name, file.name)
            copy.parent.mkdir(parents=True, exist_ok=True)
        else:
            copy = more / f"{name}_{file.name}"
        shutil.copy(file, copy)


def cifar10(images):
    """Write photos and teacher of five classes of CIFAR-10.

    Args:
        images: the folder of its image files.
    """
    for split, count in OF_SPLIT.items():
        for name in CLASSES:
            target = Path("photos", split, name)
            target.mkdir(parents=True, exist_ok=True)
            for file in sorted((images / split / name).glob("*.jpg"))[:count]:
                shutil.copy(file, target)
    keras.utils.set_random_seed(1)
    train, validation = keras.utils.image_dataset_from_directory(
        "photos/train",
        image_size=(32, 32),
        batch_size=64,
        validation_split=0.1,
        subset="both",
        seed=1,
    )
    model = keras.Sequential([keras.Input((32, 32, 3)), layers.Rescaling(1 / 255)])
    model.add(layers.RandomFlip("horizontal"))
    model.add(layers.RandomTranslation(0.1, 0.1))
    for filters, strides in ((32, 2), (64, 1), (64, 2), (128, 1), (128, 2)):
        model.add(layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False))
        model.add(layers.BatchNormalization())
        model.add(layers.ReLU())
    model.add(layers.GlobalAveragePooling2D())
    model.add(layers.Dropout(0.3))
    model.add(layers.Dense(len(CLASSES), activation="softmax"))
    rate = keras.optimizers.schedules.CosineDecay(2e-3, 25 * len(train))
    _compile(model, keras.optimizers.AdamW(rate, weight_decay=1e-4))
    model.fit(train, validation_data=validation, epochs=25, verbose=2)
    model.save("yours.keras")


def _compile(model, optimizer):
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("which", choices=("clothes", "cifar10"))
    parser.add_argument("--images", type=Path, help="folder of CIFAR-10's image files")
    arguments = parser.parse_args()
    if arguments.which == "clothes":
        clothes()
    elif arguments.images is None:
        parser.error("cifar10 needs --images FOLDER")
    else:
        cifar10(arguments.images)


if __name__ == "__main__":
    main()
