"""A teacher and images of one's own, through `distill`, `check` and the command line."""

import dataclasses
import importlib
import json

import keras
import numpy as np
import pytest
from PIL import Image

import keras_kd as kd
from keras_kd import cli
from keras_kd.checking.temperature import temperature_of
from keras_kd.data import Split
from keras_kd.teachers.fitting import TeacherInput

pytestmark = pytest.mark.usefixtures("no_pictures")

FAST = {"student": "mlp:8", "epochs": 2, "control": False, "checked": False, "verbose": False}
FIXED = {"temperature": 2.0, "alpha": 0.9}


def write_folder(folder, split, class_names):
    for label, name in enumerate(class_names):
        (folder / name).mkdir(parents=True)
        for number in np.flatnonzero(split.labels == label):
            Image.fromarray(split.images[number, ..., 0]).save(folder / name / f"{number}.png")


@pytest.fixture(scope="session")
def digit_folder(digits, tmp_path_factory):
    """The digits as image files: a folder for each class of each split."""
    folder = tmp_path_factory.mktemp("digits")
    for split in ("train", "validation", "test"):
        write_folder(folder / split, getattr(digits, split), digits.class_names)
    return folder


@pytest.fixture(scope="session")
def digit_data(digit_folder):
    return kd.data.read(digit_folder)


def trained(model, data, epochs=12, scale=1.0):
    keras.utils.set_random_seed(0)
    logits = model.output_shape[-1] > 1 and kd.teachers.head_of(model) == "logits"
    model.compile(
        keras.optimizers.Adam(3e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=bool(logits)),
    )
    images = data.train.images * np.float32(scale)
    model.fit(images, data.train.labels, batch_size=64, epochs=epochs, verbose=0)
    return model


