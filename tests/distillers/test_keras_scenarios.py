"""What `keras.distillation` is used for works with our classes in the place of theirs.

Theirs freeze the teacher by its flags and take models without weights; ours leave the teacher as
it is, and say that a model must be built. Those two stand here as they are with us.
"""

import json

import keras
import numpy as np
import pytest
from keras import layers
from references import soft_targets

import keras_kd as kd

# A subclassed teacher does not say what it returns; that its logits are taken for some is enough.
pytestmark = pytest.mark.filterwarnings("ignore:The last layer of the teacher teacher does not say")

INPUTS = np.random.default_rng(0).normal(size=(20, 6)).astype("float32")
LABELS = np.arange(20) % 5


@keras.saving.register_keras_serializable(package="keras_kd_tests")
class Subclassed(keras.Model):
    """Two layers and no graph."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.hidden = layers.Dense(units, activation="relu")
        self.classes = layers.Dense(5)

    def call(self, inputs):
        return self.classes(self.hidden(inputs))

    def get_config(self):
        return {"units": self.units, "name": self.name}


def lazily_built(units, **kwargs):
    """A chain that learns its input's shape from its first batch."""
    hidden = layers.Dense(units, activation="relu", name="hidden")
    return keras.Sequential([hidden, layers.Dense(5, name="classes")], **kwargs)


KINDS = {"subclassed": Subclassed, "lazily built": lazily_built}


@pytest.fixture(params=KINDS)
def pair(request):
    """A teacher and a student that were called on one small batch, and never told a shape."""
    build = KINDS[request.param]
    models = build(8, name="teacher"), build(4, name="student")
    for model in models:
        model(INPUTS[:2])
    return models


def distiller_of(pair, **options):
    teacher, student = pair
    return kd.Distiller(student=student, teacher=teacher, **options)


class TestModelsThatWereCalledOnce:
    def test_it_answers_with_the_student(self, pair):
        distiller = distiller_of(pair)
        np.testing.assert_allclose(distiller(INPUTS), pair[1](INPUTS), rtol=1e-6)
        predicted = distiller.predict(INPUTS, verbose=0)  # Before `compile`.
        np.testing.assert_allclose(predicted, pair[1](INPUTS), rtol=1e-5, atol=1e-6)

    def test_the_whole_way_from_fit_to_predict(self, pair):
        distiller = distiller_of(pair, distillation_loss=kd.losses.SoftTargets(2.0), alpha=0.5)
        distiller.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        teacher, student = pair
        before, teacher_before = student.get_weights(), teacher.get_weights()
        expected = soft_targets(np.asarray(teacher(INPUTS)), np.asarray(student(INPUTS)), 2.0)
        history = distiller.fit(
            INPUTS, LABELS, batch_size=20, epochs=2, validation_data=(INPUTS, LABELS), verbose=0
        ).history
        assert history["distillation_loss"][0] == pytest.approx(expected.mean(), rel=1e-4)
        assert {"loss", "hard_loss", "accuracy", "val_loss", "val_accuracy"} <= set(history)
        results = distiller.evaluate(INPUTS, LABELS, verbose=0)
        assert results == pytest.approx(
            [history[f"val_{name}"][-1] for name in ("loss", "hard_loss", "accuracy")], rel=1e-5
        )
        assert distiller.predict(INPUTS[:3], verbose=0).shape == (3, 5)
        assert all(map(np.array_equal, teacher_before, teacher.get_weights()))
        assert not any(map(np.array_equal, before, student.get_weights()))

    @pytest.mark.parametrize(
        ("alpha", "left_out"), [(0.0, "distillation_loss"), (1.0, "hard_loss")]
    )
    def test_either_part_alone(self, pair, alpha, left_out):
        distiller = distiller_of(pair, alpha=alpha).compile("adam", run_eagerly=True)
        history = distiller.fit(INPUTS, LABELS, verbose=0).history
        (other,) = {"distillation_loss", "hard_loss"} - {left_out}
        assert left_out not in history
        assert history["loss"] == pytest.approx(history[other], rel=1e-6)

    def test_the_teacher_is_not_trained_and_its_flags_stay(self, pair):
        distiller = distiller_of(pair).compile("adam")
        teacher, student = pair
        assert teacher.trainable and student.trainable
        assert len(distiller.trainable_variables) == len(student.trainable_variables)

    def test_its_configuration_is_json_and_makes_it_again(self, pair):
        loss = kd.losses.SoftTargets(3.0)
        distiller = distiller_of(pair, distillation_loss=loss, alpha=0.3)
        config = json.loads(json.dumps(distiller.get_config()))
        again = kd.Distiller.from_config(config)
        assert again.alpha == 0.3
        assert again.distillation_loss.temperature == 3.0
        assert again(INPUTS).shape == (20, 5)

    def test_it_is_saved_and_loaded(self, pair, tmp_path):
        distiller = distiller_of(pair, alpha=0.3).compile("adam")
        distiller.fit(INPUTS, LABELS, verbose=0)
        distiller.save(tmp_path / "distiller.keras")
        loaded = keras.models.load_model(tmp_path / "distiller.keras")
        np.testing.assert_array_equal(loaded(INPUTS), distiller(INPUTS))
        assert loaded.alpha == 0.3
        loaded.attach_teacher(pair[0])
        loaded.fit(INPUTS, LABELS, verbose=0)

    def test_one_that_was_never_called_is_asked_for(self, pair):
        for build in KINDS.values():
            with pytest.raises(ValueError, match="must be built"):
                kd.Distiller(student=pair[1], teacher=build(8))
            with pytest.raises(ValueError, match="must be built"):
                kd.Distiller(student=build(4), teacher=pair[0])


