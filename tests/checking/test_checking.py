"""`check` finds each planted fault, and nothing where there is none."""

import dataclasses
import re

import keras
import numpy as np
import pytest
from PIL import Image

import keras_kd as kd
from keras_kd import cli
from keras_kd.data import Split
from keras_kd.teachers import teacher as teacher_module

layers = keras.layers
NAMES = tuple("abcd")


def pictures(labels, generator, shape=(8, 8, 3)):
    """Images whose class is where they are bright, with much noise."""
    images = generator.integers(0, 160, (len(labels), *shape))
    for image, label in zip(images, labels, strict=True):
        top, left = divmod(int(label), 2)
        image[4 * top : 4 * top + 4, 4 * left : 4 * left + 4] += 60
    return images.astype(np.uint8)


@pytest.fixture(scope="module")
def clean():
    """Four classes that a small net learns well in a second."""
    generator = np.random.default_rng(0)
    splits = {}
    for name, count in (("train", 800), ("validation", 160), ("test", 160)):
        labels = (np.arange(count) % 4).astype(np.int32)
        splits[name] = Split(pictures(labels, generator), labels)
    return kd.data.Data(name="corners", class_names=NAMES, source="made up", **splits)


def net(*head, rescaling=1 / 255, shape=(8, 8, 3)):
    return keras.Sequential([
        keras.Input(shape),
        layers.Rescaling(rescaling),
        layers.Flatten(),
        layers.Dense(16, activation="relu"),
        *head,
    ])  # fmt: skip


def train(model, split, *, epochs=8, factor=1.0, from_logits=True):
    keras.utils.set_random_seed(0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)
    model.compile(keras.optimizers.Adam(1e-2), loss)
    images = split.images * np.float32(factor)
    model.fit(images, split.labels, batch_size=32, epochs=epochs, verbose=0)
    return model


@pytest.fixture(scope="module")
def teacher(clean):
    return train(net(layers.Dense(4)), clean.train)


def names_of(found):
    return [finding.name for finding in found.findings]


def check(*arguments, **options):
    return kd.check(*arguments, verbose=False, **options)


def with_split(data, **splits):
    return dataclasses.replace(data, **splits)


# Three set-ups with nothing wrong.


def test_clean_logits_teacher_and_small_student(teacher, clean, monkeypatch):
    opened, try_out = [], teacher_module.try_out
    monkeypatch.setattr(
        teacher_module, "try_out", lambda *of, **how: opened.append(of) or try_out(*of, **how)
    )
    found = check(teacher, clean, student="mlp:4")
    assert len(opened) == 1  # For all scales, and whoever trains from it.
    assert names_of(found) == [] and found.ok
    assert found.teacher.model is teacher
    found.refuse()
    figures = found.figures["teacher"]
    assert figures["accuracy"]["validation"] > 0.8 and figures["head"] == "logits"
    entropies = list(figures["mean_entropy"].values())
    assert entropies == sorted(entropies) and 1 <= figures["temperature"] <= 20
    assert found.figures["expected"]["seconds_at_most"] > 0


def test_clean_softmax_teacher_of_scaled_pixels_that_is_told(clean):
    model = train(
        net(layers.Dense(4, activation="softmax"), rescaling=1.0),
        clean.train,
        factor=1 / 255,
        from_logits=False,
    )
    assert names_of(check(model, clean, scale="0..1", student="conv:4")) == []