@pytest.fixture(scope="session")
def softmax_teacher(digit_data):
    layers = keras.layers
    model = keras.Sequential([
        keras.Input((8, 8, 1)),
        layers.Rescaling(1 / 255),
        layers.Flatten(),
        layers.Dense(64, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ])  # fmt: skip
    return trained(model, digit_data)


def test_the_folder_holds_the_digits(digits, digit_data):
    assert digit_data.image_shape == digits.image_shape
    assert len(digit_data.train) == len(digits.train)
    assert digit_data.train.images.sum() == digits.train.images.sum()


def test_a_distillation_is_compared_with_its_control(digit_data, softmax_teacher, tmp_path):
    result = kd.distill(
        softmax_teacher,
        digit_data,
        student="mlp:32",
        output=tmp_path / "new",
        epochs=12,
        **FIXED,
        formats=["float32"],
        verbose=False,
    )
    report = json.loads((tmp_path / "new" / "results.json").read_text())
    models = report["models"]
    assert set(models) == {"teacher", "student", "student_alone"}
    assert models["teacher"]["test"]["accuracy"] > 0.9
    assert models["student"]["test"]["agreement_with_teacher"] > 0.8
    gain = models["student"]["test"]["accuracy"] - models["student_alone"]["test"]["accuracy"]
    assert report["gain"]["accuracy"] == pytest.approx(gain)
    names = {path.name for path in (tmp_path / "new").iterdir()}
    assert {"student.keras", "seed_0", "student_float32.tflite"} <= names
    assert (tmp_path / "new" / "seed_0" / "student_alone.keras").is_file()
    # The kept model is the one that was judged.
    kept = keras.models.load_model(tmp_path / "new" / "student.keras")
    test = digit_data.test
    logits = kept.predict(test.images, verbose=0)
    assert kd.metrics.accuracy(test.labels, logits) == models["student"]["test"]["accuracy"]
    np.testing.assert_allclose(logits, result.student.predict(test.images, verbose=0), atol=1e-5)
    assert report["export"]["files"][0]["accuracy"] == pytest.approx(
        models["student"]["test"]["accuracy"], abs=0.01
    )


def test_the_same_seed_gives_the_same_student_and_the_control_is_plain_training(
    digit_data, softmax_teacher
):
    options = FAST | FIXED | {"epochs": 3}
    one = kd.distill(softmax_teacher, digit_data, **(options | {"control": True}))
    other = kd.distill(softmax_teacher, digit_data, **options)
    for a, b in zip(one.student.get_weights(), other.student.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    keras.utils.set_random_seed(0)
    plain = kd.models.mlp([8], image_shape=(8, 8, 1))
    plain.compile("adam", kd.losses.CrossEntropy(), metrics=["accuracy"])
    history = plain.fit(
        digit_data.train.batches(64, shuffle_seed=0), epochs=3, shuffle=False, verbose=0
    ).history
    curve = one["curves"]["student_alone"]["loss"]
    np.testing.assert_allclose(curve, history["loss"], rtol=1e-4)


def test_images_that_stay_encoded_give_the_same_student(digit_folder, softmax_teacher):
    logits = []
    for limit in (1e9, 1):
        data = kd.data.read(digit_folder, memory_limit=limit)
        result = kd.distill(softmax_teacher, data, **FAST, **FIXED)
        assert "gain" not in result.report
        logits.append(np.asarray(result.student(np.asarray(data.test.images))))
    # Soft labels on disk are of float16.
    np.testing.assert_allclose(*logits, atol=0.05)


@pytest.mark.slow
def test_the_command_distils_a_file_on_a_folder(
    digit_folder, softmax_teacher, tmp_path, capfd, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    softmax_teacher.save("teacher.keras")
    command = [
        "distill", "--teacher", "teacher.keras", "--data", str(digit_folder), "--student",
        "mlp:16", "--output", "out", "--epochs", "1", "--formats", "int8", "--temperature", "auto",
    ]  # fmt: skip
    # No file fits into a kilobyte, which the exit code tells.
    assert cli.main([*command, "--max-kb", "1"]) == 1
    printed = capfd.readouterr()
    for words in ("Nothing found.", "Chosen: T = ", "student distilled", "student alone",
                  "test examples, read once", "another may turn it", "MISSED: max_kb is 1",
                  "NO FILE is within its budgets", "Written to out"):  # fmt: skip
        assert words in printed.out
    assert printed.err == ""
    assert (tmp_path / "out" / "student_int8.missed_budget.tflite").is_file()


def test_temperature_and_alpha_are_chosen_by_a_probe_that_the_report_tells(
    digit_data, softmax_teacher
):
    result = kd.distill(
        softmax_teacher, digit_data, student="mlp:8", epochs=1, control=False, verbose=False
    )
    chosen, settings = result.report["chosen"], result.report["settings"]
    assert len(chosen["tried"]) == 4
    best = max(chosen["tried"], key=lambda each: each["accuracy"])
    assert {name: settings[name] for name in ("temperature", "alpha")} in [
        {name: each[name] for name in ("temperature", "alpha")}
        for each in chosen["tried"]
        if each["accuracy"] == best["accuracy"]
    ]
    temperatures = {each["temperature"] for each in chosen["tried"]}
    assert chosen["temperature_of_logits"] in temperatures and len(temperatures) == 2


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"temperature": 0}, "`temperature` must be a number from 0.01 to 10000, or 'auto'"),
        ({"temperature": "hot"}, "`temperature` must be a number from 0.01 to 10000, or 'auto'"),
        ({"alpha": 2.5}, "`alpha` must be a number from 0 to 2, or 'auto'"),
        ({"patience": 0}, "must be an integer of at least 1"),
        ({"learning_rate": 0}, "`learning_rate` must be a number from 1e-12 to 1000. "),
        ({"epochs": 0}, "`epochs` must be an integer of at least 1"),
        ({"scale": "0-1"}, "The teacher's scale must be one of"),
        ({"student": "tree"}, "A student must be one of"),
        ({"soft_labels": "nowhere"}, "Soft labels stand for the teacher"),
        ({"unlabelled": np.zeros((3, 9, 9, 1), "uint8")}, "must have the shape of the others"),
    ],
)
def test_arguments_of_a_distillation_are_checked(
    digit_data, softmax_teacher, tmp_path, change, sentence
):
    options = {"student": "mlp:4", "output": tmp_path / "new", "verbose": False, "epochs": 1}
    with pytest.raises(ValueError) as caught:
        kd.distill(softmax_teacher, digit_data, **(options | change))
    assert sentence in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_unlabelled_images_are_learned_from_the_teacher_alone(digits, softmax_teacher, tmp_path):
    few = dataclasses.replace(
        digits, train=Split(digits.train.images[:100], digits.train.labels[:100])
    )
    for number, image in enumerate(digits.train.images[100:]):
        (tmp_path / "any").mkdir(exist_ok=True)
        Image.fromarray(image[..., 0]).save(tmp_path / "any" / f"{number}.png")
    images = kd.data.unlabelled(tmp_path, few)
    assert images.shape == (len(digits.train) - 100, 8, 8, 1)
    options = {**FAST, **FIXED, "epochs": 8}
    without = kd.distill(softmax_teacher, few, **options)
    with_them = kd.distill(softmax_teacher, few, unlabelled=images, **options)
    assert "training images" in with_them["settings"].keys() - without["settings"].keys()
    accuracy = [
        each.report["models"]["student"]["test"]["accuracy"] for each in (without, with_them)
    ]
    assert accuracy[1] > accuracy[0] + 0.1


