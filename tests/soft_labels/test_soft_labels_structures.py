"""Soft labels of any model: several inputs and outputs, a class at every step or place, values."""

import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import ROOT

import keras_kd as kd
from keras_kd.soft_labels import making, writing

GENERATOR = np.random.default_rng(0)
COUNT, STEPS = 40, 5
IDS = GENERATOR.integers(0, 11, (COUNT, STEPS)).astype("int32")
INPUTS = {"ids": IDS, "segment": GENERATOR.normal(size=(COUNT, 2)).astype("float32")}
LABELS = {"class": IDS[:, 0] % 4, "tags": IDS % 3}
LOGITS = {
    "class": GENERATOR.normal(size=(COUNT, 4)).astype("float32"),
    "tags": GENERATOR.normal(size=(COUNT, STEPS, 3)).astype("float32"),
    "box": GENERATOR.normal(size=(COUNT, 2)) * 1e6,
}
HEADS = {"class": "softmax", "tags": "logits", "box": "values"}
BEFORE = ROOT / "tests" / "saved" / "soft_labels_of_before"


def from_logits(path, logits=LOGITS, data=(INPUTS, LABELS), **options):
    options = {"head": HEADS} | options if isinstance(logits, dict) else options
    return kd.SoftLabels.from_logits(path, logits, data, **options)


def index_of(ids):
    """Return where examples are in the data."""
    return [int(np.flatnonzero((each == IDS).all(1))[0]) for each in ids]


def tagger(units=3):
    keras.utils.set_random_seed(3)
    ids = keras.Input((STEPS,), dtype="int32", name="ids")
    steps = keras.layers.Embedding(11, 4, mask_zero=True)(ids)
    return keras.Model(
        ids, keras.layers.Dense(units)(keras.layers.LSTM(4, return_sequences=True)(steps))
    )


