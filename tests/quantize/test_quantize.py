"""The integer twin: its arithmetic, what it makes of a student, and the file that it predicts."""

import importlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops
from layerwise import dtypes_in, steps_apart

import keras_kd as kd
from keras_kd.export.runner import LiteRTFile, answers_of
from keras_kd.quantize.layers import ActivationRange, on_learned_grid, rounded_bias, symmetric

LAYERS = importlib.import_module("keras_kd.quantize.layers")


def off_any_grid(self, inputs, only_step=False, **_):
    return tf.constant(0.0) if only_step else inputs


def conv_student(image_shape=(8, 8, 1)):
    """Every layer that has a twin, and BatchNormalization after each kind that can take it in."""
    image = keras.Input(image_shape, name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="normalize")(image)
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv_1")(x)
    x = layers.BatchNormalization(name="norm_1")(x)
    shortcut = x = layers.ReLU(max_value=6, name="relu_1")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.BatchNormalization(name="norm_2")(x)
    x = layers.Add(name="add")([x, shortcut])
    x = layers.Activation("relu", name="relu_2")(x)
    x = layers.SeparableConv2D(12, 3, padding="same", activation="relu", name="separable")(x)
    x = layers.MaxPooling2D(name="max_pool")(x)
    shortcut = layers.AveragePooling2D(2, name="average_pool")(x)
    x = layers.Conv2D(12, 3, padding="same", activation="relu", name="conv_2")(x)
    x = layers.MaxPooling2D(name="max_pool_2")(x)
    x = layers.Concatenate(name="concat")([x, shortcut])
    mean = layers.GlobalAveragePooling2D(name="mean")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(32, activation="relu6", name="hidden")(x)
    x = layers.Dropout(0.1, name="dropout")(x)
    x = layers.Concatenate(name="concat_2")([x, mean])
    return keras.Model(image, layers.Dense(10, name="logits")(x), name="student")


@pytest.fixture(scope="module")
def student(digits):
    keras.utils.set_random_seed(0)
    model = conv_student()
    model.compile(keras.optimizers.Adam(3e-3), kd.losses.CrossEntropy())
    model.fit(digits.train.batches(64, shuffle_seed=0), epochs=12, shuffle=False, verbose=0)
    return model


class TestSymmetric:
    @pytest.mark.parametrize("num_bits", [4, 8])
    def test_it_is_the_nearest_of_the_channels_own_integers(self, num_bits):
        kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 5)) * [1, 2, 3, 0.1, 10]
        highest = 2 ** (num_bits - 1) - 1
        scale = np.abs(kernel).max((0, 1, 2)) / highest
        expected = scale * np.round(kernel / scale)
        found = symmetric(tf.constant(kernel, tf.float32), num_bits)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        for channel in range(5):
            assert len(np.unique(found[..., channel])) <= 2 * highest + 1

    def test_a_channel_of_zeros_stays_zero(self):
        np.testing.assert_array_equal(symmetric(tf.zeros((4, 2)), 4), 0)

    def test_the_gradient_passes_straight_on(self):
        kernel = tf.random.normal((4, 3))
        weights = tf.random.normal((4, 3))
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            loss = tf.reduce_sum(weights * symmetric(kernel, 4))
        np.testing.assert_allclose(tape.gradient(loss, kernel), weights, rtol=1e-6)


def learned_step_size(values, low, high, upstream):
    """Value and gradients of LSQ, section 2.1, on 256 values from `low` to `high`, in float64."""
    step = (high - low) / 255
    zero_point = np.clip(np.round(-low / step), 0, 255)
    lowest, highest = -zero_point, 255 - zero_point
    scaled = values / step
    outputs = step * np.clip(np.round(scaled), lowest, highest)
    inside = (scaled >= lowest) & (scaled <= highest)
    by_step = np.where(inside, np.round(scaled) - scaled, 0)
    # step = (high - low) / 255; what is cut off lies on an end.
    by_high = by_step / 255 + (scaled > highest)
    by_low = -by_step / 255 + (scaled < lowest)
    return (
        outputs,
        upstream * inside,
        np.sum(upstream * by_low),
        np.sum(upstream * by_high),
    )


