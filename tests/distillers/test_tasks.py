"""The contract over shapes of task: what goes in, what comes out, and which losses fit it.

Each row of `TASKS` says how to build student and teacher, what `fit` is given, and what the parts
of the objective are in float64 NumPy, from the raw outputs of the two. `LOSSES` says for every
exported loss on which kinds of output it is right, `DISTILLERS` for everything that distils on
which tasks. Where a table says no, a sentence must say no.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import warm
from contracts import BASES, exported
from keras import layers
from references import (
    binary_soft_targets,
    decoupled_kd,
    dist,
    huber,
    relational_angle,
    relational_distance,
    similarity_preserving,
    soft_targets,
    softmax,
    z_score,
)

import keras_kd as kd

L = kd.losses
N, BATCH = 8, 4  # Two minibatches.
IGNORED = 255
RANDOM = np.random.default_rng(0)


def normal(*shape):
    return RANDOM.normal(size=shape).astype("float32")


def classes(number, *shape):
    return RANDOM.integers(0, number, (N, *shape)).astype("int32")


# ---------------------------------------------------------------- models


@keras.saving.register_keras_serializable(package="keras_kd_tests")
class Passes(layers.Layer):
    """Counts how often something passed through it (run eagerly)."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.count = 0

    def call(self, inputs):
        self.count += 1
        return inputs


def hidden(x, width):
    return layers.Dense(width, activation="tanh", name="hidden")(Passes(name="passes")(x))


def words(number, size, **options):
    # Keras's own are so small that all words are nearly one.
    return layers.Embedding(number, size, keras.initializers.RandomNormal(stddev=1.0), **options)


def classifier(width, *, teacher):
    x = keras.Input((6,), name="numbers")
    activation = "softmax" if teacher else None
    return keras.Model(x, layers.Dense(5, activation, name="class")(hidden(x, width)))


def several_in(width, *, structure):
    """Ids and numbers, by name or in order."""
    ids, numbers = keras.Input((3,), dtype="int32", name="ids"), keras.Input((6,), name="numbers")
    flat = layers.Flatten()(words(7, 2)(ids))
    x = hidden(layers.Concatenate()([flat, numbers]), width)
    given = {"ids": ids, "numbers": numbers} if structure is dict else [ids, numbers]
    return keras.Model(given, layers.Dense(5, name="class")(x))


def two_heads(width, *, second, teacher=False):
    """A dict, whose names are not those of the layers."""
    x = keras.Input((6,), name="numbers")
    body = hidden(x, width)
    outputs = {"first": layers.Dense(5, "softmax" if teacher else None)(body)}
    outputs["second"] = layers.Dense(second)(body)
    return keras.Model(x, outputs)


def tagger(width):
    ids = keras.Input((5,), dtype="int32", name="ids")
    x = words(7, 4, mask_zero=True)(ids)
    return keras.Model(ids, layers.Dense(4, name="tag")(hidden(x, width)))


def language_model(width):
    ids = keras.Input((5,), dtype="int32", name="ids")
    x = words(9, 4)(ids)
    return keras.Model(ids, layers.Dense(9, name="next")(hidden(x, width)))


def segmenter(width):
    image = keras.Input((4, 4, 2), name="image")
    x = layers.Conv2D(3, 3, padding="same")(image)
    return keras.Model(image, layers.Dense(3, name="mask")(hidden(x, width)))


def labeller(width, *, teacher):
    x = keras.Input((6,), name="numbers")
    activation = "sigmoid" if teacher else None
    return keras.Model(x, layers.Dense(4, activation, name="labels")(hidden(x, width)))


def regressor(width, *, units):
    x = keras.Input((6,), name="numbers")
    return keras.Model(x, layers.Dense(units, name="values")(hidden(x, width)))


# ---------------------------------------------------------------- by hand, in float64


def cross_entropy(labels, logits):
    """NaN where there is no label."""
    known = np.where(labels < 0, 0, np.minimum(labels, logits.shape[-1] - 1)).astype(int)
    picked = np.take_along_axis(np.log(softmax(logits)), known[..., None], -1)[..., 0]
    return np.where(labels < 0, np.nan, -picked)


def yes_or_no(labels, logits):
    return (np.logaddexp(0, logits) - labels * logits).mean(-1)


def squared(labels, values):
    return ((labels.reshape(values.shape) - values) ** 2).mean(-1)


def reverse(t, s, temperature):
    return soft_targets(s, t, temperature)


