"""Without data: LeNet-5 to half LeNet-5, by the published methods and by ours.

Losses, optimizers and rates are those of the papers, scaled as the trials before this table were:
a generator of width 16 (64 in the papers), batches of 128 (512), DAFL's generator at 2e-2 (2e-1).
The rates of all fall to 0 on half a cosine; on MNIST the papers keep theirs.
"""

import math
import time

import keras
import tensorflow as tf
from adversarial_runs import Method, falling, figures, kept_teacher

import keras_kd as kd
from keras_kd import adversarial
from keras_kd._common.files import written_whole
from keras_kd.adversarial.data_free import pixel_statistics

PIXELS = {"mnist": (0.1307, 0.3081), "fashion_mnist": (0.2860, 0.3530)}
EPOCHS_ON_REAL_DATA, BATCH = 10, 128
STEPS_PER_EPOCH = 500


def teacher_of(job):
    """Return the data and a trained LeNet-5."""
    data = kd.data.load(job.table, seed=job.seed)

    def train():
        teacher = lenet5(job, 1.0, "teacher")
        fit_on_real(teacher, data, job.seed, epochs=1 if job.quick else EPOCHS_ON_REAL_DATA)
        return teacher

    return data, kept_teacher(job, train)


def lenet5(job, width, name):
    keras.utils.set_random_seed(job.seed)
    mean, std = PIXELS[job.table]
    return kd.models.lenet5(width, mean=mean, std=std, name=name)


def fit_on_real(model, data, seed, *, epochs):
    rate = falling(2e-3, epochs * math.ceil(len(data.train) / BATCH))
    loss = None if isinstance(model, kd.Distiller) else kd.losses.CrossEntropy()
    model.compile(keras.optimizers.Adam(rate), loss=loss, steps_per_execution=64)
    batches = data.train.batches(BATCH, shuffle_seed=seed)
    model.fit(batches, epochs=epochs, shuffle=False, verbose=0)


def on_real_data(distils):
    def run(job):
        data, teacher = teacher_of(job)
        student = lenet5(job, 0.5, "student")
        model = kd.Distiller(student=student, teacher=teacher, alpha=0.9) if distils else student
        fit_on_real(model, data, job.seed, epochs=job.epochs)
        return figures(job, data, student, teacher)

    return run


def adam(rate):
    return keras.optimizers.Adam(rate)


def sgd(rate):
    return keras.optimizers.SGD(rate, momentum=0.9, weight_decay=1e-4)


def noise(teacher):
    """Return the control's generator, which makes noise and does not learn."""
    return adversarial.gaussian_noise(**pixel_statistics(teacher))


def unbounded(teacher):
    """Return our generator without its last layer, which the papers' do not have."""
    ours = adversarial.generator(**pixel_statistics(teacher))
    return keras.Model(ours.input, ours.get_layer("rescale").output)


def without_data(*, rates=(1e-3, 2e-3), optimizer=adam, watched=True, generator=None, **settings):
    """Return a run of `DataFreeDistiller`.

    Args:
        rates: learning rates of student and generator.
        optimizer: the student's, `(rate) -> optimizer`; the generator has Adam.
        watched: whether by `CollapseWatch`, which no published method has.
        generator: `(teacher) -> generator`; the distiller's own if `None`.
        **settings: of the distiller; those that must be made anew for each run as functions.
    """

    def run(job):
        data, teacher = teacher_of(job)
        student = lenet5(job, 0.5, "student")
        chosen = {key: value() if callable(value) else value for key, value in settings.items()}
        distiller = adversarial.DataFreeDistiller(
            student=student,
            teacher=teacher,
            generator=generator and generator(teacher),
            seed=job.seed,
            **chosen,
        )
        steps_per_epoch = 5 if job.quick else STEPS_PER_EPOCH
        steps = job.epochs * steps_per_epoch
        distiller.compile(
            optimizer(falling(rates[0], steps * distiller.student_steps)),
            generator_optimizer=adam(falling(rates[1], steps)),
            metrics=["accuracy"],
            steps_per_execution=min(50, steps_per_epoch),
        )
        watch, clock = adversarial.CollapseWatch(), Clock()
        history = distiller.fit(
            epochs=job.epochs,
            steps_per_epoch=steps_per_epoch,
            validation_data=data.validation.batches(1000),
            callbacks=[watch, clock] if watched else [clock],
            verbose=2,
        ).history
        keep(job, distiller)
        return {
            **figures(job, data, student, teacher),
            "steps_per_epoch": steps_per_epoch,
            "curve": list(zip(clock.minutes, history["val_accuracy"], strict=True)),
            "agreement": history["agreement"],
            "rarest_class": history["rarest_class"],
            "returns": watch.returns if watched else None,
            "best_epoch": watch.best_epoch,
        }

    return run


class Clock(keras.callbacks.Callback):
    """Minutes since the beginning, at the end of each epoch."""

    def on_train_begin(self, logs=None):
        self.start, self.minutes = time.perf_counter(), []

    def on_epoch_end(self, epoch, logs=None):
        self.minutes.append((time.perf_counter() - self.start) / 60)


def keep(job, distiller):
    """Keep the student, and the first seed's grid of images beside the results."""
    folder = job.models / job.table / str(job.seed) / job.method
    with written_whole(folder / "student.keras") as unfinished:
        kd.export.uncompiled(distiller.student).save(unfinished)
    if job.seed == 0:
        images = distiller.generator(distiller.held_out_latents(60, 0), training=False)
        grid = adversarial.image_grid(images, columns=15)
        picture = job.results / "pictures" / f"adversarial_{job.table}_{job.method}.png"
        with written_whole(picture) as unfinished:
            unfinished.write_bytes(tf.io.encode_png(grid).numpy())


METHODS = {
    "alone": Method(on_real_data(distils=False), EPOCHS_ON_REAL_DATA),
    "soft_targets": Method(on_real_data(distils=True), EPOCHS_ON_REAL_DATA),
    "noise": Method(without_data(generator=noise, watched=False), 8),
    "hybrid": Method(without_data(), 32),
    "hybrid_unbounded": Method(without_data(generator=unbounded), 32),
    "hybrid_without_variation": Method(
        without_data(
            generator=unbounded,
            generator_loss=lambda: [
                adversarial.OneHot(1.0),
                adversarial.ClassBalance(5.0),
                adversarial.Disagreement(1.0),
            ],
        ),
        32,
    ),
    "dafl": Method(
        without_data(
            rates=(2e-3, 2e-2),
            watched=False,
            generator=unbounded,
            generator_loss=lambda: [
                adversarial.OneHot(1.0),
                adversarial.ClassBalance(5 / math.log(10)),
                adversarial.Activation(0.1, teacher_layer_name="hidden"),
            ],
            student_steps=1,
            replay=1,
        ),
        32,
    ),
    "dfad": Method(
        without_data(
            rates=(1e-2, 1e-3),
            optimizer=sgd,
            watched=False,
            generator=unbounded,
            generator_loss=lambda: [
                adversarial.Disagreement(distance=kd.losses.LogitDistance(), bounded=False)
            ],
            distillation_loss=kd.losses.LogitDistance,
            student_steps=5,
            replay=0,
        ),
        8,
    ),
}
