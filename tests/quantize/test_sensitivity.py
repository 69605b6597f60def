"""What the integers of one layer do, and what is chosen by it within a budget."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.quantize.budget import least_error


@pytest.fixture(scope="module")
def student(digits):
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 1), name="image")
    x = layers.Rescaling(1 / 255, name="scale")(image)
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Activation("gelu", name="gelu")(x)
    x = layers.SeparableConv2D(16, 3, padding="same", activation="relu", name="separable")(x)
    x = layers.Flatten(name="flatten")(layers.MaxPooling2D(name="pool")(x))
    x = layers.Dense(64, activation="relu", name="hidden")(x)
    model = keras.Model(image, layers.Dense(10, name="logits")(x), name="student")
    model.compile(keras.optimizers.Adam(3e-3), kd.losses.CrossEntropy())
    model.fit(digits.train.batches(64, shuffle_seed=0), epochs=6, shuffle=False, verbose=0)
    return model


@pytest.fixture(scope="module")
def found(student, digits):
    return kd.quantize.sensitivity(student, digits.validation)


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_words_are_rounded_to_no_grid(dtype):
    """Keras's default for an input of words is float32."""
    words = keras.Input((8,), dtype=dtype)
    x = layers.GlobalAveragePooling1D()(layers.Embedding(3000, 16, name="table")(words))
    model = keras.Model(words, layers.Dense(3)(x))
    texts = np.random.default_rng(0).integers(0, 3000, (200, 8))
    table, _ = kd.quantize.sensitivity(model, texts).layers
    assert table.error.keys() == {"int8"} and table.error["int8"] < 0.02


def rounded(kernel, num_bits):
    highest = 2 ** (num_bits - 1) - 1
    scale = np.abs(kernel).max(tuple(range(kernel.ndim - 1))) / highest
    return scale * np.round(kernel / scale)


@pytest.mark.parametrize(("width", "num_bits"), [("int8", 8), ("int4", 4)])
def test_it_is_the_error_with_one_layer_in_integers(width, num_bits, student, found, digits):
    """In NumPy, from the inputs of the last layer but one."""
    images = digits.validation.images
    inner = keras.Model(student.input, student.get_layer("flatten").output)
    x = inner.predict(images, verbose=0).astype("float64")
    (kernel, bias), (last, last_bias) = (
        student.get_layer(name).get_weights() for name in ("hidden", "logits")
    )
    plain = np.maximum(x @ kernel + bias, 0) @ last + last_bias
    step = x.max() / 255
    others = np.round(x / step) * step @ rounded(kernel, num_bits) + bias
    others = np.maximum(others, 0) @ last + last_bias
    expected = np.sqrt(np.mean((others - plain) ** 2) / np.var(plain))
    layer = next(each for each in found.layers if each.name == "hidden")
    assert layer.error[width] == pytest.approx(expected, rel=0.02)
    labels = digits.validation.labels
    lost = 100 * (kd.metrics.accuracy(labels, plain) - kd.metrics.accuracy(labels, others))
    assert layer.points_lost[width] == pytest.approx(lost, abs=0.71)  # One image.
    assert layer.num_weights == 256 * 64


def test_it_is_what_a_twin_with_all_others_in_float_does(student, found, digits):
    images = digits.validation.images
    plain = student.predict(images, verbose=0)
    names = [each.name for each in found.layers]
    assert names == ["conv", "separable", "hidden", "logits"]
    for layer in found.layers[:2]:
        others = [name for name in names if name != layer.name]
        twin = kd.quantize.prepare(
            student, weights={layer.name: "int4"}, keep_float=others, calibration=images
        )
        error = np.sqrt(np.mean((twin.predict(images, verbose=0) - plain) ** 2) / np.var(plain))
        # The twin has the grids of pooling, activations and logits besides.
        assert layer.error["int4"] == pytest.approx(error, rel=0.25)


