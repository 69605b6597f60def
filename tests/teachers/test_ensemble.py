"""Several teachers as one, of other sizes, other orders, other classes."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_kd as kd

IMAGES = np.random.default_rng(0).uniform(0, 255, (12, 4, 4, 1)).astype("float32")
LABELS = np.arange(12) % 3


def net(units=6, num_classes=3, seed=0, image_shape=(4, 4, 1)):
    keras.utils.set_random_seed(seed)
    return kd.models.mlp([units], image_shape=image_shape, num_classes=num_classes)


def softmax(logits):
    return np.asarray(ops.softmax(ops.convert_to_tensor(logits)), float)


def fitted(distiller, labels=LABELS):
    distiller.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    return distiller.fit(IMAGES, labels, batch_size=12, shuffle=False, verbose=0).history


class TestTheMean:
    TEACHERS = (net(5, seed=1), net(7, seed=2))

    def test_of_probabilities(self):
        ensemble = kd.Ensemble(self.TEACHERS, weights=[0.2, 0.8])
        expected = sum(
            w * softmax(t(IMAGES)) for w, t in zip((0.2, 0.8), self.TEACHERS, strict=True)
        )
        np.testing.assert_allclose(softmax(ensemble(IMAGES)), expected, rtol=1e-5)

    def test_of_logits(self):
        ensemble = kd.Ensemble(self.TEACHERS, average="logits")
        expected = sum(np.asarray(t(IMAGES)) for t in self.TEACHERS) / 2
        np.testing.assert_allclose(ensemble(IMAGES), expected, rtol=1e-5, atol=1e-6)

    def test_of_sigmoid_probabilities(self):
        teachers = [
            keras.Sequential([keras.Input((4, 4, 1)), layers.Rescaling(1 / 255), layers.Flatten(),
                              layers.Dense(2, activation="sigmoid")])
            for _ in range(2)
        ]  # fmt: skip
        ensemble = kd.Ensemble(teachers)
        assert ensemble.head == "sigmoid"
        expected = np.mean([teacher(IMAGES) for teacher in teachers], axis=0)
        np.testing.assert_allclose(ops.sigmoid(ensemble(IMAGES)), expected, rtol=1e-5)

    def test_a_list_is_an_ensemble_in_the_distiller(self):
        student = net(4, seed=3)
        history = fitted(kd.Distiller(student=student, teacher=list(self.TEACHERS)))
        expected = kd.losses.SoftTargets()(kd.Ensemble(self.TEACHERS)(IMAGES), student(IMAGES))
        assert history["distillation_loss"][0] == pytest.approx(float(expected), rel=1e-5)

    def test_the_fingerprint_knows_the_weights(self):
        one, other = (kd.Ensemble(self.TEACHERS, weights=w) for w in ([0.5, 0.5], [0.4, 0.6]))
        assert one.fingerprint != other.fingerprint
        assert one.fingerprint == kd.Ensemble(self.TEACHERS).fingerprint

    @pytest.mark.parametrize(
        ("teachers", "options", "sentence"),
        [
            ([net()], {}, "at least two teachers"),
            ([net(), net(num_classes=4)], {}, r"same classes. Received: \[3, 4\]"),
            ([net(), net()], {"weights": [0.5, 0.6]}, "2 numbers above 0 that sum to 1"),
            ([net(), net()], {"weights": [1.0]}, "2 numbers above 0 that sum to 1"),
            ([net(), net()], {"weights": [1.5, -0.5]}, "2 numbers above 0 that sum to 1"),
            ([net(), net()], {"average": "votes"}, "`average` must be"),
        ],
    )
    def test_what_does_not_go_together_is_refused(self, teachers, options, sentence):
        with pytest.raises(ValueError, match=sentence):
            kd.Ensemble(teachers, **options)

    def test_it_has_no_layers(self):
        loss = kd.losses.Hints("hidden_1", "hidden_1")
        with pytest.raises(ValueError, match="no layers to compare"):
            kd.Distiller(student=net(), teacher=list(self.TEACHERS), distillation_loss=loss)


class TestOtherSizes:
    def test_each_teacher_may_take_images_of_its_own_size(self):
        large = net(image_shape=(8, 8, 1), seed=1)
        resized = kd.Teacher(large, preprocess=keras.layers.Resizing(8, 8))
        student = net(4, seed=3)
        history = fitted(kd.Distiller(student=student, teacher=[resized, net(seed=2)]))
        expected = kd.Ensemble([resized, net(seed=2)])(IMAGES)
        np.testing.assert_allclose(
            resized(IMAGES), large(keras.layers.Resizing(8, 8)(IMAGES)), rtol=1e-5
        )
        loss = kd.losses.SoftTargets()(expected, student(IMAGES))
        assert history["distillation_loss"][0] == pytest.approx(float(loss), rel=1e-5)

    def test_without_it_the_remedy_is_named(self):
        with pytest.raises(ValueError, match="preprocess=keras.layers.Resizing"):
            kd.Distiller(student=net(), teacher=net(image_shape=(8, 8, 1)))


def test_the_fingerprint_knows_the_map_and_the_preprocessing():
    model = net()
    teachers = [
        kd.Teacher(model),
        kd.Teacher(model, class_map=[2, 0, 1]),
        kd.Teacher(model, preprocess=keras.layers.Rescaling(0.5, name="scale")),
        kd.Teacher(model, preprocess=keras.layers.Rescaling(0.25, name="scale")),
    ]
    assert len({teacher.fingerprint for teacher in teachers}) == 4


class TestOtherClasses:
    def test_a_teacher_that_knows_them_in_another_order(self):
        """Its class i is the student's class_map[i]."""
        teacher, student = net(seed=1), net(4, seed=3)
        class_map = [2, 0, 1]
        in_order = np.asarray(teacher(IMAGES))[:, np.argsort(class_map)]
        expected = kd.losses.SoftTargets()(in_order, student(IMAGES))
        mapped = kd.Teacher(teacher, class_map=class_map)
        history = fitted(kd.Distiller(student=student, teacher=mapped))
        assert history["distillation_loss"][0] == pytest.approx(float(expected), rel=1e-5)
        ensemble = kd.Ensemble([mapped, mapped])
        np.testing.assert_allclose(softmax(ensemble(IMAGES)), softmax(in_order), rtol=1e-5)

    def test_a_teacher_that_knows_some_is_compared_on_those(self):
        teacher, student = net(num_classes=2, seed=1), net(4, seed=3)
        mapped = kd.Teacher(teacher, class_map=[2, 0])
        history = fitted(kd.Distiller(student=student, teacher=mapped))
        theirs = np.asarray(student(IMAGES))[:, [2, 0]]
        expected = kd.losses.SoftTargets()(teacher(IMAGES), theirs)
        assert history["distillation_loss"][0] == pytest.approx(float(expected), rel=1e-5)

    @pytest.mark.parametrize("kind", ["integers", "one-hot"])
    def test_labels_are_translated_for_losses_that_use_them(self, kind):
        teacher, student = net(num_classes=3, seed=1), net(4, num_classes=4, seed=3)
        class_map, labels = [3, 0, 1], np.arange(12) % 4  # Class 2 it does not know.
        logits = np.asarray(teacher(IMAGES))
        target = np.array([{3: 0, 0: 1, 1: 2}.get(c, -1) for c in labels])
        target = np.where(target < 0, logits.argmax(-1), target)
        loss = kd.losses.DecoupledKD(2.0)
        theirs = np.asarray(student(IMAGES))[:, class_map]
        expected = loss({"logits": logits, "labels": target}, theirs)
        distiller = kd.Distiller(
            student=student,
            teacher=kd.Teacher(teacher, class_map=class_map),
            distillation_loss=loss,
        )
        history = fitted(distiller, labels if kind == "integers" else np.eye(4)[labels])
        assert history["distillation_loss"][0] == pytest.approx(float(expected), rel=1e-5)

    @pytest.mark.parametrize(
        "class_map", [[0, 1], [0, 1, 1], [0, 1, -1], [0, 1, 1.5], [0, 1, True]]
    )
    def test_a_map_that_names_no_class_for_each_is_refused(self, class_map):
        with pytest.raises(ValueError, match="a different class of the student for each"):
            kd.Teacher(net(), class_map=class_map)

    def test_a_class_that_the_student_lacks_is_refused(self):
        with pytest.raises(ValueError, match="from 0 to 2. Received: .0, 1, 7"):
            kd.Distiller(student=net(), teacher=kd.Teacher(net(), class_map=[0, 1, 7]))

    def test_other_numbers_of_classes_name_the_remedy(self):
        with pytest.raises(ValueError, match=r"Teacher\(model, class_map"):
            kd.Distiller(student=net(num_classes=4), teacher=net())