class TestSeveralLosses:
    def test_on_logits_and_on_layers_weighed(self):
        pair = lazily_built(8), lazily_built(8)
        for model in pair:
            model(INPUTS[:2])
        losses = [
            kd.losses.SoftTargets(3.0),
            kd.losses.Hints("hidden", "hidden"),
            kd.losses.LogitMatching(),
        ]
        weights = [1.0, 0.5, 0.3]
        distiller = distiller_of(
            pair, distillation_loss=losses, distillation_loss_weights=weights
        ).compile(keras.optimizers.SGD(0.0), run_eagerly=True)
        assert distiller.distillation_loss_weights == weights
        history = distiller.fit(INPUTS, LABELS, batch_size=20, verbose=0).history
        (t, s), (h_t, h_s) = (
            [np.asarray(read(model), "float64") for model in pair]
            for read in (lambda m: m(INPUTS), lambda m: m.layers[0](INPUTS))
        )
        kernel, bias = distiller.projectors["hints"].get_weights()
        parts = [
            soft_targets(t, s, 3.0).mean(),
            ((h_t - (h_s @ kernel + bias)) ** 2).mean(),
            ((t - s) ** 2).mean(),
        ]
        found = [history[name][0] for name in ("soft_targets", "hints", "logit_matching")]
        assert found == pytest.approx(parts, rel=1e-4)
        assert history["distillation_loss"][0] == pytest.approx(np.dot(weights, parts), rel=1e-4)

    def test_as_many_weights_as_losses(self, pair):
        losses = [kd.losses.SoftTargets(3.0), kd.losses.SoftTargets(2.0)]
        distiller = distiller_of(pair, distillation_loss=losses)
        assert len(distiller.distillation_loss) == 2
        with pytest.raises(ValueError, match="one number a loss"):
            distiller_of(pair, distillation_loss=losses, distillation_loss_weights=[1.0])


class TestWhatIsRefused:
    def test_what_is_no_model(self, pair):
        teacher, student = pair
        with pytest.raises(FileNotFoundError, match="Received: not_a_model, no file"):
            kd.Distiller(student=student, teacher="not_a_model")
        with pytest.raises(ValueError, match=r"must be a keras.Model.* Received: int"):
            kd.Distiller(student=student, teacher=3)
        with pytest.raises(ValueError, match="must be a keras.Model"):
            kd.Distiller(student="not_a_model", teacher=teacher)

    @pytest.mark.parametrize("loss", [kd.losses.SoftTargets(), kd.losses.Hints()])
    def test_outputs_of_another_structure(self, loss):
        loss.validate_outputs(INPUTS, INPUTS)
        for other in ({"output": INPUTS}, [INPUTS, INPUTS]):
            with pytest.raises(ValueError):
                loss.validate_outputs(INPUTS, other)

    def test_layers_of_a_model_without_a_graph(self):
        pair = Subclassed(8), Subclassed(4)
        for model in pair:
            model(INPUTS[:2])
        with pytest.raises(ValueError, match="neither Functional nor Sequential"):
            distiller_of(pair, distillation_loss=kd.losses.Hints("hidden", "hidden"))

    @pytest.mark.parametrize("side", ["teacher", "student"])
    def test_a_layer_that_is_not_there(self, side):
        pair = lazily_built(8), lazily_built(4)
        for model in pair:
            model(INPUTS[:2])
        names = {"teacher_layer_name": "hidden", "student_layer_name": "hidden"}
        loss = kd.losses.Hints(**{**names, f"{side}_layer_name": "nowhere"})
        with pytest.raises(ValueError, match="nowhere"):
            distiller_of(pair, distillation_loss=loss)


class TestTwoHeads:
    """The names of a student's outputs are the keys of what it returns."""

    def two_heads(self, units):
        x = keras.Input((6,), name="numbers")
        body = layers.Dense(units, activation="tanh", name="hidden")(x)
        return keras.Model(x, {"one": layers.Dense(5)(body), "other": layers.Dense(5)(body)})

    def fitted(self, labels, loss, distillation_loss):
        pair = self.two_heads(8), self.two_heads(4)
        distiller = distiller_of(pair, distillation_loss=distillation_loss)
        distiller.compile("adam", loss)  # Metrics need labels of each output, in Keras too.
        return distiller.fit(INPUTS, labels, verbose=0).history

    def test_labels_of_one_alone(self):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        names = dict.fromkeys(["one", "other"], "soft_targets")
        history = self.fitted({"one": LABELS}, {"one": loss}, names)
        assert {"one_loss", "other_distillation_loss"} <= set(history)
        assert "other_loss" not in history

    def test_several_losses_by_name_on_one_of_them(self):
        losses = {"one": "soft_targets", "other": {"near": "logit_matching", "far": "dist"}}
        history = self.fitted({"one": LABELS, "other": LABELS}, None, losses)
        assert history["other_distillation_loss"][0] > 0
