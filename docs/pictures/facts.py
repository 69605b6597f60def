"""What trained models said of validation images, for the pictures of losses and theory.

    python docs/pictures/facts.py

trains them on Fashion-MNIST (three minutes on two cores) and writes `facts.npz` beside this file.
The pictures are drawn from that file, so that drawing them takes seconds and no data.
"""

from pathlib import Path

import keras
import numpy as np

import keras_kd as kd

FACTS = Path(__file__).with_name("facts.npz")
SEED = 0


def main():
    data = kd.data.load("fashion_mnist", seed=SEED)
    images, labels = data.validation.images, data.validation.labels
    keras.utils.set_random_seed(SEED)
    teacher = trained(kd.models.conv_net([32, 64], name="teacher"), data, epochs=8)
    student = trained(kd.models.conv_net([4, 8], name="student"), data, epochs=1)
    teacher_logits = teacher.predict(images, batch_size=1000, verbose=0)
    accuracy = kd.metrics.accuracy(labels, teacher_logits)
    print(f"teacher {accuracy:.4f} on {len(labels)} validation images")
    image = torn_boot(teacher_logits, labels, data.class_names)
    one = images[image : image + 1]
    # With the 31 after it, for losses that look across a batch.
    beside = np.arange(image, image + 32) % len(images)
    batch = two_of_each(labels, data.class_names, ("Trouser", "Sandal", "Bag"))
    points = {}
    for name, hidden, epochs in (("teacher", [128, 64], 8), ("student", [16], 1)):
        model = trained(flat(hidden, data), data, epochs=epochs)
        points[name] = layer(model, "embedding", images[batch])
    np.savez_compressed(
        FACTS,
        accuracy=accuracy,
        class_names=np.array(data.class_names),
        image=one[0],
        teacher_logits=teacher_logits[beside],
        student_logits=student.predict(images[beside], verbose=0),
        labels=labels[beside],
        teacher_map=layer(teacher, "conv_2", one).astype("float16"),
        student_map=layer(student, "conv_2", one).astype("float16"),
        batch_images=images[batch],
        teacher_points=points["teacher"],
        student_points=points["student"],
    )


def trained(model, data, *, epochs):
    model.compile("adam", kd.losses.CrossEntropy(), steps_per_execution=32, jit_compile=True)
    batches = data.train.batches(128, shuffle_seed=SEED)
    model.fit(batches, epochs=epochs, shuffle=False, verbose=0)
    return model


def flat(hidden, data):
    """Return a net whose last layer but one has two numbers, so that it can be drawn as it is."""
    x = image = keras.Input(data.image_shape)
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(x))
    for units in hidden:
        x = keras.layers.Dense(units, activation="relu")(x)
    x = keras.layers.Dense(2, name="embedding")(x)
    return keras.Model(image, keras.layers.Dense(data.num_classes)(x))


def torn_boot(logits, labels, class_names):
    """Return the first boot of which the teacher is right, and 90 to 95 % sure."""
    boot = class_names.index("Ankle boot")
    sure = np.asarray(keras.ops.softmax(logits))[:, boot]
    return int(np.flatnonzero((labels == boot) & (sure > 0.9) & (sure < 0.95))[0])


def two_of_each(labels, class_names, names):
    return np.concatenate([np.flatnonzero(labels == class_names.index(name))[:2] for name in names])


def layer(model, name, images):
    return np.asarray(kd.teachers.feature_model(model, [name])(images)[name])


if __name__ == "__main__":
    main()
