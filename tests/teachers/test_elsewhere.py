"""A teacher may be whatever answers: the student comes out the same, whichever door it came by."""

import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from keras_kd.soft_labels import logits_of_all
from keras_kd.teachers import runtimes

CLASSES, SIDE = 4, 6
DOORS = (
    *("keras.Model", ".keras", ".h5", "SavedModel", "SavedModel of version 1", ".onnx", ".tflite"),
    *("function", "NCHW .onnx", "soft labels"),
)


def whole_numbers(shape, seed, most=3):
    return np.random.default_rng(seed).integers(-most, most + 1, shape).astype("float32")


@pytest.fixture(scope="module")
def model():
    """A model whose every sum is exact in float32, in whatever order it is taken."""
    inputs = keras.Input((SIDE, SIDE, 3), name="image")
    x = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    outputs = keras.layers.Dense(CLASSES)(keras.layers.Flatten()(x))
    model = keras.Model(inputs, outputs, name="exact")
    for seed, weight in enumerate(model.weights):
        weight.assign(whole_numbers(weight.shape, seed))
    return model


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    return (
        generator.integers(0, 9, (48, SIDE, SIDE, 3)).astype("float32"),
        generator.integers(0, CLASSES, 48),
    )


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("teachers")
    model.save(folder / "teacher.keras")
    model.save(folder / "teacher.h5")
    model.export(folder / "saved", verbose=False)
    kd.export.onnx(model, folder / "teacher.onnx")
    kd.export.litert(model, folder / "teacher.tflite")
    colours_first(folder / "teacher.onnx", folder / "nchw.onnx")
    return folder


def colours_first(path, written):
    """Write the ONNX file as other frameworks do, with the colours of images before their rows."""
    import onnx

    file = onnx.load(path)
    (image,) = file.graph.input
    turn = onnx.helper.make_node("Transpose", ["first"], [image.name], perm=[0, 2, 3, 1])
    first = onnx.helper.make_tensor_value_info(
        "first", onnx.TensorProto.FLOAT, ["n", 3, SIDE, SIDE]
    )
    file.graph.node.insert(0, turn)
    del file.graph.input[:]
    file.graph.input.append(first)
    onnx.save(file, written)


def through(door, model, folder, data, monkeypatch):
    """Return a teacher that came by a door; arguments of a `Distiller`."""
    files = {
        ".keras": "teacher.keras",
        ".h5": "teacher.h5",
        "SavedModel": "saved",
        "SavedModel of version 1": "saved",
        ".onnx": "teacher.onnx",
        "NCHW .onnx": "nchw.onnx",
        ".tflite": "teacher.tflite",
    }
    if door == "SavedModel of version 1":

        def fails(path):
            raise AttributeError("add_slot")

        monkeypatch.setattr(tf.saved_model, "load", fails)
    if door in files:
        return {"teacher": kd.load_teacher(folder / files[door], head="logits")}
    if door == "function":

        def ask(images):
            return model.predict_on_batch(images)

        return {"teacher": kd.Teacher(ask, name="exact", head="logits", examples=data[0][:2])}
    if door == "soft labels":
        labels = folder / "labels"
        shutil.rmtree(labels, ignore_errors=True)
        logits = model.predict(data[0], verbose=0)
        kd.SoftLabels.from_logits(labels, logits, data, verbose=False)
        return {"soft_labels": labels}
    return {"teacher": model}


def weights_taught_by(teaching, data):
    keras.utils.set_random_seed(1)
    student = kd.models.mlp([5], image_shape=(SIDE, SIDE, 3), num_classes=CLASSES)
    distiller = kd.Distiller(student=student, alpha=0.9, **teaching)
    distiller.compile(optimizer="sgd")
    distiller.fit(*data, batch_size=16, epochs=2, shuffle=False, verbose=0)
    return student.get_weights()


@pytest.fixture(scope="module")
def wanted(model, data):
    return weights_taught_by({"teacher": model}, data)


@pytest.mark.parametrize("door", DOORS)
def test_the_student_is_the_same_to_the_bit(door, model, folder, data, wanted, monkeypatch):
    teaching = through(door, model, folder, data, monkeypatch)
    for weights, same in zip(weights_taught_by(teaching, data), wanted, strict=True):
        np.testing.assert_array_equal(weights, same)