def test_clean_folder_of_files_with_a_larger_teacher(clean, tmp_path):
    for split in ("train", "validation", "test"):
        for number, (image, label) in enumerate(
            zip(getattr(clean, split).images, getattr(clean, split).labels, strict=True)
        ):
            folder = tmp_path / split / NAMES[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{number}.png")
    data = kd.data.read(tmp_path, memory_limit=1)
    model = net(
        layers.Dropout(0.2), layers.BatchNormalization(), layers.Dense(4), shape=(16, 16, 3)
    )
    large = Split(np.repeat(np.repeat(clean.train.images, 2, 1), 2, 2), clean.train.labels)
    assert names_of(check(train(model, large), data, student="mlp:4")) == []


# Planted faults, one test each.


@pytest.mark.parametrize("norm", [False, True])
def test_fault_1_pixels_on_another_scale(clean, norm):
    # Without a normalisation the answers hardly change: they are only far too sure.
    head = [layers.BatchNormalization(), layers.Dense(4)] if norm else [layers.Dense(4)]
    model = train(net(*head, rescaling=1.0), clean.train, factor=1 / 255)
    found = check(model, clean)
    assert names_of(found)[0] == "input_scale" and not found.ok
    assert "--scale=0..1" in found.findings[0].remedy


def test_fault_2_classes_in_another_order(teacher, clean):
    turned = {
        name: Split(split.images, (split.labels + 1) % 4)
        for name in ("train", "validation", "test")
        for split in [getattr(clean, name)]
    }
    found = check(teacher, with_split(clean, class_names=("d", "a", "b", "c"), **turned))
    assert names_of(found)[0] == "class_order" and not found.ok
    assert "['a', 'b', 'c', 'd']" in found.findings[0].remedy


def test_fault_3_another_number_of_classes(clean):
    found = check(net(layers.Dense(7)), clean)
    assert names_of(found) == ["class_count"] and not found.ok
    assert "7 classes apart, the data has 4" in found.findings[0].what


def test_fault_4_a_teacher_that_guesses(clean):
    found = check(net(layers.Dense(4, kernel_initializer="zeros")), clean)
    assert names_of(found)[0] == "teacher_accuracy" and not found.ok


def test_fault_5_a_teacher_that_knows_the_training_images_by_heart(clean):
    generator = np.random.default_rng(1)
    # A tenth of the images, half of them labelled at random.
    labels = np.where(np.arange(80) % 2, generator.integers(0, 4, 80), clean.train.labels[:80])
    few = Split(clean.train.images[:80], labels.astype(np.int32))
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Rescaling(1 / 255), layers.Flatten(),
         layers.Dense(256, activation="relu"), layers.Dense(4)]
    )  # fmt: skip
    found = check(train(model, few, epochs=40), with_split(clean, train=few))
    assert "teacher_overfitted" in names_of(found) and found.ok


class AlwaysTraining(layers.Layer):
    """Runs a layer as in training, whatever it is told: what a subclassed model may do."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, inputs):
        return self.layer(inputs, training=True)


def test_fault_6_dropout_at_inference(clean):
    model = net(AlwaysTraining(layers.Dropout(0.5)), layers.Dense(4))
    found = check(train(model, clean.train), clean)
    assert "dropout_active" in names_of(found) and not found.ok


def test_fault_7_batch_norm_in_training_mode_at_inference(clean):
    model = net(AlwaysTraining(layers.BatchNormalization()), layers.Dense(4))
    found = check(train(model, clean.train), clean)
    assert "batch_norm_active" in names_of(found) and not found.ok


def test_fault_8_a_teacher_too_sure_to_say_more_than_the_label(teacher, clean):
    image = keras.Input((8, 8, 3))
    sure = keras.Model(image, layers.Rescaling(1000.0)(teacher(image)))
    found = check(sure, clean, head="logits")
    assert names_of(found) == ["teacher_too_sure"] and found.ok


def test_fault_9_test_images_among_the_training_images(clean):
    test = Split(
        np.concatenate([clean.test.images, clean.train.images[:7]]),
        np.concatenate([clean.test.labels, clean.train.labels[:7]]),
    )
    found = check(None, with_split(clean, test=test))
    assert names_of(found) == ["duplicates_in_test"]
    assert found.findings[0].what.startswith("7 of 167 images")


def test_fault_10_one_image_under_two_classes(clean):
    images = clean.train.images.copy()
    images[1] = images[0]
    found = check(None, with_split(clean, train=Split(images, clean.train.labels)))
    assert names_of(found) == ["contradicting_labels"]


def test_fault_11_a_rare_class(clean):
    kept = (clean.train.labels != 2) | (np.cumsum(clean.train.labels == 2) <= 12)
    rare = Split(clean.train.images[kept], clean.train.labels[kept])
    found = check(None, with_split(clean, train=rare))
    assert names_of(found) == ["class_balance"]
    assert "'c' has 12" in found.findings[0].what


def test_fault_12_a_class_without_test_images(clean):
    kept = clean.test.labels != 3
    found = check(
        None, with_split(clean, test=Split(clean.test.images[kept], clean.test.labels[kept]))
    )
    assert names_of(found) == ["missing_class"] and "'d'" in found.findings[0].what


def test_fault_13_blank_images(clean):
    images = clean.train.images.copy()
    images[::40] = np.arange(20)[:, None, None, None]
    found = check(None, with_split(clean, train=Split(images, clean.train.labels)))
    assert names_of(found) == ["blank_images"]


def test_fault_14_pixels_that_are_normalised_already(clean):
    scaled = {
        name: Split(split.images.astype("float32") / 255, split.labels)
        for name in ("train", "validation", "test")
        for split in [getattr(clean, name)]
    }
    found = check(None, with_split(clean, **scaled))
    assert "pixels" in names_of(found) and not found.ok


def test_fault_15_unreadable_images(clean):
    found = check(None, dataclasses.replace(clean, left_out=("x.png (empty)",)))
    assert names_of(found) == ["unreadable"] and "x.png (empty)" in found.findings[0].what


def test_fault_16_a_student_that_ends_in_softmax(teacher, clean):
    found = check(teacher, clean, student=net(layers.Dense(4, activation="softmax")))
    assert names_of(found)[0] == "student_refused" and not found.ok
    assert "must return logits" in found.findings[0].what


class Uncopied(keras.Model):
    """Does not say what it is made of, as Keras's `get_config` would have it."""

    def __init__(self):
        super().__init__()
        self.head = layers.Dense(4)

    def call(self, images):
        return self.head(layers.Flatten()(images))


