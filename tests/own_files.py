"""Makes what the README and the pages call yours: a teacher `yours.keras`, and a folder `photos/`.

Command: `python tests/own_files.py FOLDER`
"""

import sys
from pathlib import Path

CLASSES = ("circle", "cross", "square")


def make(folder, number=80, size=32):
    """Write `photos/<class>/*.png`, and a plain Keras model trained on them.

    Args:
        folder: where both are written.
        number: of photos of each class.
        size: of a photo, in pixels.
    """
    import keras
    import numpy as np
    from PIL import Image, ImageDraw

    rng = np.random.default_rng(0)
    images, labels = [], []
    for label, name in enumerate(CLASSES):
        (folder / "photos" / name).mkdir(parents=True)
        for index in range(number):
            picture = Image.fromarray(rng.integers(0, 90, (size, size, 3)).astype("uint8"))
            _draw(ImageDraw.Draw(picture), name, rng, size)
            picture.save(folder / "photos" / name / f"{index:03d}.png")
            images.append(np.asarray(picture, "float32"))
            labels.append(label)

    keras.utils.set_random_seed(0)
    teacher = keras.Sequential(
        [
            keras.Input((size, size, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(16, 3, strides=2, activation="relu"),
            keras.layers.Conv2D(32, 3, strides=2, activation="relu"),
            keras.layers.GlobalMaxPooling2D(),
            keras.layers.Dense(len(CLASSES), activation="softmax"),
        ]
    )
    teacher.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy")
    teacher.fit(np.stack(images), np.array(labels), batch_size=16, epochs=10, verbose=0)
    teacher.save(folder / "yours.keras")


def _draw(draw, name, rng, size):
    """Draw the shape of a class mostly in its colour, in a place and a size of its own."""
    half = rng.integers(size // 6, size // 3)
    x, y = rng.integers(half, size - half, 2)
    colour = [int(each) for each in rng.integers(60, 160, 3)]
    colour[CLASSES.index(name)] = 255
    colour = tuple(colour)
    box = [x - half, y - half, x + half, y + half]
    if name == "circle":
        draw.ellipse(box, outline=colour, width=3)
    elif name == "square":
        draw.rectangle(box, outline=colour, width=3)
    else:
        draw.line(box, fill=colour, width=3)
        draw.line([box[0], box[3], box[2], box[1]], fill=colour, width=3)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