class TestStructures:
    def test_several_outputs_are_joined_by_name_and_index(self, tmp_path, monkeypatch):
        monkeypatch.setattr(making, "_ROWS_PER_BLOCK", 16)
        labels = from_logits(tmp_path / "labels")
        assert labels.heads == HEADS and labels.output_names == ("class", "tags", "box")
        assert labels.num_classes == {"class": 4, "tags": 3, "box": 2}
        for inputs, targets in labels.join(
            (INPUTS, LABELS), 16, shuffle_seed=1
        ).as_numpy_iterator():
            index = index_of(inputs["ids"])
            assert index != sorted(index)
            np.testing.assert_array_equal(inputs["segment"], INPUTS["segment"][index])
            for name in LABELS:
                np.testing.assert_array_equal(targets.labels[name], LABELS[name][index])
            assert set(targets.teacher_logits) == set(LOGITS)
            for name, logits in LOGITS.items():
                found = targets.teacher_logits[name]
                np.testing.assert_allclose(found, logits[index], rtol=1e-3, atol=1e-3)
        again = kd.SoftLabels(tmp_path / "labels")
        assert again.heads == HEADS

    def test_they_lie_in_memory_where_they_take_less_than_the_inputs(self, tmp_path):
        wide = {**INPUTS, "segment": np.zeros((COUNT, 100), "float32")}
        labels = from_logits(tmp_path / "labels", data=(wide, LABELS))
        minibatches = labels.join((wide, LABELS), 16).minibatches
        assert minibatches.resident is not None
        found = minibatches.resident[1].teacher_logits
        np.testing.assert_allclose(found["box"], LOGITS["box"], rtol=1e-6)
        from_files = labels.join((INPUTS | {"segment": wide["segment"]}, LABELS), 16)
        assert from_files.minibatches.has_teacher_logits

    def test_inputs_alone(self, tmp_path):
        for number, inputs in enumerate((INPUTS, IDS, list(INPUTS.values()))):
            labels = from_logits(tmp_path / str(number), LOGITS["class"], inputs)
            ((x, targets),) = labels.join(inputs, COUNT).as_numpy_iterator()
            tf.nest.map_structure(
                np.testing.assert_array_equal,
                list(tf.nest.flatten(x)),
                list(tf.nest.flatten(inputs)),
            )
            assert targets.labels is None
            np.testing.assert_allclose(
                targets.teacher_logits, LOGITS["class"], rtol=1e-3, atol=1e-3
            )

    def test_a_teacher_of_steps_is_asked_with_its_masks(self, tmp_path):
        teacher = tagger()
        labels = kd.SoftLabels.create(
            tmp_path / "labels", teacher, (IDS, LABELS["tags"]), verbose=False
        )
        assert labels.heads == {"output": "logits"} and labels.num_classes == 3
        for ids, targets in labels.join((IDS, LABELS["tags"]), 16, shuffle_seed=0):
            np.testing.assert_allclose(targets.teacher_logits, teacher(ids), atol=1e-3)
        assert 0 < labels.verify(30, teacher, (IDS, LABELS["tags"])) < 1e-3

    def test_a_class_at_every_place_of_views(self, tmp_path):
        image = keras.Input((4, 6, 1))
        maps = keras.Model(image, keras.layers.Conv2D(5, 3, padding="same")(image / 255.0))
        images = GENERATOR.integers(0, 256, (COUNT, 4, 6, 1), dtype=np.uint8)
        split = kd.data.Split(images, np.zeros((COUNT, 4, 6), "int32"))
        shift = kd.data.RandomShift(1)
        labels = kd.SoftLabels.create(
            tmp_path / "labels", maps, split, views=2, augmentation=shift, verbose=False
        )
        dataset = labels.join(split, 16, shuffle_seed=0)
        for _view in range(2):
            for views, targets in dataset:
                np.testing.assert_allclose(targets.teacher_logits, maps(views), atol=2e-3)

    def test_a_student_of_steps_learns_them_as_from_the_live_teacher(self, tmp_path):
        def history(**parts):
            distiller = kd.Distiller(student=tagger(), **parts)
            distiller.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
            return distiller.fit(IDS, LABELS["tags"], shuffle=False, epochs=2, verbose=0).history

        teacher = keras.models.clone_model(tagger())
        live, stored = (
            history(teacher=teacher),
            history(teacher=teacher, soft_labels=tmp_path / "labels"),
        )
        assert stored["distillation_loss"] == pytest.approx(live["distillation_loss"], rel=1e-2)


def two_heads(seed):
    keras.utils.set_random_seed(seed)
    ids = keras.Input((STEPS,), dtype="int32", name="ids")
    segment = keras.Input((2,), name="segment")
    x = keras.layers.Flatten()(keras.layers.Embedding(11, 4)(ids))
    x = keras.layers.Concatenate()([x, segment])
    outputs = {"class": keras.layers.Dense(4)(x), "box": keras.layers.Dense(2)(x)}
    return keras.Model({"ids": ids, "segment": segment}, outputs)


