"""Soft labels: computed once, found by index, of the very views that the student sees."""

import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import warm

import keras_kd as kd
from keras_kd.soft_labels import logits_of_all, making, predict, writing

pytestmark = pytest.mark.usefixtures("improved_graphs")

NUM_EXAMPLES = 150
IMAGES = np.random.default_rng(0).integers(0, 256, (NUM_EXAMPLES, 6, 6, 1), dtype=np.uint8)
LABELS = np.random.default_rng(1).integers(0, 5, NUM_EXAMPLES)
SPLIT = kd.data.Split(IMAGES, LABELS)
SHAPE = {"image_shape": (6, 6, 1), "num_classes": 5}
SHIFT = kd.data.RandomShift(2, flip=True)


@pytest.fixture(autouse=True)
def _several_shards(monkeypatch):
    monkeypatch.setattr(making, "_ROWS_PER_BLOCK", 64)


@pytest.fixture
def teacher():
    keras.utils.set_random_seed(5)
    return kd.models.mlp([9], **SHAPE)


def create(path, teacher, data=SPLIT, **options):
    return kd.SoftLabels.create(path, teacher, data, verbose=False, **options)


def joined(labels, **options):
    return list(labels.join(SPLIT, 32, shuffle_seed=7, **options).as_numpy_iterator())


class TestTheStudentSeesTheTeachersView:
    def test_logits_are_the_teacher_s_for_the_joined_images(self, teacher, tmp_path):
        labels = create(tmp_path / "labels", teacher, views=3, augmentation=SHIFT)
        dataset = labels.join(SPLIT, 32, shuffle_seed=7)
        epochs = [list(dataset.as_numpy_iterator()) for _ in range(4)]
        for epoch in epochs:
            for images, targets in epoch:
                np.testing.assert_allclose(targets.teacher_logits, teacher(images), atol=2e-3)
        # Reshuffled: another order, the same pairs of image and label.
        assert not np.array_equal(epochs[0][0][1].labels, epochs[1][0][1].labels)
        # Three views, so that the fourth epoch sees those of the first.
        sums = [sorted(float(x.sum()) for images, *_ in epoch for x in images) for epoch in epochs]
        assert sums[0] == sums[3] and sums[0] != sums[1]

    def test_stacks_hold_the_same(self, teacher, tmp_path):
        labels = create(tmp_path / "labels", teacher, views=2, augmentation=SHIFT)
        plain = joined(labels)
        stacks = list(labels.join(SPLIT, 32, shuffle_seed=7).minibatches.stacks(3, gathered=True))
        unstacked = [
            tf.nest.map_structure(np.asarray, stack.minibatch(number))
            for stack in stacks
            for number in range(int(stack.plan.count))
        ]
        assert len(plain) == len(unstacked) == 5
        for one, other in zip(plain, unstacked, strict=True):
            tf.nest.map_structure(np.testing.assert_array_equal, one, other)

    def test_the_loss_is_that_of_the_live_teacher(self, teacher, tmp_path):
        def history(**parts):
            keras.utils.set_random_seed(0)
            distiller = kd.Distiller(student=kd.models.mlp([4], **SHAPE), **parts)
            distiller.compile(keras.optimizers.Adam(1e-2))
            return distiller.fit(SPLIT.batches(32, shuffle_seed=1), epochs=3, verbose=0).history[
                "loss"
            ]

        live = history(teacher=teacher)
        stored = history(teacher=teacher, soft_labels=tmp_path / "labels")
        again = history(soft_labels=tmp_path / "labels")  # No teacher at hand.
        np.testing.assert_allclose(stored, live, rtol=1e-3)
        assert again == stored

    def test_verify_asks_the_teacher_again(self, teacher, tmp_path):
        labels = create(tmp_path / "labels", teacher, views=2, augmentation=SHIFT)
        assert 0 < labels.verify(40, teacher, SPLIT) < 2e-3
        exact = create(tmp_path / "exact", teacher, dtype="float32")
        assert exact.verify(40, teacher, SPLIT) < 1e-5
        teacher.layers[-1].bias.assign_add([1, 0, 0, 0, 0])
        assert exact.verify(40, teacher, SPLIT) == pytest.approx(1, abs=1e-4)


