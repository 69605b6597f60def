"""Losses between values, and the units that the teacher's are brought to."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from keras_kd.losses import CosineMatching, HuberMatching, ValueDistance, ValueMatching
from keras_kd.losses.masks import with_mask
from keras_kd.losses.values import TeacherUnits

RANDOM = np.random.default_rng(0)
# Three values in units of their own.
TEACHER = (RANDOM.normal(size=(40, 3)) * [1.0, 50.0, 1e-3] + [0.0, 900.0, -5.0]).astype("float32")
LOSSES = [ValueMatching(), ValueDistance(), HuberMatching(), CosineMatching()]


class TestValues:
    def test_cases_worked_by_hand(self):
        teacher, student = np.array([[3.0, 0.0]]), np.array([[0.0, 4.0]])
        for loss, value in (
            (ValueMatching(), (9 + 16) / 2),
            (ValueDistance(), (3 + 4) / 2),
            (HuberMatching(1.0), (2.5 + 3.5) / 2),
            (HuberMatching(10.0), (4.5 + 8) / 2),
            (CosineMatching(), 1.0),
        ):
            assert float(loss(teacher, student)) == pytest.approx(value, rel=1e-6)
        assert float(CosineMatching()(teacher, -teacher)) == pytest.approx(2.0)

    def test_huber_matching_is_keras_s_huber(self):
        teacher, student = RANDOM.normal(0, 3, (2, 6, 5)).astype("float32")
        for delta in (0.3, 1.0, 4.0):
            expected = float(keras.losses.Huber(delta)(teacher, student))
            assert float(HuberMatching(delta)(teacher, student)) == pytest.approx(expected, 1e-5)

    def test_the_cosine_s_gradient_is_the_closed_form_and_finite_at_0(self):
        teacher, student = RANDOM.normal(size=(2, 6, 5))
        student[0] = 0
        variable = tf.constant(student, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(variable)
            values = CosineMatching().call(tf.constant(teacher, tf.float32), variable)
        slope = tape.gradient(values, variable).numpy()
        size = np.linalg.norm(student[1:], axis=-1, keepdims=True)
        t = teacher / np.linalg.norm(teacher, axis=-1, keepdims=True)
        s = student[1:] / size
        expected = ((t[1:] * s).sum(-1, keepdims=True) * s - t[1:]) / size
        np.testing.assert_allclose(slope[1:], expected, rtol=1e-4, atol=1e-5)
        # Of nothing towards the teacher, and no further than a step can take.
        np.testing.assert_allclose(slope[0] / np.linalg.norm(slope[0]), -t[0], rtol=1e-4)
        assert float(values[0]) == 1.0 and np.linalg.norm(slope[0]) < 200

    @pytest.mark.parametrize("loss", LOSSES, ids=repr)
    def test_other_numbers_of_values_are_refused(self, loss):
        with pytest.raises(ValueError, match="as many values. Received: 3 and 2. Build the stud"):
            loss(TEACHER, TEACHER[:, :2])

    @pytest.mark.parametrize("loss", LOSSES, ids=repr)
    def test_values_without_an_axis_of_their_own_are_refused(self, loss):
        """Their mean would be over the batch, and its weights lost."""
        with pytest.raises(
            ValueError, match=r"num_values\].* Received: \(40,\) and \(40,\)\. Leave"
        ):
            loss(TEACHER[:, 0], TEACHER[:, 0])
        with pytest.raises(ValueError, match=r"alike. Received: \(1, 40, 3\) and \(40, 3\)"):
            loss(TEACHER[None], TEACHER)

    @pytest.mark.parametrize("delta", [0, -1, None, "1", float("nan")])
    def test_a_delta_that_is_none_is_refused(self, delta):
        with pytest.raises(ValueError, match="`delta` must be a number from 1e-06 to 1e"):
            HuberMatching(delta)

    @pytest.mark.parametrize("kind", [kd.losses.LogitMatching, kd.losses.LogitDistance])
    def test_losses_on_logits_that_take_them_as_they_are_take_values_too(self, kind):
        for loss in (kind(), kd.losses.Hints("a", "b"), *LOSSES):
            assert "values" in loss.heads
        for loss in (kd.losses.SoftTargets(), kd.losses.DIST(), kd.losses.BinarySoftTargets()):
            assert "values" not in loss.heads


def units(values=3):
    layer = TeacherUnits(values)
    layer.build([(None, values), (None, values)])
    return layer


class TestUnits:
    def test_they_are_mean_and_variance_of_all_that_was_said(self):
        layer = units()
        for batch in (TEACHER[:7], TEACHER[7:8], TEACHER[8:]):
            layer((batch, batch), training=True)
        np.testing.assert_allclose(layer.mean, TEACHER.mean(0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(layer.deviation(), TEACHER.std(0), rtol=1e-3)
        teacher, student = layer((TEACHER, TEACHER))
        np.testing.assert_allclose(np.mean(teacher, 0), 0, atol=1e-3)
        np.testing.assert_allclose(np.std(teacher, 0), 1, rtol=1e-3)
        np.testing.assert_array_equal(student, TEACHER)
        np.testing.assert_allclose(layer.restore(teacher), TEACHER, rtol=1e-5, atol=1e-5)

    def test_only_training_teaches_them(self):
        layer = units()
        teacher, _ = layer((TEACHER, TEACHER))
        np.testing.assert_array_equal(teacher, TEACHER)
        assert float(layer.count) == 0

    @pytest.mark.parametrize("garbage", [1e6, np.nan])
    def test_padding_does_not_count(self, garbage):
        mask = np.tile([True, True, False, True], (10, 1))
        values = np.where(mask[..., None], TEACHER.reshape(10, 4, 3), garbage).astype("float32")
        layer = units()
        student = with_mask(tf.zeros((10, 4, 3)), tf.constant(mask))
        layer((tf.constant(values), student), training=True)
        np.testing.assert_allclose(layer.mean, values[mask].mean(0), rtol=1e-5, atol=1e-6)
        assert float(layer.count) == mask.sum()

    @pytest.mark.parametrize("shape", [(5, 8, 3), (5, 2, 4, 3)])
    def test_places_are_examples(self, shape):
        layer = units()
        layer((TEACHER.reshape(shape), TEACHER.reshape(shape)), training=True)
        np.testing.assert_allclose(layer.mean, TEACHER.mean(0), rtol=1e-5, atol=1e-6)

    def test_what_never_varies_is_centred_alone(self):
        layer = units()
        constant = np.full((8, 3), [0.0, 0.1, 1e4], "float32")
        for _ in range(3):
            layer((constant, constant), training=True)
        np.testing.assert_array_equal(layer.deviation(), [1, 1, 1])
        np.testing.assert_allclose(layer((constant, constant))[0], 0, atol=1e-2)

    def test_what_is_not_finite_and_what_is_all_padding_teaches_nothing(self):
        layer = units()
        layer((TEACHER, TEACHER), training=True)
        before = [np.array(each) for each in layer.weights]
        bad = TEACHER.copy()
        bad[3, 1] = np.inf
        layer((bad, bad), training=True)
        nothing = with_mask(tf.constant(TEACHER), tf.zeros((40,), tf.bool))
        layer((TEACHER, nothing), training=True)
        for old, new in zip(before, layer.weights, strict=True):
            np.testing.assert_array_equal(old, new)


INPUTS = RANDOM.normal(size=(64, 3)).astype("float32")


def regressor(seed, *, spread=1.0, offset=0.0):
    keras.utils.set_random_seed(seed)
    kernel = keras.initializers.RandomNormal(0, spread)
    bias = keras.initializers.Constant(offset)
    layer = keras.layers.Dense(2, kernel_initializer=kernel, bias_initializer=bias, name="box")
    return keras.Sequential([keras.Input((3,)), layer])


def far_teacher():
    return kd.Teacher(regressor(0, spread=50.0, offset=900.0), head="values")


def normalized(loss=None, **options):
    options = {"student": regressor(1), "teacher": far_teacher(), "alpha": 1.0, **options}
    loss = loss or ValueMatching(normalize=True)
    return kd.Distiller(distillation_loss=loss, **options).compile(keras.optimizers.Adam(0.03))


class TestInADistiller:
    @pytest.mark.parametrize(
        "options", [{}, {"run_eagerly": True}, {"jit_compile": True}, {"steps_per_execution": 2}]
    )
    def test_a_student_learns_from_a_teacher_of_another_scale(self, options):
        distiller = normalized()
        distiller.compile(keras.optimizers.Adam(0.1), **options)
        history = distiller.fit(INPUTS, epochs=12, batch_size=16, verbose=0).history["loss"]
        assert history[-1] < 0.1 * history[0]
        answers = np.asarray(distiller.teacher(INPUTS))
        units = distiller.projectors["value_matching"]
        np.testing.assert_allclose(units.mean, answers.mean(0), rtol=1e-4)
        np.testing.assert_allclose(units.deviation(), answers.std(0), rtol=1e-3)
        assert np.abs(distiller.student(INPUTS)).max() < 5
        found = units.restore(distiller.student(INPUTS))
        assert np.abs(found - answers).max() < 0.5 * answers.std()

    def test_evaluation_does_not_teach_the_units_and_files_hold_them(self, tmp_path):
        distiller = normalized()
        distiller.fit(INPUTS, epochs=1, batch_size=16, verbose=0)
        units = distiller.projectors["value_matching"]
        before = [np.array(each) for each in units.weights]
        expected = distiller.evaluate(INPUTS + 1, verbose=0, return_dict=True)
        for old, new in zip(before, units.weights, strict=True):
            np.testing.assert_array_equal(old, new)
        distiller.save(tmp_path / "distiller.keras")
        loaded = keras.models.load_model(tmp_path / "distiller.keras")
        loaded.attach_teacher(far_teacher())
        assert loaded.evaluate(INPUTS + 1, verbose=0, return_dict=True) == expected

    def test_the_student_is_exported_without_them(self):
        distiller = normalized()
        assert len(distiller.weights) > len(distiller.student.weights)
        assert distiller.predict(INPUTS, verbose=0).shape == (64, 2)

    def test_a_teacher_s_choice_of_classes_is_taken_before(self):
        teacher = regressor(0, spread=50.0)
        student = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
        teacher = kd.Teacher(teacher, class_map=[2, 0])
        distiller = normalized(student=student, teacher=teacher)
        distiller.fit(INPUTS, epochs=1, verbose=0)
        assert distiller.projectors["value_matching"].num_values == 2

    def test_where_there_is_no_teacher_to_learn_them_from_it_is_refused(self):
        distiller = normalized(teacher=None)
        stored = tf.data.Dataset.from_tensor_slices((INPUTS, np.zeros(64), INPUTS[:, :2]))
        stored = stored.batch(8).map(lambda x, y, z: (x, kd.Targets(y, z)))
        with pytest.raises(ValueError, match="learns the units of a Distiller's teacher. Received"):
            distiller.fit(stored, verbose=0)
        students = [regressor(seed) for seed in (0, 1)]
        mutual = kd.MutualDistiller(students, distillation_loss=ValueMatching(normalize=True))
        with pytest.raises(ValueError, match="learns the units of a Distiller's teacher. Received"):
            mutual.compile("sgd").fit(INPUTS, np.zeros((64, 2)), verbose=0)

    def test_keras_s_own_distiller_has_no_place_for_them(self):
        with pytest.raises(ValueError, match="normalize=True in keras.distillation. Use keras_kd"):
            ValueMatching(normalize=True).compute_loss(TEACHER, TEACHER)
