"""What a model ends in is proved by its answers, for models of every make."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_kd as kd
from keras_kd.teachers.heads import read_head

RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(5, 6)).astype("float32")
SERIES = RNG.normal(size=(5, 4, 6)).astype("float32")
WORDS = RNG.integers(1, 20, (5, 4))


def ends_in(*last, shape=(6,), batch_size=None, dtype=None):
    return keras.Sequential([keras.Input(shape, batch_size=batch_size, dtype=dtype), *last])


def functional(make, shape=(6,)):
    inputs = keras.Input(shape)
    return keras.Model(inputs, make(inputs))


class OwnActivation(layers.Layer):
    def call(self, inputs):
        return ops.softmax(inputs)


class SoftmaxAfterLinear(layers.Dense):
    """Its attribute says linear."""

    def call(self, inputs):
        return ops.softmax(super().call(inputs))


def quantised(mode="int8"):
    model = ends_in(layers.Dense(8, activation="relu"), layers.Dense(3, activation="softmax"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras tries to quantise the input too.
        model.quantize(mode)
    return model


def with_lora():
    model = ends_in(layers.Dense(3, activation="softmax"))
    model.layers[-1].enable_lora(2)
    model.layers[-1].lora_kernel_b.assign(np.ones((2, 3), "float32"))
    return model


def twice_nested(dtype="float32"):
    inner = ends_in(layers.Embedding(20, 8), layers.GlobalAveragePooling1D(),
                    layers.Dense(3, activation="softmax"), shape=(4,), dtype=dtype)  # fmt: skip
    middle = keras.Input((4,), dtype=dtype)
    middle = keras.Model(middle, inner(middle))
    return ends_in(middle, shape=(4,), dtype=dtype)


def shared_head():
    """A model whose last layer was called before, in another model."""
    head = layers.Dense(3, activation="softmax")
    functional(head)
    return functional(lambda x: head(layers.Dense(6)(x)))


def in_float16(last):
    return ends_in(layers.Dense(8, dtype="mixed_float16"), last)


def softmax_of_a_part(x):
    return ops.softmax(layers.Dense(6)(x)[:, :3])


# Each ends in softmax, and before it come logits that can be had.
OPENED = {
    "dense": lambda: ends_in(layers.Dense(3, activation="softmax")),
    "function": lambda: ends_in(layers.Dense(3, activation=lambda x: ops.softmax(x))),
    "layer as activation": lambda: ends_in(layers.Dense(3, activation=layers.Softmax())),
    "Activation": lambda: ends_in(layers.Dense(3), layers.Activation(keras.activations.softmax)),
    "Activation of a function": lambda: ends_in(
        layers.Dense(3), layers.Activation(lambda x: ops.softmax(x))
    ),
    "Lambda": lambda: ends_in(layers.Dense(3), layers.Lambda(lambda x: ops.softmax(x))),
    "layer of one's own": lambda: ends_in(layers.Dense(3), OwnActivation()),
    "operation": lambda: functional(lambda x: ops.softmax(layers.Dense(3)(x))),
    "operation on a slice": lambda: functional(softmax_of_a_part),
    "followed by a reshape": lambda: functional(
        lambda x: layers.Reshape((2, 3))(layers.Softmax()(layers.Reshape((2, 3))(x)))
    ),
    "followed by a cast": lambda: functional(
        lambda x: ops.cast(layers.Dense(3, activation="softmax")(x), "float32")
    ),
    "int8": quantised,
    "LoRA": with_lora,
    "nested": lambda: ends_in(ends_in(layers.Dense(3, activation="softmax"))),
    "shared": shared_head,
    "float16": lambda: in_float16(layers.Dense(3, activation="softmax", dtype="mixed_float16")),
    "bfloat16": lambda: ends_in(layers.Dense(3, activation="softmax", dtype="bfloat16")),
    "softmax in float32": lambda: in_float16(layers.Dense(3, activation="softmax")),
    "spectral normalization": lambda: ends_in(
        layers.SpectralNormalization(layers.Dense(3, activation="softmax"))
    ),
}


def rows(builders):
    return [
        pytest.param(build, id=name, marks=pytest.mark.bfloat16 if name == "bfloat16" else ())
        for name, build in builders.items()
    ]


@pytest.mark.parametrize("build", rows(OPENED))
def test_a_softmax_is_opened_whatever_makes_it(build):
    model = build()
    wanted = np.asarray(ops.cast(model(VECTORS), "float32"))
    teacher = kd.Teacher(model)
    assert teacher.head == "softmax"
    logits = np.asarray(teacher(VECTORS))
    half = "float16" in {layer.compute_dtype for layer in model.layers} or "bfloat16" in {
        layer.compute_dtype for layer in model.layers
    }
    np.testing.assert_allclose(ops.softmax(logits), wanted, atol=2e-2 if half else 1e-6)
    # log(p) would be negative everywhere; here the logits themselves came out.
    assert logits.max() > 0
    np.testing.assert_array_equal(ops.cast(model(VECTORS), "float32"), wanted)


def test_int4_is_opened():
    model = quantised("int4")
    teacher = kd.Teacher(model)
    np.testing.assert_allclose(ops.softmax(teacher(VECTORS)), model(VECTORS), atol=1e-6)


@pytest.mark.parametrize(
    "last",
    [
        lambda: layers.TimeDistributed(layers.Dense(3, activation="softmax")),
        lambda: layers.Conv1D(3, 1, activation="softmax"),
        lambda: layers.EinsumDense("abc,cd->abd", (None, 3), activation="softmax"),
    ],
    ids=["TimeDistributed", "Conv1D", "EinsumDense"],
)
def test_a_softmax_at_every_place_is_opened(last):
    model = ends_in(last(), shape=(4, 6))
    teacher = kd.Teacher(model)
    assert teacher.head == "softmax"
    logits = np.asarray(teacher(SERIES))
    np.testing.assert_allclose(ops.softmax(logits), model(SERIES), atol=1e-6)
    assert logits.max() > 0


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_a_softmax_nested_twice_behind_words_is_opened(dtype):
    model = twice_nested(dtype)
    teacher = kd.Teacher(model)
    words = WORDS.astype(dtype)
    np.testing.assert_allclose(ops.softmax(teacher(words)), model(words), atol=1e-6)
    assert np.asarray(teacher(words)).max() > 0


@pytest.mark.parametrize(
    "last",
    [
        lambda: layers.Dense(1, activation=lambda x: ops.sigmoid(x)),
        lambda: layers.Dense(2, activation=layers.Activation("sigmoid")),
        lambda: layers.Lambda(lambda x: ops.sigmoid(x[:, :2])),
    ],
)
def test_a_sigmoid_is_opened_or_refused_by_proof(last):
    model = ends_in(last())
    if isinstance(model.layers[-1], layers.Lambda):  # The slice is inside.
        with pytest.raises(ValueError, match="cannot be told"):
            kd.Teacher(model)
        teacher = kd.Teacher(model, head="sigmoid")
    else:
        teacher = kd.Teacher(model)
    assert teacher.head == "sigmoid"
    np.testing.assert_allclose(ops.sigmoid(teacher(VECTORS)), model(VECTORS), atol=1e-6)


class Gated(layers.Dense):
    """Goes on after its activation."""

    def call(self, inputs, training=None):
        return 3 * super().call(inputs) - 1


class Cooled(layers.Dense):
    """Its probabilities are another softmax than its attribute says."""

    def call(self, inputs, training=None):
        return ops.softmax(ops.log(super().call(inputs)) / 2)


class TestALayerThatDoesMoreThanItSays:
    @pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
    def test_no_probabilities_are_refused_unless_declared_as_logits(self, activation):
        model = ends_in(Gated(3, activation=activation))
        with pytest.raises(ValueError, match=f"a last layer with a {activation}.*head='logits'"):
            kd.Teacher(model)
        teacher = kd.Teacher(model, head="logits")
        np.testing.assert_array_equal(teacher(VECTORS), model(VECTORS))

    def test_it_is_no_softmax_though_declared_as_one(self):
        with pytest.raises(ValueError, match="must answer with probabilities. Received: answers"):
            kd.Teacher(ends_in(Gated(3, activation="softmax")), head="softmax")

    def test_other_probabilities_are_read_through_log(self):
        model = ends_in(Cooled(3, activation="softmax"))
        with pytest.warns(UserWarning, match=r"read through log\(p\)"):
            teacher = kd.Teacher(model)
        np.testing.assert_allclose(ops.softmax(teacher(VECTORS)), model(VECTORS), atol=1e-6)

    def test_a_softmax_of_which_the_attribute_says_linear(self):
        with pytest.warns(UserWarning, match=r"read through log\(p\)"):
            teacher = kd.Teacher(ends_in(SoftmaxAfterLinear(3)))
        assert teacher.head == "softmax"

    def test_a_temperature_is_not_lost(self):
        model = ends_in(layers.Dense(3), layers.Lambda(lambda x: ops.softmax(20 * x)))
        for weight in model.weights:
            weight.assign(100 * weight)  # Zeros and ones, nearly everywhere.
        with pytest.warns(UserWarning, match=r"read through log\(p\)"):
            kd.Teacher(model)

    def test_a_softmax_that_has_nothing_but_zeros_and_ones_is_opened(self):
        model = ends_in(layers.Dense(3, activation="softmax"))
        for weight in model.weights:
            weight.assign(1e5 * weight)
        examples = VECTORS[:4]
        assert set(np.unique(model(examples))) == {0, 1}
        assert np.ptp(kd.Teacher(model, examples=examples)(examples)) > 1000

    def test_a_softmax_of_another_axis_is_refused(self):
        model = ends_in(layers.Dense(3), layers.Softmax(axis=1), shape=(4, 6))
        with pytest.raises(ValueError, match="cannot be told"):
            kd.Teacher(model)

    def test_a_masked_softmax_is_read_through_log(self):
        inputs = keras.Input((6,))
        mask = keras.Input((3,), dtype="bool")
        logits = layers.Dense(3)(inputs)
        model = keras.Model([inputs, mask], layers.Softmax()(logits, mask=mask))
        assert read_head(model).name == "softmax"


RECURRENT = [layers.SimpleRNN, layers.GRU, layers.LSTM]


class TestARecurrentLayerIsLast:
    def test_a_softmax_of_sum_1_is_read_through_log(self):
        model = ends_in(layers.SimpleRNN(3, activation="softmax"), shape=(4, 6))
        with pytest.warns(UserWarning, match=r"read through log\(p\)"):
            teacher = kd.Teacher(model)
        np.testing.assert_allclose(ops.softmax(teacher(SERIES)), model(SERIES), atol=1e-6)

    @pytest.mark.parametrize("kind", RECURRENT[1:])
    def test_another_sum_is_refused_unless_declared(self, kind):
        model = ends_in(kind(3, activation="softmax"), shape=(4, 6))
        with pytest.raises(ValueError, match="cannot be told"):
            kd.Teacher(model)
        model_answers = np.asarray(model(SERIES))
        teacher = kd.Teacher(model, head="softmax")
        np.testing.assert_allclose(teacher(SERIES), np.log(model_answers), atol=1e-5)

    @pytest.mark.parametrize("kind", RECURRENT)
    def test_a_sigmoid_is_read_through_its_inverse(self, kind):
        model = ends_in(kind(3, activation="sigmoid"), shape=(4, 6))
        with pytest.warns(UserWarning, match=r"read through log\(p / \(1 - p\)\)"):
            teacher = kd.Teacher(model)
        np.testing.assert_allclose(ops.sigmoid(teacher(SERIES)), model(SERIES), atol=1e-6)

    def test_bidirectional_probabilities_are_declared(self):
        last = layers.Bidirectional(layers.GRU(3, activation="sigmoid"))
        model = ends_in(last, shape=(4, 6))
        teacher = kd.Teacher(model, head="sigmoid")
        np.testing.assert_allclose(ops.sigmoid(teacher(SERIES)), model(SERIES), atol=1e-6)

    @pytest.mark.parametrize("kind", RECURRENT)
    def test_a_state_is_the_callers(self, kind):
        model = ends_in(
            kind(4, stateful=True), layers.Dense(3, activation="softmax"),
            shape=(4, 6), batch_size=2,
        )  # fmt: skip
        model(SERIES[:2])  # A state that is not 0.
        before = [np.asarray(each) for each in model.variables]
        teacher = kd.Teacher(model)
        assert teacher.head == "softmax" and teacher.changes
        once, again = np.asarray(teacher(SERIES[:2])), np.asarray(teacher(SERIES[:2]))
        np.testing.assert_array_equal(once, again)
        for old, new in zip(before, model.variables, strict=True):
            np.testing.assert_array_equal(old, new)
        np.testing.assert_allclose(ops.softmax(once), model(SERIES[:2]), atol=1e-6)

    def test_fit_asks_in_batches_of_its_size_and_keeps_the_state(self):
        recurrent = layers.LSTM(4, stateful=True)
        model = ends_in(
            recurrent, layers.Dense(3, activation="softmax"), shape=(4, 6), batch_size=5
        )
        model(SERIES)
        before = [np.asarray(each) for each in recurrent.states]
        student = ends_in(layers.Flatten(), layers.Dense(3), shape=(4, 6))
        distiller = kd.Distiller(student=student, teacher=model)
        distiller.compile("sgd")
        distiller.fit(np.tile(SERIES, (4, 1, 1)), np.zeros(20), batch_size=5, verbose=0)
        for old, new in zip(before, recurrent.states, strict=True):
            np.testing.assert_array_equal(old, new)


class Noisy(layers.Layer):
    def __init__(self):
        super().__init__()
        self.dropout = layers.Dropout(0.5, seed=0)

    def call(self, inputs):
        return self.dropout(inputs, training=True)


def test_a_teacher_that_draws_numbers_keeps_its_generator():
    model = ends_in(layers.Dense(8), Noisy(), layers.Dense(3, activation="softmax"))
    before = [np.asarray(each) for each in model.variables]
    teacher = kd.Teacher(model)
    assert teacher.head == "softmax" and "seed" in teacher.changes[0]
    teacher(VECTORS)
    for old, new in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, new)


class Lookup(keras.Model):
    """Words as floats, in a table that only its call knows."""

    def __init__(self, size=20, smallest=0):
        super().__init__()
        self.dense = layers.Dense(3)
        self.size, self.smallest = size, smallest
        self.built = True
        self.dense.build((None, size))

    def call(self, inputs):
        words = ops.cast(inputs, "int32")
        if not isinstance(inputs, keras.KerasTensor):
            low, high = int(ops.min(words)), int(ops.max(words))
            if not self.smallest <= low <= high < self.size:
                raise ValueError(f"No such word in {low} to {high}")
        return self.dense(ops.mean(ops.one_hot(words, self.size), axis=1))


class TestWhatAModelIsTriedOn:
    def text(self, dtype, mask_zero=False, vocabulary=50):
        return ends_in(
            layers.Embedding(vocabulary, 8, mask_zero=mask_zero), layers.GlobalAveragePooling1D(),
            layers.Dense(3, activation="softmax"), shape=(None,), dtype=dtype,
        )  # fmt: skip

    @pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "float32"])
    @pytest.mark.parametrize("vocabulary", [2, 50])
    def test_words_of_the_vocabulary(self, dtype, vocabulary):
        model = self.text(dtype, vocabulary=vocabulary)
        inputs = read_head(model).trial.inputs
        assert inputs.min() >= 1 and inputs.max() < vocabulary and inputs.dtype == dtype

    def test_a_mask_is_never_all_padding(self):
        teacher = kd.Teacher(self.text("int32", mask_zero=True))
        assert teacher.head == "softmax"
        words = np.array([[1, 2, 0, 0], [3, 0, 0, 0]])
        np.testing.assert_allclose(ops.softmax(teacher(words)), teacher.model(words), atol=1e-6)

    def test_a_table_inside_a_layer_is_found(self):
        class Words(layers.Layer):
            def __init__(self):
                super().__init__()
                self.table = layers.Embedding(7, 4)

            def call(self, inputs):
                return ops.mean(self.table(inputs), axis=1)

        model = ends_in(Words(), layers.Dense(3), shape=(4,))
        assert kd.Teacher(model).head == "logits"

    @pytest.mark.parametrize("kind", ["table", "weight"])
    @pytest.mark.parametrize("dtype", ["int32", "float32"])
    def test_a_model_of_few_places_whose_inputs_are_of_any_length(self, kind, dtype):
        class Places(layers.Layer):
            """As in a transformer: 16 positions, one vector each."""

            def build(self, shape):
                self.table = layers.Embedding(16, 8) if kind == "table" else None
                self.rows = None if kind == "table" else self.add_weight(shape=(16, 8))

            def call(self, inputs):
                length = ops.shape(inputs)[1]
                rows = self.rows[:length] if self.table is None else self.table(ops.arange(length))
                return inputs + rows

        inputs = keras.Input((None,), dtype=dtype)
        x = Places()(layers.Embedding(50, 8)(inputs))
        x = layers.GlobalAveragePooling1D()(x + layers.MultiHeadAttention(2, 4)(x, x))
        model = keras.Model(inputs, layers.Dense(3, activation="softmax")(x))
        words = WORDS.astype(dtype)
        np.testing.assert_allclose(ops.softmax(kd.Teacher(model)(words)), model(words), atol=1e-6)

    def test_an_inputs_name_in_a_dict_of_one(self):
        inputs = keras.Input((4,), name="words", dtype="int32")
        x = layers.GlobalAveragePooling1D()(layers.Embedding(20, 8)(inputs))
        model = keras.Model({"words": inputs}, layers.Dense(3, activation="softmax")(x))
        teacher = kd.Teacher(model)
        logits = teacher({"words": WORDS})
        np.testing.assert_allclose(ops.softmax(logits), model({"words": WORDS}), atol=1e-6)

    def test_examples_where_made_up_inputs_are_refused(self):
        model = Lookup(smallest=2)
        with pytest.raises(ValueError, match="No such word.*Pass a batch .*`examples=`"):
            kd.Teacher(model, image_shape=(4,))
        examples = np.maximum(WORDS, 2).astype("float32")
        with pytest.warns(UserWarning, match="its outputs are logits"):
            teacher = kd.Teacher(model, examples=examples)
        assert teacher.input_shape == (None, 4) and teacher.num_classes == 3

    def test_a_small_table_that_is_not_found_needs_no_examples(self):
        with pytest.warns(UserWarning, match="its outputs are logits"):
            kd.Teacher(Lookup(size=2), image_shape=(4,))

    @pytest.mark.parametrize("examples", [3.0, np.zeros((0, 6)), [], [1.0, 2.0]])
    def test_what_is_no_batch_is_refused(self, examples):
        with pytest.raises(ValueError, match="`examples` must be a batch of inputs"):
            kd.Teacher(ends_in(layers.Dense(3)), examples=examples)

    def test_examples_go_through_preprocess(self):
        model = ends_in(layers.Dense(3, activation="softmax"))
        teacher = kd.Teacher(model, preprocess=layers.Dense(6), examples=np.ones((3, 2)))
        assert teacher(np.ones((4, 2), "float32")).shape == (4, 3)

    def test_examples_reach_every_teacher_and_the_student(self):
        examples = np.maximum(WORDS, 2).astype("float32")
        models = [Lookup(smallest=2) for _ in range(3)]
        with pytest.warns(UserWarning, match="its outputs are logits"):
            ensemble = kd.Ensemble(models[:2], examples=examples)
        assert ensemble.num_classes == 3
        with pytest.warns(UserWarning, match="its outputs are logits"):
            distiller = kd.Distiller(student=models[2], teacher=models[0], examples=examples)
        assert distiller.teacher.num_classes == 3

    def test_load_teacher_takes_examples(self, tmp_path):
        ends_in(layers.Dense(3)).save(tmp_path / "model.keras")
        with pytest.raises(ValueError, match="`examples` must be a batch of inputs"):
            kd.load_teacher(tmp_path / "model.keras", examples=[])

    def test_an_input_without_a_finite_answer_is_left_out(self):
        # A black image has no standard deviation.
        model = functional(lambda x: layers.Dense(3)(x / ops.std(x, axis=-1, keepdims=True)))
        assert kd.Teacher(model).head == "logits"


class TestOutputsInAStructure:
    @pytest.mark.parametrize("wrap", [lambda x: {"logits": x}, lambda x: [x]])
    @pytest.mark.parametrize("activation", [None, "softmax"])
    def test_a_teachers_only_output_is_taken_out(self, wrap, activation):
        model = functional(lambda x: wrap(layers.Dense(3, activation=activation, name="last")(x)))
        teacher = kd.Teacher(model)
        (wanted,) = keras.tree.flatten(model(VECTORS))
        logits = teacher(VECTORS)
        assert teacher.head == (activation or "logits") and logits.shape == (5, 3)
        found = ops.softmax(logits) if activation else logits
        np.testing.assert_allclose(found, wanted, atol=1e-6)

    @pytest.mark.parametrize("wrap", [lambda x: {"logits": x}, lambda x: [x]])
    def test_a_students_only_output_is_distilled(self, wrap):
        student = functional(lambda x: wrap(layers.Dense(3)(x)))
        distiller = kd.Distiller(student=student, teacher=ends_in(layers.Dense(3))).compile()
        labels = wrap(np.arange(5) % 3)
        history = distiller.fit(VECTORS, labels, verbose=0).history
        assert set(history) == {"loss", "hard_loss", "distillation_loss"}

    def test_a_subclassed_students_too(self):
        class InADict(keras.Model):
            def __init__(self):
                super().__init__()
                self.dense = layers.Dense(3)

            def call(self, inputs):
                return {"logits": self.dense(inputs)}

        model = InADict()
        model(VECTORS)
        distiller = kd.Distiller(student=model, teacher=ends_in(layers.Dense(3))).compile()
        history = distiller.fit(VECTORS, {"logits": np.arange(5) % 3}, verbose=0).history
        assert set(history) == {"loss", "hard_loss", "distillation_loss"}


PROBABLE_STUDENTS = {
    **OPENED,
    "nested behind words": twice_nested,
    "sigmoid": lambda: ends_in(layers.Dense(1, activation=lambda x: ops.sigmoid(x))),
    "attribute says linear": lambda: ends_in(SoftmaxAfterLinear(3)),
    "recurrent": lambda: ends_in(layers.SimpleRNN(3, activation="softmax"), shape=(4, 6)),
    "of recurrent weight": lambda: ends_in(layers.GRU(3, activation="softmax"), shape=(4, 6)),
    "hard sigmoid": lambda: ends_in(layers.Dense(3, activation="hard_sigmoid")),
    "mean of two": lambda: functional(
        lambda x: layers.Average()([layers.Dense(3, activation="softmax")(x) for _ in range(2)])
    ),
}


class Closed(keras.Model):
    def __init__(self, activation):
        super().__init__()
        self.dense = layers.Dense(3)
        self.last = activation

    def call(self, inputs):
        return self.last(self.dense(inputs))


class TestAStudent:
    @pytest.mark.parametrize("build", rows(PROBABLE_STUDENTS))
    def test_of_probabilities_is_refused(self, build):
        with pytest.raises(ValueError, match="must return logits. Received: "):
            kd.Distiller(student=build())

    def test_with_two_inputs_is_refused_for_its_softmax(self):
        inputs = [keras.Input((6,)), keras.Input((4,), dtype="int32")]
        words = layers.GlobalAveragePooling1D()(layers.Embedding(20, 6)(inputs[1]))
        outputs = OwnActivation()(layers.Dense(3)(layers.Add()([inputs[0], words])))
        with pytest.raises(ValueError, match="must return logits"):
            kd.Distiller(student=keras.Model(inputs, outputs))

    @pytest.mark.parametrize("activation", [ops.softmax, ops.sigmoid])
    def test_that_is_subclassed_is_refused_for_its_probabilities(self, activation):
        model = Closed(activation)
        model(VECTORS)
        with pytest.raises(ValueError, match="must return logits"):
            kd.Distiller(student=model, teacher=ends_in(layers.Dense(3)))

    def test_of_positive_logits_is_accepted(self):
        positive = [
            ends_in(layers.Dense(3, activation="relu")),
            ends_in(layers.Dense(3, kernel_initializer="zeros")),
            ends_in(layers.Dense(3, activation="relu", kernel_initializer="zeros")),
            ends_in(layers.Dense(3, kernel_initializer="zeros", bias_initializer="ones")),
            functional(lambda x: ops.abs(layers.Dense(3, kernel_initializer="zeros")(x))),
        ]
        for student in positive:
            assert kd.Distiller(student=student).student is student

    def test_that_refuses_made_up_inputs_is_accepted_and_it_is_said(self):
        student = Lookup(smallest=2)
        with pytest.warns(UserWarning, match="logits was not tried.*`examples=`"):
            kd.Distiller(student=student, teacher=ends_in(layers.Dense(3), shape=(4,)))
