"""Channels that go: which belong together, that they stay gone, and the student that is left."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_kd as kd
from keras_kd.pruning import scores
from keras_kd.pruning.channels import channels_of, graph_to_prune

IMAGES = np.random.default_rng(0).integers(0, 256, (64, 12, 12, 3)).astype("float32")
LABELS = np.arange(64) % 4


def image():
    return keras.Input((12, 12, 3), name="image")


def normed(x, filters, name, **options):
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=name, **options)(x)
    return layers.BatchNormalization(name=f"{name}_norm")(x)


def plain():
    x = layers.Rescaling(1 / 255)(inputs := image())
    x = layers.ReLU()(normed(x, 8, "one"))
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(12, 3, activation="sigmoid", name="two")(x)
    x = layers.Dropout(0.1)(layers.Flatten()(x))
    x = layers.Dense(16, activation="relu", name="hidden")(x)
    return keras.Model(inputs, layers.Dense(4, name="logits")(x))


def residual():
    x = stem = layers.ReLU()(normed(inputs := image(), 8, "stem"))
    x = layers.ReLU()(normed(x, 6, "inner"))
    x = normed(x, 8, "outer")
    x = layers.ReLU()(layers.Add()([x, stem]))
    x = ops.relu(normed(x, 8, "again") + x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(4, name="logits")(x))


def phone():
    """Depthwise, squeeze-and-excite in two forms, hard-swish, a skip over a projection."""
    x = layers.Activation("hard_silu")(normed(inputs := image(), 8, "stem", strides=2))
    skip = normed(x, 6, "project")
    x = layers.Activation("hard_silu")(normed(skip, 16, "expand"))
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="depthwise")(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    squeezed = layers.GlobalAveragePooling2D(keepdims=True)(x)
    squeezed = layers.Conv2D(4, 1, activation="relu", name="squeeze")(squeezed)
    x = layers.Multiply()([x, layers.Conv2D(32, 1, activation="hard_sigmoid")(squeezed)])
    x = layers.Add()([normed(x, 6, "back"), skip])
    means = layers.Dense(6, activation="sigmoid")(layers.GlobalAveragePooling2D()(x))
    x = x * layers.Reshape((1, 1, 6))(means)
    x = layers.SeparableConv2D(10, 3, depth_multiplier=2, activation="relu", name="separable")(x)
    return keras.Model(inputs, layers.Dense(4)(ops.mean(x, axis=(1, 2))))


def branches():
    """A concatenation, a model inside, a shared layer, and a spatial attention of one channel."""
    inner_input = keras.Input((12, 12, 8))
    inner = layers.Conv2D(8, 3, padding="same", activation="relu", name="inside")(inner_input)
    inner = keras.Model(inner_input, inner, name="inner")
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(inputs := image())
    shared = layers.Conv2D(8, 1, name="shared")
    x = layers.Concatenate()([inner(x), shared(shared(x))])
    x = x * layers.Conv2D(1, 1, activation="sigmoid", name="where")(x)
    x = layers.BatchNormalization()(x)
    x = layers.Conv2DTranspose(6, 2, strides=2, activation="relu", name="up")(x)
    return keras.Model(inputs, layers.Dense(4)(layers.GlobalMaxPooling2D()(x)))


def attention():
    """Channels that a layer takes as a whole stay; those of a block's inner layer may go."""
    x = layers.Conv2D(8, 4, strides=4, name="patches")(inputs := image())
    x = layers.Reshape((9, 8))(x)
    y = layers.LayerNormalization()(x)
    x = x + layers.MultiHeadAttention(2, 4)(y, y)
    y = layers.Dense(16, activation="gelu", name="wide")(layers.LayerNormalization()(x))
    x = x + layers.Dense(8, name="narrow")(y)
    return keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling1D()(x)))


FAMILIES = [plain, residual, phone, branches, attention]


