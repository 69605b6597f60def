"""Every command, on a known recipe and on a teacher and images of the user's own: one table."""

import json
import socketserver
import threading
import urllib.request

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from PIL import Image

import keras_kd as kd
from keras_kd import cli
from keras_kd.serve import server

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_pictures")]

CLASSES, PER_CLASS = 3, 60
# What is trained: a known recipe, or the user's own teacher and folder of images.
SOURCES = {
    "a recipe": ["digits"],
    "one's own": ["--teacher", "teacher.keras", "--data", "photos", "--student", "mlp:4"],
}
# What a command would otherwise find out; `run` does, and others have settings of their own.
TOLD = ["--temperature", "2", "--alpha", "0.5", "--no-check"]
# What each command is told beside, what it leaves, and what it says.
KINDS = {
    "run": (["--epochs", "1"], {"student.keras", "student.tflite", "picture.png"}, "distilled"),
    "compare": (
        ["--epochs", "1", "--seeds", "2"],
        {"seed_0", "seed_1"},
        "NO VERDICT, fewer than three seeds",
    ),
    "sweep": (
        ["--epochs", "1", "--temperature", "1", "4", "--alpha", "0.5"],
        {"students.json", "heat_map.png"},
        "Best on validation",
    ),
    "search": (
        ["--epochs", "1", "--trials", "2"],
        {"study.journal", "search.png", "trial_000.keras"},
        "Best on validation",
    ),
    "distill": (
        ["--epochs", "1", "--seeds", "2", "--formats", "float32"],
        {"seed_0", "seed_1", "student.keras", "student_float32.tflite", "export.json"},
        "To ship: student_float32.tflite",
    ),
}
EVERYWHERE = {"config.json", "results.json"}


@pytest.fixture(scope="module", autouse=True)
def place(digits, tmp_path_factory):
    """A folder with a folder of images and a teacher of them; what is run lies in it."""
    place = tmp_path_factory.mktemp("place")
    for label in range(CLASSES):
        (place / "photos" / f"class {label}").mkdir(parents=True)
        images = digits.train.images[digits.train.labels == label][:PER_CLASS]
        for number, image in enumerate(images):
            Image.fromarray(image[..., 0]).save(
                place / "photos" / f"class {label}" / f"{number}.png"
            )
    data = kd.data.read(place / "photos")
    keras.utils.set_random_seed(0)
    teacher = kd.models.mlp([16], image_shape=data.image_shape, num_classes=CLASSES)
    teacher.compile(keras.optimizers.Adam(0.01), kd.losses.CrossEntropy())
    teacher.fit(data.train.batches(32, shuffle_seed=0), epochs=8, shuffle=False, verbose=0)
    teacher.save(place / "teacher.keras")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        yield place


def told(capsys, *command):
    """Return the exit code of a command and what it said, in one line."""
    capsys.readouterr()
    code = cli.main([*map(str, command)])
    said = capsys.readouterr()
    assert said.err == ""
    return code, " ".join(said.out.split())


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def done():
    """What was carried out, so that a test of what comes after need not train anew."""
    return {}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_command_trains_and_what_it_left_is_shown_listed_and_a_page(
    kind, source, place, capsys, monkeypatch, done
):
    options, files, sentence = KINDS[kind]
    if source == "one's own" and kind in ("compare", "distill"):
        options, files = [*options, "--seeds", "1", *TOLD], files - {"seed_1"}
    output = place / f"{kind} {source}"
    code, said = told(capsys, kind, *SOURCES[source], *options, "--output", output)
    assert code == 0 and sentence in said, said
    assert ("label smoothing" in said) == (kind == "compare")
    names = {path.name for path in output.iterdir()}
    assert names >= files | EVERYWHERE, names
    assert not any(name.startswith(".") or "checkpoint" in name for name in names), names
    results = json.loads((output / "results.json").read_text())
    assert results["kind"] == kind and {"student"} <= results["models"].keys()
    done[kind, source] = output

    there = content(output)
    # From wherever: the paths of one's own files are kept.
    monkeypatch.chdir(output)
    code, again = told(capsys, "resume", output)
    assert code == 0 and again.startswith(f"{output} is finished:")
    # The table and every sentence below it.
    assert said.endswith(again.removeprefix(f"{output} is finished:").strip())
    assert content(output) == there
    (run,) = kd.experiment.list_runs(output)
    assert (run["kind"], run["state"], run["damage"]) == (kind, "finished", "")
    code, listed = told(capsys, "list", output)
    shown = f"{kind} digits" if source == "a recipe" else kind
    assert code == 0 and "finished" in listed and shown in listed
    code, written = told(capsys, "report", output)
    assert code == 0 and "report.html" in written
    page = (output / "report.html").read_text()
    assert page.count("<h1") == 1 and "</html>" in page


