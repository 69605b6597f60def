"""Texts and tables of one's own, through the commands that take images."""

import json

import keras
import numpy as np
import pytest

import keras_kd as kd
from keras_kd import cli
from keras_kd.data.class_folders import SPLITS
from keras_kd.experiment.gallery import examples
from keras_kd.runs.evaluation import Predictions

pytestmark = pytest.mark.usefixtures("no_pictures")
WORDS = {"greek": "alpha beta gamma delta", "latin": "unus duo tres quattuor"}
LENGTH = 24


def text_of(name, generator):
    # A third of the words are the other class's, so that students and teachers differ.
    names = [name, name, next(each for each in WORDS if each != name)]
    return " ".join(generator.choice(WORDS[generator.choice(names)].split()) for _ in range(4))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """`texts/`, `texts.keras`, `table.csv` and `table.keras`, both teachers trained a little."""
    place, generator = tmp_path_factory.mktemp("own"), np.random.default_rng(0)
    for split, count in zip(SPLITS, (60, 20, 30), strict=True):
        for name in WORDS:
            folder = place / "texts" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                (folder / f"{number}.txt").write_text(text_of(name, generator))
    data = kd.data.read(place / "texts", num_bytes=LENGTH)
    keras.utils.set_random_seed(0)
    teacher = kd.models.byte_net([32], num_bytes=LENGTH)
    fitted(teacher, data).save(place / "texts.keras")
    numbers = generator.normal(size=(120, 2)) * [1000, 0.01]
    rows = ["size,share,kind,label"]
    rows += [f"{x},{y},{'ab'[n % 2]},{'in' if x / 1000 + n % 2 > 0.5 else 'out'}"
             for n, (x, y) in enumerate(numbers)]  # fmt: skip
    (place / "table.csv").write_text("\n".join(rows))
    data = kd.data.read(place / "table.csv")
    teacher = kd.models.from_spec(
        "mlp:16", input_shape=(4,), num_classes=2, mean=[0, 0, 0.5, 0.5], std=[1000, 0.01, 0.5, 0.5]
    )
    fitted(teacher, data).save(place / "table.keras")
    return place


def fitted(model, data):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), loss)
    model.fit(data.train.images, data.train.labels, epochs=12, batch_size=16, verbose=0)
    return model


@pytest.fixture(scope="module")
def distilled(place):
    """The folder of a distillation of texts by the command."""
    words = f"distill --teacher texts.keras --data texts --output {place}/out --student bytes:4-8 "
    words += "--temperature 2 --alpha 0.9 --epochs 3 --formats int8 --no-check"
    words = words.replace("texts", f"{place}/texts")
    assert cli.main(words.split()) == 0
    return place / "out"


def test_a_student_of_texts_is_run_as_its_file_of_integers(distilled, place):
    results = json.loads((distilled / "results.json").read_text())
    assert results["to_ship"] == "student_int8.tflite"
    (file,) = results["export"]["files"]
    assert file["agreement_with_student"] > 0.9
    told = kd.export.embedded(distilled / "student_int8.tflite")
    # The teacher takes so many bytes, and nobody else said how many.
    assert told["input"]["shape"] == [1, LENGTH] and told["input"]["dtype"] == "int32"
    assert told["input"]["range"] == [0.0, 255.0] and told["class_names"] == list(WORDS)
    numbers = kd.data.encode_texts(["alpha beta"], LENGTH)
    run = kd.export.run_litert(distilled / "student_int8.tflite", numbers)
    student = keras.models.load_model(distilled / "student.keras")
    assert run.logits.argmax() == np.asarray(student(numbers)).argmax()


def test_the_page_shows_the_texts_on_which_student_and_teacher_differ(distilled, place):
    said = Predictions(distilled / "seed_0", 2)
    shown = examples(said, list(WORDS))["examples"]
    assert shown and all(each["image"] is None for each in shown)
    test = kd.data.read(place / "texts", num_bytes=LENGTH).test
    for each in shown:
        assert [each["text"]] == kd.data.decode_texts(test.images[[each["index"]]])
    kd.experiment.write_report(distilled)
    assert shown[0]["text"] in (distilled / "report.html").read_text()


