"""Write what a user may have saved, with the version of keras_kd that is on the path.

    PYTHONPATH=path/of/that/version python tests/saved/former/write.py

Run it from any folder; it writes beside itself. Public names alone are used, so that another
version can run it. What lies here was written by the commit 10f439c, the last one whose modules
lay in the package's root.
"""

import dataclasses
import functools
import tempfile
import zipfile
from pathlib import Path

import keras
import numpy as np

import keras_kd as kd

HERE = Path(__file__).parent
IMAGES = np.random.default_rng(0).uniform(0, 255, (16, 8, 8, 1)).astype("float32")
LABELS = np.arange(16) % 3
ONE_HOT = np.eye(3, dtype="float32")[LABELS]
SHAPE = {"image_shape": (8, 8, 1), "num_classes": 3}
LAYERS = ("conv_1", "conv_1")


def net(units=8, name="student"):
    return kd.models.mlp([units], **SHAPE, name=name)


def conv(filters, name="student", head=None):
    image = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Conv2D(filters, 3, 2, name="conv_1")(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.Flatten()(keras.layers.BatchNormalization()(x))
    return keras.Model(image, keras.layers.Dense(3, head, name="logits")(x), name=name)


def distiller(*losses, **options):
    options = {"student": conv(2), **options}
    made = kd.Distiller(distillation_loss=list(losses), **options)
    return made.compile(optimizer=keras.optimizers.Adam(1e-3), metrics=["accuracy"])


def judge(feature_shape):
    return kd.adversarial.discriminator(feature_shape, hidden=(4,))


def compiled(model, **options):
    model.compile(**{"optimizer": "adam", "loss": kd.losses.CrossEntropy(), **options})
    return model


def twin(teacher):
    image = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Conv2D(2, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.DepthwiseConv2D(3)(x)
    logits = keras.layers.Dense(3, name="logits")(keras.layers.Flatten()(x))
    student = kd.quantize.prepare(keras.Model(image, logits), calibration=IMAGES)
    made = kd.Distiller(student=student, teacher=teacher)
    return made.compile(optimizer=keras.optimizers.Adam(1e-3))


def teachers():
    """Return trained models by name; what a saved distiller had is told by `TEACHER_OF`."""
    made = {
        "conv_teacher": conv(3, "teacher"),
        "softmax_teacher": conv(3, "softmax_teacher", head="softmax"),
        "sigmoid_teacher": conv(2, "sigmoid_teacher", head="sigmoid"),
        "net_teacher": net(9, "teacher"),
    }
    for model in made.values():
        model.compile("adam", "mse")
        model.fit(IMAGES, ONE_HOT, verbose=0)
    return made


def ensemble_of(models):
    """Return the ensemble whose fingerprint `ensemble` was saved with."""
    flipped = kd.Teacher(models["softmax_teacher"], class_map=(2, 1, 0))
    return kd.Ensemble([models["conv_teacher"], flipped], weights=[0.75, 0.25])


def distillers(models):
    """Return compiled distillers that together hold every loss and every distiller."""
    losses, adversarial = kd.losses, kd.adversarial
    teacher = models["conv_teacher"]
    return {
        "logits": distiller(
            losses.SoftTargets(kd.schedules.Cosine(4.0, 2.0, steps=5)),
            losses.TeacherLabels(),
            losses.LogitMatching(),
            losses.LogitDistance(),
            losses.DecoupledKD(),
            losses.StandardizedLogits(),
            losses.DIST(),
            losses.LabelSmoothing(),
            teacher=teacher,
            alpha=kd.schedules.Linear(0.9, 0.5, steps=5),
        ),
        "layers": distiller(
            losses.Hints(*LAYERS),
            losses.AttentionTransfer(*LAYERS),
            losses.SimilarityPreserving(*LAYERS),
            losses.RelationalDistance(*LAYERS),
            losses.RelationalAngle(*LAYERS),
            losses.Contrastive(*LAYERS, num_examples=16, num_negatives=4),
            teacher=teacher,
        ),
        "binary": distiller(losses.BinarySoftTargets(), teacher=models["sigmoid_teacher"]),
        "of_keras": distiller(keras.distillation.LogitsDistillation(), teacher=teacher),
        "ensemble": distiller(losses.SoftTargets(2.0), teacher=ensemble_of(models)),
        "twin": twin(teacher),
        "mutual": kd.MutualDistiller([net(), net(4, "other")]).compile(),
        "kdgan": adversarial.KDGANDistiller([net(), net(4, "other")]).compile(),
        "online": adversarial.OnlineAdversarialDistiller(
            [conv(2), conv(3, "other")],
            layer_names="conv_1",
            discriminators=[judge((3, 3, 3)), judge((3, 3, 2))],
        ).compile(),
        "discriminator": adversarial.DiscriminatorDistiller(
            student=net(), teacher=models["net_teacher"], discriminator=judge((3,))
        ).compile(),
        "data_free": adversarial.DataFreeDistiller(
            student=conv(2),
            teacher=teacher,
            generator=adversarial.generator((8, 8, 1), latent_size=4, width=2),
            replay=1,
            batch_size=12,
            generator_loss=[
                adversarial.OneHot(),
                adversarial.ClassBalance(),
                adversarial.Activation(0.1, teacher_layer_name="conv_1"),
                adversarial.Disagreement(),
                adversarial.BatchStatistics(),
                adversarial.TotalVariation(),
            ],
        ).compile(),
    }


def plain_models():
    """Return models that Keras alone trains, with something of ours inside."""
    falling = keras.optimizers.Adam(kd.schedules.Linear(1e-3, 1e-4, steps=5))
    return {
        "cross_entropy": compiled(net(), optimizer=falling),
        "function": compiled(net(), loss=kd.losses.as_loss_on_logits("mse")),
    }


def train(name, model, steps=1):
    """Train for a few steps of all images, in an order that a seed tells."""
    keras.utils.set_random_seed(7)
    if name == "data_free":
        model.fit(steps_per_epoch=steps, epochs=1, verbose=0)
    else:
        labels = ONE_HOT if name in ("function", "binary") else LABELS
        model.fit(IMAGES, labels, batch_size=16, epochs=steps, verbose=0)


# Small enough to be kept.
SMALL = {"epochs": 2, "batch_size": 64}
# What other versions call the setting that names the data.
FIELDS = {field.name for field in dataclasses.fields(kd.experiment.Recipe)}
RECIPE = kd.experiment.Recipe(
    name="former",
    **{"dataset" if "dataset" in FIELDS else "data": "digits"},
    teacher=functools.partial(kd.models.mlp, [6], name="teacher"),
    student=functools.partial(kd.models.mlp, [4], name="student"),
    temperature=2.0,
    alpha=0.9,
    quick_epochs=1,
    teacher_patience=2,
    student_patience=2,
    share=0.1,
    **SMALL,
)


def write_runs(folder):
    """Write a finished run, and the same interrupted after the first epoch of its student."""
    RECIPE(output=folder / "finished", verbose=False)
    begin, begun = keras.callbacks.CallbackList.on_epoch_begin, []

    def begin_or_interrupt(self, epoch, logs=None):
        begun.append(epoch)
        if begun == [0, 1, 0, 1]:
            raise KeyboardInterrupt
        begin(self, epoch, logs)

    keras.callbacks.CallbackList.on_epoch_begin = begin_or_interrupt
    try:
        RECIPE(output=folder / "interrupted", verbose=False)
    except KeyboardInterrupt:
        pass
    finally:
        keras.callbacks.CallbackList.on_epoch_begin = begin


def distil(teacher, output, **options):
    """Distil, or read back what was distilled with the same settings."""
    splits = ("train", "validation", "test")
    data = kd.data.load("digits", seed=0)
    few = {name: getattr(data, name).share(RECIPE.share) for name in splits}
    return kd.distill(
        keras.models.load_model(teacher),
        dataclasses.replace(data, **few),
        student="mlp:4",
        output=output,
        temperature=2.0,
        alpha=0.5,
        formats=["float32"],
        checked=False,
        verbose=False,
        **SMALL,
        **options,
    )


def zip_folder(folder, path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as files:
        for each in sorted(folder.rglob("*")):
            files.write(each, each.relative_to(folder))


def main():
    with tempfile.TemporaryDirectory() as folder:
        write_models(Path(folder))
        zip_folder(Path(folder), HERE / "models.zip")
    with tempfile.TemporaryDirectory() as folder:
        write_runs(Path(folder))
        distil(Path(folder, "finished", "teacher.keras"), Path(folder, "distilled"))
        zip_folder(Path(folder), HERE / "runs.zip")


def write_models(folder):
    """Write models with their predictions, and those after one more step."""
    keras.utils.set_random_seed(0)
    models = teachers()
    students = {**distillers(models), **plain_models()}
    told = {"images": IMAGES, "labels": LABELS}
    for name, model in {**models, **students}.items():
        if name in students:
            train(name, model, steps=2)
        model.save(folder / f"{name}.keras")
        told[name] = model(IMAGES, training=False)
    students["layers"].save_weights(folder / "layers.weights.h5")
    for name, model in students.items():
        train(name, model)
        told[f"{name} after a step"] = model(IMAGES, training=False)
    np.savez_compressed(HERE / "predictions.npz", **told)


if __name__ == "__main__":
    main()