def test_top_k_keeps_the_mass_of_the_rest(teacher, tmp_path):
    labels = create(tmp_path / "labels", teacher, top_k=2, dtype="float32")
    for images, targets in joined(labels):
        expected = np.asarray(keras.ops.softmax(teacher(images)))
        found = np.asarray(keras.ops.softmax(targets.teacher_logits))
        largest = np.argsort(-expected, axis=-1)
        top, rest = largest[:, :2], largest[:, 2:]
        np.testing.assert_allclose(
            np.take_along_axis(found, top, -1), np.take_along_axis(expected, top, -1), rtol=1e-5
        )
        rest_found, rest_expected = (
            np.take_along_axis(each, rest, -1) for each in (found, expected)
        )
        np.testing.assert_allclose(rest_found.sum(-1), rest_expected.sum(-1), rtol=1e-4)
        # Three logits of five numbers that have two directions: as good as kept, but for rounding.
        np.testing.assert_allclose(rest_found, rest_expected, rtol=0.05)
    assert labels.verify(20, teacher, SPLIT) < 1e-5
    everything = create(tmp_path / "all", teacher, top_k=100, dtype="float32")
    assert everything.verify(20, teacher, SPLIT) < 1e-5


class TestFromLogits:
    """Logits that were computed elsewhere, found again by what they are."""

    logits = np.random.default_rng(3).normal(size=(NUM_EXAMPLES, 5))

    def test_a_student_learns_them(self, tmp_path):
        labels = kd.SoftLabels.from_logits(tmp_path / "labels", self.logits, SPLIT, dtype="float32")
        for images, targets in joined(labels):
            index = [int(np.flatnonzero((each == IMAGES).all((1, 2, 3)))[0]) for each in images]
            np.testing.assert_allclose(targets.teacher_logits, self.logits[index], rtol=1e-6)
        student = kd.models.mlp([4], **SHAPE)
        distiller = kd.Distiller(student=student, soft_labels=tmp_path / "labels")
        distiller.compile(keras.optimizers.SGD(0.0))
        history = distiller.fit(IMAGES, LABELS, batch_size=NUM_EXAMPLES, verbose=0).history
        expected = kd.losses.SoftTargets()(self.logits, student(IMAGES))
        assert history["distillation_loss"][0] == pytest.approx(float(expected), rel=1e-5)

    def test_others_are_refused_by_name(self, teacher, tmp_path):
        path = tmp_path / "labels"
        kd.SoftLabels.from_logits(path, self.logits, SPLIT)
        kd.SoftLabels.from_logits(path, self.logits, SPLIT)
        for make, name in [
            (lambda: kd.SoftLabels.from_logits(path, self.logits + 1, SPLIT), "teacher"),
            (lambda: kd.SoftLabels.from_logits(path, self.logits, (IMAGES + 1, LABELS)), "data"),
            (lambda: create(path, teacher), "teacher"),
        ]:
            with pytest.raises(ValueError, match=f"are of another {name}"):
                make()

    def test_a_sentence_each(self, tmp_path):
        path, logits = tmp_path / "labels", self.logits
        for some in (logits[:-1], logits[:, 0], logits.astype(str)):
            with pytest.raises(ValueError, match=r"must be numbers \[150, ..., num_classes\]"):
                kd.SoftLabels.from_logits(path, some, SPLIT)
        with pytest.raises(ValueError, match="finite as float16.*for image 0"):
            kd.SoftLabels.from_logits(path, np.full_like(logits, -np.inf), SPLIT)
        with pytest.raises(ValueError, match="`head` must be one of"):
            kd.SoftLabels.from_logits(path, logits, SPLIT, head="tanh")
        assert not path.exists()


