"""The contract that every distiller and every distillation loss keeps; nothing exported escapes.

To add a distiller or a loss is to add its row to `contracts.py`: the first test fails until it is
done.
"""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from contracts import (
    BASES,
    DISTILLERS,
    IMAGES,
    KINDS,
    LABELS,
    LOSSES,
    OTHER_PROGRAM,
    SEVERAL_LABELS,
    VALUES,
    WITH_A_TEACHER,
    WITH_THEIR_OWN_TESTS,
    exported,
    net,
)
from helpers import assert_equal_weights
from keras import layers, ops

import keras_kd as kd

pytestmark = pytest.mark.usefixtures("improved_graphs")


def test_nothing_exported_is_missing_and_no_row_is_stale():
    losses, distillers = exported(kd.losses.DistillationLoss), exported(keras.Model)
    assert set(LOSSES) | BASES == losses | {"DistillationLoss"} and not BASES & set(LOSSES)
    assert set(DISTILLERS) | WITH_THEIR_OWN_TESTS == distillers
    assert set(KINDS) <= set(LOSSES) and set(WITH_A_TEACHER) <= distillers


@pytest.fixture(params=DISTILLERS)
def distiller_class(request):
    return DISTILLERS[request.param]


@pytest.fixture(params=WITH_A_TEACHER)
def every_distiller(request):
    return WITH_A_TEACHER[request.param]


@pytest.fixture(params=KINDS)
def loss_name(request):
    return request.param


@pytest.fixture
def loss(loss_name):
    return LOSSES[loss_name]()


@pytest.fixture(params=LOSSES)
def every_loss(request):
    return LOSSES[request.param]()


def labels_for(loss):
    if isinstance(loss, kd.losses.ValueLoss):
        return VALUES
    return SEVERAL_LABELS if isinstance(loss, kd.losses.BinarySoftTargets) else LABELS


def make(distiller_class, loss, *, teacher=None, student=None, **options):
    student, teacher = student or net("student", seed=1), teacher or net("teacher")
    keras.utils.set_random_seed(2)  # For the projectors.
    return distiller_class(
        student=student,
        teacher=teacher,
        distillation_loss=loss,
        **options,
    )


def fit(distiller, *, labels=LABELS, epochs=2, batch_size=8, sample_weight=None, **compile_options):
    options = {"optimizer": keras.optimizers.Adam(1e-2), **compile_options}
    distiller.compile(**options)
    return distiller.fit(
        IMAGES, labels, batch_size=batch_size, epochs=epochs, shuffle=False, verbose=0,
        sample_weight=sample_weight,
    ).history  # fmt: skip


def eagerly(distiller, batch_size=16, **options):
    """One epoch: two steps are taken sooner than traced."""
    return fit(distiller, epochs=1, batch_size=batch_size, run_eagerly=True, **options)


# Every distiller that has a teacher, and every kind of loss; a discriminator's own layers beside
# those of a loss.
FITTED = [*((each, kind) for each in DISTILLERS for kind in KINDS),
          ("DiscriminatorDistiller", "Hints")]  # fmt: skip


@pytest.fixture(scope="module", params=FITTED, ids="-".join)
def fitted(request):
    """Trained as a user would, to be looked at: the distiller, its teacher, what they were."""
    distiller_name, loss_name = request.param
    teacher = net("teacher")
    distiller = make(WITH_A_TEACHER[distiller_name], LOSSES[loss_name](), teacher=teacher)
    before = distiller.student.get_weights(), teacher.get_weights()
    flags = [layer.trainable for layer in teacher.layers]
    fit(distiller)
    return distiller, teacher, before, flags


@functools.cache
def plainly(loss_name):
    """Weights and history of the plain path, which others are held against."""
    distiller = make(kd.Distiller, LOSSES[loss_name]())
    history = fit(distiller, jit_compile=False)
    return distiller.get_weights(), history