def test_several_teachers_are_one_ensemble(digit_data, softmax_teacher):
    other = trained(kd.models.mlp([16], image_shape=(8, 8, 1)), digit_data, epochs=4)
    result = kd.distill([softmax_teacher, other], digit_data, **(FAST | FIXED | {"checked": True}))
    assert isinstance(result.teacher, kd.Ensemble)
    size = softmax_teacher.count_params() + other.count_params()
    assert result.report["models"]["teacher"]["parameters"] == size


def test_teachers_of_two_orders_of_classes_are_refused(tmp_path, digit_folder, capsys):
    command = ["check", "--data", str(digit_folder)]
    for number, names in enumerate((["0", "1"], ["1", "0"])):
        folder = tmp_path / str(number)
        folder.mkdir()
        kd.models.mlp([2], image_shape=(8, 8, 1)).save(folder / "teacher.keras")
        (folder / "class_names.json").write_text(json.dumps(names))
        command += ["--teacher", str(folder / "teacher.keras")]
    assert cli.main(command) == 1
    assert "Several teachers must know their classes in one order" in capsys.readouterr().err


def test_soft_labels_stand_for_a_teacher_that_is_gone(digit_data, softmax_teacher, tmp_path):
    kd.SoftLabels.create(
        tmp_path / "labels", softmax_teacher, digit_data.train, dtype="float32", verbose=False
    )
    from_labels = kd.distill(None, digit_data, soft_labels=tmp_path / "labels", **FAST, **FIXED)
    live = kd.distill(softmax_teacher, digit_data, **FAST, **FIXED)
    assert set(from_labels.report["models"]) == {"student"}
    images = digit_data.test.images
    np.testing.assert_allclose(from_labels.student(images), live.student(images), atol=1e-3)
    found = kd.distill(None, digit_data, soft_labels=tmp_path / "labels", **FAST)
    said = softmax_teacher.predict(digit_data.train.images, verbose=0)
    chosen, settings = found["chosen"], found["settings"]
    assert settings["temperature"] == chosen["temperature"] == chosen["temperature_of_logits"]
    assert chosen["temperature"] == pytest.approx(temperature_of(np.log(said + 1e-30)), abs=0.2)
    assert settings["alpha"] == chosen["alpha"] == 0.9


SUBCLASSED = """
import keras


@keras.saving.register_keras_serializable("test_own_data")
class Subclassed(keras.Model):
    def __init__(self, units=32, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.body = [
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(units, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]

    def call(self, images, training=None):
        for layer in self.body:
            images = layer(images)
        return images

    def get_config(self):
        return {**super().get_config(), "units": self.units}
"""


