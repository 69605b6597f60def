"""Every loss at its smallest numbers, and where what it compares does not vary, hardly or vastly.

To add a loss is to add its row: `test_nothing_exported_is_missing` fails until it is done.
"""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from contracts import BASES, exported

import keras_kd as kd

L = kd.losses
# What a gradient's norm may be for a mean over the batch, at the papers' settings.
BOUND = 1e3

# The loss, what it compares, and the smallest numbers that teach something. Below, it is refused.
ROWS = {
    "AttentionTransfer": (lambda: L.AttentionTransfer(), "maps", {"places": 2}),
    "BinaryCrossEntropy": (lambda: L.BinaryCrossEntropy(), "yes or no", {}),
    "BinarySoftTargets": (lambda: L.BinarySoftTargets(), "logits", {}),
    "Contrastive": (lambda: L.Contrastive(num_examples=9, num_negatives=4), "logits", {"size": 2}),
    "CosineMatching": (lambda: L.CosineMatching(), "vectors", {"size": 2}),
    "CrossEntropy": (lambda: L.CrossEntropy(), "labels", {"size": 2}),
    "DIST": (lambda: L.DIST(), "logits", {"size": 3}),
    "DIST without inter": (
        lambda: L.DIST(inter_weight=0.0), "logits", {"size": 3, "examples": 3},
    ),
    "DecoupledKD": (lambda: L.DecoupledKD(), "logits", {"size": 3}),
    "Hints": (lambda: L.Hints(), "maps", {}),
    "HuberMatching": (lambda: L.HuberMatching(), "vectors", {}),
    "JensenShannon": (lambda: L.JensenShannon(), "logits", {"size": 2}),
    "LabelSmoothing": (lambda: L.LabelSmoothing(), "logits", {"size": 2}),
    "LogitDistance": (lambda: L.LogitDistance(), "logits", {}),
    "LogitMatching": (lambda: L.LogitMatching(), "logits", {}),
    "RelationalAngle": (lambda: L.RelationalAngle(), "vectors", {"size": 2, "examples": 3}),
    "RelationalDistance": (lambda: L.RelationalDistance(), "vectors", {"examples": 3}),
    "ReverseSoftTargets": (lambda: L.ReverseSoftTargets(), "logits", {"size": 2}),
    "SimilarityPreserving": (lambda: L.SimilarityPreserving(), "vectors", {"examples": 2}),
    "SoftTargets": (lambda: L.SoftTargets(), "logits", {"size": 2}),
    "StandardizedLogits": (lambda: L.StandardizedLogits(), "logits", {"size": 3}),
    "StandardizedLogits of DKD": (
        lambda: L.StandardizedLogits(L.DecoupledKD()), "logits", {"size": 3},
    ),
    "TeacherLabels": (lambda: L.TeacherLabels(), "logits", {"size": 2}),
    "ValueDistance": (lambda: L.ValueDistance(), "vectors", {}),
    "ValueMatching": (lambda: L.ValueMatching(), "vectors", {}),
}  # fmt: skip

# By their own definition the gradient grows with the difference.
SQUARED = {"LogitMatching", "Hints", "ValueMatching", "ReverseSoftTargets"}
# What stands still for good reason: |f|^p has no slope at 0, and examples that are all the same
# have no direction in which to come apart.
STILL = {
    ("AttentionTransfer", "zeros"),
    ("SimilarityPreserving", "zeros"),
    ("RelationalAngle", "zeros"),
    ("RelationalAngle", "equal"),
    ("RelationalDistance", "zeros"),
    ("RelationalDistance", "equal"),
}


def test_nothing_exported_is_missing():
    names = {name.split()[0] for name in ROWS}
    assert names == exported(keras.losses.Loss) - BASES - {"FunctionLoss"}


def shape_of(kind, *, size, examples, places=(2, 2)):
    return {"maps": (examples, *places, size)}.get(kind, (examples, size))


def outputs_of(kind, student, teacher):
    """Return what the loss is given beside the student's outputs."""
    if kind == "yes or no":
        return tf.cast(teacher > 0, tf.float32)
    return tf.argmax(teacher, -1) if kind == "labels" else tf.constant(teacher, tf.float32)