class TestLearnedGrid:
    @pytest.mark.parametrize(("low", "high"), [(-1.0, 2.0), (0.0, 6.0), (-0.37, 0.11)])
    def test_values_and_gradients_are_those_of_the_paper(self, low, high):
        rng = np.random.default_rng(0)
        values = rng.uniform(1.5 * low - 0.1, 1.5 * high, (7, 50)).astype("float32")
        upstream = rng.normal(size=values.shape).astype("float32")
        ends = tf.constant(low), tf.constant(high)
        with tf.GradientTape() as tape:
            inputs = tf.constant(values)
            tape.watch([inputs, *ends])
            outputs = on_learned_grid(inputs, *ends)
            loss = tf.reduce_sum(upstream * outputs)
        received = outputs, *tape.gradient(loss, [inputs, *ends])
        # From the ends as float32 holds them, or what lies half-way falls to another side.
        ends = [float(np.float32(end)) for end in (low, high)]
        expected = learned_step_size(values.astype("float64"), *ends, upstream.astype("float64"))
        for found, wanted in zip(received, expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)

    def test_in_a_file_they_are_the_ends_that_were_learned(self, student, digits, tmp_path):
        twin = kd.quantize.prepare(student, ranges="learned", calibration=digits.train)
        ends = [w for w in twin.trainable_weights if w.name in ("lowest", "highest")]
        before = [float(end.numpy()) for end in ends]
        distiller = kd.Distiller(student=twin, teacher=student, alpha=0.9)
        distiller.compile(keras.optimizers.Adam(1e-3))
        distiller.fit(digits.train.batches(64, shuffle_seed=0), epochs=2, verbose=0)
        moved = [float(end.numpy()) != old for end, old in zip(ends, before, strict=True)]
        assert len(ends) == 20 and np.mean(moved) > 0.5
        path = kd.export.litert(twin, tmp_path / "twin.tflite", quantization="int8")
        logits = kd.export.run_litert(path, digits.test.images).logits
        predicted = twin.predict(digits.test.images, verbose=0)
        assert kd.metrics.agreement(logits, predicted) >= 0.99
        copy = keras.models.clone_model(twin)
        copy.set_weights(twin.get_weights())
        np.testing.assert_array_equal(copy.predict(digits.test.images, verbose=0), predicted)

    def test_they_need_images_to_begin_with(self, student):
        with pytest.raises(ValueError, match="`ranges='learned'` needs `calibration`"):
            kd.quantize.prepare(student, ranges="learned")
        with pytest.raises(ValueError, match="`ranges` must be one of 'moving', 'learned'"):
            kd.quantize.prepare(student, ranges="fixed")


class TestRoundedBias:
    def test_is_a_multiple_of_what_a_product_steps_by(self):
        # Units of 0.5 * 14 / 7 = 1 and 0.5 * 7 / 7 = 0.5.
        found = rounded_bias(tf.constant([2.4, -0.7]), 0.5, tf.constant([14.0, 7.0]), 4)
        np.testing.assert_allclose(found, [2.0, -0.5], rtol=1e-6)

    def test_a_step_that_is_not_known_changes_nothing(self):
        found = rounded_bias(tf.constant([2.4, -0.7]), 0.0, tf.constant([14.0, 7.0]), 8)
        np.testing.assert_allclose(found, [2.4, -0.7], rtol=1e-6)

    def test_gradient_passes_straight_on(self):
        bias = tf.constant([2.4, -0.7])
        with tf.GradientTape() as tape:
            tape.watch(bias)
            loss = tf.reduce_sum(rounded_bias(bias, 0.5, tf.constant([14.0, 7.0]), 4))
        np.testing.assert_array_equal(tape.gradient(loss, bias), [1.0, 1.0])


