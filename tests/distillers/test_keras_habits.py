"""What somebody who knows Keras takes for granted of a model works on every distiller."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

import keras_kd as kd

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.uniform(0, 255, (32, 4, 4, 1)).astype("float32")
LABELS = np.arange(32) % 3
REGULARIZER = keras.regularizers.L2(0.1)


def net(units=6, name="student"):
    image = keras.Input((4, 4, 1), name="image")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.Dense(units, activation="relu", kernel_regularizer=REGULARIZER, name="h")(x)
    return keras.Model(image, keras.layers.Dense(3, name="logits")(x), name=name)


def maps(name="student"):
    image = keras.Input((4, 4, 1), name="image")
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.Conv2D(2, 3, kernel_regularizer=REGULARIZER, name="maps")(x)
    x = keras.layers.BatchNormalization()(x)
    logits = keras.layers.Dense(3, name="logits")(keras.layers.Flatten()(x))
    return keras.Model(image, logits, name=name)


def distiller(**options):
    return kd.Distiller(student=net(), teacher=net(9, "teacher"), **options)


def data_free():
    terms = [kd.adversarial.Disagreement()]
    return kd.adversarial.DataFreeDistiller(
        student=maps(), teacher=maps("teacher"), generator_loss=terms, batch_size=4, student_steps=1
    )


EVERY_DISTILLER = {
    "Distiller": distiller,
    "MutualDistiller": lambda: kd.MutualDistiller([net(), net(5, "other")]),
    "KDGANDistiller": lambda: kd.adversarial.KDGANDistiller([net(), net(5, "other")]),
    "OnlineAdversarialDistiller": lambda: kd.adversarial.OnlineAdversarialDistiller(
        [maps(), maps("other")], layer_names="maps"
    ),
    "DiscriminatorDistiller": lambda: kd.adversarial.DiscriminatorDistiller(
        student=net(), teacher=net(9, "teacher")
    ),
    "DataFreeDistiller": data_free,
}


@pytest.fixture(params=EVERY_DISTILLER)
def every_distiller(request):
    return EVERY_DISTILLER[request.param]()


def fit(model, **options):
    options = {"verbose": 0, "epochs": 1, **options}
    if isinstance(model, kd.adversarial.DataFreeDistiller):
        return model.fit(steps_per_epoch=1, **options).history
    return model.fit(IMAGES, LABELS, batch_size=32, **options).history


def hard_loss_of(student):
    return float(kd.losses.CrossEntropy()(LABELS, student(IMAGES)))


def regularizers_of(student):
    return float(sum(student.losses))


class TestEvaluate:
    def test_loss_is_the_hard_loss_with_the_students_regularisers(self, every_distiller):
        every_distiller.compile(metrics=["accuracy"], run_eagerly=True)
        results = every_distiller.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)
        assert set(results) == {"loss", "hard_loss", "accuracy"}
        student, hard = every_distiller.student, hard_loss_of(every_distiller.student)
        assert results["hard_loss"] == pytest.approx(hard, rel=1e-5)
        # Regularised weights are large beside the rounding of a mean of two batches.
        assert regularizers_of(student) > 0.01
        assert results["loss"] == pytest.approx(hard + regularizers_of(student), rel=1e-5)

    def test_without_labels_it_is_what_the_teacher_would_have(self, every_distiller):
        every_distiller.compile(metrics=["accuracy"], run_eagerly=True)
        results = every_distiller.evaluate(IMAGES, verbose=0, return_dict=True)
        assert set(results) == {"loss", "distillation_loss"}
        if isinstance(every_distiller, kd.MutualDistiller):
            logits = every_distiller.students[1](IMAGES)
        else:
            logits = every_distiller.teacher(IMAGES)
        student = every_distiller.student
        expected = float(every_distiller.distillation_loss(logits, student(IMAGES)))
        assert results["distillation_loss"] == pytest.approx(expected, rel=1e-5)
        assert results["loss"] == pytest.approx(expected + regularizers_of(student), rel=1e-5)

    def test_with_and_without_labels_in_any_order(self):
        with_labels, without = {"x": IMAGES, "y": LABELS}, {"x": IMAGES}
        dataset = {"x": tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(16)}
        for order in ((without, with_labels, without), (with_labels, without), (without, dataset)):
            model = distiller().compile(metrics=["accuracy"])
            for data in order:
                results = model.evaluate(**data, verbose=0, return_dict=True)
                has_labels = data is not without
                assert ("accuracy" in results) == ("hard_loss" in results) == has_labels
                assert ("distillation_loss" in results) != has_labels

    def test_batches_with_and_without_labels_in_any_order(self):
        model = distiller(alpha=1.0).compile(metrics=["accuracy"])
        for labels in (None, LABELS, None):
            assert ("accuracy" in model.train_on_batch(IMAGES, labels, return_dict=True)) == (
                labels is not None
            )
        model = distiller().compile(metrics=["accuracy"])
        for labels in (None, LABELS, None):
            assert ("accuracy" in model.test_on_batch(IMAGES, labels, None, True)) == (
                labels is not None
            )

    def test_an_unlabelled_training_may_be_followed_by_a_labelled_one(self):
        model = distiller(alpha=1.0).compile(metrics=["accuracy"])
        model.fit(IMAGES, verbose=0)
        assert "accuracy" in model.fit(IMAGES, LABELS, verbose=0).history
        assert "accuracy" in fit(model, sample_weight=np.ones(32))

    def test_evaluating_without_anything_to_compare_says_so(self):
        for model in (
            distiller(alpha=0.0),
            kd.Distiller(student=net(), distillation_loss=kd.losses.LabelSmoothing(), alpha=1.0),
        ):
            with pytest.raises(ValueError, match=r"needs labels\. Received: images alone"):
                model.compile().evaluate(IMAGES, verbose=0)


@pytest.mark.parametrize("metrics", [["accuracy"], ["binary_accuracy"], {"logits": ["accuracy"]}])
def test_binary_accuracy_by_name_is_on_logits(metrics):
    options = {"distillation_loss": "binary_soft_targets"}
    model = distiller(**options).compile(metrics=metrics, run_eagerly=True)
    several = np.eye(3, dtype="float32")[LABELS]
    results = model.evaluate(IMAGES, several, verbose=0, return_dict=True)
    (name,) = set(results) - {"loss", "hard_loss"}
    expected = np.mean((np.asarray(model.student(IMAGES)) > 0) == several)
    assert results[name] == pytest.approx(expected)


class TestCallbacksOfKeras:
    def test_they_find_the_val_loss_untold(self, every_distiller, tmp_path):
        every_distiller.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
        callbacks = [
            keras.callbacks.EarlyStopping(patience=1),
            keras.callbacks.ReduceLROnPlateau(patience=1),
            keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", save_best_only=True),
        ]
        history = fit(
            every_distiller, epochs=2, validation_data=(IMAGES, LABELS), callbacks=callbacks
        )
        assert callbacks[0].best == min(history["val_loss"])
        assert callbacks[2].best == min(history["val_loss"])
        assert (tmp_path / "best.keras").is_file()

    def test_early_stopping_stops_where_val_loss_no_longer_falls(self):
        # A rate of 0: nothing gets better.
        model = distiller().compile(keras.optimizers.SGD(0.0), run_eagerly=True)
        stopping = keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True)
        history = fit(model, epochs=9, validation_data=(IMAGES, LABELS), callbacks=stopping)
        assert len(history["val_loss"]) == 3

    @pytest.mark.parametrize("monitor", ["val_hard_loss", "distillation_loss", "hints"])
    def test_less_is_better_for_every_loss_in_the_logs(self, monitor):
        losses = [kd.losses.SoftTargets(), kd.losses.Hints("h", "h")]
        model = distiller(distillation_loss=losses)
        model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
        callbacks = [
            keras.callbacks.EarlyStopping(monitor, patience=9),
            keras.callbacks.ReduceLROnPlateau(monitor, patience=9),
        ]
        history = fit(model, epochs=3, validation_data=(IMAGES, LABELS), callbacks=callbacks)
        assert [each.best for each in callbacks] == [min(history[monitor])] * 2

    def test_callbacks_of_ones_own_are_left_alone(self):
        class Watching(keras.callbacks.Callback):
            monitor = "val_loss"

        stopping = keras.callbacks.EarlyStopping("val_hard_loss", mode="max", patience=9)
        model = distiller().compile(run_eagerly=True)
        fit(model, validation_data=(IMAGES, LABELS), callbacks=[Watching(), stopping])
        assert stopping.mode == "max"

    def test_and_for_students_that_train_together(self):
        batches = kd.data.Split(IMAGES, LABELS).batches(16, shuffle_seed=0)
        stoppings = []

        def callbacks(model):
            stoppings.append(keras.callbacks.EarlyStopping("val_hard_loss", patience=9))
            return [stoppings[-1]]

        models = [distiller(alpha=alpha).compile() for alpha in (0.5, 0.9)]
        histories = kd.train_together(
            models,
            batches,
            epochs=2,
            validation_data=(IMAGES, LABELS),
            callbacks=callbacks,
            verbose=0,
        )
        for history, stopping in zip(histories, stoppings, strict=True):
            assert stopping.best == min(history["val_hard_loss"])
            assert len(history["val_loss"]) == 2


class TestFit:
    def test_validation_without_labels_in_the_midst_of_it(self):
        """`evaluate` forgot the step that `fit` was going on with."""
        images = tf.data.Dataset.from_tensor_slices(IMAGES).batch(16)
        model = distiller(alpha=1.0).compile(metrics=["accuracy"])
        history = model.fit(images, validation_data=images, epochs=2, verbose=0).history
        assert len(history["val_distillation_loss"]) == len(history["val_loss"]) == 2
        labelled = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: model.evaluate(IMAGES, LABELS, verbose=0)
        )
        model.compile(metrics=["accuracy"])
        model.fit(images, epochs=2, verbose=0, callbacks=[labelled])
        assert len(model.evaluate(IMAGES, LABELS, verbose=0)) == 3

    def test_its_arguments_are_keras_s_in_keras_s_order(self):
        model, split = distiller().compile(), (IMAGES, LABELS)
        history = model.fit(IMAGES, LABELS, 16, 1, 0, None, 0.0, split, False).history
        assert "val_loss" in history
        assert "val_loss" in model.fit(IMAGES, LABELS, 16, 1, 0, None, 0.25).history

    @pytest.mark.filterwarnings("ignore:The distiller does not have any trainable weights")
    def test_a_student_that_is_frozen_stays_as_it_is(self):
        student = net()
        student.trainable = False
        model = kd.Distiller(student=student, teacher=net(9, "teacher")).compile()
        before = model.get_weights()
        assert model.fit(IMAGES, LABELS, verbose=0).history["hard_loss"][0] > 0
        for one, other in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("SparseCategoricalCrossentropy", LABELS),
        ("CategoricalCrossentropy", np.eye(3)[LABELS]),
        ("BinaryCrossentropy", np.eye(3)[LABELS]),
        ("MeanSquaredError", np.eye(3)[LABELS]),
    ],
)
def test_a_loss_by_its_class_is_on_logits(name, labels):
    """Keras makes it of its defaults, which are on probabilities: 5.45 where 1.29 was right."""
    kind = getattr(keras.losses, name)
    own = {} if name == "MeanSquaredError" else {"from_logits": True}
    for loss in (name, kind):
        model = distiller().compile(loss=loss, run_eagerly=True)
        expected = float(kind(**own)(labels, model.student(IMAGES)))
        found = model.evaluate(IMAGES, labels, verbose=0, return_dict=True)["hard_loss"]
        assert found == pytest.approx(expected, rel=1e-5)


class TestBeforeCompile:
    def test_what_needs_an_optimizer_says_so(self, every_distiller):
        for method in ("fit", "evaluate", "train_on_batch", "test_on_batch"):
            match = rf"`{method}` needs a compiled distiller\. Received: .* Call `distiller\.compi"
            with pytest.raises(ValueError, match=match):
                getattr(every_distiller, method)(IMAGES, LABELS)

    def test_so_do_the_functions_that_fit(self):
        batches = kd.data.Split(IMAGES, LABELS).batches(16, shuffle_seed=0)
        with pytest.raises(ValueError, match="`train_together` needs a compiled distiller"):
            kd.train_together([distiller()], batches)
        with pytest.raises(ValueError, match="`fit` needs a compiled distiller"):
            kd.distill_in_turn(
                [net()], teacher=net(9, "teacher"), fit=lambda model: model.fit(IMAGES, LABELS)
            )

    def test_what_needs_none_works(self, every_distiller, capsys, tmp_path):
        expected = np.asarray(every_distiller.student(IMAGES))
        predicted = every_distiller.predict(IMAGES, verbose=0)
        np.testing.assert_allclose(predicted, expected, rtol=1e-5, atol=1e-5)
        assert every_distiller.precision is None
        assert every_distiller.get_layer(every_distiller.student.name) is every_distiller.student
        assert every_distiller.count_params() >= every_distiller.student.count_params()
        every_distiller.summary()
        assert every_distiller.student.name in capsys.readouterr().out
        every_distiller.save(tmp_path / "distiller.keras")
        loaded = keras.models.load_model(tmp_path / "distiller.keras")
        assert not loaded.compiled
        np.testing.assert_array_equal(loaded.predict(IMAGES, verbose=0), predicted)


class TestExport:
    def test_the_students_file_predicts_what_the_student_does(self, every_distiller, tmp_path):
        every_distiller.export(tmp_path / "student", verbose=False)
        loaded = tf.saved_model.load(str(tmp_path / "student"))
        served = loaded.serve(IMAGES)
        np.testing.assert_allclose(served, every_distiller.student(IMAGES), rtol=1e-5, atol=1e-5)

    def test_after_fit_in_every_format_of_keras(self, tmp_path):
        model = distiller().compile()
        fit(model)
        model.export(tmp_path / "student", "tf_saved_model", False)
        loaded = tf.saved_model.load(str(tmp_path / "student"))
        served = loaded.serve(IMAGES)
        np.testing.assert_allclose(served, model.student(IMAGES), rtol=1e-5, atol=1e-5)
        model.export(tmp_path / "student.tflite", format="litert", verbose=False)
        interpreter = Interpreter(str(tmp_path / "student.tflite"))
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], IMAGES[:1])
        interpreter.invoke()
        logits = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        np.testing.assert_allclose(logits, model.student(IMAGES[:1]), rtol=1e-4, atol=1e-5)