class TestATeacherOfSeveralInputsAndOutputs:
    teacher = None

    @pytest.fixture(autouse=True)
    def _teacher(self):
        self.teacher = kd.Teacher(two_heads(0), head={"class": "logits", "box": "values"})

    def test_it_is_asked_by_name(self, tmp_path):
        data = (INPUTS, {"class": LABELS["class"], "box": LOGITS["box"]})
        labels = kd.SoftLabels.create(
            tmp_path / "labels", self.teacher, data, top_k={"class": 2}, verbose=False
        )
        assert labels.heads == {"class": "logits", "box": "values"}
        for inputs, targets in labels.join(data, 16, shuffle_seed=2):
            expected = self.teacher(inputs)
            np.testing.assert_allclose(targets.teacher_logits["box"], expected["box"], rtol=1e-5)
            order = np.argsort(-expected["class"].numpy(), axis=-1)[:, :2]
            found, kept = (
                np.take_along_axis(np.asarray(each["class"]), order, -1)
                for each in (targets.teacher_logits, expected)
            )
            np.testing.assert_allclose(found, kept, atol=1e-3)
        assert labels.verify(30, self.teacher, data) < 1e-3

    def test_a_student_learns_both_as_from_the_live_teacher(self, tmp_path):
        def history(**parts):
            losses = {"class": kd.losses.SoftTargets(2.0), "box": kd.losses.ValueMatching()}
            distiller = kd.Distiller(student=two_heads(1), distillation_loss=losses, **parts)
            losses = {"class": kd.losses.CrossEntropy(), "box": "mse"}
            distiller.compile(keras.optimizers.SGD(0.1), loss=losses, run_eagerly=True)
            labels = {"class": LABELS["class"], "box": INPUTS["segment"]}
            return distiller.fit(INPUTS, labels, shuffle=False, epochs=2, verbose=0).history

        live = history(teacher=self.teacher)
        stored = history(teacher=self.teacher, soft_labels=tmp_path / "labels")
        for name, values in live.items():
            assert stored[name] == pytest.approx(values, rel=2e-3), name


def test_a_shard_of_long_rows_has_fewer(tmp_path, monkeypatch):
    monkeypatch.setattr(making, "_BYTES_PER_BLOCK", 1000)
    from_logits(tmp_path / "labels", np.zeros((COUNT, 10, 30)), IDS)
    assert len([*(tmp_path / "labels").glob("rows-*")]) == COUNT  # 612 bytes each.
    monkeypatch.setattr(making, "_BYTES_PER_BLOCK", 2**27)
    from_logits(tmp_path / "short", LOGITS["class"], IDS)
    assert len([*(tmp_path / "short").glob("rows-*")]) == 1


class TestValues:
    def test_they_are_stored_as_float32(self, tmp_path):
        values = GENERATOR.normal(size=(COUNT, 6)) * 1e6
        labels = from_logits(tmp_path / "labels", values, IDS, head="values")
        ((_, targets),) = labels.join(IDS, COUNT).as_numpy_iterator()
        np.testing.assert_array_equal(targets.teacher_logits, values.astype("float32"))

    def test_what_is_not_finite_is_refused(self, tmp_path):
        values = LOGITS["box"].copy()
        for dtype in ("float16", None):
            with pytest.raises(
                ValueError, match=r"teacher's values must be finite as float.*image 0"
            ):
                from_logits(tmp_path / "labels", values, IDS, head="values", dtype=dtype)
            values[0, 1] = np.nan


class TestASentenceEach:
    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"top_k": {"box": 1}}, "one class of many. Received: top_k=1 for the values of box"),
            ({"top_k": 2}, "Received: top_k=2 for the values of box.*name those"),
            ({"top_k": {"classes": 2}}, "`top_k` must be by the names of the outputs, class"),
            ({"head": {"boxes": "values"}}, "`head` must be by the names .*Received: boxes"),
            ({"head": "value"}, "`head` must be one of logits, softmax, sigmoid, values"),
            ({"dtype": {"box": "int8"}}, "`dtype` must be float16 or float32"),
            ({"logits": {"class": LOGITS["class"][1:]}}, r"of class must be numbers \[40, "),
            ({"data": (INPUTS, LABELS, IDS)}, "`data` must be a `Split`, .*a tuple of 3"),
            ({"data": (INPUTS, IDS[1:])}, "one entry an example each. Received: arrays of 39, 40 "),
        ],
    )  # fmt: skip
    def test_of_what_does_not_fit(self, tmp_path, options, sentence):
        with pytest.raises(ValueError, match=sentence):
            from_logits(tmp_path / "labels", **options)
        assert not (tmp_path / "labels").exists()

    def test_top_k_of_independent_labels(self, tmp_path):
        with pytest.raises(ValueError, match="top_k=2 for the independent labels. Keep all"):
            from_logits(tmp_path / "labels", LOGITS["class"], IDS, head="sigmoid", top_k=2)

    def test_what_differs_between_outputs_is_named(self, tmp_path):
        from_logits(tmp_path / "labels")
        with pytest.raises(ValueError, match="are of another head"):
            from_logits(tmp_path / "labels", head=HEADS | {"tags": "softmax"})