def jensen_shannon(t, s, temperature, mixing):
    p, q = softmax(t / temperature), softmax(s / temperature)
    m = mixing * p + (1 - mixing) * q
    sides = [(a * np.log(a / m)).sum(-1) for a in (p, q)]
    return temperature**2 * (mixing * sides[0] + (1 - mixing) * sides[1])


def cosine(t, s):
    return 1 - (t * s).sum(-1) / np.linalg.norm(t, axis=-1) / np.linalg.norm(s, axis=-1)


def mean_over(values, weights, counts):
    """The mean over what counts of weight * value; what has no value does not count."""
    counts = counts & ~np.isnan(values)
    weights = np.ones(len(values)) if weights is None else weights
    weights = np.broadcast_to(
        weights.reshape(*weights.shape, *[1] * (values.ndim - weights.ndim)), values.shape
    )
    return (weights * values)[counts].sum() / counts.sum()


@dataclasses.dataclass(frozen=True)
class End:
    """One output: its losses by hand, what of it counts, and how it is weighed.

    `hard(labels, student)` and `soft(teacher, student)` return a value a place;
    `counts(inputs, labels)` says which places count.
    """

    hard: Callable
    soft: Callable
    alpha: float = 0.5
    weight: float = 1.0
    counts: Callable = lambda inputs, labels: True


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    build: Callable  # (width, teacher) -> model
    inputs: object
    labels: object
    ends: dict
    distillation_loss: Callable
    compile: Callable  # Arguments without an optimizer.
    alpha: object = 0.5
    weights: object = None
    head: object = None
    other_labels: Callable = lambda labels: labels[::-1]

    @property
    def names(self):
        return list(self.ends)

    def student(self):
        keras.utils.set_random_seed(1)
        return self.build(4, teacher=False)

    @functools.cached_property
    def teacher(self):
        """One for all tests: it is never changed, which a test holds."""
        keras.utils.set_random_seed(2)
        model = self.build(8, teacher=True)
        return kd.Teacher(model) if self.head is None else kd.Teacher(model, head=self.head)

    def by_name(self, structure):
        if structure is None:
            return dict.fromkeys(self.names)
        if isinstance(structure, dict):
            return {name: structure.get(name) for name in self.names}
        return {self.names[0]: structure}

    def part(self, part):
        given = (self.inputs, self.labels, self.weights)
        return keras.tree.map_structure(lambda each: None if each is None else each[part], given)

    def by_hand(self, student, batch=BATCH):
        """The three losses, means over the minibatches."""
        sums = {"hard_loss": 0.0, "distillation_loss": 0.0, "loss": 0.0}
        for start in range(0, N, batch):
            inputs, labels, weights = self.part(slice(start, start + batch))
            labels, weights = self.by_name(labels), self.by_name(weights)
            t, s = (self.answers(model, inputs) for model in (self.teacher.model, student))
            for name, end in self.ends.items():
                counts = np.asarray(end.counts(inputs, labels[name]))
                hard = mean_over(end.hard(labels[name], s[name]), weights[name], counts)
                soft = mean_over(end.soft(t[name], s[name]), weights[name], counts)
                both = end.alpha * soft + (1 - end.alpha) * hard
                for key, value in zip(sums, (hard, soft, both), strict=True):
                    sums[key] += end.weight * value * batch / N
        return sums

    def answers(self, model, inputs):
        """The raw ones, in float64."""
        outputs = self.by_name(model(inputs, training=False))
        return {name: np.asarray(each, "float64") for name, each in outputs.items()}


def sparse(**options):
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, **options)


NUMBERS = normal(N, 6)
IDS = np.array([[1, 2, 0, 0, 0], [3, 1, 2, 0, 0], [4, 0, 0, 0, 0], [2, 2, 3, 1, 6]] * 2, "int32")
WORDS = RANDOM.integers(1, 9, (N, 5)).astype("int32")


def logs(probabilities):
    return np.log(probabilities)