class TestActivationRange:
    def test_the_first_batch_sets_the_ends_and_later_ones_move_them(self):
        grid = ActivationRange(momentum=0.75)
        grid(np.array([-1.0, 3.0], "float32"), training=True)
        assert grid.lowest.numpy() == -1 and grid.highest.numpy() == 3
        grid(np.array([-5.0, 1.0], "float32"), training=True)
        assert grid.lowest.numpy() == pytest.approx(0.75 * -1 + 0.25 * -5)
        assert grid.highest.numpy() == pytest.approx(0.75 * 3 + 0.25 * 1)

    def test_predictions_leave_the_ends_alone(self):
        grid = ActivationRange()
        grid(np.array([0.0, 1.0], "float32"), training=True)
        grid(np.array([0.0, 9.0], "float32"), training=False)
        assert grid.highest.numpy() == 1

    def test_values_are_cut_off_and_rounded_and_zero_is_exact(self):
        grid = ActivationRange(-1.0, 1.55)  # 255 steps of 0.01.
        values = np.array([-3.0, 0.0, 0.014, 0.016, 3.0], "float32")
        found = grid(values).numpy()
        np.testing.assert_allclose(found, [-1.0, 0.0, 0.01, 0.02, 1.55], atol=1e-6)
        assert found[1] == 0

    def test_the_gradient_is_one_inside_and_zero_outside(self):
        grid = ActivationRange(-1.0, 1.0)
        values = tf.constant([-2.0, -0.5, 0.3, 2.0])
        with tf.GradientTape() as tape:
            tape.watch(values)
            outputs = tf.reduce_sum(grid(values))
        np.testing.assert_array_equal(tape.gradient(outputs, values), [0, 1, 1, 0])

    def test_ends_that_are_given_are_not_learned(self):
        grid = ActivationRange(-1.0, 1.0, learned=True)
        grid(np.zeros((1, 2), "float32"), training=True)
        assert grid.trainable_weights == []

    def test_learned_ends_never_pass_zero(self):
        grid = ActivationRange(learned=True)
        grid.observing = True
        grid(np.array([-0.01, 0.01], "float32"))
        grid.observing = False
        optimizer = keras.optimizers.SGD(1.0)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(grid(np.array([-9.0, 9.0], "float32"), training=True) * [1, 3])
        gradients = tape.gradient(loss, grid.trainable_variables)
        optimizer.apply_gradients(zip(gradients, grid.trainable_variables, strict=True))
        # By -1 and by -3: what is below is pulled down, what is above as well.
        assert grid.lowest.numpy() == pytest.approx(-1.01)
        assert 0 < grid.highest.numpy() < 1e-5

    def test_before_any_data_it_predicts_nothing(self, student, digits):
        twin = kd.quantize.prepare(student)
        with pytest.raises(ValueError, match="knows no range before it has seen data"):
            twin.predict(digits.test.images, verbose=0)


class TestPrepare:
    def test_the_twin_follows_the_student_and_leaves_it_alone(self, student, digits):
        before = student.get_weights()
        twin = kd.quantize.prepare(student, calibration=digits.train)
        images = digits.test.images
        agreement = kd.metrics.agreement(twin(images), student(images))
        assert agreement >= 0.97
        for old, new in zip(before, student.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
        assert kd.quantize.weight_bits(twin) == 8 and kd.quantize.weight_bits(student) is None

    def test_batch_norm_is_folded_exactly(self, student, digits, monkeypatch):
        """With rounding out of the way, twin and student are one function."""
        monkeypatch.setattr(LAYERS, "symmetric", lambda kernel, num_bits: kernel)
        monkeypatch.setattr(ActivationRange, "call", off_any_grid)
        twin = kd.quantize.prepare(student)
        assert not any(isinstance(layer, layers.BatchNormalization) for layer in twin.layers)
        images = digits.test.images[:50].astype("float32")
        np.testing.assert_allclose(twin(images), student(images), rtol=1e-4, atol=1e-3)

    def test_every_layer_of_the_list_has_a_twin(self, student):
        assert kd.quantize.float_layers(kd.quantize.prepare(student)) == []

    def test_other_layers_stay_float_and_are_named(self, digits, tmp_path):
        model = keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                layers.Rescaling(1 / 255),
                layers.Conv2D(8, 3, activation="relu"),
                layers.Activation("mish", name="mish"),
                layers.GroupNormalization(4, name="norm"),
                layers.Flatten(),
                layers.Dense(64, activation="softsign", name="hidden"),
                layers.Dense(10),
            ]
        )
        model.compile("adam", kd.losses.CrossEntropy())
        model.fit(digits.train.batches(64, shuffle_seed=0), epochs=3, shuffle=False, verbose=0)
        twin = kd.quantize.prepare(model, calibration=digits.train)
        assert kd.quantize.float_layers(twin) == ["mish", "norm", "hidden_activation"]
        path = kd.export.litert(twin, tmp_path / "file.tflite", quantization="int8")
        logits = kd.export.run_litert(path, digits.test.images).logits
        assert kd.metrics.agreement(logits, twin(digits.test.images)) >= 0.98
        assert kd.export.embedded(path)["float_layers"] == ["mish", "norm", "hidden_activation"]

    def test_a_float_layer_may_take_the_image(self, digits, tmp_path):
        image = keras.Input((8, 8, 1))
        x = layers.UnitNormalization(axis=(1, 2), name="unit")(image)
        x = layers.Flatten()(layers.Conv2D(8, 3, activation="relu")(x))
        twin = kd.quantize.prepare(
            keras.Model(image, layers.Dense(10)(x)), calibration=digits.train
        )
        assert kd.quantize.float_layers(twin) == ["unit"]
        path = kd.export.litert(twin, tmp_path / "file.tflite", quantization="int8")
        assert LiteRTFile(path).inputs["image"]["quantization"] == (1.0, -128)

    @pytest.mark.parametrize(
        ("build", "arguments", "sentence"),
        [
            (lambda: kd.models.mlp([4]), {"weights": "int2"}, "one of 'int8', 'int4'. Rec"),
            (lambda: kd.models.mlp([4]), {"activations": "int4"}, "`activations` must be one of"),
            (lambda: keras.Sequential([layers.Dense(2)]), {}, "a built Functional or Sequential"),
            (lambda: kd.quantize.prepare(kd.models.mlp([4])), {}, "must be a float model"),
            (lambda: half(), {}, "must compute in float32. Received: conv_1 in float16"),
            (lambda: without_kernels(), {}, "layers with an integer twin. Received: .*LeakyReLU"),
            (
                lambda: keras.Sequential([keras.Input((8, 8, 1)), half()]),
                {},
                "must compute in float32. Received: conv_1 in",
            ),
            (
                lambda: without_config(),
                {},
                r"made from their `get_config\(\)`. Received: own_layer",
            ),
            (lambda: with_call_of_its_own(), {}, "a built Functional or Sequential"),
            (lambda: quantised(), {}, "must be a float model. Received: hidden, quantised to int8"),
            (lambda: with_lambda(), {}, r"made from their `get_config\(\)`. Received: own_lambda"),
        ],
    )
    def test_bad_input_is_one_sentence(self, build, arguments, sentence):
        with pytest.raises(ValueError, match=sentence):
            kd.quantize.prepare(build(), **arguments)


