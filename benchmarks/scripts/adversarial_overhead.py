"""What steps cost beside what they are made of, in processor time.

A step of `DiscriminatorDistiller` beside one of `Distiller`; a step of `DataFreeDistiller` beside
the forward and backward passes of its networks alone.
"""

import statistics
import time

import keras
import tensorflow as tf
from adversarial_labelled import (
    BATCH,
    conv,
    discriminator,
    soft_targets,
    steps_per_epoch,
    teacher_of,
)
from adversarial_runs import Job

import keras_kd as kd
from keras_kd import adversarial


class StepClock(keras.callbacks.Callback):
    """Measures the processor time of a step in each epoch but a fit's first."""

    def __init__(self, num_steps):
        super().__init__()
        self.num_steps, self.seconds = num_steps, []

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.process_time()

    def on_epoch_end(self, epoch, logs=None):
        if epoch > 0:  # In the first the teacher is asked.
            self.seconds.append((time.process_time() - self.start) / self.num_steps)


def measure(models, quick):
    """Return seconds a step, and ratios."""
    return {"steps": of_discriminator(models, quick), "data_free": of_data_free(quick)}


def of_discriminator(models, quick):
    """Return seconds a step of a `Distiller`, and of a `DiscriminatorDistiller` on logits.

    As `fit` runs them by itself. The two take turns, so that what else the machine does meets
    both.
    """
    job = Job("labelled", "overhead", 0, 1, models=models, results=None, quick=quick)
    data, conv_net = teacher_of(job)
    batches = data.train.batches(BATCH, shuffle_seed=0)
    found = {}
    for kind, teacher, student in (
        ("dense nets of 128 and 3x128 units", kd.models.mlp([128] * 3), dense),
        ("conv nets of 8 and 16 filters", conv_net, conv),
    ):
        clocks = {}
        for name, build in (("distiller", soft_targets), ("discriminator", discriminator)):
            model = build(student(8, 0), teacher, 0, 10 * steps_per_epoch(data))
            model.compile(keras.optimizers.Adam(1e-3))
            clocks[name] = model, StepClock(len(batches))
        for turn in range(3 if quick else 5):
            for model, clock in clocks.values():
                clock.seconds *= turn > 1  # Two turns to warm up.
                model.fit(batches, epochs=3, shuffle=False, verbose=0, callbacks=[clock])
        seconds = {name: statistics.median(clock.seconds) for name, (_, clock) in clocks.items()}
        ratio = seconds["discriminator"] / seconds["distiller"]
        found[kind] = {"cpu_seconds": seconds, "ratio": ratio}
    return found


def of_data_free(quick):
    """Return seconds a step of a `DataFreeDistiller` with its defaults, and of its passes alone."""
    teacher, student = kd.models.lenet5(mean=0.1307, std=0.3081), kd.models.lenet5(0.5)
    distiller = adversarial.DataFreeDistiller(student=student, teacher=teacher)
    num_steps = 5 if quick else 50
    distiller.compile(steps_per_execution=num_steps)
    clock, passes = StepClock(num_steps), passes_of(distiller)
    bare = []
    for turn in range(3 if quick else 6):
        clock.seconds *= turn > 1  # Two turns to warm up.
        distiller.fit(epochs=3, steps_per_epoch=num_steps, verbose=0, callbacks=[clock])
        start = time.process_time()
        for _ in range(2 * num_steps):
            passes()
        bare += [(time.process_time() - start) / (2 * num_steps)] if turn > 1 else []
    seconds = {"passes": statistics.median(bare), "distiller": statistics.median(clock.seconds)}
    return {
        "cpu_seconds": seconds,
        "ratio": seconds["distiller"] / seconds["passes"],
        "student_steps": distiller.student_steps,
    }


def passes_of(distiller):
    """Return a compiled function of a step's forward and backward passes, and nothing else."""
    generator, student, teacher = distiller.generator, distiller.student, distiller.teacher.model
    latents = distiller.held_out_latents(distiller.batch_size, 0)

    @tf.function
    def passes():
        with tf.GradientTape() as tape:
            images = generator(latents, training=True)
            answers = teacher(images, training=False), student(images, training=True)
        gradients = [tape.gradient(answers, generator.trainable_variables)]
        for number in range(distiller.student_steps):
            # Other images each time, or the passes would be one.
            shown = tf.roll(images, number, axis=0)
            with tf.GradientTape() as tape:
                logits = student(shown, training=True)
            gradients.append(tape.gradient(logits, student.trainable_variables))
        return gradients

    return passes


def dense(_, seed):
    keras.utils.set_random_seed(seed)
    return kd.models.mlp([128])