class TestTraining:
    def test_the_student_moves_and_the_teacher_does_not(self, fitted):
        distiller, teacher, (student_before, before), flags = fitted
        # BatchNorm's moving statistics are among its weights.
        assert_equal_weights(teacher.get_weights(), before)
        assert [layer.trainable for layer in teacher.layers] == flags
        for old, new in zip(student_before, distiller.student.get_weights(), strict=True):
            assert not np.array_equal(old, new)

    def test_one_pass_of_each_a_step_on_the_same_images_and_no_other(self, every_distiller, loss):
        teacher, student = net("teacher", counting=True), net("student", counting=True, seed=1)
        distiller = make(every_distiller, loss, teacher=teacher, student=student)
        seen_by_teacher, seen_by_student = (
            model.get_layer("recorder").seen for model in (teacher, student)
        )
        seen_by_teacher.clear(), seen_by_student.clear()
        eagerly(distiller)
        assert len(seen_by_teacher) == len(seen_by_student) == 2
        for one, other in zip(seen_by_teacher, seen_by_student, strict=True):
            np.testing.assert_array_equal(one, other)
        # What is not training leaves the teacher alone.
        distiller.evaluate(IMAGES, LABELS, verbose=0)
        distiller.predict(IMAGES, verbose=0)
        assert len(seen_by_teacher) == 2 < len(seen_by_student)

    def test_alpha_0_is_plain_training(self, distiller_class, loss):
        distilled, alone = net("student", seed=1), net("student", seed=1)
        eagerly(make(distiller_class, loss, student=distilled, alpha=0.0))
        alone.compile(
            keras.optimizers.Adam(1e-2),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            run_eagerly=True,
        )
        alone.fit(IMAGES, LABELS, batch_size=16, shuffle=False, verbose=0)
        assert_equal_weights(distilled.get_weights(), alone.get_weights(), **OTHER_PROGRAM)

    # A loss on an inner layer alone leaves what comes after it as it was, and Keras warns.
    @pytest.mark.filterwarnings("ignore:Gradients do not exist")
    def test_alpha_1_ignores_the_labels(self, distiller_class, loss):
        if loss.uses_labels:
            pytest.skip("a loss that uses labels by its definition")
        distillers = [make(distiller_class, loss, alpha=1.0) for _ in range(3)]
        for distiller, labels in zip(distillers, (LABELS, 4 - LABELS, None), strict=True):
            eagerly(distiller, labels=labels)
        first, other, without = (distiller.get_weights() for distiller in distillers)
        assert_equal_weights(first, other)
        assert_equal_weights(first, without, **OTHER_PROGRAM)

    def test_zero_sample_weight_means_zero_gradient(self, every_distiller, loss):
        student = plain_net()
        before = student.get_weights()
        distiller = make(every_distiller, loss, student=student)
        eagerly(distiller, sample_weight=np.zeros(32), optimizer=keras.optimizers.SGD(1.0))
        assert_equal_weights(before, student.get_weights())

    def test_examples_without_weight_might_as_well_hold_anything(self, every_distiller, loss):
        weights = np.tile([1.0, 0.0], 16)
        students = [plain_net() for _ in range(2)]
        for student, labels in zip(students, (LABELS, np.where(weights, LABELS, 0)), strict=True):
            distiller = make(every_distiller, loss, student=student)
            eagerly(distiller, labels=labels, sample_weight=weights)
        assert_equal_weights(students[0].get_weights(), students[1].get_weights())

    # Each way with each kind of loss somewhere; what XLA makes of every loss is tested below.
    @pytest.mark.parametrize(
        ("loss_name", "options"),
        [
            *((kind, {"run_eagerly": True}) for kind in KINDS),
            ("DecoupledKD", {"jit_compile": True}),
            ("SoftTargets", {"steps_per_execution": 3}),
            ("Hints", {"steps_per_execution": 4, "jit_compile": True}),
        ],
    )
    def test_graph_eager_and_xla_agree(self, distiller_class, loss_name, options):
        weights, history = plainly(loss_name)
        other = make(distiller_class, LOSSES[loss_name]())
        other_history = fit(other, **options)
        # Fused kernels round otherwise; Adam divides by small numbers.
        assert_equal_weights(weights, other.get_weights(), rtol=1e-3, atol=1e-4)
        assert history.keys() == other_history.keys()
        for key, values in history.items():
            np.testing.assert_allclose(other_history[key], values, rtol=1e-3)

    def test_accumulated_gradients_are_those_of_one_large_batch(self, distiller_class, loss):
        students = [plain_net() for _ in range(2)]
        once, in_parts = (make(distiller_class, loss, student=student) for student in students)
        eagerly(once, batch_size=32, optimizer=keras.optimizers.SGD(0.1))
        in_four = keras.optimizers.SGD(0.1, gradient_accumulation_steps=4)
        eagerly(in_parts, batch_size=8, optimizer=in_four)
        assert_equal_weights(once.get_weights(), in_parts.get_weights(), rtol=1e-4, atol=1e-6)

    # Each type with a teacher of either, and each kind of loss with both types.
    @pytest.mark.parametrize("loss_name", KINDS)
    @pytest.mark.parametrize(
        ("policy", "teacher_policies"),
        [
            ("mixed_float16", ("float32", "the same", "float32")),
            pytest.param(
                "mixed_bfloat16", ("the same", "float32", "the same"), marks=pytest.mark.bfloat16
            ),
        ],
    )
    def test_mixed_precision(self, distiller_class, loss_name, policy, teacher_policies):
        with_teacher = teacher_policies[KINDS.index(loss_name)]
        teacher = net("teacher") if with_teacher == "float32" else under(policy, net, "teacher")
        student = under(policy, net, "student", seed=1)
        distiller = make(distiller_class, LOSSES[loss_name](), teacher=teacher, student=student)
        history = fit(distiller, epochs=10)
        scaled = isinstance(distiller.optimizer, keras.optimizers.LossScaleOptimizer)
        assert scaled == (policy == "mixed_float16")
        assert history["loss"][-1] < 0.9 * history["loss"][0]
        _, exact = plainly(loss_name)
        # Half precision keeps three digits, bfloat16 two.
        assert history["loss"][0] == pytest.approx(exact["loss"][0], rel=0.05)