@pytest.mark.parametrize(
    ("student", "sentence"),
    [
        ("lenet5", "must have images of 28x28"),
        ("mobilenet_v3_small", "at least 32x32"),
        ("missing.keras", "no file"),
        (Uncopied, "A student must be a model that Keras can copy. Received: uncopied"),
    ],
)
def test_fault_17_a_student_that_cannot_take_the_images(teacher, clean, student, sentence):
    if student is Uncopied:
        student = Uncopied()
        student(clean.train.images[:1])
    found = check(teacher, clean, student=student)
    assert names_of(found) == ["student_refused"] and not found.ok
    assert sentence in found.findings[0].what


def test_fault_18_a_student_larger_than_its_teacher(teacher, clean):
    found = check(teacher, clean, student="mlp:64")
    assert names_of(found) == ["student_not_smaller"] and found.ok


def test_fault_19_a_teacher_that_answers_with_nan(clean):
    model = net(layers.Dense(4))
    model.layers[-1].bias.assign([np.nan] * 4)
    found = check(model, clean)
    assert names_of(found) == ["teacher_refused"] and not found.ok


def test_fault_20_too_few_images(clean):
    few = Split(clean.train.images[:20], clean.train.labels[:20])
    assert names_of(check(None, with_split(clean, train=few))) == ["few_images"]


def test_fault_21_too_little_memory(clean, monkeypatch):
    from keras_kd.checking import inspection as checking

    monkeypatch.setattr(checking, "_free_bytes", lambda: 100_000_000)
    found = check(None, clean)
    assert names_of(found) == ["memory"] and not found.ok


# Data that are no images.