@pytest.mark.parametrize(("name", "form"), [("texts", "int8"), ("table", "float32")])
def test_a_model_is_exported_beside_the_data_it_was_made_for(place, name, form, capsys):
    data = place / ("texts" if name == "texts" else "table.csv")
    (place / "classes.json").write_text(json.dumps(list(kd.data.read(data).class_names)))
    words = f"export {place}/{name}.keras --to {place}/files_{name} --data {data} --formats {form}"
    assert cli.main([*words.split(), "--class-map", f"{place}/classes.json"]) == 0
    assert f"examples of {data.stem}" in capsys.readouterr().out
    told = kd.export.embedded(place / f"files_{name}" / f"student_{form}.tflite")
    assert told["class_names"] == list(kd.data.read(data).class_names)
    assert told["input"]["reads"] == ("texts" if name == "texts" else "numbers")
    (place / "classes.json").write_text('["neither", "nor"]')
    words = words.replace("files_", "others_")
    assert cli.main([*words.split(), "--class-map", f"{place}/classes.json"]) == 1
    assert not (place / f"others_{name}").exists()


@pytest.mark.parametrize("name", ["texts", "table.csv"])
def test_a_check_says_what_the_examples_are(place, name, capsys):
    teacher = place / f"{name.partition('.')[0]}.keras"
    assert cli.main(["check", "--teacher", str(teacher), "--data", str(place / name)]) in (0, 1)
    said = capsys.readouterr().out
    assert (f"texts of {LENGTH} bytes" if name == "texts" else "examples of 4") in said
    assert "image" not in said.partition("Nothing sets your case apart")[0].replace(
        "all others are images", ""
    )


def test_a_table_ships_floats_that_tell_their_columns(place):
    trees = pytest.importorskip("sklearn.ensemble").RandomForestClassifier(5, random_state=0)
    data = kd.data.table(place / "table.csv")
    trees.fit(data.train.images, data.train.labels)
    result = kd.distill(
        trees, data, student="mlp:4", epochs=2, temperature=2.0, alpha=0.9, control=False,
        checked=False, verbose=False, output=place / "out_table",
    )  # fmt: skip
    assert [each["format"] for each in result["export"]["files"]] == ["float32"]
    told = kd.export.embedded(place / "out_table" / "student_float32.tflite")
    columns = kd.data.Columns.from_config(told)
    assert columns.inputs == ("size", "share", "kind=a", "kind=b")
    run = kd.export.run_litert(
        place / "out_table" / "student_float32.tflite",
        columns.encode([{"size": "12.5", "share": None, "kind": "b"}]),
    )
    assert run.logits.shape == (1, 2)


def test_students_of_texts_are_proposed_within_a_budget(place):
    data = kd.data.read(place / "texts", num_bytes=LENGTH)
    specs = kd.experiment.proposing.proposed(data, max_kb=60)
    assert len(specs) == 3 and all(each.startswith("bytes:") for each in specs)
    path = place / "largest.tflite"
    student = kd.models.from_spec(specs[0], num_bytes=LENGTH, num_classes=2)
    kd.export.litert(student, path, quantization="int8", calibration=data.train)
    assert 48_000 < path.stat().st_size <= 60_000


def test_an_augmentation_of_images_is_refused_for_texts(place):
    recipe = kd.experiment.Recipe(
        data=place / "texts", teacher=place / "texts.keras", student="bytes:4", temperature=2.0,
        alpha=0.9, augmentation=kd.data.RandomShift(1), checked=False,
    )  # fmt: skip
    with pytest.raises(ValueError, match="RandomShift moves images"):
        kd.experiment.run(recipe, output=place / "out_moved", epochs=1, verbose=False)