@pytest.mark.parametrize("door", DOORS[1:-1])
def test_it_says_what_the_model_says_live_and_at_once(door, model, folder, data, monkeypatch):
    teacher = through(door, model, folder, data, monkeypatch)["teacher"]
    said = model.predict(data[0], verbose=0)
    np.testing.assert_array_equal(teacher(data[0][:7]), said[:7])
    np.testing.assert_array_equal(logits_of_all(teacher, data[0], verbose=False), said)
    assert teacher.num_classes == CLASSES and teacher.input_shape == (None, SIDE, SIDE, 3)


def test_files_are_known_by_what_they_hold(folder, tmp_path):
    copied = shutil.copy(folder / "teacher.onnx", tmp_path / "other_name.onnx")
    same = kd.load_teacher(folder / "teacher.onnx").fingerprint
    assert kd.load_teacher(copied).fingerprint == same
    others = {
        kd.load_teacher(folder / name, head="logits").fingerprint
        for name in ("teacher.tflite", "saved")
    }
    assert len({same, *others}) == 3


def test_soft_labels_of_another_file_are_refused(folder, data, tmp_path):
    kd.SoftLabels.create(tmp_path / "labels", folder / "teacher.onnx", data, verbose=False)
    with pytest.raises(ValueError, match="another teacher|teacher_fingerprint|other"):
        kd.SoftLabels.create(tmp_path / "labels", folder / "teacher.tflite", data, verbose=False)


@pytest.fixture(scope="module")
def table(digits):
    images = np.asarray(digits.train.images, "float32").reshape(len(digits.train), -1)
    return images, np.asarray(digits.train.labels)


@pytest.fixture(scope="module")
def forest(table):
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(20, random_state=0).fit(*table)


class TestEstimators:
    def test_its_probabilities_are_read_as_logits(self, forest, table):
        teacher = kd.Teacher(forest)
        assert teacher.head == "softmax" and teacher.input_shape == (None, 64)
        said = keras.ops.softmax(teacher(table[0][:9]))
        np.testing.assert_allclose(said, forest.predict_proba(table[0][:9]), atol=1e-6)

    def test_it_teaches_as_any(self, forest, table):
        student = kd.models.mlp([8], image_shape=(64,), num_classes=10)
        distiller = kd.Distiller(student=student, teacher=forest, alpha=1.0)
        distiller.compile("adam", metrics=["accuracy"])
        history = distiller.fit(*table, epochs=10, verbose=0).history
        assert history["accuracy"][-1] > 0.5  # Of ten classes; at alpha = 1 no label is learned.

    def test_it_teaches_images_by_rows_of_their_pixels(self, forest, digits):
        found = kd.check(forest, digits, verbose=False)
        assert "teacher" in found.figures and found.figures["teacher"]["accuracy"]["train"] > 0.95

    def test_its_fingerprint_is_that_of_what_it_was_fitted_to(self, table):
        from sklearn.tree import DecisionTreeClassifier

        def fitted(depth):
            return DecisionTreeClassifier(max_depth=depth, random_state=0).fit(*table)

        one, same, other = (kd.Teacher(fitted(each)).fingerprint for each in (6, 6, 5))
        assert one == same != other

    def test_one_that_was_fitted_on_named_columns_warns_nobody(self, forest, table):
        forest.feature_names_in_ = np.array([f"pixel {number}" for number in range(64)], object)
        try:
            kd.Teacher(forest)
        finally:
            del forest.feature_names_in_


def test_a_dict_goes_to_a_function_by_name():
    def ask(inputs):
        return {"kind": inputs["a"] @ np.ones((3, 2)), "size": inputs["b"]}

    batch = {"a": np.ones((4, 3), "float32"), "b": np.ones((4, 1), "float32")}
    teacher = kd.Teacher(ask, name="two", examples=batch, head={"kind": "logits", "size": "values"})
    said = teacher({**batch, "c": np.zeros((4, 1))})
    assert said["kind"].shape == (4, 2) and said["size"].shape == (4, 1)