class TestNothingStaleIsUsed:
    def test_what_differs_is_named(self, teacher, tmp_path):
        path = tmp_path / "labels"
        create(path, teacher, views=2, augmentation=SHIFT)
        options = {"views": 2, "augmentation": SHIFT}
        for changed, name in [
            ({"dtype": "float32"}, "dtype"),
            ({"augmentation": kd.data.RandomShift(1)}, "augmentation"),
            ({"views": 3}, "views"),
            ({"seed": 1}, "seed"),
            ({"data": kd.data.Split(IMAGES[:-1], LABELS[:-1])}, "data"),
        ]:
            with pytest.raises(ValueError, match=f"are of another {name}"):
                create(path, teacher, **(options | changed))
        teacher.layers[-1].bias.assign_add([1, 0, 0, 0, 0])
        with pytest.raises(ValueError, match="are of another teacher"):
            create(path, teacher, **options)

    def test_joined_data_and_augmentation_are_compared(self, teacher, tmp_path):
        create(tmp_path / "labels", teacher, views=2, augmentation=SHIFT)
        with pytest.raises(ValueError, match="are of another augmentation"):
            joined(kd.SoftLabels(tmp_path / "labels"))
        labels = kd.SoftLabels(tmp_path / "labels", augmentation=SHIFT)
        with pytest.raises(ValueError, match="are of another data"):
            labels.join(kd.data.Split(IMAGES[::-1], LABELS[::-1]))

    @pytest.mark.parametrize("damage", ["changed", "truncated", "gone"])
    def test_a_damaged_shard_is_found(self, teacher, tmp_path, damage):
        create(tmp_path / "labels", teacher)
        shard = tmp_path / "labels" / "rows-00001.npy"
        content = bytearray(shard.read_bytes())
        if damage == "changed":
            content[-1] ^= 1
        shard.write_bytes(content[: -10 if damage == "truncated" else None])
        if damage == "gone":
            shard.unlink()
        with pytest.raises(ValueError, match=r"rows-00001.npy .*damaged"):
            kd.SoftLabels(tmp_path / "labels")


SLOWLY = """
import sys
sys.path.append(sys.argv[1])
import test_soft_labels
test_soft_labels.create_slowly(sys.argv[2])
"""


def create_slowly(path):
    """Create soft labels, and stand still after the fifth of ten shards, to be killed."""
    making._ROWS_PER_BLOCK = 16
    write = writing.Writer.write_shard

    def slowly(self, number, rows):
        shard = write(self, number, rows)
        print(number, flush=True)
        if number == 4:
            time.sleep(600)
        return shard

    writing.Writer.write_shard = slowly
    keras.utils.set_random_seed(5)
    create(path, kd.models.mlp([9], **SHAPE))


def test_a_killed_creation_goes_on_from_the_last_whole_shard(tmp_path, teacher, monkeypatch):
    monkeypatch.setattr(making, "_ROWS_PER_BLOCK", 16)
    path = tmp_path / "labels"
    process = warm.start(Path(__file__).parent, path, code=SLOWLY)
    assert [process.stdout.readline() for _ in range(5)] == [f"{number}\n" for number in range(5)]
    process.kill()
    process.communicate()
    assert not path.exists()
    written = len([*(tmp_path / ".labels.unfinished").glob("rows-*.npy")])
    assert 0 < written < 10
    asked = []
    rows = writing.Writer._rows

    def counted(self, ask, split, number, *rest):
        asked.append(number)
        return rows(self, ask, split, number, *rest)

    monkeypatch.setattr(writing.Writer, "_rows", counted)
    labels = create(path, teacher)
    assert len(asked) == 10 - written
    assert labels.verify(100, teacher, SPLIT) < 2e-3
    assert not (tmp_path / ".labels.unfinished").exists()


def test_a_store_says_itself_how_many_rows_its_shards_have(teacher, tmp_path, monkeypatch):
    create(tmp_path / "labels", teacher)
    monkeypatch.setattr(making, "_ROWS_PER_BLOCK", 16)
    assert create(tmp_path / "labels", teacher).verify(100, teacher, SPLIT) < 2e-3