TASKS = {
    "one in, one out": Task(
        build=lambda width, teacher: classifier(width, teacher=teacher),
        inputs=NUMBERS,
        labels=classes(5),
        distillation_loss=lambda: L.SoftTargets(2.0),
        alpha=0.7,
        compile=lambda: {"loss": sparse(), "metrics": ["accuracy"]},
        ends={"class": End(cross_entropy, lambda t, s: soft_targets(logs(t), s, 2.0), alpha=0.7)},
    ),
    "dict in": Task(
        build=lambda width, teacher: several_in(width, structure=dict),
        inputs={"ids": classes(7, 3), "numbers": NUMBERS},
        labels=classes(5),
        distillation_loss=lambda: L.LogitMatching(),
        compile=lambda: {"loss": sparse(), "metrics": ["accuracy"]},
        ends={"class": End(cross_entropy, squared)},
    ),
    "list in": Task(
        build=lambda width, teacher: several_in(width, structure=list),
        inputs=(classes(7, 3), NUMBERS),
        labels=classes(5),
        distillation_loss=lambda: L.SoftTargets(3.0),
        compile=lambda: {"loss": sparse(), "metrics": ["accuracy"]},
        ends={"class": End(cross_entropy, lambda t, s: soft_targets(t, s, 3.0))},
    ),
    "class and class": Task(
        build=lambda width, teacher: two_heads(width, second=3, teacher=teacher),
        inputs=NUMBERS,
        labels={"first": classes(5), "second": classes(3)},
        distillation_loss=lambda: {"first": L.SoftTargets(2.0), "second": L.SoftTargets(1.0)},
        alpha={"first": 0.3, "second": 0.9},
        compile=lambda: {
            "loss": {"first": sparse(), "second": sparse()},
            "loss_weights": {"first": 0.5, "second": 2.0},
            "metrics": {"first": ["accuracy"], "second": ["accuracy"]},
        },
        ends={
            "first": End(cross_entropy, lambda t, s: soft_targets(logs(t), s, 2.0), 0.3, 0.5),
            "second": End(cross_entropy, lambda t, s: soft_targets(t, s, 1.0), 0.9, 2.0),
        },
    ),
    "class and values": Task(
        build=lambda width, teacher: two_heads(width, second=4),
        inputs=NUMBERS,
        labels={"first": classes(5), "second": normal(N, 4)},
        weights={"first": RANDOM.uniform(0, 2, N), "second": RANDOM.uniform(0, 2, N)},
        distillation_loss=lambda: {"first": L.SoftTargets(2.0), "second": L.HuberMatching(0.5)},
        head={"first": "logits", "second": "values"},
        compile=lambda: {
            "loss": {"first": sparse(), "second": "mse"},
            "metrics": {"second": ["mae"]},
        },
        ends={
            "first": End(cross_entropy, lambda t, s: soft_targets(t, s, 2.0)),
            "second": End(squared, lambda t, s: (0.25 * huber((t - s) / 0.5)).mean(-1)),
        },
    ),
    "tagger": Task(
        build=lambda width, teacher: tagger(width),
        inputs=IDS,
        labels=np.where(RANDOM.uniform(size=(N, 5)) < 0.2, -1, classes(4, 5)),
        distillation_loss=lambda: L.SoftTargets(2.0),
        compile=lambda: {"loss": L.CrossEntropy()},
        ends={
            "tag": End(
                cross_entropy,
                lambda t, s: soft_targets(t, s, 2.0),
                counts=lambda ids, labels: ids > 0,
            )
        },
    ),
    "language model": Task(
        build=lambda width, teacher: language_model(width),
        inputs=WORDS,
        labels=np.roll(WORDS, -1, 1) * (np.arange(5) < 4),
        weights=RANDOM.uniform(0, 2, (N, 5)),
        distillation_loss=lambda: L.JensenShannon(1.0, mixing=0.3),
        alpha=0.6,
        compile=lambda: {"loss": sparse(ignore_class=0)},
        ends={
            "next": End(
                cross_entropy,
                lambda t, s: jensen_shannon(t, s, 1.0, 0.3),
                alpha=0.6,
                counts=lambda ids, labels: labels != 0,
            )
        },
        other_labels=lambda labels: np.where(labels, 1 + labels % 8, 0),
    ),
    "segmentation": Task(
        build=lambda width, teacher: segmenter(width),
        inputs=normal(N, 4, 4, 2),
        labels=np.where(RANDOM.uniform(size=(N, 4, 4)) < 0.2, IGNORED, classes(3, 4, 4)),
        distillation_loss=lambda: L.ReverseSoftTargets(2.0),
        compile=lambda: {"loss": sparse(ignore_class=IGNORED)},
        ends={
            "mask": End(
                cross_entropy,
                lambda t, s: reverse(t, s, 2.0),
                counts=lambda image, labels: labels != IGNORED,
            )
        },
        other_labels=lambda labels: np.where(labels == IGNORED, labels, (labels + 1) % 3),
    ),
    "multi-label": Task(
        build=lambda width, teacher: labeller(width, teacher=teacher),
        inputs=NUMBERS,
        labels=RANDOM.integers(0, 2, (N, 4)).astype("float32"),
        distillation_loss=lambda: L.BinarySoftTargets(2.0),
        compile=lambda: {
            "loss": keras.losses.BinaryCrossentropy(from_logits=True),
            "metrics": [keras.metrics.BinaryAccuracy(threshold=0.0)],
        },
        ends={
            "labels": End(yes_or_no, lambda t, s: binary_soft_targets(np.log(t / (1 - t)), s, 2.0))
        },
    ),
    "regression": Task(
        build=lambda width, teacher: regressor(width, units=1),
        inputs=NUMBERS,
        labels=normal(N),
        weights=RANDOM.uniform(0, 2, N),
        distillation_loss=lambda: L.ValueDistance(),
        head="values",
        compile=lambda: {"loss": "mse", "metrics": ["mae"]},
        ends={"values": End(squared, lambda t, s: np.abs(t - s).mean(-1))},
    ),
    "embeddings": Task(
        build=lambda width, teacher: regressor(width, units=6),
        inputs=NUMBERS,
        labels=normal(N, 6),
        distillation_loss=lambda: L.CosineMatching(),
        head="values",
        alpha=0.9,
        compile=lambda: {"loss": "mse"},
        ends={"values": End(squared, cosine, alpha=0.9)},
    ),
}