def test_a_file_of_one_image_at_a_time_answers_any_number(model, data, tmp_path):
    path = kd.export.litert(
        model,
        tmp_path / "int8.tflite",
        quantization="int8",
        calibration=data[0],
        input_range=(0, 8),
    )
    teacher = kd.load_teacher(path)
    assert teacher(data[0][:5]).shape == (5, CLASSES)
    run = kd.export.run_litert(path, data[0][:5])
    np.testing.assert_allclose(teacher(data[0][:5]), run.logits, atol=1e-6)


def test_a_function_is_asked_about_what_preprocess_returns():
    asked = []

    def ask(rows):
        asked.append(rows.shape[1:])
        return rows[:, :3]

    examples = np.random.default_rng(0).normal(size=(5, 2, 4)).astype("float32")
    how = {"preprocess": keras.layers.Flatten(), "examples": examples, "head": "logits"}
    teacher = kd.Teacher(ask, name="rows", **how)
    assert teacher(examples).shape == (5, 3) and set(asked) == {(8,)}


class TestFaults:
    def refused(self, sentence, given, **options):
        def ask():
            teacher = kd.Teacher(given, **options)
            logits_of_all(teacher, np.ones((8, 3), "float32"), verbose=False)

        with pytest.raises((ValueError, FileNotFoundError), match=sentence) as caught:
            ask()
        assert len(str(caught.value)) < 500 and "Traceback" not in str(caught.value)

    @pytest.mark.parametrize("name", ["teacher.onnx", "teacher.tflite", "saved/saved_model.pb"])
    @pytest.mark.parametrize("share", [0.0, 0.5, 0.8])
    def test_a_truncated_file(self, folder, tmp_path, name, share):
        shutil.copytree(folder / "saved", tmp_path / "saved")
        content = (folder / name).read_bytes()
        path = tmp_path / name
        path.write_bytes(content[: int(share * len(content))])
        given = path.parent if name.startswith("saved") else path
        self.refused("must be a whole", given)

    def test_no_such_file(self, tmp_path):
        self.refused("no file", tmp_path / "teacher.onnx")

    def test_a_file_of_another_kind(self, tmp_path):
        (tmp_path / "teacher.pkl").write_bytes(b"x")
        self.refused(".onnx or .tflite file, or a SavedModel", tmp_path / "teacher.pkl")

    def test_an_unknown_opset(self, folder, tmp_path):
        import onnx

        file = onnx.load(folder / "teacher.onnx")
        file.opset_import[0].version = 999
        onnx.save(file, tmp_path / "teacher.onnx")
        self.refused("older version", tmp_path / "teacher.onnx")

    def test_a_signature_that_is_not_there(self, folder):
        with pytest.raises(ValueError, match="It has: serv"):
            kd.load_teacher(folder / "saved", signature="predict")

    def test_a_signature_of_what_has_none(self, folder):
        with pytest.raises(ValueError, match="is for a SavedModel"):
            kd.load_teacher(folder / "teacher.onnx", signature="predict")

    def test_a_saved_model_that_runs_python(self, tmp_path):
        class Module(tf.Module):
            @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.float32)])
            def __call__(self, x):
                return tf.py_function(lambda x: x, [x], tf.float32)

        module = Module()
        tf.saved_model.save(module, str(tmp_path / "saved"), signatures=module.__call__)
        self.refused("EagerPyFunc", tmp_path / "saved")

    def test_an_estimator_that_is_not_fitted(self):
        from sklearn.ensemble import RandomForestClassifier

        self.refused("must be fitted", RandomForestClassifier())

    def test_a_function_without_a_name(self):
        self.refused("needs a name", lambda x: x, examples=np.ones((2, 3)))

    def test_a_function_without_examples(self):
        self.refused("does not say what it takes", lambda x: x, name="f")

    def test_a_function_that_fails(self):
        self.refused("connection", lambda x: _raise(), name="f", examples=np.ones((2, 3)))

    def test_a_function_that_answers_too_few(self):
        def ask(x):
            return x if len(x) <= 7 else x[:-1]

        self.refused(
            "must answer 8 examples",
            ask,
            name="f",
            head="logits",
            examples=np.ones((7, 3), "float32"),
        )

    def test_a_function_that_answers_nan(self):
        def ask(x):
            return x if len(x) <= 7 else x * np.nan

        self.refused(
            "must be finite", ask, name="f", head="logits", examples=np.ones((7, 3), "float32")
        )

    def test_probabilities_that_are_called_logits_are_not_taken_for_softmax(self):
        def ask(x):
            return np.full((len(x), 4), 0.25, "float32")

        with pytest.warns(UserWarning, match="probabilities"):
            assert kd.Teacher(ask, name="f", examples=np.ones((7, 3), "float32")).head == "softmax"

    def test_logits_that_are_called_softmax(self, folder):
        self.refused("ends in logits", folder / "teacher.onnx", head="softmax")

    def test_another_layout(self, folder, data):
        teacher = kd.load_teacher(folder / "nchw.onnx", head="logits")
        student = kd.models.mlp([5], image_shape=(3, SIDE, SIDE), num_classes=CLASSES)
        with pytest.raises(ValueError, match="preprocess"):
            kd.Distiller(student=student, teacher=teacher)

    def test_what_is_nothing_of_all_this(self):
        self.refused("an estimator with `predict_proba`, or a function", 3)