def test_it_is_shown_as_a_table_and_drawn(found, tmp_path):
    lines = repr(found).splitlines()
    assert lines[0] == "student: the integers of one layer at a time, on 143 examples"
    assert lines[1].split() == (
        ["weights", "int8", "error", "int4", "error", "int8", "lost", "int4", "lost"]
    )
    assert [line.split()[0] for line in lines[3:7]] == ["conv", "separable", "hidden", "logits"]
    assert f"{100 * found.accuracy:.2f} %" in lines[-1]
    assert found._repr_html_().count("<tr>") == 5
    found.draw(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_without_labels_it_tells_errors_alone(student, found, digits):
    images = digits.validation.images
    other = kd.quantize.sensitivity(student, images)
    assert other.accuracy is None and other.layers[0].points_lost is None
    assert [each.error for each in other.layers] == [each.error for each in found.layers]
    assert "lost" not in repr(other)
    pair = kd.quantize.sensitivity(student, (images, digits.validation.labels))
    assert pair.layers == found.layers


def test_the_student_is_not_changed(student, digits):
    before = [weight.copy() for weight in student.get_weights()]
    kd.quantize.sensitivity(student, digits.validation.take(slice(20)))
    for old, new in zip(before, student.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_what_it_cannot_take_is_refused(student, digits):
    with pytest.raises(ValueError, match="Labels must be one for each example"):
        kd.quantize.sensitivity(student, (digits.test.images, digits.test.labels[:3]))
    with pytest.raises(ValueError, match="`data` must be a Split, .*Received: None"):
        kd.quantize.sensitivity(student, None)
    with pytest.raises(ValueError, match="on the scale of `input_range`"):
        kd.quantize.sensitivity(student, digits.test.images / 255.0)
    with pytest.raises(ValueError, match="must hold images"):
        kd.quantize.sensitivity(student, digits.test.images[:0])


def test_the_choice_is_the_best_of_all():
    rng = np.random.default_rng(0)
    for _ in range(20):
        items = {
            str(number): (float(saved), float(cost))
            for number, (saved, cost) in enumerate(
                zip(rng.integers(1, 500, 8), rng.uniform(0, 1, 8), strict=True)
            )
        }
        total = sum(saved for saved, _ in items.values())
        to_save = rng.uniform(0.2, 0.9) * total
        best = min(
            sum(items[name][1] for name in names)
            for count in range(9)
            for names in itertools.combinations(items, count)
            if sum(items[name][0] for name in names) >= to_save
        )
        names = least_error(items, to_save)
        assert sum(items[name][0] for name in names) >= to_save
        assert sum(items[name][1] for name in names) == pytest.approx(best, rel=0.02)


@pytest.mark.parametrize("kilobytes", [30.0, 19.0])
def test_the_file_is_within_the_budget(kilobytes, student, digits, tmp_path):
    twin = kd.quantize.prepare(student, budget_kb=kilobytes, calibration=digits.train)
    bits = kd.quantize.weight_bits(twin)
    path = kd.export.litert(twin, tmp_path / "file.tflite", quantization=f"int{bits}")
    assert path.stat().st_size <= 1000 * kilobytes
    assert bits == (8 if kilobytes == 30 else 4)
    if bits == 4:  # No more than is needed.
        widths = {
            each.name: each.weight_bits for each in twin.layers if hasattr(each, "weight_bits")
        }
        assert widths == {
            "conv": 8, "separable_depthwise": 8, "separable": 8, "hidden": 4, "logits": 8
        }  # fmt: skip


def test_a_layer_whose_weights_are_never_int4_is_not_chosen(tmp_path):
    keras.utils.set_random_seed(0)
    numbers = keras.Input((12,), dtype="int32", name="bytes")
    x = layers.Embedding(256, 8, name="table")(numbers)
    x = layers.Conv1D(32, 3, activation="relu", name="conv")(x)
    x = layers.Dense(64, activation="relu", name="hidden")(layers.Flatten()(x))
    model = keras.Model(numbers, layers.Dense(4, name="logits")(x), name="reader")
    texts = np.random.default_rng(0).integers(0, 256, (60, 12)).astype("int32")
    found = kd.quantize.sensitivity(model, texts)
    assert [sorted(each.error) for each in found.layers] == [["int8"], *[["int4", "int8"]] * 3]
    assert repr(found).splitlines()[3].split()[:3] == [
        "table", "2,048", f"{100 * found.layers[0].error['int8']:.2f}"
    ]  # fmt: skip
    whole = kd.quantize.prepare(model, calibration=texts)
    path = kd.export.litert(whole, tmp_path / "int8.tflite", quantization="int8")
    size = path.stat().st_size
    twin = kd.quantize.prepare(model, budget_kb=(size - 5000) / 1000, calibration=texts)
    path = kd.export.litert(twin, tmp_path / "mixed.tflite", quantization="int4")
    assert path.stat().st_size <= size - 5000
    assert twin.get_layer("table").weight_bits == 8


def test_a_budget_that_cannot_be_met_is_told_with_the_least_that_can(student, digits, tmp_path):
    with pytest.raises(ValueError, match=r"at least 1\d\.\d for student, with int4 in every") as it:
        kd.quantize.prepare(student, budget_kb=5, calibration=digits.train)
    least = float(str(it.value).split("at least ")[1].split()[0])
    twin = kd.quantize.prepare(student, budget_kb=least + 0.1, calibration=digits.train)
    path = kd.export.litert(twin, tmp_path / "file.tflite", quantization="int4")
    assert path.stat().st_size <= 1000 * (least + 0.1)
    with pytest.raises(ValueError, match="`budget_kb` chooses `weights` itself"):
        kd.quantize.prepare(student, budget_kb=20)
    with pytest.raises(ValueError, match="`budget_kb` chooses `weights` itself"):
        kd.quantize.prepare(student, budget_kb=20, weights="int4", calibration=digits.train)
    with pytest.raises(ValueError, match="`budget_kb` must be"):
        kd.quantize.prepare(student, budget_kb=-1, calibration=digits.train)