# ---------------------------------------------------------------- the ways through `fit`

# A rate of 0 in the first epoch, so that its logs can be worked by hand; then one that moves.
RATE = {"boundaries": [N // BATCH - 1], "values": [0.0, 0.1]}


def sgd():
    return keras.optimizers.SGD(keras.optimizers.schedules.PiecewiseConstantDecay(**RATE))


def distiller_of(task, *, teacher=True, **options):
    options = {"alpha": task.alpha, **options}
    return kd.Distiller(
        student=task.student(),
        teacher=task.teacher if teacher else None,
        distillation_loss=task.distillation_loss(),
        **options,
    )


def compiled(distiller, task, optimizer=None, **options):
    return distiller.compile(optimizer or sgd(), **{**task.compile(), **options})


def fitted(distiller, task, *, labels="own", epochs=2, **options):
    """From arrays, two epochs."""
    labels = task.labels if isinstance(labels, str) else labels
    options = {"sample_weight": task.weights, **options}
    history = distiller.fit(
        task.inputs, labels, batch_size=BATCH, epochs=epochs, shuffle=False, verbose=0, **options
    ).history
    return distiller, history


def data_of(task, labels=None):
    parts = (task.inputs, task.labels if labels is None else labels)
    parts += () if task.weights is None else (task.weights,)
    return tf.data.Dataset.from_tensor_slices(parts).batch(BATCH)


def plain(task, **options):
    distiller = compiled(distiller_of(task), task, **{"steps_per_execution": 1, **options})
    return distiller, distiller.fit(data_of(task), epochs=2, verbose=0).history


def arrays(task, folder):
    return fitted(compiled(distiller_of(task), task), task)


def xla(task, folder):
    return fitted(compiled(distiller_of(task), task, jit_compile=True), task)


def halves(task, folder):
    return fitted(
        compiled(distiller_of(task), task, precision="mixed_bfloat16", run_eagerly=True), task
    )


def loaded(task, folder):
    distiller = compiled(distiller_of(task), task, run_eagerly=True)
    _, first = fitted(distiller, task, epochs=1)
    distiller.save(folder / "distiller.keras")
    again = keras.models.load_model(folder / "distiller.keras")
    again.attach_teacher(distiller.teacher)
    _, second = fitted(again, task, epochs=1)
    return again, {name: first[name] + second[name] for name in first}


def targets(task, folder):
    said = keras.tree.map_structure(np.asarray, task.teacher(task.inputs))
    distiller = compiled(distiller_of(task, teacher=False), task, run_eagerly=True)
    return fitted(distiller, task, labels=kd.Targets(task.labels, said))


def soft_labels(task, folder):
    distiller = compiled(distiller_of(task, soft_labels=folder / "said"), task, run_eagerly=True)
    return fitted(distiller, task)


PATHS = {
    "fast path": arrays,
    "XLA": xla,
    "mixed precision": halves,
    "saved and loaded": loaded,
    "Targets": targets,
    "SoftLabels": soft_labels,
}
# Names, weights and places that count: what XLA could take otherwise. It compiles for seconds.
COMPILED = ("dict in", "class and values", "tagger")


@functools.cache
def on_the_plain_path(name):
    distiller, history = plain(TASKS[name])
    return distiller, history, distiller.student.get_weights()


@pytest.fixture(params=TASKS)
def name(request):
    return request.param


@pytest.fixture
def task(name):
    return TASKS[name]


def first_of(history):
    return {name: history[name][0] for name in ("hard_loss", "distillation_loss", "loss")}


class TestOfEveryTask:
    def test_the_first_losses_are_those_worked_by_hand(self, name, task):
        _, history, weights = on_the_plain_path(name)
        student = task.student()
        expected = task.by_hand(student)
        assert first_of(history) == pytest.approx(expected, rel=1e-5)
        assert not any(map(np.array_equal, weights, student.get_weights()))

    @pytest.mark.parametrize(
        ("name", "path"),
        [
            pytest.param(
                name, path, marks=pytest.mark.bfloat16 if path == "mixed precision" else ()
            )
            for name in TASKS
            for path in PATHS
            if path != "XLA" or name in COMPILED
        ],
    )
    def test_every_path_goes_the_plain_way(self, name, task, path, tmp_path):
        _, expected, weights = on_the_plain_path(name)
        distiller, history = PATHS[path](task, tmp_path)
        # bfloat16 keeps two digits, the files' float16 three; other programs round the last one of
        # float32 otherwise.
        rel = {"mixed precision": 0.03, "SoftLabels": 1e-3}.get(path, 1e-4)
        assert history.keys() == expected.keys()
        assert first_of(history) == pytest.approx(first_of(expected), rel=rel)
        for one, other in zip(distiller.student.get_weights(), weights, strict=True):
            np.testing.assert_allclose(one, other, rtol=rel, atol=rel / 100)

    def test_alpha_0_is_plain_training_to_the_bit(self, task):
        distiller = compiled(distiller_of(task, alpha=0.0), task, "adam", run_eagerly=True)
        _, history = fitted(distiller, task, epochs=1)
        alone = task.student()
        alone.compile("adam", run_eagerly=True, **task.compile())
        _, expected = fitted(alone, task, epochs=1)
        for one, other in zip(distiller.student.get_weights(), alone.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
        assert {key: history[key] for key in expected} == expected

    def test_alpha_1_ignores_the_labels(self, task):
        weights = []
        for labels in (task.labels, keras.tree.map_structure(task.other_labels, task.labels)):
            distiller = compiled(distiller_of(task, alpha=1.0), task, "sgd", run_eagerly=True)
            _, history = fitted(distiller, task, labels=labels, epochs=1)
            assert "hard_loss" not in history
            weights.append(distiller.student.get_weights())
        assert not all(map(np.array_equal, weights[0], task.student().get_weights()))
        assert all(map(np.array_equal, *weights))

    def test_without_weight_each_runs_once_a_step_and_none_moves(self, task):
        distiller = compiled(distiller_of(task), task, "sgd", run_eagerly=True)
        (model,) = distiller.teacher.models
        before = model.get_weights()
        counters = [each.get_layer("passes") for each in (model, distiller.student)]
        for counter in counters:
            counter.count = 0
        fitted(
            distiller,
            task,
            epochs=1,
            sample_weight=keras.tree.map_structure(lambda labels: np.zeros(N), task.labels),
        )
        assert [counter.count for counter in counters] == [N // BATCH] * 2
        assert all(map(np.array_equal, before, model.get_weights()))
        assert all(
            map(np.array_equal, distiller.student.get_weights(), task.student().get_weights())
        )

    def test_evaluate_changes_nothing_and_reports_what_labels_tell(self, name, task):
        distiller, _, _ = on_the_plain_path(name)
        student = distiller.student

        def state():
            variables = [*student.variables, *distiller.optimizer.variables]
            return [np.array(each) for each in variables]

        before = state()
        results = distiller.evaluate(data_of(task), verbose=0, return_dict=True)
        assert all(map(np.array_equal, before, state()))
        expected = task.by_hand(student)["hard_loss"]
        assert results["hard_loss"] == pytest.approx(expected, rel=1e-5)


# ---------------------------------------------------------------- losses

# Each kind of output that a loss may be put on: the task and its output, or the layer `hidden`.
KINDS = {
    "classes": "list in",
    "softmax": "one in, one out",
    "classes at each time": "tagger",
    "classes at each place": "segmentation",
    "labels": "multi-label",
    "values": "embeddings",
}
CLASSES = {"classes", "softmax", "classes at each time", "classes at each place"}
LOGITS = CLASSES - {"softmax"}
EVERY = set(KINDS)
# What a refusal says: the head is not the loss's, or the layer has not the shape.
NOT_FOR = "is for teachers that end in|needs at least|must be \\[batch"


def decoupled(t, s, labels):
    known = np.where(labels < 0, t.argmax(-1), labels)
    return decoupled_kd(t, s, 4.0, 1.0, 8.0, known)


def smoothed(t, s, labels):
    y = 0.8 * np.eye(s.shape[-1])[labels] + 0.2 / s.shape[-1]
    return np.where(labels < 0, np.nan, -(y * logs(softmax(s))).sum(-1))


# The loss, what it is in float64 of the rows that count, and on what it is right.
ON_OUTPUTS = {
    "BinarySoftTargets": (
        lambda: L.BinarySoftTargets(2.0),
        lambda t, s, _: binary_soft_targets(t, s, 2.0),
        LOGITS | {"labels"},
    ),
    "CosineMatching": (
        lambda: L.CosineMatching(),
        lambda t, s, _: cosine(t, s),
        LOGITS | {"values"},
    ),
    "DIST": (lambda: L.DIST(2.0), lambda t, s, _: dist(t, s, 2.0, 1.0, 1.0), CLASSES),
    "DecoupledKD": (lambda: L.DecoupledKD(4.0), decoupled, CLASSES),
    "HuberMatching": (
        lambda: L.HuberMatching(0.5),
        lambda t, s, _: (0.25 * huber((t - s) / 0.5)).mean(-1),
        LOGITS | {"values"},
    ),
    "JensenShannon": (
        lambda: L.JensenShannon(2.0, mixing=0.3),
        lambda t, s, _: jensen_shannon(t, s, 2.0, 0.3),
        CLASSES,
    ),
    "LabelSmoothing": (lambda: L.LabelSmoothing(0.2), smoothed, CLASSES),
    "LogitDistance": (L.LogitDistance, lambda t, s, _: np.abs(t - s).mean(-1), EVERY),
    "LogitMatching": (L.LogitMatching, lambda t, s, _: squared(t, s), EVERY),
    "ReverseSoftTargets": (
        lambda: L.ReverseSoftTargets(2.0),
        lambda t, s, _: reverse(t, s, 2.0),
        CLASSES,
    ),
    "SoftTargets": (lambda: L.SoftTargets(2.0), lambda t, s, _: soft_targets(t, s, 2.0), CLASSES),
    "StandardizedLogits": (
        lambda: L.StandardizedLogits(L.SoftTargets(3.0)),
        lambda t, s, _: soft_targets(z_score(t), z_score(s), 3.0),
        CLASSES,
    ),
    "TeacherLabels": (
        L.TeacherLabels,
        lambda t, s, _: cross_entropy(t.argmax(-1), s),
        CLASSES,
    ),
    "ValueDistance": (
        lambda: L.ValueDistance(),
        lambda t, s, _: np.abs(t - s).mean(-1),
        LOGITS | {"values"},
    ),
    "ValueMatching": (
        lambda: L.ValueMatching(),
        lambda t, s, _: squared(t, s),
        LOGITS | {"values"},
    ),
}


def attention(t, s):
    sides = [(f**2).mean(-1).reshape(len(f), -1) for f in (t, s)]
    t, s = (side / np.linalg.norm(side, axis=-1, keepdims=True) for side in sides)
    return ((t - s) ** 2)[t > 0]  # The mean is over what counts.


# What the layer `hidden` of a task answers: vectors, steps with padding, maps.
FEATURES = {"vectors": "list in", "steps": "tagger", "maps": "segmentation"}
# The loss between two layers of one width, what it is of features whose padding is zeros, and on
# which it is right. Of hints, padding is left out of the mean.
ON_LAYERS = {
    "AttentionTransfer": (L.AttentionTransfer, attention, {"steps", "maps"}),
    "Hints": (
        lambda *names: L.Hints(*names, project=False),
        lambda t, s: ((t - s) ** 2).mean(-1)[s.any(-1)],
        {"vectors", "steps", "maps"},
    ),
    "RelationalAngle": (L.RelationalAngle, relational_angle, {"vectors", "steps", "maps"}),
    "RelationalDistance": (L.RelationalDistance, relational_distance, {"vectors", "steps", "maps"}),
    "SimilarityPreserving": (
        L.SimilarityPreserving,
        similarity_preserving,
        {"vectors", "steps", "maps"},
    ),
}
# Its negatives are drawn at random; test_contrastive.py works it by hand.
ELSEWHERE = {"Contrastive"}


def values_of(task, losses, student):
    """Of each loss, in one step over all examples, at a rate of 0."""
    distiller = kd.Distiller(student=student, teacher=task.teacher, distillation_loss=losses)
    compiled(distiller, task, keras.optimizers.SGD(0.0), metrics=None, run_eagerly=True)
    history = distiller.fit(task.inputs, task.labels, batch_size=N, shuffle=False, verbose=0)
    return {name: history.history[name][0] for name in losses}


class TestOfEveryLoss:
    def test_none_is_missing(self):
        exported_ones = exported(L.DistillationLoss) - BASES
        assert exported_ones == {*ON_OUTPUTS, *ON_LAYERS, *ELSEWHERE}

    @pytest.mark.parametrize("kind", KINDS)
    def test_on_outputs_it_is_right_or_refused(self, kind):
        task, student = TASKS[KINDS[kind]], TASKS[KINDS[kind]].student()
        ((output, end),) = task.ends.items()
        t, s = (task.answers(model, task.inputs)[output] for model in (task.teacher.model, student))
        if kind == "softmax":  # What comes before it.
            kernel, bias = task.teacher.model.get_layer(output).get_weights()
            t = features_of(task.teacher.model, task.inputs) @ kernel + bias
        t = np.log(t / (1 - t)) if kind == "labels" else t
        counts = np.broadcast_to(end.counts(task.inputs, task.labels), t.shape[:-1])
        rows = t[counts], s[counts], task.labels[counts]
        losses, expected = {}, {}
        for name, (make, reference, right) in ON_OUTPUTS.items():
            if kind in right:
                losses[name], expected[name] = make(), np.nanmean(reference(*rows))
                continue
            with pytest.raises(ValueError, match=NOT_FOR):
                kd.Distiller(student=student, teacher=task.teacher, distillation_loss=make())
        assert values_of(task, losses, student) == pytest.approx(expected, rel=1e-4)

    @pytest.mark.parametrize("kind", FEATURES)
    def test_on_layers_it_is_right_or_refused(self, kind):
        task = TASKS[FEATURES[kind]]
        keras.utils.set_random_seed(3)
        student = task.build(8, teacher=False)
        padding = task.inputs[..., None] == 0 if kind == "steps" else False
        t, s = (
            np.where(padding, 0.0, features_of(model, task.inputs))
            for model in (task.teacher.model, student)
        )
        losses, expected = {}, {}
        for name, (make, reference, right) in ON_LAYERS.items():
            loss = make("hidden", "hidden")
            if kind in right:
                losses[name], expected[name] = loss, reference(t, s).mean()
                continue
            with pytest.raises(ValueError, match=NOT_FOR):
                kd.Distiller(student=student, teacher=task.teacher, distillation_loss=loss)
        assert values_of(task, losses, student) == pytest.approx(expected, rel=1e-4)


def features_of(model, inputs):
    layer = keras.Model(model.input, model.get_layer("hidden").output)
    return np.asarray(layer(inputs), "float64")


# ---------------------------------------------------------------- what distils

ONE_TENSOR = "must return one tensor"
TWO_HEADS = dict.fromkeys(["class and class", "class and values"], ONE_TENSOR)
PLACES = ["tagger", "language model", "segmentation"]
ONE_PREDICTION = dict.fromkeys(PLACES, "judges one prediction an example")
CLASSES_ALONE = dict.fromkeys(["regression", "embeddings"], "of classes or labels")
STEPS = dict.fromkeys(["tagger", "language model"], r"judges \(units,\) or \(height, width")


def learned_from(distiller, task):
    compiled(distiller, task, keras.optimizers.SGD(0.1), run_eagerly=True)
    return fitted(distiller, task, epochs=1)[1]


def two_students(task):
    keras.utils.set_random_seed(1)
    return [task.build(width, teacher=False) for width in (4, 5)]


def mutual(task):
    students = two_students(task)
    loss = task.distillation_loss()
    return students, learned_from(kd.MutualDistiller(students, distillation_loss=loss), task)


def kdgan(task):
    students, loss = two_students(task), task.distillation_loss()
    distiller = kd.adversarial.KDGANDistiller(students, distillation_loss=loss)
    return students, learned_from(distiller, task)


def online(task):
    students, loss = two_students(task), task.distillation_loss()
    distiller = kd.adversarial.OnlineAdversarialDistiller(
        students, layer_names="hidden", distillation_loss=loss
    )
    return students, learned_from(distiller, task)


def judged(task):
    student = task.student()
    distiller = kd.adversarial.DiscriminatorDistiller(
        student=student,
        teacher=task.teacher,
        distillation_loss=task.distillation_loss(),
        alpha=task.alpha,
        standardize=False,
    )
    return [student], learned_from(distiller, task)


def data_free(task):
    student = task.student()
    distiller = kd.adversarial.DataFreeDistiller(
        student=student,
        teacher=task.teacher,
        distillation_loss=task.distillation_loss(),
        generator_loss=[kd.adversarial.Disagreement()],
        batch_size=BATCH,
        student_steps=1,
    )
    distiller.compile("sgd", run_eagerly=True)
    return [student], distiller.fit(steps_per_epoch=1, verbose=0).history


def together(task):
    distillers = [compiled(distiller_of(task, alpha=alpha), task) for alpha in (0.3, 0.8)]
    data = kd.data.Split(task.inputs, task.labels).batches(BATCH, shuffle_seed=0)
    histories = kd.train_together(distillers, data, epochs=2, verbose=0)
    return [distiller.student for distiller in distillers], histories[0]


def in_turn(task):
    students, histories = two_students(task), []
    kd.distill_in_turn(
        students,
        teacher=task.teacher,
        fit=lambda distiller: histories.append(learned_from(distiller, task)),
        distillation_loss=task.distillation_loss(),
        alpha=task.alpha,
    )
    return students, histories[0]


# How it is used, and the tasks that it refuses with the sentence. `Distiller` refuses none: it is
# tested above.
DISTILLERS = {
    "DataFreeDistiller": (data_free, dict.fromkeys(TASKS, "makes images") | TWO_HEADS),
    "DiscriminatorDistiller": (judged, TWO_HEADS | ONE_PREDICTION | CLASSES_ALONE),
    "KDGANDistiller": (kdgan, TWO_HEADS | ONE_PREDICTION | CLASSES_ALONE),
    "MutualDistiller": (mutual, TWO_HEADS),
    "OnlineAdversarialDistiller": (online, TWO_HEADS | STEPS),
    "distill_in_turn": (in_turn, {}),
    "train_together": (together, {}),
}


class TestOfEveryDistiller:
    def test_none_is_missing(self):
        functions = {"distill_in_turn", "train_together"}
        assert exported(keras.Model) | functions == {*DISTILLERS, "Distiller"}
        assert functions <= set(kd.__all__)

    @pytest.mark.parametrize("distiller", DISTILLERS)
    def test_it_trains_or_says_why_not(self, distiller, name, task):
        run, refused = DISTILLERS[distiller]
        if name in refused:
            with pytest.raises(ValueError, match=refused[name]):
                run(task)
            return
        students, history = run(task)
        assert history["distillation_loss"][0] > 0
        first = [task.student(), *two_students(task)]
        for student in students:
            before = next(
                each for each in first if each.count_params() == student.count_params()
            ).get_weights()
            assert not any(map(np.array_equal, before, student.get_weights()))


REPLICAS = """
import sys
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
sys.path.append(sys.argv[1])
import test_tasks

test_tasks.compare_two_replicas()
"""


def compare_two_replicas():
    """Each replica has half a minibatch and takes the mean over what counts in it, as in Keras."""
    reduction = tf.distribute.ReductionToOneDevice()
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=reduction)
    for name, task in TASKS.items():
        # Run as they come: test_replicas.py holds that a graph of two does the same.
        with strategy.scope():
            distiller, history = plain(task, run_eagerly=True)
        expected = task.by_hand(task.student(), batch=BATCH // 2)
        for key, value in expected.items():
            np.testing.assert_allclose(history[key][0], value, rtol=1e-5, err_msg=f"{name} {key}")
        if all(end.counts is End.counts for end in task.ends.values()):
            alone, _ = plain(task, run_eagerly=True)
            for one, other in zip(
                distiller.student.get_weights(), alone.student.get_weights(), strict=True
            ):
                np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6, err_msg=name)


def test_two_replicas_learn_what_one_device_does():
    result = warm.run(Path(__file__).parent, code=REPLICAS)
    assert result.returncode == 0, result.stderr[-3000:]