def test_images_may_be_mapped_from_a_file(teacher, tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    mapped = kd.data.Split(np.load(tmp_path / "images.npy", mmap_mode="r"), LABELS)
    labels = create(tmp_path / "labels", teacher, data=mapped, views=2, augmentation=SHIFT)
    in_memory = joined(labels)
    for one, other in zip(
        in_memory, labels.join(mapped, 32, shuffle_seed=7).as_numpy_iterator(), strict=True
    ):
        tf.nest.map_structure(np.testing.assert_array_equal, one, other)


class TestLayersOfTheTeacher:
    """Stored as outputs of their names, they teach what those of the live teacher do."""

    @pytest.fixture
    def labels(self, teacher, tmp_path):
        said = {"logits": teacher.output, "hidden_1": teacher.get_layer("hidden_1").output}
        asked = kd.Teacher(
            keras.Model(teacher.input, said), head={"logits": "logits", "hidden_1": "values"}
        )
        return create(tmp_path / "labels", asked, dtype="float32")

    def trained(self, project, **options):
        keras.utils.set_random_seed(3)
        hints = kd.losses.Hints("hidden_1", "hidden_1", project=project)
        distiller = kd.Distiller(
            student=kd.models.mlp([9], **SHAPE),
            distillation_loss=[kd.losses.SoftTargets(), hints],
            alpha=1.0,
            **options,
        )
        distiller.compile().fit(SPLIT.batches(32, shuffle_seed=7), epochs=2, verbose=0)
        return distiller.student.get_weights()

    @pytest.mark.parametrize("project", [False, True])
    def test_they_teach_as_the_live_teacher_does(self, teacher, labels, project):
        live = self.trained(project, teacher=teacher)
        # Of one that is there the projector has its shape; it is not asked.
        stored = {"teacher": teacher} if project else {}
        for one, other in zip(
            live, self.trained(project, soft_labels=labels, **stored), strict=True
        ):
            np.testing.assert_allclose(one, other, atol=1e-5)

    def test_a_projector_needs_the_teacher(self, labels):
        with pytest.raises(ValueError, match="compared as they are. Received: hints, which"):
            self.trained(True, soft_labels=labels)

    def test_who_compares_none_leaves_them(self, labels):
        student = kd.models.mlp([9], **SHAPE)
        alone = kd.Distiller(student=student, alpha=0.0).compile()
        history = alone.fit(labels.join(SPLIT, 32, shuffle_seed=7), verbose=0).history
        assert "distillation_loss" not in history


class TestBadInput:
    def test_a_sentence_each(self, teacher, tmp_path):
        path = tmp_path / "labels"
        with pytest.raises(FileNotFoundError, match="There are no soft labels"):
            kd.SoftLabels(path)
        with pytest.raises(ValueError, match="Without an augmentation all views are the same"):
            create(path, teacher, views=2)
        with pytest.raises(ValueError, match="float16 or float32"):
            create(path, teacher, dtype="int8")
        with pytest.raises(ValueError, match="must keep the shape"):
            create(path, teacher, augmentation=lambda images, seeds: images[:, :-1])
        mapped = kd.Teacher(teacher, class_map=[1, 0, 2, 3, 4])
        with pytest.raises(ValueError, match="a teacher with a `class_map`"):
            create(path, mapped)
        path.mkdir()
        with pytest.raises(ValueError, match="must be a new folder"):
            create(path, teacher)

    def test_logits_too_large_for_float16(self, teacher, tmp_path):
        teacher.layers[-1].bias.assign([0, 1e5, 0, 0, 0])
        with pytest.raises(ValueError, match=r"finite as float16.*for image 0.*float32"):
            create(tmp_path / "labels", teacher)
        assert not (tmp_path / "labels").exists()
        create(tmp_path / "labels", teacher, dtype="float32")

    def test_losses_on_layers_that_they_do_not_hold(self, teacher, tmp_path):
        labels = create(tmp_path / "labels", teacher)
        hints = kd.losses.Hints("hidden_1", "hidden_1")
        options = {"student": kd.models.mlp([4], **SHAPE), "distillation_loss": hints}
        with pytest.raises(ValueError, match="a loss on hidden_1, and soft labels of "):
            kd.Distiller(**options, soft_labels=labels)
        distiller = kd.Distiller(**options, soft_labels=tmp_path / "labels").compile()
        with pytest.raises(ValueError, match="a loss on hidden_1, and soft labels of "):
            distiller.fit(SPLIT.batches(32), verbose=0)
        of_output = kd.losses.Hints(None, "hidden_1")
        with pytest.raises(ValueError, match="the teacher's output and the layer hidden_1"):
            kd.Distiller(**(options | {"distillation_loss": of_output}), soft_labels=labels)

    def test_data_without_an_index(self, teacher, tmp_path):
        create(tmp_path / "labels", teacher)
        distiller = kd.Distiller(
            student=kd.models.mlp([4], **SHAPE), soft_labels=tmp_path / "labels"
        ).compile()
        with pytest.raises(ValueError, match="found by the index"):
            distiller.fit(SPLIT.batches(32).repeat(2), verbose=0)


def test_large_images_are_shown_to_the_teacher_a_few_at_a_time():
    shown = []

    def teacher(images):
        count = tf.shape(images)[0]
        tf.py_function(lambda value: shown.append(int(value)), [count], [])
        return tf.zeros([count, 3])

    large = np.zeros((5, 2000, 3000, 1), np.uint8)  # 24 MB each, as floats.
    assert logits_of_all(teacher, large, verbose=False).shape == (5, 3)
    assert shown == [2, 2, 1]


def test_a_small_teacher_is_asked_in_few_calls_and_answers_as_batch_by_batch(monkeypatch):
    images = np.random.default_rng(0).uniform(0, 255, (20_000, 4, 4, 1)).astype("uint8")
    teacher = kd.Teacher(kd.models.mlp([8], image_shape=(4, 4, 1), num_classes=3))
    calls, answers = [], predict._answers
    monkeypatch.setattr(
        predict,
        "_answers",
        lambda ask, some, start: calls.append(start) or answers(ask, some, start),
    )
    said = logits_of_all(teacher, images, verbose=False)
    ask = tf.function(teacher)
    by_batches = [ask(tf.constant(images[start : start + 256])) for start in range(0, 20_000, 256)]
    np.testing.assert_array_equal(said, np.concatenate(by_batches))
    assert len(calls) < len(by_batches) / 4


class TestRandomShift:
    def test_a_view_depends_on_its_own_image_and_seed_alone(self):
        seeds = np.random.default_rng(0).integers(0, 2**31 - 1, (NUM_EXAMPLES, 2))
        views = SHIFT(IMAGES, seeds).numpy()
        np.testing.assert_array_equal(views[40:50], SHIFT(IMAGES[40:50], seeds[40:50]))
        assert views.dtype == np.uint8

    def test_all_shifts_and_both_sides_appear(self):
        image = np.zeros((1, 6, 6, 1), np.uint8)
        image[0, 2, 3] = 1
        seeds = np.random.default_rng(0).integers(0, 2**31 - 1, (2000, 2))
        views = SHIFT(np.repeat(image, 2000, 0), seeds).numpy()[..., 0]
        places, counts = np.unique(views.reshape(2000, 36).argmax(-1), return_counts=True)
        # Rows 0 to 4; columns 1 to 5, mirrored 0 to 4: those in both halves come twice as often.
        assert {int(place) // 6 for place in places} == set(range(5))
        assert {int(place) % 6 for place in places} == set(range(6))
        assert counts.min() > 15


@pytest.mark.parametrize("finished", [True, False])
def test_others_are_replaced_only_where_that_is_meant(teacher, tmp_path, finished, monkeypatch):
    path = tmp_path / "labels"
    if finished:
        create(path, teacher)
    else:
        with monkeypatch.context() as patch:
            patch.setattr(writing, "move", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                create(path, teacher)
    left = tmp_path / ("labels" if finished else ".labels.unfinished")
    before = {each.name: each.read_bytes() for each in left.iterdir()}
    with pytest.raises(ValueError, match=r"another dtype .*float16 there, float32 now.*overwrite"):
        create(path, teacher, dtype="float32")
    assert {each.name: each.read_bytes() for each in left.iterdir()} == before
    labels = create(path, teacher, dtype="float32", overwrite=True)
    assert labels.verify(50, teacher, SPLIT) < 1e-5
    assert [each.name for each in tmp_path.iterdir()] == ["labels"]


@pytest.mark.parametrize("content", [b"", b"null", b"[1, 2]", b"7", b"\xff\xfe", b'{"shards": 1}'])
def test_a_damaged_record_is_one_sentence_for_those_who_open_and_who_create(
    teacher, tmp_path, content
):
    path = tmp_path / "labels"
    create(path, teacher)
    (path / "store.json").write_bytes(content)
    for use in (lambda: kd.SoftLabels(path), lambda: create(path, teacher)):
        with pytest.raises(ValueError, match=r"must be as it was written\. .*store\.json, which "):
            use()


WEIGHTS = np.random.default_rng(2).uniform(0, 2, NUM_EXAMPLES)
CLASS_WEIGHT = {0: 2.0, 3: 0.5}


@pytest.mark.parametrize(
    "given",
    [{"sample_weight": WEIGHTS}, {"class_weight": CLASS_WEIGHT}],
    ids=["sample_weight", "class_weight"],
)
def test_weights_count_beside_soft_labels_as_beside_the_live_teacher(teacher, tmp_path, given):
    losses = []
    for soft_labels in (tmp_path / "labels", None):
        keras.utils.set_random_seed(0)
        student = kd.models.mlp([4], **SHAPE)
        distiller = kd.Distiller(student=student, teacher=teacher, soft_labels=soft_labels)
        distiller.compile(keras.optimizers.SGD(0.0))
        history = distiller.fit(IMAGES, LABELS, batch_size=50, verbose=0, **given).history
        losses.append((history["hard_loss"][0], history["distillation_loss"][0]))
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)
    weights = WEIGHTS if "sample_weight" in given else [CLASS_WEIGHT.get(c, 1) for c in LABELS]
    by_hand = keras.losses.sparse_categorical_crossentropy(
        LABELS, student(IMAGES), from_logits=True
    )
    assert losses[0][0] == pytest.approx(float(np.mean(weights * np.asarray(by_hand))), rel=1e-4)


@pytest.mark.parametrize("height", [None, 1], ids=["stacks", "one by one"])
def test_outputs_in_a_list_go_by_their_places_whatever_their_names(tmp_path, height):
    def net(units):
        image = keras.Input((6, 6, 1))
        x = keras.layers.Dense(units)(keras.layers.Flatten()(image))
        return keras.Model(image, [keras.layers.Dense(5)(x), keras.layers.Dense(2)(x)])

    given = [LABELS, np.zeros((NUM_EXAMPLES, 2), "float32")]
    student, teacher, found = net(3), net(7), []
    weights = student.get_weights()
    for soft_labels in (tmp_path / "labels", None):
        student.set_weights(weights)
        distiller = kd.Distiller(
            student=student,
            teacher=teacher,
            distillation_loss=[kd.losses.SoftTargets(), kd.losses.ValueMatching()],
            soft_labels=soft_labels,
        )
        distiller.compile(keras.optimizers.SGD(0.0), steps_per_execution=height)
        history = distiller.fit(IMAGES, given, batch_size=50, verbose=0).history
        found.append(history["distillation_loss"][0])
    assert found[0] == pytest.approx(found[1], rel=2e-3)


def test_a_student_takes_its_own_of_what_several_outputs_said(tmp_path):
    image = keras.Input((6, 6, 1))
    x = keras.layers.Flatten()(image)
    heads = {"kind": keras.layers.Dense(5)(x), "size": keras.layers.Dense(2)(x)}
    teacher = kd.Teacher(keras.Model(image, heads), head={"size": "values"})
    labels = create(tmp_path / "labels", teacher, (IMAGES, LABELS))
    student = keras.Model(image, {"kind": keras.layers.Dense(5)(x)})
    distiller = kd.Distiller(student=student, soft_labels=labels).compile()
    history = distiller.fit(IMAGES, LABELS, verbose=0).history
    assert history["distillation_loss"][0] > 0