def plain_net():
    """A student without BatchNorm or regulariser, which do not care for sample weights."""
    keras.utils.set_random_seed(1)
    image = keras.Input((4, 4, 1), name="image")
    x = layers.Flatten()(layers.Rescaling(1 / 255)(image))
    x = layers.Dense(8, activation="relu", name="hidden")(x)
    return keras.Model(image, layers.Dense(5, name="logits")(x))


def under(policy, build, *args, **options):
    keras.config.set_dtype_policy(policy)
    try:
        return build(*args, **options)
    finally:
        keras.config.set_dtype_policy("float32")


class TestEvaluation:
    def test_evaluate_changes_nothing_at_all(self, fitted):
        distiller, teacher, (_, teacher_before), _ = fitted
        weights, optimizer = distiller.get_weights(), distiller.optimizer.variables
        before = [np.array(variable.numpy()) for variable in optimizer]
        distiller.evaluate(IMAGES, LABELS, verbose=0)
        distiller.evaluate(IMAGES, verbose=0)
        assert_equal_weights(distiller.get_weights(), weights)
        assert_equal_weights(teacher.get_weights(), teacher_before)
        assert_equal_weights([variable.numpy() for variable in optimizer], before)

    def test_it_predicts_with_the_student(self, fitted):
        distiller, *_ = fitted
        predicted = distiller.predict(IMAGES, verbose=0)
        np.testing.assert_allclose(predicted, distiller.student(IMAGES), rtol=1e-5, atol=1e-5)


class TestSaving:
    def test_a_reloaded_run_goes_on_to_the_bit_without_the_teacher_in_its_file(
        self, distiller_class, loss, tmp_path
    ):
        teacher = net("teacher", width=2000)
        distiller = make(distiller_class, loss, teacher=teacher)
        eagerly(distiller)
        distiller.save(tmp_path / "distiller.keras")
        # A projector to 2000 units and Adam's two copies of it are two thirds of the teacher.
        assert (tmp_path / "distiller.keras").stat().st_size < 4 * teacher.count_params()
        projectors = sum(len(layer.weights) for layer in distiller.projectors.values())
        assert len(distiller.get_weights()) == len(distiller.student.get_weights()) + projectors
        loaded = keras.models.load_model(tmp_path / "distiller.keras")
        loaded.attach_teacher(teacher)
        for model in (distiller, loaded):
            model.fit(IMAGES, LABELS, batch_size=16, shuffle=False, verbose=0)
        assert_equal_weights(distiller.get_weights(), loaded.get_weights())
        assert_equal_weights(
            [variable.numpy() for variable in distiller.optimizer.variables],
            [variable.numpy() for variable in loaded.optimizer.variables],
        )

    def test_saved_loaded_or_exported_the_student_predicts_the_same(self, fitted, tmp_path):
        student = fitted[0].student
        expected = np.asarray(student(IMAGES))
        student.save(tmp_path / "student.keras")
        loaded = keras.models.load_model(tmp_path / "student.keras")
        np.testing.assert_array_equal(loaded(IMAGES), expected)
        kd.export.saved_model(student, tmp_path / "saved_model")
        serve = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["serving_default"]
        served = serve(image=tf.constant(IMAGES))["logits"]
        np.testing.assert_allclose(served, expected, rtol=1e-4, atol=1e-5)
        kd.export.litert(student, tmp_path / "student.tflite")
        run = kd.export.run_litert(tmp_path / "student.tflite", IMAGES)
        np.testing.assert_allclose(run.logits, expected, rtol=1e-4, atol=1e-5)