def pruned(make, share=0.5, **options):
    """Return a student that was pruned while it was trained for a few steps."""
    keras.utils.set_random_seed(0)
    model = make()
    model.compile(keras.optimizers.Adam(1e-3), kd.losses.CrossEntropy())
    pruning = kd.pruning.Pruning(share, epochs=2, **options)
    history = model.fit(IMAGES, LABELS, 64, epochs=3, callbacks=[pruning], verbose=0).history
    return model, history


@pytest.mark.parametrize("make", FAMILIES, ids=lambda make: make.__name__)
def test_the_smaller_student_answers_as_the_one_with_zeros(make, tmp_path):
    share = 0.8 if make is attention else 0.5
    model, history = pruned(make, share)
    small = kd.pruning.shrink(model)
    expected = model.predict(IMAGES, verbose=0)
    assert np.ptp(expected, axis=0).min() > 0
    np.testing.assert_allclose(small.predict(IMAGES, verbose=0), expected, rtol=1e-4, atol=1e-4)
    left = kd.pruning.multiply_adds(small) / kd.pruning.multiply_adds(model)
    assert history["multiply_adds"][0] == 1 and 0.5 * share < left <= share
    assert history["multiply_adds"][-1] == pytest.approx(left, abs=0.01)
    assert small.count_params() < 0.9 * model.count_params()
    small.save(tmp_path / "small.keras")
    loaded = keras.models.load_model(tmp_path / "small.keras")
    np.testing.assert_array_equal(loaded(IMAGES), small(IMAGES))


def groups(make):
    found = channels_of(graph_to_prune(make())).groups
    return {names: len(numbers) for names, numbers in found.items()}


def test_what_a_sum_joins_goes_together():
    assert groups(residual) == {"stem, outer, again": 8, "inner": 6}


def test_what_others_take_as_a_whole_stays():
    assert groups(attention) == {"wide": 16}
    assert "where" not in groups(branches)


def test_a_mean_over_channels_and_a_layer_called_in_two_ways_keep_theirs():
    x = layers.Conv2D(12, 3, activation="relu", name="one")(inputs := image())
    y = layers.Conv2D(12, 3, padding="same", activation="relu", name="two")(x)
    x, other = (layers.Conv2D(10, 1, name=name)(y) for name in ("three", "four"))
    shared = layers.Dense(5, name="shared")
    # Over the channels; and of one layer's beside another's, place by place.
    means = ops.mean(x, axis=3)
    joined = shared(layers.Concatenate(axis=1)([x, other]))
    x = layers.Concatenate()([layers.Flatten()(each) for each in (means, joined, shared(x))])
    model = keras.Model(inputs, layers.Dense(4)(x))
    found = channels_of(graph_to_prune(model)).groups
    assert list(found) == ["one", "two"]


def test_a_product_joins_the_channels_with_their_weights():
    found = groups(phone)
    assert found["stem"] == 8 and found["squeeze"] == 4 and found["separable"] == 10
    # A depthwise convolution makes two of each, that are multiplied by two of another layer's.
    assert {count for names, count in found.items() if names.startswith("expand, ")} == {16}


def test_zeros_stay_while_the_optimizer_moves_on_and_constraints_come_back():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([
        keras.Input((6,)),
        layers.Dense(8, "relu", kernel_constraint="non_neg", name="hidden"),
        layers.Dense(3),
    ])  # fmt: skip
    model.compile(keras.optimizers.Adam(0.1), kd.losses.CrossEntropy())
    x, y = np.random.default_rng(0).normal(size=(320, 6)).astype("float32"), np.arange(320) % 3
    own = [variable.constraint for variable in model.trainable_variables]
    model.fit(x, y, epochs=3, verbose=0)  # Momentum, and a step that is traced without masks.
    pruning = kd.pruning.Pruning(0.5, epochs=1)
    model.fit(x, y, epochs=4, callbacks=[pruning], verbose=0)
    kernel, bias, reading, _ = map(keras.ops.convert_to_numpy, model.weights)
    gone = ~kernel.any(0)
    assert gone.sum() == 4 and not bias[gone].any() and not reading[gone].any()
    assert (kernel >= 0).all() and reading[~gone].all()
    assert [variable.constraint for variable in model.trainable_variables] == own
    assert kd.pruning.shrink(model).get_layer("hidden").units == 4