def value_and_gradient(loss, kind, teacher, student):
    student = tf.constant(student, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(student)
        value = loss(outputs_of(kind, student, teacher), student)
    return float(value), tape.gradient(value, student).numpy()


def assert_sane(value, gradient, bound=BOUND):
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    assert np.linalg.norm(gradient.astype(float)) < bound


SIZES = [
    {"size": size, "examples": examples, "places": places}
    for size, examples, places in itertools.product((1, 2, 3), (1, 2, 3), ((1, 1), (1, 2)))
]


@pytest.mark.parametrize("name", ROWS)
def test_the_smallest_numbers_teach_something_or_are_refused(name):
    build, kind, smallest = ROWS[name]
    for number, sizes in enumerate(SIZES):
        if kind != "maps" and sizes["places"] != (1, 1):
            continue
        shape = shape_of(kind, **sizes)
        generator = np.random.default_rng(number)
        teacher, student = generator.normal(size=(2, *shape))
        found = {**sizes, "places": int(np.prod(sizes["places"]))}
        small = [found[what] for what, least in smallest.items() if found[what] < least]
        if small:
            with pytest.raises(ValueError, match=r"at least \d.* Received: .*(Use|Name) ") as error:
                build()(outputs_of(kind, student, teacher), tf.constant(student, tf.float32))
            received = str(error.value).split("Received: ")[1]
            assert any(str(each) in received for each in small), received
            continue
        steepest = 0
        for _ in range(3):  # Not 0 everywhere; at one place it may be.
            teacher, student = generator.normal(size=(2, *shape))
            value, gradient = value_and_gradient(build(), kind, teacher, student)
            assert_sane(value, gradient)
            steepest = max(steepest, np.abs(gradient).max())
        assert steepest > 1e-3, sizes


def degenerate(case, kind):
    """Return outputs of 6 examples."""
    generator = np.random.default_rng(7)
    normal = generator.normal(size=shape_of(kind, size=5, examples=6))
    one = np.broadcast_to(normal[:1], normal.shape)
    return {
        "normal": normal,
        "zeros": 0 * normal,
        "equal": 0 * normal + 0.3,
        "nearly equal": 0.3 + 1e-6 * normal,
        "one example": one,
        "duplicates": np.concatenate([normal[:3], normal[:3]]),
        "nearly duplicates": one + 1e-6 * normal,
        "a zero among others": np.concatenate([0 * normal[:1], normal[1:]]),
        "a tiny one among others": np.concatenate([1e-9 * normal[:1], normal[1:]]),
        "tiny": 1e-9 * normal,
        "huge": 1e15 * normal,
    }[case]


CASES = [
    "zeros", "equal", "nearly equal", "one example", "duplicates", "nearly duplicates",
    "a zero among others", "a tiny one among others", "tiny", "huge",
]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ROWS)
def test_what_hardly_varies_or_vastly_gives_a_bounded_step(name, case):
    build, kind, _ = ROWS[name]
    normal = np.random.default_rng(8).normal(size=shape_of(kind, size=5, examples=6))
    found = degenerate(case, kind)
    bound = BOUND * (1e15 if name in SQUARED and case == "huge" else 1)
    # Last the one whose slope is looked at once more.
    for teacher, student in ((found, found), (found, normal), (normal, found)):
        value, gradient = value_and_gradient(build(), kind, teacher, student)
        assert_sane(value, gradient, bound)
    if (name, case) not in STILL and case not in ("huge", "one example"):
        assert np.abs(gradient).max() > 1e-9


@pytest.mark.parametrize("loss", [L.StandardizedLogits(), L.DIST(), L.DecoupledKD()])
def test_a_student_whose_logits_are_all_0_learns_at_an_ordinary_rate(loss):
    """Nothing is known of the first step but that it must not be the last."""
    keras.utils.set_random_seed(0)
    inputs = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
    teacher = keras.Sequential([keras.Input((8,)), keras.layers.Dense(5)])
    student = keras.Sequential([keras.Input((8,)), keras.layers.Dense(5, "linear", True, "zeros")])
    distiller = kd.Distiller(student=student, teacher=teacher, distillation_loss=loss, alpha=1.0)
    distiller.compile(keras.optimizers.SGD(0.1))
    history = distiller.fit(inputs, epochs=5, batch_size=8, verbose=0).history
    assert history["distillation_loss"][-1] < history["distillation_loss"][0]
    assert np.abs(student.get_weights()[0]).max() < 50