def half():
    image = keras.Input((8, 8, 1))
    x = layers.Conv2D(4, 3, name="conv_1", dtype="mixed_float16")(image)
    return keras.Model(image, layers.GlobalAveragePooling2D()(x))


def without_kernels():
    image = keras.Input((8, 8, 10))
    return keras.Model(image, layers.GlobalAveragePooling2D()(layers.LeakyReLU()(image)))


def without_config():
    class OwnLayer(layers.Layer):
        def __init__(self, factor):
            super().__init__(name="own_layer")
            self.factor = factor

        def call(self, inputs):
            return self.factor * inputs

        def get_config(self):
            raise NotImplementedError  # As Keras does for an argument that it cannot write.

    image = keras.Input((4,))
    return keras.Model(image, OwnLayer(ops.ones(()))(layers.Dense(3)(image)))


def with_call_of_its_own():
    class Doubled(keras.Model):
        def call(self, inputs):
            return 2 * super().call(inputs)

    image = keras.Input((4,))
    return Doubled(image, layers.Dense(3)(image))


def quantised():
    image = keras.Input((4,))
    hidden = layers.Dense(3, name="hidden")
    model = keras.Model(image, hidden(image))
    hidden.quantize("int8")
    return model


def with_lambda():
    image = keras.Input((4,))
    x = layers.Lambda(lambda x: 2 * x, name="own_lambda")(layers.Dense(3)(image))
    return keras.Model(image, x)


@pytest.fixture
def without_rounding(monkeypatch):
    """With rounding out of the way, twin and student are one function."""
    monkeypatch.setattr(LAYERS, "symmetric", lambda kernel, num_bits: kernel)
    monkeypatch.setattr(LAYERS, "symmetric_whole", lambda kernel: kernel)
    monkeypatch.setattr(ActivationRange, "call", off_any_grid)


def residual_block(name, shape=(6, 6, 8)):
    image = keras.Input(shape)
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv")(image)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="relu")(x + 1.0)
    return keras.Model(image, layers.Add(name="sum")([x, image]), name=name)


def twice_nested():
    image = keras.Input((6, 6, 8))
    x = residual_block("inner_2")(residual_block("inner_1")(image) * 0.5)
    return keras.Model(image, x, name="outer")


def called_twice(x):
    block = residual_block("block")
    return block(block(x), training=False)


def shared_layer(x):
    conv = layers.Conv2D(8, 3, padding="same", name="shared")
    norm = layers.BatchNormalization(name="shared_norm")
    return norm(conv(ops.relu(norm(conv(x)))))


def by_names(x):
    ends = {name: keras.Input((6, 6, 8), name=name) for name in "qp"}
    outputs = {"b": layers.Conv2D(4, 1)(ends["p"] - ends["q"]), "a": ends["p"]}
    return keras.Model(ends, outputs, name="by_names")({"p": 2.0 * x, "q": x})["b"]


def hard_sigmoid(x):
    return layers.ReLU(6.0)(x + 3.0) * (1.0 / 6.0)


def row(h):
    return layers.Reshape((36, 8))(h)


def heads(h):
    return layers.Reshape((36, 2, 4))(h)


def by_einsum(x, y):
    shares = ops.softmax(0.1 * ops.einsum("bqhd,bkhd->bhqk", x, y))
    return ops.einsum("bhqk,bkhd->bqhd", shares, y)