def test_a_training_that_was_interrupted_goes_on_from_its_zeros():
    model, _ = pruned(plain)
    before = channels_of(graph_to_prune(model)).dead()
    model.compile(keras.optimizers.Adam(1e-2), kd.losses.CrossEntropy())
    pruning = kd.pruning.Pruning(0.5, epochs=2)
    model.fit(IMAGES, LABELS, initial_epoch=3, epochs=4, callbacks=[pruning], verbose=0)
    assert before and channels_of(graph_to_prune(model)).dead() == before


def test_a_training_that_broke_off_leaves_no_mask_behind_the_next():
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

    model = keras.Sequential([keras.Input((6,)), layers.Dense(8), layers.Dense(3)])
    model.compile("adam", kd.losses.CrossEntropy())
    x, y = np.ones((32, 6), "float32"), np.arange(32) % 3
    callbacks = [kd.pruning.Pruning(0.5, epochs=1), Stop()]
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, epochs=2, callbacks=callbacks, verbose=0)
    model.fit(x, y, epochs=2, callbacks=[kd.pruning.Pruning(0.5, epochs=1)], verbose=0)
    assert [variable.constraint for variable in model.trainable_variables] == [None] * 4


def test_in_a_distiller_the_student_is_pruned_and_stacks_take_part(digits, digits_teacher):
    sizes = {}
    for steps in (None, 1):
        keras.utils.set_random_seed(0)
        student = kd.models.mlp([32], image_shape=(8, 8, 1))
        distiller = kd.Distiller(student=student, teacher=digits_teacher)
        distiller.compile("adam", metrics=["accuracy"], steps_per_execution=steps)
        pruning = kd.pruning.Pruning(0.5, epochs=2)
        batches = digits.train.batches(64, shuffle_seed=0)
        distiller.fit(batches, epochs=4, callbacks=[pruning], verbose=0)
        small = kd.pruning.shrink(distiller.student)
        sizes[steps] = small.get_layer("hidden_1").units
        assert distiller.evaluate(digits.test.batches(100), verbose=0, return_dict=True)[
            "accuracy"
        ] == pytest.approx(
            kd.metrics.accuracy(digits.test.labels, small.predict(digits.test.images, verbose=0)),
            abs=1e-6,
        )
    assert sizes == {None: 16, 1: 16}


def test_the_file_is_smaller_and_not_only_sparse(digits, tmp_path):
    model, _ = pruned(plain)
    small = kd.pruning.shrink(model)
    sizes = []
    for each in (model, small):
        path = kd.export.litert(each, tmp_path / f"{len(sizes)}.tflite")
        sizes.append(path.stat().st_size - 4 * each.count_params())
        logits = kd.export.run_litert(path, IMAGES).logits
        expected = each.predict(IMAGES, verbose=0)
        np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-3)
    assert sizes[0] == pytest.approx(sizes[1], abs=500)


def test_l1_is_that_of_the_filters_beside_their_mean():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(3), layers.Dense(1)])
    model.layers[0].kernel.assign([[1, -2, 0], [3, 1, 0.5]])
    channels = channels_of(graph_to_prune(model))
    (numbers,) = channels.groups.values()
    found = [scores.l1(channels)[number] for number in numbers.tolist()]
    np.testing.assert_allclose(found, np.asarray([4, 3, 0.5]) / 2.5)