@pytest.fixture(scope="module")
def people():
    """Numbers and a row of words, in a dict, whose class is in both."""
    generator = np.random.default_rng(0)
    splits = []
    for count in (440, 160):
        labels = np.arange(count) % 4
        age = generator.normal(labels // 2, 0.3, count).astype("float32")
        splits.append(
            ({"age": age, "words": (labels % 2)[:, None] + np.zeros((1, 5), int)}, labels)
        )
    return kd.data.from_arrays(*splits)


def model_of_people(*names, units=4, size=16):
    inputs = {"age": keras.Input((), name="age"), "words": keras.Input((5,), name="words")}
    parts = [
        layers.Reshape((-1,))(inputs[name]) if name == "age" else inputs[name] for name in names
    ]
    joined = layers.Concatenate()(parts) if len(parts) > 1 else parts[0]
    hidden = layers.Dense(size, activation="relu")(joined)
    return keras.Model({name: inputs[name] for name in names}, layers.Dense(units)(hidden))


def two_outputs():
    model = model_of_people("age")
    return keras.Model(model.input, {"a": model.output, "b": model.output})


@pytest.fixture(scope="module")
def clerk(people):
    model = model_of_people("age", "words")
    model.compile(keras.optimizers.Adam(1e-2), kd.losses.CrossEntropy())
    model.fit(people.train.batches(32, shuffle_seed=0), epochs=20, shuffle=False, verbose=0)
    return model


def test_a_dict_of_inputs_is_checked_without_a_word_on_pixels(clerk, people):
    found = check(clerk, people, student=model_of_people("words", size=8))
    assert "input_scale" not in names_of(found) and found.ok
    assert found.figures["teacher"]["accuracy"]["validation"] > 0.8
    assert found.figures["data"]["examples"] == "examples of age 1, words 5"
    assert found.teacher.model is clerk


def test_faults_of_other_data_are_found_too(clerk, people):
    ages, words = people.train.images["age"].copy(), people.train.images["words"]
    labels = people.train.labels.copy()
    ages[0] = np.nan
    words, ages[2], labels[2] = (
        np.concatenate([words[1:2], words[1:2], words[1:2], words[3:]]),
        0,
        3,
    )
    ages[1] = 0
    train = Split({"age": ages, "words": words}, np.where(np.arange(len(labels)) == 1, 1, labels))
    found = check(None, dataclasses.replace(people, train=train, test=train))
    assert names_of(found) == ["values", "duplicates_in_test", "contradicting_labels"]
    assert found.findings[0].what == "numbers of age are NaN or infinite"
    assert found.findings[2].what.startswith("1 examples are there under another class")


@pytest.mark.parametrize(
    ("teacher", "options", "sentence"),
    [
        (lambda: model_of_people("age"), {"scale": "0..1"}, "A scale is one of pixels"),
        (lambda: net(layers.Dense(4)), {}, "needs the input .* Received: age, words"),
        (
            lambda: kd.Teacher(model_of_people("age", units=4), head="values"),
            {},
            "one row of classes an example. Received: .*`Distiller.fit`",
        ),
        (two_outputs, {}, "Received: 2 outputs.*`Distiller.fit`"),
        (
            lambda: kd.Teacher(two_outputs(), head={"b": "values"}),
            {},
            "one row of classes an example. Received: 2 outputs.*`Distiller.fit`",
        ),
    ],
)
def test_a_teacher_of_another_kind_is_refused(teacher, options, sentence, people):
    found = check(teacher(), people, **options)
    assert names_of(found)[0] == "teacher_refused" and found.teacher is None
    with pytest.raises(ValueError, match=sentence):
        found.refuse()


# What the atlas says of a case; its rows are made up here.

FEW = {
    "title": "500 labels", "kind": "few labels", "data": "MNIST", "facts": {"others": "many"},
    "settings": {}, "seeds": 5, "control": "the same student alone", "gain": 0.031,
    "interval_95": [0.026, 0.037], "over": {},
}  # fmt: skip
SHIFTED = {**FEW, "kind": "shifted images", "title": "shifted"}
GAINED = "gained 3.10 points (2.60 to 3.70, 5 seeds) over the same student alone"


@pytest.fixture
def rows(monkeypatch):
    found = {"few": FEW, "shifted": SHIFTED}
    monkeypatch.setattr("keras_kd.checking.inspection.atlas", lambda: found)
    return found


def others(count, seed=7):
    """Images of the same kind as those with labels."""
    return pictures(np.arange(count) % 4, np.random.default_rng(seed))


def test_a_case_with_few_labels_and_many_images_without_is_told_what_was_gained(
    teacher, clean, rows
):
    found = check(teacher, clean, unlabelled=others(900))
    assert [each["name"] for each in found.figures["resembles"]] == ["few"]
    assert GAINED in found.figures["advice"][0]
    assert found.figures["teacher"]["surprise"] < 1.5


def test_images_without_labels_may_come_in_the_data(teacher, clean, rows):
    found = check(teacher, with_split(clean, unlabelled=others(900)))
    assert [each["name"] for each in found.figures["resembles"]] == ["few"]


def test_time_and_memory_count_images_without_labels(teacher, clean):
    images = np.resize(others(8), (80_000, 8, 8, 3))

    def expected(count):
        figures = check(teacher, clean, student="mlp:4", unlabelled=images[:count]).figures
        return figures["expected"]

    few, many = expected(1), expected(80_000)
    assert many["seconds_at_most"] > 5 * few["seconds_at_most"]
    assert many["bytes"] - few["bytes"] == (2 * 8 * 8 * 3 + 4 * 4) * 79_999


def test_images_without_labels_may_lie_in_a_folder(clean, rows, tmp_path):
    Image.fromarray(others(1)[0]).save(tmp_path / "one.png")
    one = with_split(clean, train=clean.train.take(np.arange(1)))
    assert check(None, one, unlabelled=tmp_path).figures["resembles"][0]["name"] == "few"


def test_images_without_labels_of_another_shape_are_refused(clean):
    with pytest.raises(
        ValueError, match=r"must have the shape of the others. Received: \(9, 9, 3\)"
    ):
        check(None, clean, unlabelled=np.zeros((5, 9, 9, 3), np.uint8))


def test_images_of_which_the_teacher_is_unsure_resemble_shifted_ones(teacher, clean, rows):
    noise = np.full((900, 8, 8, 3), 128, np.uint8)
    found = check(teacher, clean, unlabelled=noise)
    assert [each["name"] for each in found.figures["resembles"]] == ["few", "shifted"]


def test_without_images_beside_them_few_labels_are_told_to_get_some(teacher, clean, rows):
    found = check(teacher, clean)
    assert found.figures["resembles"] == []
    (advice,) = found.figures["advice"]
    assert advice.startswith(
        "You have only 200 labels a class: images without labels (`--unlabelled DIR`)"
    )


def test_the_size_of_the_student_and_the_epochs_are_a_part_of_the_case(teacher, clean, rows):
    rows["narrow"] = {**FEW, "kind": "small student", "facts": {}}
    rows["short"] = {**FEW, "kind": "short training", "facts": {}}
    found = check(teacher, clean, student="mlp:1", epochs=3)
    assert [each["name"] for each in found.figures["resembles"]] == ["short", "narrow"]


def test_nothing_is_promised_where_training_would_be_wasted(clean, rows):
    guessing = net(layers.Dense(4, kernel_initializer="zeros"))
    found = check(guessing, clean, unlabelled=others(900))
    assert found.figures["resembles"] == found.figures["advice"] == []


def test_a_distillation_says_it_before_it_trains(teacher, clean, rows, capsys):
    kd.distill(
        teacher, clean, student="mlp:4", epochs=1, temperature=2.0, alpha=0.9,
        unlabelled=others(900),
    )  # fmt: skip
    before, _ = " ".join(capsys.readouterr().out.split()).split("student distilled 1 epoch")
    assert GAINED in before


def test_the_command_takes_images_without_labels(teacher, clean, rows, tmp_path, capsys):
    teacher.save(tmp_path / "teacher.keras")
    for number, image in enumerate(others(60)):
        (tmp_path / "more").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "more" / f"{number}.png")
    few = clean.train.take(np.arange(40))
    np.savez(
        tmp_path / "data.npz", train_images=few.images, train_labels=few.labels,
        test_images=clean.test.images, test_labels=clean.test.labels,
    )  # fmt: skip
    words = ["--teacher", "teacher.keras", "--data", "data.npz", "--unlabelled", "more"]
    words = [str(tmp_path / word) if word[0] != "-" else word for word in words]
    assert cli.main(["check", *words]) == 0
    assert GAINED in " ".join(capsys.readouterr().out.split())