def rows(h):
    return layers.Reshape((4, 72))(h)


# What people write between two layers, and what `keras.applications` does.
GRAPHS = {
    "constants": lambda h: [
        h + 3.0, 1.0 - h, 2 * h, h / 4.0, -h, h * np.linspace(0.5, 2, 8, dtype="float32"),
        ops.maximum(h, 0.5), ops.clip(h, -0.5, 0.5), ops.abs(h),
    ],
    "activations": lambda h: [
        ops.relu(h), ops.relu6(h), ops.sigmoid(h), ops.leaky_relu(h), h * hard_sigmoid(h),
        layers.LeakyReLU()(h), layers.Activation("silu")(h),
        layers.Activation("hard_silu")(layers.Conv2D(4, 1)(h)),
        layers.Conv2D(4, 1, activation="gelu")(h), layers.Conv2D(4, 1, activation="tanh")(h),
    ],
    "pieces": lambda h: [
        h[:, 1:, ::2, :4], h[..., 0:1], ops.reshape(h, (-1, 3, 12, 8)), *ops.split(h, 2, -1),
        ops.transpose(h, (0, 2, 1, 3)), ops.squeeze(ops.expand_dims(h, 1), 1), ops.flip(h, 1),
        layers.Cropping2D(1)(h), layers.Permute((2, 1, 3))(h), layers.UpSampling2D()(h),
        ops.pad(h, ((0, 0), (1, 1), (1, 1), (0, 0))), layers.GaussianNoise(0.1)(h),
    ],
    "sums": lambda h: [
        ops.concatenate([h, 2.0 * h, layers.Conv2D(4, 1)(h)], -1), h + layers.Conv2D(8, 1)(h),
        h * layers.Conv2D(8, 1)(h), h * layers.GlobalAveragePooling2D(keepdims=True)(h),
        ops.mean(h, (1, 2)), ops.average_pool(h, 2), ops.max_pool(h, 2), ops.max(h, (1, 2)),
        ops.stack([h, h + 1.0], -1), ops.stack([h, 2 * h], 1),
        layers.Subtract()([h, layers.Conv2D(8, 1)(h)]),
        layers.Maximum()([h, 9.0 * h, layers.Conv2D(8, 1)(h)]), ops.minimum(9.0 - h, h),
        layers.Dense(6, activation="relu")(h),
        layers.Dense(6)(ops.reshape(h, (-1, 36, 8))), layers.Conv2D(16, 3, groups=8)(h),
    ],
    "sequences": lambda h: [
        layers.Conv1D(6, 3, padding="same", activation="relu")(row(h)),
        layers.BatchNormalization()(layers.Conv1D(6, 3, padding="causal")(row(h))),
        layers.Conv1D(8, 3, strides=2, activation="silu")(row(h)),
        layers.DepthwiseConv1D(3, depth_multiplier=2)(row(h)), layers.MaxPooling1D(2)(row(h)),
        layers.SeparableConv1D(8, 3)(row(h)), layers.GlobalAveragePooling1D()(row(h)),
        layers.AveragePooling1D(2)(row(h)), layers.GlobalMaxPooling1D()(row(h)),
        layers.UpSampling1D(2)(row(h)), layers.ZeroPadding1D(1)(row(h)), ops.mean(row(h), 1),
    ],
    "normalized": lambda h: [
        layers.LayerNormalization()(row(h)), layers.LayerNormalization()(h), ops.sum(h, -1),
        layers.BatchNormalization()(layers.ReLU()(h)),
        layers.RMSNormalization()(layers.Flatten()(h)),
        layers.BatchNormalization()(row(layers.ReLU()(h))), layers.Activation("elu")(h),
        layers.Activation("selu")(h), layers.Activation("hard_sigmoid")(h),
    ],
    "sizes": lambda h: [
        layers.Resizing(12, 12)(h), layers.UpSampling2D(2, interpolation="bilinear")(h),
        ops.image.resize(h, (9, 9)), layers.Resizing(3, 3, interpolation="nearest")(h),
        layers.Conv2DTranspose(6, 3, strides=2, padding="same", activation="relu")(h),
        layers.BatchNormalization()(layers.Conv2DTranspose(6, 2, strides=2)(h)),
        layers.Conv2D(8, 3, groups=2, strides=2)(h),
    ],
    "attention": lambda h: [
        layers.MultiHeadAttention(2, 4, dropout=0.1)(row(h), row(h)),
        by_einsum(heads(h), heads(2 * h)),
        layers.EinsumDense("abc,cd->abd", (36, 6), bias_axes="d")(row(h)),
        layers.EinsumDense("abc,cde->abde", (36, 2, 3), bias_axes="de")(row(h)),
    ],
    "recurrent": lambda h: [
        layers.SimpleRNN(5, go_backwards=True)(rows(h)),
        layers.LSTM(5, return_sequences=True)(rows(h)), layers.GRU(5, reset_after=False)(rows(h)),
        layers.Bidirectional(layers.GRU(5, return_sequences=True))(rows(h)),
    ],
    "models": lambda h: [
        twice_nested()(h), called_twice(h), shared_layer(h), by_names(h),
        keras.Sequential([keras.Input((6, 6, 8)), layers.Dropout(0.5), layers.ReLU()])(inputs=h),
    ],
}  # fmt: skip