def _raise():
    raise OSError("no connection to the server")


def test_a_generator_cannot_learn_from_what_has_no_gradient(folder):
    shape = {"image_shape": (8, 8, 1), "num_classes": CLASSES}
    student = kd.models.conv_net([4], **shape)

    def ask(images):
        return images[:, :CLASSES, 0, 0]

    examples = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype("float32")
    teacher = kd.Teacher(ask, name="f", head="logits", examples=examples)
    with pytest.raises(ValueError, match="gradient"):
        kd.adversarial.DataFreeDistiller(student=student, teacher=teacher)


def test_one_call_distils_from_a_file_and_from_an_estimator(
    forest, digits, digits_teacher, tmp_path
):
    path = kd.export.onnx(digits_teacher, tmp_path / "teacher.onnx")
    how = {"student": "mlp:4", "epochs": 1, "temperature": 2.0, "alpha": 0.9, "verbose": False}
    for name, teacher in (("file", path), ("forest", forest)):
        results = kd.distill(teacher, digits, output=tmp_path / name, formats=["float32"], **how)
        assert set(results["models"]) == {"teacher", "student_alone", "student"}
        assert (tmp_path / name / "results.json").is_file()


class TestXLA:
    @pytest.fixture
    def distiller(self, folder):
        student = kd.models.mlp([5], image_shape=(SIDE, SIDE, 3), num_classes=CLASSES)
        return kd.Distiller(student=student, teacher=kd.load_teacher(folder / "teacher.onnx"))

    def test_it_is_refused_for_what_runs_elsewhere(self, distiller):
        with pytest.raises(ValueError, match="jit_compile=True and the teacher teacher"):
            distiller.compile("sgd", jit_compile=True)

    def test_the_way_out_leads_out(self, folder, data, tmp_path):
        student = kd.models.mlp([5], image_shape=(SIDE, SIDE, 3), num_classes=CLASSES)
        teacher = kd.load_teacher(folder / "teacher.onnx")
        distiller = kd.Distiller(student=student, teacher=teacher, soft_labels=tmp_path / "labels")
        distiller.compile("sgd", jit_compile=True)
        distiller.fit(*data, batch_size=16, verbose=0)

    def test_it_is_not_chosen_where_keras_would(self, distiller, data, monkeypatch):
        # As where there is a GPU.
        monkeypatch.setattr("keras_kd.distillers.trainer.xla_by_default", lambda: True)
        distiller.compile("sgd")
        distiller.fit(tf.data.Dataset.from_tensor_slices(data).batch(16), epochs=1, verbose=0)
        assert not distiller.jit_compile


@pytest.mark.parametrize("batch_size", [None, 10])
def test_a_runtime_is_asked_about_few_at_a_time(batch_size):
    """A thousand at once took 24 GB in ONNX Runtime, of a model of 3 MB, and ended the process."""
    asked = []

    def run(inputs):
        asked.append(len(inputs[0]))
        return [inputs[0] + inputs[1]]

    answer = runtimes._in_batches(run, batch_size)
    ones, twos = np.arange(150.0), 2 * np.ones(150)
    np.testing.assert_array_equal(answer([ones, twos])[0], ones + twos)
    assert asked == [batch_size] * 15 if batch_size else max(asked) <= 64
    assert answer([ones[:3], twos[:3]])[0].tolist() == [2, 3, 4]