class TestOfTheFormerVersion:
    """Folders that it wrote: all logits of two views, the largest two, and logits given to it."""

    images = (np.arange(12 * 9) % 251).astype("uint8").reshape(12, 3, 3, 1)
    split = kd.data.Split(images, (np.arange(12) % 4).astype("int32"))

    def teacher(self):
        layers = [keras.Input((3, 3, 1)), keras.layers.Flatten(), keras.layers.Dense(4)]
        teacher = keras.Sequential(layers)
        kernel = (np.arange(36) * 7 % 11 - 5).reshape(9, 4) / 256
        teacher.set_weights([kernel, np.arange(4) / 8])
        return teacher

    def made(self, kind, path):
        options = {"verbose": False}
        if kind == "from_logits":
            logits = (np.arange(48) * 5 % 17).reshape(12, 4) / 8
            return kd.SoftLabels.from_logits(path, logits, self.split, head="softmax", **options)
        if kind == "top_k":
            options |= {"top_k": 2, "dtype": "float32"}
        else:
            options |= {"views": 2, "augmentation": kd.data.RandomShift(1)}
        return kd.SoftLabels.create(path, self.teacher(), self.split, **options)

    @pytest.mark.parametrize(("kind", "epoch"), [("all", 1), ("top_k", 0), ("from_logits", 0)])
    def test_they_are_found_and_give_the_same_logits(self, tmp_path, monkeypatch, kind, epoch):
        monkeypatch.setattr(writing.Writer, "write", lambda *_: 1 / 0)
        folder = tmp_path / kind
        shutil.copytree(BEFORE / kind, folder)
        labels = self.made(kind, folder)
        expected = np.load(BEFORE / f"{kind}_logits.npy")
        dataset = labels.join(self.split, 12, initial_epoch=epoch)
        ((_, targets),) = dataset.as_numpy_iterator()
        np.testing.assert_array_equal(targets.teacher_logits, expected)

    def test_others_are_still_told_from_them(self, tmp_path):
        shutil.copytree(BEFORE / "from_logits", tmp_path / "labels")
        with pytest.raises(ValueError, match="are of another head .head: softmax there, sigmoid"):
            kd.SoftLabels.from_logits(
                tmp_path / "labels",
                (np.arange(48) * 5 % 17).reshape(12, 4) / 8,
                self.split,
                head="sigmoid",
            )


def test_an_augmentation_sees_what_it_sees_in_training(tmp_path):
    inputs = {"table": GENERATOR.normal(size=(COUNT, 3)), "kept": np.arange(COUNT)[:, None] / COUNT}
    table, kept = keras.Input((3,), name="table"), keras.Input((1,), name="kept")
    logits = keras.layers.Dense(2)(keras.layers.Concatenate()([table, kept]))
    teacher = keras.Model({"table": table, "kept": kept}, logits)

    def noisy(inputs, seeds):  # float32 beside float64 would be an error of TensorFlow's.
        return {**inputs, "table": inputs["table"] + tf.cast(seeds[:, :1], "float32") / 2**31}

    data = (inputs, np.arange(COUNT) % 2)
    options = {"views": 2, "augmentation": noisy, "verbose": False}
    labels = kd.SoftLabels.create(tmp_path / "labels", teacher, data, **options)
    for views, targets in labels.join(data, 16, shuffle_seed=1):
        np.testing.assert_allclose(teacher(views), targets.teacher_logits, atol=1e-2)
    assert labels.verify(8, teacher, data) < 1e-2