def test_a_distillation_that_would_be_wasted_is_not_begun(clean, tmp_path):
    guessing = net(layers.Dense(4, kernel_initializer="zeros"))
    with pytest.raises(ValueError, match=r"Training would be wasted: .*guessing gives 25.0 %"):
        kd.distill(guessing, clean, output=tmp_path / "out", verbose=False)
    assert not (tmp_path / "out").exists()


def test_the_command_prints_findings_and_exits_with_1(clean, tmp_path, capsys):
    net(layers.Dense(4, kernel_initializer="zeros")).save(tmp_path / "teacher.keras")
    keys = {}
    for split in ("train", "test"):
        keys[f"{split}_images"] = getattr(clean, split).images
        keys[f"{split}_labels"] = getattr(clean, split).labels
    np.savez(tmp_path / "data.npz", **keys)
    files = ["--teacher", str(tmp_path / "teacher.keras"), "--data", str(tmp_path / "data.npz")]
    assert cli.main(["check", *files, "--student", "mlp:4"]) == 1
    printed = capsys.readouterr().out
    for words in ("Data: 720 to train", "Accuracy by scale", "Mean entropy: T=1", "Expected: ",
                  "WASTED teacher_accuracy"):  # fmt: skip
        assert words in printed
    assert re.search(r"^Expected: at most \d+\.\d minutes with the control, ", printed, re.M)
    assert cli.main(["check", *files]) == 1
    printed = capsys.readouterr().out
    assert re.search(
        r"^Expected: \d+\.\d GB, and the minutes of a student that is not", printed, re.M
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.npz", "teacher.keras"]