def nested(shape):
    layers = keras.layers
    backbone = keras.Sequential(
        [keras.Input((*shape[:2], 3)), layers.Rescaling(1 / 255), layers.Flatten(),
         layers.Dense(32, activation="relu")], name="backbone",
    )  # fmt: skip
    image = keras.Input((*shape[:2], 3))  # Colours, where the images are grey.
    return keras.Model(image, layers.Dense(10)(backbone(image)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["nested", "subclassed"])
def test_teachers_of_other_kinds_are_distilled_by_the_same_command(
    kind, digit_data, digit_folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("keras_kd._common.model_files._imported", [])
    (tmp_path / "my_classes.py").write_text(SUBCLASSED)
    if kind == "subclassed":
        model = importlib.import_module("my_classes").Subclassed()
        model(digit_data.train.images[:1])
        softmax = True
    else:
        model, softmax = nested(digit_data.image_shape), False
    images = digit_data.train.images
    images = images if softmax else np.repeat(images, 3, -1)
    model.compile(
        keras.optimizers.Adam(3e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=not softmax),
    )
    model.fit(images, digit_data.train.labels, batch_size=64, epochs=10, verbose=0)
    model.save("teacher.keras")
    command = [
        "distill", "--teacher", "teacher.keras", "--data", str(digit_folder), "--student", "mlp:8",
        "--output", "out", "--epochs", "1", "--formats", "float32", "--temperature", "2",
        "--alpha", "0.9", "--no-control",
    ]  # fmt: skip
    assert (
        cli.main([*command, *(["--import", "my_classes", "--head", "softmax"] if softmax else [])])
        == 0
    )
    report = json.loads((tmp_path / "out" / "results.json").read_text())
    assert report["models"]["teacher"]["test"]["accuracy"] > 0.85
    printed = capsys.readouterr().out
    assert "There was no control" in printed
    assert "To ship: student_float32.tflite" in printed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "last", "scale"),
    [
        ("MobileNetV3Small", "expanded_conv_4_add", "0..255"),
        ("ResNet50", "conv2_block2_out", "caffe"),
    ],
)
def test_teachers_of_keras_applications_are_distilled_by_the_same_command(
    name, last, scale, digits, tmp_path, monkeypatch
):
    """Their first blocks, of each scale one; what follows repeats them, and is traced for seconds.

    How good they get is no question here: `benchmarks/robust.md` trains them whole, and longer.
    """
    monkeypatch.chdir(tmp_path)
    some = Split(digits.train.images[:160], digits.train.labels[:160])
    write_folder(tmp_path / "data", some, digits.class_names)
    # Larger, and in colours.
    whole = getattr(keras.applications, name)(weights=None, classes=10, input_shape=(32, 32, 3))
    features = keras.layers.GlobalAveragePooling2D()(whole.get_layer(last).output)
    model = keras.Model(whole.input, keras.layers.Dense(10, activation="softmax")(features))
    # Eagerly: one step takes less than tracing one.
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    images = TeacherInput((32, 32), 3, scale)(some.images[:32])
    before = model.get_weights()[0]
    model.fit(images, some.labels[:32], verbose=0)
    assert (model.get_weights()[0] != before).any()
    model.save("teacher.keras")
    command = [
        "distill", "--teacher", "teacher.keras", "--data", "data", "--student", "mlp:8",
        "--output", "out", "--epochs", "1", "--formats", "float32", "--temperature", "2",
        "--alpha", "0.9", "--no-control", "--no-check", "--scale", scale,
    ]  # fmt: skip
    assert cli.main(command) == 0
    report = json.loads((tmp_path / "out" / "results.json").read_text())
    assert report["settings"]["head"] == "softmax"
    loaded = keras.models.load_model("teacher.keras")
    data = kd.data.read("data")
    said = loaded(TeacherInput((32, 32), 3, scale)(data.test.images), training=False)
    accuracy = kd.metrics.accuracy(data.test.labels, np.asarray(said))
    assert report["models"]["teacher"]["test"]["accuracy"] == accuracy