class TestTheFit:
    """Where the numbers enter: nothing is trained before they are judged."""

    @pytest.mark.parametrize(
        ("loss", "batch_size"),
        [
            (L.SimilarityPreserving("hidden", "hidden"), 1),
            (L.RelationalDistance("hidden", "hidden"), 2),
            (L.RelationalAngle("hidden", "hidden"), 2),
            (L.DIST(inter_weight=0.0), 2),
        ],
    )
    def test_batches_too_small_to_compare_are_refused(self, loss, batch_size):
        distiller, inputs, labels = self.distiller(loss)
        with pytest.raises(
            ValueError, match=rf"at least {batch_size + 1}.* Received: {batch_size}\."
        ):
            distiller.fit(inputs, labels, batch_size=batch_size, verbose=0)
        distiller.fit(inputs[:7], labels[:7], batch_size=batch_size + 1, verbose=0)

    def test_places_are_examples_for_dist(self):
        loss = L.DIST(inter_weight=0.0)
        images = np.random.default_rng(0).normal(size=(2, 1, 3, 4)).astype("float32")
        models = [
            keras.Sequential([keras.Input((1, 3, 4)), keras.layers.Dense(3)]) for _ in range(2)
        ]
        distiller = kd.Distiller(
            student=models[0], teacher=models[1], distillation_loss=loss, alpha=1.0
        )
        distiller.compile("sgd", run_eagerly=True)
        before = models[0].get_weights()[0]
        distiller.fit(images, batch_size=1, verbose=0)
        assert not np.allclose(before, models[0].get_weights()[0])
        with pytest.raises(ValueError, match=r"at least 3 of them\. Received: 2\."):
            loss(images[:1, :, :2], images[1:, :, :2])

    def distiller(self, loss):
        inputs = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
        models = [
            keras.Sequential(
                [
                    keras.Input((4,)),
                    keras.layers.Dense(6, name="hidden"),
                    keras.layers.Dense(3),
                ]
            )
            for _ in range(2)
        ]
        distiller = kd.Distiller(student=models[0], teacher=models[1], distillation_loss=loss)
        distiller.compile("sgd")
        return distiller, inputs, np.arange(8) % 3


class TestSettings:
    @pytest.mark.parametrize(
        ("build", "sentence"),
        [
            (lambda: L.AttentionTransfer(power=0), "`power` must be a number from 1 to 16"),
            (lambda: L.AttentionTransfer(power=0.5), "`power` must be a number from 1 to 16"),
            (lambda: L.DIST(inter_weight=0, intra_weight=0), "or `intra_weight` must be above 0"),
            (
                lambda: L.DecoupledKD(target_weight=0, non_target_weight=0),
                "or `non_target_weight` must be above 0",
            ),
            (lambda: L.Contrastive(num_examples=9, embedding_size=1), "integer of at least 2"),
            (
                lambda: L.SoftTargets(kd.schedules.Linear(4.0, 0.0, steps=9)),
                "`temperature at step 9` must be a number from 0.01",
            ),
        ],
    )
    def test_settings_that_would_teach_nothing_are_refused(self, build, sentence):
        with pytest.raises(ValueError, match=sentence):
            build()


TERMS = {
    "Activation": (lambda: kd.adversarial.Activation(teacher_layer_name="f"), {}),
    "BatchStatistics": (lambda: kd.adversarial.BatchStatistics(), {}),
    "ClassBalance": (lambda: kd.adversarial.ClassBalance(), {"size": 2}),
    "Disagreement": (lambda: kd.adversarial.Disagreement(), {"size": 2}),
    "OneHot": (lambda: kd.adversarial.OneHot(), {"size": 2}),
    "TotalVariation": (lambda: kd.adversarial.TotalVariation(), {"size": 2}),
}


class TestGeneratorTerms:
    def test_nothing_exported_is_missing(self):
        assert set(TERMS) == exported(kd.adversarial.GeneratorTerm)

    @pytest.mark.parametrize("name", TERMS)
    @pytest.mark.parametrize("size", [1, 2])
    @pytest.mark.parametrize("scale", [1e-9, 1.0, 1e6])
    def test_the_smallest_numbers_teach_something_or_are_refused(self, name, size, scale):
        build, smallest = TERMS[name]
        normal = scale * np.random.default_rng(0).normal(size=(3, size)).astype("float32")
        made = tf.constant(normal)
        layer = keras.layers.BatchNormalization()
        layer.build((None, size))
        with tf.GradientTape() as tape:
            tape.watch(made)
            teacher = {
                "logits": made,
                "f": made,
                "images": tf.reshape(made, (3, 1, size, 1)),
                "batch_norm": [(layer, made)],
            }
            student = {"logits": tf.reverse(made, [0])}
            if size < smallest.get("size", 1):
                with pytest.raises(ValueError, match=r"at least 2 .* Received: "):
                    build().call(teacher, student)
                return
            value = build().call(teacher, student)
        gradient = tape.gradient(value, made).numpy()
        assert_sane(float(value), gradient, BOUND * max(1, scale))
        if scale == 1:
            assert np.abs(gradient).max() > 1e-6


def test_weights_that_a_training_left_not_finite_are_said():
    images = np.ones((8, 6, 6, 1), "float32")
    images[3, 0, 0] = np.nan
    distillers = [
        kd.Distiller(student=kd.models.mlp([4], image_shape=(6, 6, 1)), alpha=0).compile("adam")
        for _ in range(2)
    ]
    with pytest.warns(UserWarning, match="Received: NaN or infinity in .*kernel after training"):
        distillers[0].fit(images, np.arange(8), verbose=0)
    batches = kd.data.Split(images, np.arange(8)).batches(4, shuffle_seed=0)
    with pytest.warns(UserWarning, match="Received: NaN or infinity in .*kernel after training"):
        kd.train_together(distillers[1:], batches, verbose=0)