def student_around(build):
    """A student with what `build` returns between a convolution and its logits."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 1))
    normalization = layers.Normalization(mean=[100.0], variance=[80.0**2])(image)
    h = layers.Conv2D(8, 3, use_bias=False)(normalization)
    ends = [layers.Flatten()(x) for x in build(layers.BatchNormalization()(h))]
    student = keras.Model(image, layers.Dense(5)(ops.concatenate(ends, -1)), name="student")
    rng = np.random.default_rng(0)
    for weight in student.weights:  # Or a BatchNormalization that is lost would not show.
        if weight.name in ("gamma", "moving_variance", "beta", "moving_mean"):
            weight.assign(weight + rng.uniform(0, 0.5, weight.shape))
    return student


class TestGraphs:
    @pytest.mark.parametrize("kind", GRAPHS)
    def test_operations_and_models_inside_are_walked_like_layers(
        self, kind, digits, without_rounding
    ):
        student = student_around(GRAPHS[kind])
        before, images = student.get_weights(), digits.test.images[:20].astype("float32")
        twin = kd.quantize.prepare(student)
        expected = student(images, training=False)
        np.testing.assert_allclose(twin(images), expected, rtol=1e-4, atol=1e-4)
        assert kd.quantize.float_layers(twin) == [] and kd.quantize.float_share(twin) == 0
        assert not any(isinstance(layer, keras.Model) for layer in twin.layers)
        for old, new in zip(before, student.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)

    @pytest.mark.parametrize("kind", GRAPHS)
    def test_the_file_computes_each_layer_in_integers_as_the_twin_does(
        self, kind, digits, tmp_path
    ):
        twin = kd.quantize.prepare(student_around(GRAPHS[kind]), calibration=digits.train)
        path = kd.export.litert(twin, tmp_path / "file.tflite", quantization="int8")
        assert not {"float32", "float16"} & dtypes_in(path)
        apart = steps_apart(twin, path, digits.test.images[:30].astype("float32"))
        # A value half-way between two steps falls to either side, and is carried through the rest.
        assert {name: each for name, each in apart.items() if each[0] > 0.8 or each[1] > 9} == {}

    def test_a_grey_image_from_minus_one_to_one_is_the_files_to_the_step(self, digits, tmp_path):
        """Its middle is no value of 255 steps; and a sum of one product shows its bias's."""
        image = keras.Input((8, 8, 1), name="image")
        x = layers.Rescaling(1 / 127.5, offset=-1.0)(layers.Concatenate()([image] * 3))
        x = layers.DepthwiseConv2D(1, bias_initializer="random_normal", name="one_product")(x)
        model = keras.Model(image, layers.Dense(10, name="logits")(layers.Flatten()(x)))
        twin = kd.quantize.prepare(model, calibration=digits.train)
        path = kd.export.litert(twin, tmp_path / "file.tflite", quantization="int8")
        apart = steps_apart(twin, path, digits.test.images.astype("float32"))
        assert max(largest for _, largest in apart.values()) == 0

    def test_a_twin_of_them_is_saved_and_loaded(self, digits, tmp_path):
        twin = kd.quantize.prepare(student_around(GRAPHS["models"]), calibration=digits.train)
        twin.save(tmp_path / "twin.keras")
        images = digits.test.images[:10].astype("float32")
        np.testing.assert_array_equal(
            keras.models.load_model(tmp_path / "twin.keras")(images), twin(images)
        )

    def test_models_inside_may_share_names(self, without_rounding):
        image = keras.Input((6, 6, 8))
        x = residual_block("two")(residual_block("one")(image))
        twin = kd.quantize.prepare(keras.Model(image, layers.GlobalAveragePooling2D()(x)))
        names = [each.name for each in twin.layers if isinstance(each, kd.quantize.IntegerConv2D)]
        assert names == ["one_conv", "two_conv"]

    def test_mobilenet_v3_small_becomes_integers_whole(self, without_rounding):
        student = keras.applications.MobileNetV3Small(
            (32, 32, 3), weights=None, classes=3, classifier_activation=None
        )
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (2, 32, 32, 3)).astype("float32")
        for weight in student.weights:
            if weight.name in ("moving_variance", "moving_mean"):
                weight.assign(weight * 0.1 + rng.uniform(0, 0.1, weight.shape))
        twin = kd.quantize.prepare(student)
        expected = student(images, training=False).numpy()
        np.testing.assert_allclose(
            twin(images, training=False), expected, atol=1e-3 * expected.std()
        )
        assert kd.quantize.float_layers(twin) == []

    def test_a_layer_with_lora_gives_the_sum_of_its_weights(self, without_rounding):
        image = keras.Input((4,))
        dense = layers.Dense(3)
        student = keras.Model(image, dense(image))
        dense.enable_lora(2)
        dense.lora_kernel_b.assign(np.ones((2, 3)))
        values = np.eye(4, dtype="float32")
        np.testing.assert_allclose(
            kd.quantize.prepare(student)(values), student(values), rtol=1e-5, atol=1e-6
        )

    @pytest.mark.parametrize(
        "join",
        [
            lambda image, x: layers.Concatenate()([image, x]),
            lambda image, x: ops.minimum(image / 2.0, x),
        ],
        ids=["concatenation", "minimum"],
    )
    def test_an_image_may_be_joined_as_it_is(self, join, digits, tmp_path):
        keras.utils.set_random_seed(0)
        image = keras.Input((8, 8, 1))
        x = join(image, layers.Conv2D(1, 3, padding="same")(image))
        student = keras.Model(image, layers.Dense(5)(layers.Flatten()(x)))
        twin = kd.quantize.prepare(student, calibration=digits.train)
        path = kd.export.litert(twin, tmp_path / "file.tflite", quantization="int8")
        images = digits.test.images[:50].astype("float32")
        file = LiteRTFile(path)
        scale, _ = file.outputs["logits"]["quantization"]
        assert np.abs(answers_of(file, {"image": images})["logits"] - twin(images)).mean() < scale

    def test_a_grid_holds_all_that_is_joined_on_it(self, digits):
        image = keras.Input((8, 8, 1))
        x = layers.Flatten()(image)
        small = layers.Dense(3, kernel_initializer="zeros")(x)
        student = keras.Model(image, layers.Dense(5)(layers.Concatenate()([x, small])))
        twin = kd.quantize.prepare(student, calibration=digits.train)
        images = digits.test.images[:20].astype("float32")
        expected = student(images).numpy()
        assert np.abs(twin(images) - expected).mean() < 0.03 * expected.std()

    def test_units_that_are_all_dead_have_a_range(self, digits):
        image = keras.Input((8, 8, 1))
        x = layers.Dense(8, activation="relu", bias_initializer="ones")(layers.Flatten()(image))
        student = keras.Model(image, layers.Dense(3)(x * 0.0))
        twin = kd.quantize.prepare(student, calibration=digits.train)
        np.testing.assert_allclose(twin(digits.test.images[:5]), 0, atol=1e-5)

    def test_the_share_of_float_arithmetic_is_told(self):
        image = keras.Input((8, 8, 1))
        x = layers.Conv2D(4, 3, name="conv")(image)  # 36 places x 9 x 4.
        x = layers.Conv2D(4, 3, groups=2, name="grouped")(x)  # 16 places x 9 x 2 x 4.
        x = layers.Reshape((16, 4))(x)
        x = ops.einsum("abc,adc->adc", x, x)  # 16 x 16 x 4; b is of one tensor alone.
        x, _ = layers.GRU(3, return_state=True, name="gru")(x)  # 16 places x (4 + 3) x 9.
        twin = kd.quantize.prepare(keras.Model(image, layers.Dense(5, name="logits")(x)))  # 3 x 5.
        # Keras numbers the operations of a process.
        names = [name.split("_")[0] for name in kd.quantize.float_layers(twin)]
        assert names == ["einsum", "gru"]
        floats, integers = 1024 + 16 * 7 * 9, 36 * 36 + 16 * 72 + 15
        share = kd.quantize.float_share(twin)
        assert share == pytest.approx(floats / (floats + integers))

    def test_a_variance_that_is_rounded_to_zero_has_a_finite_gradient(self):
        student = keras.Sequential(
            [keras.Input((2, 4)), layers.Dense(4), layers.LayerNormalization(), layers.Dense(2)]
        )
        images = np.ones((8, 2, 4), "float32") * np.linspace(0, 255, 4, dtype="float32")
        images[:, 0] = 0  # One place of no variance, beside one of much.
        twin = kd.quantize.prepare(student, calibration=images)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(twin(images, training=True))
        gradients = tape.gradient(loss, twin.trainable_weights)
        assert all(np.isfinite(each).all() for each in gradients if each is not None)

    def test_masks_pass_through_the_grids(self, without_rounding):
        words = keras.Input((6,), dtype="int32")
        x = layers.Embedding(20, 8, mask_zero=True)(words)
        x = layers.GRU(5)(layers.Dense(8, activation="relu")(x))
        student = keras.Model(words, layers.Dense(3)(x))
        texts = np.array([[3, 4, 0, 0, 0, 0], [5, 0, 0, 0, 0, 0]])
        twin = kd.quantize.prepare(student)
        np.testing.assert_allclose(twin(texts), student(texts), rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module", params=["int8", "int4"])
def twin(request, student, digits):
    """Distilled from its float teacher for a few epochs."""
    keras.utils.set_random_seed(0)
    twin = kd.quantize.prepare(student, weights=request.param, calibration=digits.train)
    distiller = kd.Distiller(student=twin, teacher=student, alpha=1.0)
    distiller.compile(keras.optimizers.Adam(3e-4))
    distiller.fit(digits.train.batches(64, shuffle_seed=0), epochs=4, shuffle=False, verbose=0)
    return twin


def written(twin, path):
    return kd.export.litert(twin, path, quantization=twin.name.split("_")[-1])


@pytest.fixture(scope="module")
def file(twin, tmp_path_factory):
    return written(twin, tmp_path_factory.mktemp("files") / "file.tflite")


class TestTheFile:
    def test_it_computes_what_the_twin_predicts(self, twin, file, digits):
        images = np.concatenate([digits.test.images, digits.validation.images])
        logits = kd.export.run_litert(file, images).logits
        expected = twin.predict(images, verbose=0)
        assert kd.metrics.agreement(logits, expected) >= 0.99
        # Both lie on the grid of the logits; where they differ it is by a step or two of it.
        scale, _ = LiteRTFile(file).outputs["logits"]["quantization"]
        assert np.mean(np.abs(logits - expected) < 2.5 * scale) > 0.99

    def test_it_holds_integers_with_a_scale_for_each_filter(self, file):
        tensors = LiteRTFile(file).interpreter.get_tensor_details()
        assert not any(tensor["dtype"] is np.float32 for tensor in tensors)
        counts = {len(tensor["quantization_parameters"]["scales"]) for tensor in tensors}
        assert {8, 12, 32, 10} <= counts

    def test_int4_takes_half_of_int8(self, digits, tmp_path):
        student = kd.models.mlp([256], image_shape=(8, 8, 1))
        sizes = {}
        for weights in ("int8", "int4"):
            twin = kd.quantize.prepare(student, weights=weights, calibration=digits.train)
            path = kd.export.litert(twin, tmp_path / weights, quantization=weights)
            sizes[weights] = path.stat().st_size
        assert sizes["int8"] - sizes["int4"] == pytest.approx((64 + 10) * 256 / 2, abs=64)

    @pytest.mark.parametrize("quantization", [None, "float16", "16x8"])
    def test_a_twin_is_written_as_what_it_is(self, quantization, twin, tmp_path):
        with pytest.raises(ValueError, match="must be written with `quantization` 'int"):
            kd.export.litert(twin, tmp_path / "file.tflite", quantization=quantization)

    def test_it_is_saved_and_loaded_as_any_model(self, twin, file, digits, tmp_path):
        twin.save(tmp_path / "twin.keras")
        loaded = keras.models.load_model(tmp_path / "twin.keras")
        images = digits.test.images
        np.testing.assert_array_equal(
            loaded.predict(images, verbose=0), twin.predict(images, verbose=0)
        )
        assert written(loaded, tmp_path / "other").read_bytes() == file.read_bytes()


def test_distilling_the_twin_recovers_what_int4_costs(digits, digits_teacher):
    """The distance to the float teacher, on validation images, before and after two epochs."""
    twin = kd.quantize.prepare(digits_teacher, weights="int4", calibration=digits.train)
    distiller = kd.Distiller(student=twin, teacher=digits_teacher, alpha=1.0)
    distiller.compile(keras.optimizers.Adam(1e-3))
    images = tf.data.Dataset.from_tensor_slices(digits.validation.images).batch(143)
    before = distiller.evaluate(images, verbose=0, return_dict=True)["distillation_loss"]
    distiller.fit(digits.train.batches(64, shuffle_seed=0), epochs=2, shuffle=False, verbose=0)
    after = distiller.evaluate(images, verbose=0, return_dict=True)["distillation_loss"]
    assert after < 0.5 * before
