"""Any trained classifier becomes frozen logits, or is refused with the remedy."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_kd as kd
from keras_kd._common.model_files import check_path

IMAGES = np.random.default_rng(0).normal(size=(5, 6)).astype("float32")


def logits_net(name="net"):
    net = keras.Sequential([keras.Input((6,)), layers.Dense(8, activation="relu"), layers.Dense(3)])
    net.name = name
    return net


def ends_in_dense_softmax():
    return keras.Sequential([keras.Input((6,)), layers.Dense(3, activation="softmax")])


def ends_in_softmax_layer():
    return keras.Sequential([keras.Input((6,)), layers.Dense(3), layers.Softmax()])


def ends_in_activation_layer():
    return keras.Sequential([keras.Input((6,)), layers.Dense(3), layers.Activation("softmax")])


def functional_with_softmax():
    inputs = keras.Input((6,))
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.Dense(4)(inputs)))


def nested_head():
    head = keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="softmax")])
    return keras.Sequential([keras.Input((6,)), layers.Dense(4), head])


def softmax_cast_to_float32():
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(3, activation="softmax"),
            layers.Activation("linear", dtype="float32"),
        ]
    )


def convolution_with_softmax():
    inputs = keras.Input((6,))
    x = layers.Reshape((1, 1, 6))(inputs)
    x = layers.Conv2D(3, 1)(x)
    return keras.Model(inputs, layers.Softmax()(layers.Flatten()(x)))


SOFTMAX_ENDED = [
    ends_in_dense_softmax,
    ends_in_softmax_layer,
    ends_in_activation_layer,
    functional_with_softmax,
    nested_head,
    softmax_cast_to_float32,
    convolution_with_softmax,
]


class Subclassed(keras.Model):
    """A model without a graph to look into."""

    def __init__(self, activation=None):
        super().__init__()
        self.dense = layers.Dense(3, activation=activation, name="inside")

    def call(self, inputs, training=None):
        return self.dense(inputs)


def subclassed(activation=None):
    model = Subclassed(activation)
    model(IMAGES)
    return model


def softmax64(logits):
    exponentials = np.exp(np.asarray(logits, float))
    return exponentials / exponentials.sum(-1, keepdims=True)


@pytest.mark.parametrize("build", SOFTMAX_ENDED)
class TestASoftmaxIsOpened:
    def test_softmax_of_the_logits_is_the_output(self, build):
        model = build()
        teacher = kd.Teacher(model)
        assert teacher.head == "softmax"
        np.testing.assert_allclose(ops.softmax(teacher(IMAGES)), model(IMAGES), atol=1e-6)

    def test_logits_survive_where_probabilities_do_not(self, build):
        model = build()
        for weight in model.trainable_weights:
            weight.assign(weight * 100)
        logits = np.asarray(kd.Teacher(model)(IMAGES))
        # Here float32 probabilities are 0: log(p) would have lost the order of the classes.
        assert (np.asarray(model(IMAGES)) == 0).any()
        assert np.ptp(logits, axis=-1).max() > 104
        assert np.isfinite(logits).all()

    def test_the_weights_are_the_models_own(self, build):
        model = build()
        teacher = kd.Teacher(model)
        for weight in model.trainable_weights:
            weight.assign(weight * 2)
        np.testing.assert_allclose(ops.softmax(teacher(IMAGES)), model(IMAGES), atol=1e-6)


def test_logits_are_taken_as_they_are():
    model = logits_net()
    teacher = kd.Teacher(model)
    assert teacher.head == "logits" and teacher.num_classes == 3
    assert teacher.input_shape == (None, 6)
    np.testing.assert_array_equal(teacher(IMAGES), model(IMAGES))


@pytest.mark.parametrize("units", [1, 4])
def test_a_sigmoid_is_opened(units):
    model = keras.Sequential([keras.Input((6,)), layers.Dense(units, activation="sigmoid")])
    teacher = kd.Teacher(model)
    assert teacher.head == "sigmoid"
    np.testing.assert_allclose(ops.sigmoid(teacher(IMAGES)), model(IMAGES), atol=1e-6)


def test_log_probabilities_are_logits():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(3, activation="log_softmax")])
    assert kd.Teacher(model).head == "logits"


class TestAClosedHead:
    def test_probabilities_are_read_through_log_and_it_is_said(self):
        model = subclassed("softmax")
        with pytest.warns(UserWarning, match=r"read through log\(p\).*head='softmax'"):
            teacher = kd.Teacher(model, image_shape=(6,))
        np.testing.assert_allclose(ops.softmax(teacher(IMAGES)), model(IMAGES), atol=1e-6)
        # log(p) differs from the logits by a constant per example.
        difference = np.asarray(teacher(IMAGES)) - np.log(softmax64(_logits(model)))
        np.testing.assert_allclose(difference, 0, atol=1e-5)

    def test_the_declared_head_is_believed_without_a_warning(self):
        teacher = kd.Teacher(subclassed("softmax"), head="softmax", image_shape=(6,))
        assert teacher.head == "softmax"

    def test_logits_are_found_out_and_it_is_said(self):
        with pytest.warns(UserWarning, match="its outputs are logits"):
            assert kd.Teacher(subclassed(), image_shape=(6,)).head == "logits"

    def test_independent_probabilities_are_refused_unless_declared(self):
        model = subclassed("sigmoid")
        with pytest.raises(ValueError, match=r"cannot be told.*head='sigmoid'"):
            kd.Teacher(model, image_shape=(6,))
        teacher = kd.Teacher(model, head="sigmoid", image_shape=(6,))
        np.testing.assert_allclose(ops.sigmoid(teacher(IMAGES)), model(IMAGES), atol=1e-6)

    def test_a_vanished_probability_stays_finite(self):
        model = subclassed("softmax")
        model.set_weights([weight * 1000 for weight in model.get_weights()])
        teacher = kd.Teacher(model, head="softmax", image_shape=(6,))
        assert np.isfinite(np.asarray(teacher(IMAGES))).all()

    def test_without_a_shape_the_remedy_is_named(self):
        with pytest.raises(ValueError, match="does not know its input shape. Pass `image_shape`"):
            kd.Teacher(NeverCalled())

    def test_of_one_that_was_called_the_shape_is_known(self):
        teacher = kd.Teacher(subclassed("softmax"), head="softmax")
        assert teacher.input_shape == (None, 6)


class NeverCalled(Subclassed):
    def __init__(self):
        super().__init__()
        self.dense.build((None, 6))
        self.built = True


def _logits(model):
    return IMAGES @ model.dense.kernel.numpy() + model.dense.bias.numpy()


class TestWhatIsRefused:
    def test_nan_weights(self):
        model = logits_net()
        weights = model.get_weights()
        weights[0][2, 3] = np.nan
        model.set_weights(weights)
        with pytest.raises(
            ValueError, match="weights must be finite. Received: NaN or infinity in"
        ):
            kd.Teacher(model)

    def test_nan_outputs(self):
        inputs = keras.Input((6,))
        outputs = layers.Dense(3)(layers.Normalization(mean=0.0, variance=0.0)(inputs))
        model = keras.Model(inputs, outputs / 0.0)
        with pytest.raises(ValueError, match="outputs must be finite"):
            kd.Teacher(model)

    def test_a_path_of_no_file(self):
        with pytest.raises(FileNotFoundError, match=r"Received: teacher\.keras, no file"):
            kd.Teacher("teacher.keras")

    def test_an_unbuilt_model(self):
        with pytest.raises(ValueError, match="must be built"):
            kd.Teacher(keras.Sequential([layers.Dense(3)]))

    def test_an_unknown_head(self):
        with pytest.raises(ValueError, match="`head` must be one of logits, softmax, sigmoid"):
            kd.Teacher(logits_net(), head="probabilities")

    def test_a_head_that_the_model_contradicts(self):
        with pytest.raises(ValueError, match="head='logits' for a model that ends in softmax"):
            kd.Teacher(ends_in_dense_softmax(), head="logits")


class TestTheCallersModelIsNeverChanged:
    def model(self):
        inputs = keras.Input((6,))
        x = layers.BatchNormalization()(layers.Dense(4)(inputs))
        x = layers.Dropout(0.5)(x)
        return keras.Model(inputs, layers.Dense(3, activation="softmax")(x))

    def test_by_construction_and_call(self):
        model = self.model()
        before, flags = model.get_weights(), [layer.trainable for layer in model.layers]
        layer_names, outputs = [layer.name for layer in model.layers], np.asarray(model(IMAGES))
        teacher = kd.Teacher(model)
        first, second = np.asarray(teacher(IMAGES)), np.asarray(teacher(IMAGES))
        np.testing.assert_array_equal(first, second)  # Dropout is off.
        for old, new in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
        assert [layer.trainable for layer in model.layers] == flags
        assert [layer.name for layer in model.layers] == layer_names
        np.testing.assert_array_equal(model(IMAGES), outputs)

    def test_no_gradient_reaches_it(self):
        import tensorflow as tf

        model = self.model()
        teacher = kd.Teacher(model)
        with tf.GradientTape() as tape:
            value = ops.sum(teacher(IMAGES))
        assert tape.gradient(value, model.trainable_weights) == [None] * 6


class TestFingerprint:
    def test_the_same_preprocess_made_again_has_the_same_fingerprint(self):
        model = kd.models.mlp([2], image_shape=(8, 8, 1))
        one, same, other = (
            kd.Teacher(model, preprocess=keras.layers.Resizing(8, size)).fingerprint
            for size in (8, 8, 9)
        )
        assert one == same != other

    def test_equal_weights_have_equal_fingerprints(self):
        one, other = logits_net("one"), logits_net("other")
        other.set_weights(one.get_weights())
        assert kd.Teacher(one).fingerprint == kd.Teacher(other).fingerprint

    def test_one_changed_weight_changes_it(self):
        model = logits_net()
        teacher = kd.Teacher(model)
        before = teacher.fingerprint
        weights = model.get_weights()
        weights[0][0, 0] += 1e-6
        model.set_weights(weights)
        assert teacher.fingerprint != before


class TestLoadTeacher:
    def test_a_saved_model_answers_the_same(self, tmp_path):
        model = ends_in_dense_softmax()
        model.compile("adam", "categorical_crossentropy")
        model.save(tmp_path / "teacher.keras")
        teacher = kd.load_teacher(tmp_path / "teacher.keras")
        np.testing.assert_array_equal(teacher(IMAGES), kd.Teacher(model)(IMAGES))

    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(
            FileNotFoundError, match=r"must be a \.keras, .* SavedModel\. Received: .*no\.keras"
        ):
            kd.load_teacher(tmp_path / "no.keras")

    def test_code_in_the_file_is_not_run(self, tmp_path):
        inputs = keras.Input((6,))
        keras.Model(inputs, layers.Lambda(lambda x: x[:, :3])(inputs)).save(tmp_path / "t.keras")
        with pytest.raises(ValueError, match=r"[Ll]ambda"):
            kd.load_teacher(tmp_path / "t.keras")

    def test_h5_files_answer_the_same(self, tmp_path):
        model = ends_in_dense_softmax()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras calls the format a former one.
            model.save(tmp_path / "teacher.h5")
        teacher = kd.load_teacher(tmp_path / "teacher.h5")
        np.testing.assert_array_equal(teacher(IMAGES), kd.Teacher(model)(IMAGES))

    def test_code_in_an_h5_file_is_not_run(self, tmp_path):
        inputs = keras.Input((6,))
        model = keras.Model(inputs, layers.Lambda(lambda x: x[:, :3])(inputs))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.save(tmp_path / "t.h5")
        with pytest.raises(ValueError, match=r"without code of its own such as a Lambda"):
            kd.load_teacher(tmp_path / "t.h5")

    def test_a_file_of_weights_is_named_as_such(self, tmp_path):
        ends_in_dense_softmax().save_weights(tmp_path / "t.weights.h5")
        with pytest.raises(ValueError, match=r"weights alone\. Build the model"):
            kd.load_teacher(tmp_path / "t.weights.h5")

    def test_the_way_in_of_a_saved_model_as_a_student_leads_in(self, tmp_path):
        model = ends_in_dense_softmax()
        model.export(tmp_path / "saved", verbose=False)
        with pytest.raises(ValueError, match="a SavedModel, which is a program") as refusal:
            check_path(tmp_path / "saved", "student")
        way = str(refusal.value).split("`")[1]
        with pytest.warns(UserWarning, match=r"read through log\(p\)"):
            teacher = kd.Teacher(eval(way, {"keras": keras, "shape": (6,)}))
        np.testing.assert_allclose(ops.softmax(teacher(IMAGES)), model(IMAGES), atol=1e-6)


class TestRepr:
    def test_a_teacher_says_what_it_is(self):
        teacher = kd.Teacher(logits_net("small"), class_map=[2, 0, 1])
        assert repr(teacher) == (
            "Teacher(model='small', head='logits', num_classes=3, input_shape=(None, 6), "
            "class_map=(2, 0, 1))"
        )

    def test_an_ensemble_names_its_teachers(self):
        ensemble = kd.Ensemble([logits_net("one"), logits_net("other")], weights=[0.3, 0.7])
        assert repr(ensemble).startswith("Ensemble(teachers=[Teacher(model='one', ")
        assert repr(ensemble).endswith("weights=[0.3, 0.7], average='probabilities')")


def test_what_it_says_travels_by_name():
    model = functional_with_softmax()
    teacher = kd.Teacher(model, class_map=[2, 0, 1])
    (output,) = model.output_names
    hidden = model.layers[1].name
    said = teacher.ask(IMAGES, [hidden])
    assert teacher.output_names == (output,) and teacher.heads == {output: "softmax"}
    assert said.class_maps == teacher.class_maps == {output: (2, 0, 1)}
    assert teacher.output_shape(output) == (None, 3) and teacher.models == [model]
    assert set(said.outputs) == {output} and set(said.features) == {hidden}
    np.testing.assert_array_equal(said.outputs[output], teacher(IMAGES))
    np.testing.assert_array_equal(said.features[hidden], model.layers[1](IMAGES))
    assert said.index is None and not said.finite


def test_an_ensemble_answers_the_same_questions():
    models = [logits_net("one"), logits_net("other")]
    ensemble = kd.Ensemble([kd.Teacher(models[0], preprocess=lambda x: 2 * x), models[1]])
    (output,) = ensemble.output_names
    np.testing.assert_array_equal(ensemble.ask(IMAGES).outputs[output], ensemble(IMAGES))
    assert ensemble.output_names == ensemble.teachers[0].output_names
    assert ensemble.heads == {output: "softmax"} and ensemble.class_maps == {}
    assert ensemble.models == models and ensemble.output_shape(output) == (None, 3)
    assert not ensemble.minds_its_batch and len(ensemble.preprocess) == 1
    again = kd.Ensemble(ensemble.teachers)
    assert ensemble.identity == again.identity != kd.Ensemble(models).identity
    with pytest.raises(ValueError, match="no layers to compare"):
        ensemble.ask(IMAGES, ["hidden"])