@pytest.mark.parametrize("source", SOURCES)
def test_the_same_command_shows_what_is_there_and_another_is_refused(source, capsys, done):
    output = done["run", source]
    there = content(output)
    options = KINDS["run"][0]
    code, said = told(capsys, "run", *SOURCES[source], *options, "--output", output)
    assert code == 0 and f"{output} is finished:" in said and content(output) == there
    assert cli.main(["run", *SOURCES[source], "--epochs", "2", "--output", str(output)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("keras-kd: error: ") and error.count("\n") == 1 and "epochs" in error
    assert cli.main(["sweep", *SOURCES[source], *options, "--output", str(output)]) == 2
    assert "Choose another folder." in capsys.readouterr().err
    assert content(output) == there


@pytest.mark.parametrize("source", SOURCES)
def test_check_says_what_would_go_wrong(source, place, capsys):
    code, said = told(capsys, "check", *SOURCES[source])
    assert code == 0 and said
    if source == "one's own":
        # A teacher of other classes.
        keras.utils.set_random_seed(0)
        kd.models.mlp([4], image_shape=(8, 8, 1), num_classes=5).save(place / "other.keras")
        command = ["--teacher", "other.keras", *SOURCES[source][2:]]
        code = cli.main(["check", *command])
        assert code == 1 and "5" in capsys.readouterr().out


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", ["run", "distill"])
def test_serve_answers_with_the_student_and_its_teacher(kind, source, monkeypatch, capsys, done):
    answers = []

    def serve_once(self):
        url = f"http://127.0.0.1:{self.server_port}/"

        def ask():
            with urllib.request.urlopen(url) as answer:
                answers.append(answer.read().decode())

        asking = threading.Thread(target=ask)
        asking.start()
        while asking.is_alive():
            self.timeout = 0.1
            self.handle_request()
        raise KeyboardInterrupt

    # The browser's runtime is no part of the checkout.
    monkeypatch.setattr(server, "vendored_files", dict)
    monkeypatch.setattr(socketserver.BaseServer, "serve_forever", serve_once)
    code, said = told(capsys, "serve", done[kind, source], "--no-browser")
    assert code == 0 and "is shown at http://127.0.0.1:" in said and "closed" in said
    (page,) = answers
    assert "<html" in page


@pytest.mark.parametrize("source", SOURCES)
def test_export_writes_the_student_of_a_run(source, place, capsys, done):
    output = place / f"files {source}"
    student = done["run", source] / "student.keras"
    data = ["--data", "digits"] if source == "a recipe" else []
    command = ["export", student, "--to", output, "--formats", "float32", *data]
    code, said = told(capsys, *command)
    assert code == 0 and "Written to" in said
    assert (output / "student_float32.tflite").is_file() and (output / "export.json").is_file()


def test_interrupted_it_goes_on_by_its_folder_alone_to_the_same_end(
    place, capsys, monkeypatch, done
):
    output = place / "interrupted"
    begin = keras.callbacks.CallbackList.on_epoch_begin

    def begin_or_interrupt(self, epoch, logs=None):
        if (output / "student.keras").exists():
            raise KeyboardInterrupt
        begin(self, epoch, logs)

    command = ["run", *SOURCES["one's own"], *KINDS["run"][0], "--output", str(output)]
    with monkeypatch.context() as patch:
        patch.setattr(keras.callbacks.CallbackList, "on_epoch_begin", begin_or_interrupt)
        assert cli.main(command) == 130
    assert "keras-kd resume DIR" in capsys.readouterr().err
    (run,) = kd.experiment.list_runs(output)
    assert run["state"] == "unfinished"
    monkeypatch.chdir(output)
    code, _ = told(capsys, "resume", output)
    assert code == 0
    expected, went_on = (
        json.loads((folder / "results.json").read_text())["models"]
        for folder in (done["run", "one's own"], output)
    )
    for name, model in expected.items():
        assert went_on[name]["test"] == model["test"]


# What a teacher may be asked about in Python: `(inputs, labels)`, features of three classes.
RANDOM = np.random.default_rng(0)
LABELS = np.arange(120) % CLASSES
FEATURES = (RANDOM.normal(size=(120, 5)) + LABELS[:, None]).astype("float32")
PARTS = {"low": FEATURES[:, :2], "high": FEATURES[:, 2:]}
TRAIN, TEST = slice(90), slice(90, None)


def parts(inputs, chosen):
    return keras.tree.map_structure(lambda each: each[chosen], inputs), LABELS[chosen]


def arrays():
    return kd.data.from_arrays(parts(FEATURES, TRAIN), parts(FEATURES, TEST), name="arrays")


def dicts():
    return kd.data.from_arrays(parts(PARTS, TRAIN), parts(PARTS, TEST), name="dicts")


def dataset():
    train, test = (
        tf.data.Dataset.from_tensor_slices(parts(FEATURES, chosen)).batch(16)
        for chosen in (TRAIN, TEST)
    )
    return kd.data.from_dataset(train, test, name="dataset")


def net(units, input_shape, num_classes=CLASSES):
    if isinstance(input_shape, dict):
        inputs = {name: keras.Input(shape, name=name) for name, shape in input_shape.items()}
        x = layers.Concatenate()(list(inputs.values()))
    else:
        x = inputs = keras.Input(input_shape)
    logits = layers.Dense(num_classes)(layers.Dense(units, activation="relu")(x))
    return keras.Model(inputs, logits)


@pytest.mark.parametrize("make", [arrays, dicts, dataset])
def test_in_python_data_may_be_what_a_model_takes(make, tmp_path, capsys):
    data = make()
    keras.utils.set_random_seed(0)
    shape = data.input_shape
    teacher = net(8, shape)

    def student(input_shape, num_classes):
        return net(3, input_shape, num_classes)

    options = {
        "student": student, "temperature": 2.0, "alpha": 0.5, "epochs": 1, "seeds": 1,
        "checked": False, "formats": ["float32"], "output": tmp_path / "out", "verbose": False,
    }  # fmt: skip
    result = kd.distill(teacher, data, **options)
    assert result.report == json.loads((tmp_path / "out" / "results.json").read_text())
    assert result.student.count_params() < teacher.count_params()
    assert "<table" in result._repr_html_()
    (run,) = kd.experiment.list_runs(tmp_path)
    assert run["state"] == "finished" and run["kind"] == "distill" and run["recipe"] == data.name
    assert kd.experiment.write_report(tmp_path / "out").is_file()
    code, said = told(capsys, "resume", tmp_path / "out")
    assert code == 0 and "is finished" in said
    # Unfinished, it would need the objects that only the program has.
    (tmp_path / "out" / "results.json").unlink()
    assert cli.main(["resume", str(tmp_path / "out")]) == 1
    assert "Call the same function again" in capsys.readouterr().err
    again = kd.distill(teacher, data, **options)
    for one, other in zip(result.student.get_weights(), again.student.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_every_command_stands_in_the_table():
    others = {"list", "report", "resume", "check", "serve", "export", "soft-labels"}
    assert {*others, *KINDS} == set(cli._CALLS)