def outputs_for(loss, dtype="float32"):
    """Made-up outputs of teacher and student that a loss can compare."""
    shape = (6, 2, 2, 5) if isinstance(loss, kd.losses.AttentionTransfer) else (6, 5)
    generator = np.random.default_rng(1)
    return [ops.cast(generator.normal(0, 3, shape), dtype) for _ in range(2)]


# XLA in one dtype: every loss computes in float32, whatever it is given.
@pytest.mark.parametrize(
    ("dtype", "jit_compile"),
    [("float16", False), ("bfloat16", False), ("float32", False), ("float32", True)],
)
def test_graph_and_xla_agree_with_eager_in_every_dtype(dtype, jit_compile):
    """All losses in one program, which compiles sooner than one of each."""
    losses = {name: build() for name, build in LOSSES.items()}
    outputs = {name: outputs_for(loss, dtype) for name, loss in losses.items()}

    def values(outputs):
        return {name: loss(*outputs[name]) for name, loss in losses.items()}

    compiled = tf.function(values, jit_compile=jit_compile, autograph=False)(outputs)
    found, expected = (
        {name: float(value) for name, value in each.items()} for each in (compiled, values(outputs))
    )
    assert found == pytest.approx(expected, rel=1e-4)


class TestEveryLoss:
    def test_one_float32_value_an_example(self, every_loss):
        values = every_loss.call(*outputs_for(every_loss))
        assert values.shape == (6,) and values.dtype == "float32"

    def test_it_is_saved_and_loaded(self, every_loss):
        config = keras.saving.serialize_keras_object(every_loss)
        copy = keras.saving.deserialize_keras_object(config)
        assert keras.saving.serialize_keras_object(copy) == config
        outputs = outputs_for(every_loss)
        assert float(copy(*outputs)) == float(every_loss(*outputs))

    def test_sample_weights_weigh_its_values(self, every_loss):
        outputs, weights = outputs_for(every_loss), np.array([0.0, 1.0, 2.0, 0.0, 0.5, 3.0])
        expected = float(np.sum(weights * every_loss.call(*outputs).numpy()) / 6)
        assert float(every_loss(*outputs, weights)) == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("gap", [100.0, 1e4])
    @pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
    def test_large_gaps_give_no_nan_in_value_or_gradient(self, every_loss, gap, dtype):
        teacher, student = (gap * output for output in outputs_for(every_loss))
        for pair in ((teacher, student), (teacher, teacher), (0 * teacher, 0 * student)):
            teacher_outputs, student_outputs = (ops.cast(output, dtype) for output in pair)
            with tf.GradientTape() as tape:
                tape.watch(student_outputs)
                value = every_loss(teacher_outputs, student_outputs)
            assert np.isfinite(float(value))
            gradient = tape.gradient(value, student_outputs)
            assert np.isfinite(np.asarray(ops.cast(gradient, "float32"))).all()

    def test_it_works_inside_keras_own_distiller_or_says_why_not(self, every_loss):
        if every_loss.uses_index:
            with pytest.raises(ValueError, match="index"):
                every_loss.compute_loss(*outputs_for(every_loss))
            return
        teacher, student = net("teacher"), net("student", seed=1)
        distiller = keras.distillation.Distiller(
            teacher=teacher, student=student, distillation_losses=every_loss,
        )  # fmt: skip
        distiller.compile("adam", kd.losses.CrossEntropy(), run_eagerly=True)
        features = [
            kd.teachers.feature_model(model, [every_loss.student_layer_name or "logits"])(
                IMAGES, training=training
            )[every_loss.student_layer_name or "logits"]
            for model, training in ((teacher, False), (student, True))
        ]
        expected = float(every_loss(*features))
        history = distiller.fit(IMAGES, LABELS, batch_size=32, verbose=0).history
        assert history["distillation_loss"][0] == pytest.approx(expected, rel=1e-4)

    def test_our_distiller_trains_with_it(self, every_loss, tmp_path):
        teacher, labels = net("teacher"), labels_for(every_loss)
        distiller = make(kd.Distiller, every_loss, teacher=teacher)
        before, teacher_before = distiller.student.get_weights(), teacher.get_weights()
        weights = None if every_loss.uses_index else np.linspace(0, 2, 32)
        eagerly(distiller, labels=labels, sample_weight=weights)
        assert_equal_weights(teacher.get_weights(), teacher_before)
        for old, new in zip(before, distiller.student.get_weights(), strict=True):
            assert not np.array_equal(old, new)
        distiller.save(tmp_path / "distiller.keras")
        loaded = keras.models.load_model(tmp_path / "distiller.keras")
        assert_equal_weights(loaded.get_weights(), distiller.get_weights())