def test_taylor_is_the_square_of_gradient_times_weight():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5,)), layers.Dense(3, "relu"), layers.Dense(4)])
    x, y = np.random.default_rng(0).normal(size=(20, 5)).astype("float32"), np.arange(20) % 4
    hidden, last = ([w.numpy().astype("float64") for w in each.weights] for each in model.layers)
    before = x @ hidden[0] + hidden[1]
    logits = np.maximum(before, 0) @ last[0] + last[1]
    upstream = (kd.metrics.softmax(logits) - np.eye(4)[y]) / 20
    gradient = x.T @ ((upstream @ last[0].T) * (before > 0))
    expected = ((gradient * hidden[0]) ** 2).sum(0)
    channels = channels_of(graph_to_prune(model))
    (numbers,) = channels.groups.values()
    score = scores.taylor(channels, model, [(x, y)])
    found = [score[number] for number in numbers.tolist()]
    np.testing.assert_allclose(found, expected / expected.mean(), rtol=1e-4)


def test_taylor_prunes_by_the_data_that_it_is_given():
    model, _ = pruned(plain, criterion="taylor", data=[(IMAGES, LABELS)])
    small = kd.pruning.shrink(model)
    assert kd.pruning.multiply_adds(small) <= 0.5 * kd.pruning.multiply_adds(model)


def test_a_student_without_zeros_keeps_its_channels():
    model = residual()
    small = kd.pruning.shrink(model)
    assert [each.shape for each in small.weights] == [each.shape for each in model.weights]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"multiply_adds": 1.0, "epochs": 1}, "`multiply_adds` must be above 0 and below 1"),
        ({"multiply_adds": "half", "epochs": 1}, "`multiply_adds` must be above 0 and below 1"),
        ({"epochs": 0}, "`epochs` must be an integer of at least 1"),
        ({"epochs": 1, "criterion": "l2"}, "`criterion` must be one of 'l1', 'taylor'"),
        ({"epochs": 1, "criterion": "taylor"}, "`data` is what `criterion='taylor'`"),
        ({"epochs": 1, "data": []}, "`data` is what `criterion='taylor'`"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        kd.pruning.Pruning(**options)


def test_what_cannot_be_pruned_is_refused_in_a_sentence():
    def fit(model, share=0.5, epochs=2):
        model.compile("adam", "mse")
        x, y = np.zeros((4, *model.input_shape[1:])), np.zeros((4, *model.output_shape[1:]))
        pruning = kd.pruning.Pruning(share, epochs=1)
        model.fit(x, y, epochs=epochs, callbacks=[pruning], verbose=0)

    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    one = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    with pytest.raises(ValueError, match="must have a convolution or a dense layer whose"):
        fit(one)
    two = keras.Sequential([keras.Input((3,)), layers.Dense(4), layers.Dense(2)])
    with pytest.raises(ValueError, match=r"`multiply_adds` must be at least 0\.2500"):
        fit(two, share=0.2)
    with pytest.raises(ValueError, match=r"fit\(epochs=1\) and Pruning\(epochs=1\)"):
        fit(two, epochs=1)
    twin = kd.quantize.prepare(keras.Sequential([keras.Input((3,)), layers.Dense(2)]))
    with pytest.raises(ValueError, match="before a student is prepared .* Received: .*, a twin"):
        fit(twin)
    with pytest.raises(ValueError, match="must be a built Functional or Sequential"):
        kd.pruning.shrink(Own())
    with pytest.raises(ValueError, match="must be a built Functional or Sequential"):
        kd.pruning.multiply_adds(keras.Sequential([layers.Dense(2)]))
    shape = {"image_shape": (3, 3, 1), "num_classes": 2}
    mutual = kd.MutualDistiller([kd.models.mlp([units], **shape) for units in (4, 5)]).compile()
    with pytest.raises(ValueError, match="prunes one student. Received: a model that trains 2"):
        mutual.fit(
            np.zeros((4, 3, 3, 1)), np.arange(4) % 2, epochs=2, verbose=0,
            callbacks=[kd.pruning.Pruning(0.5, epochs=1)],
        )  # fmt: skip
