"""Trainings in a folder: interrupted anywhere, they end as if they had not been."""

import dataclasses
import functools
import json
import shutil

import keras
import numpy as np
import pytest

import keras_kd as kd
from keras_kd.experiment.training import Trainer
from keras_kd.runs import checkpoint
from keras_kd.runs.progress import Progress

pytestmark = pytest.mark.usefixtures("improved_graphs")

GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.integers(0, 256, (180, 6, 6, 1), dtype=np.uint8)
LABELS = np.arange(180) % 3
# Learnable: a class is a corner's brightness.
IMAGES[:, 0, 0, 0] = LABELS * 100 + GENERATOR.integers(0, 50, 180)
DATA = kd.data.from_arrays((IMAGES[:150], LABELS[:150]), (IMAGES[150:], LABELS[150:]))

PLAIN = kd.experiment.Recipe(
    name="tiny",
    data="digits",
    teacher=functools.partial(kd.models.mlp, [12]),
    student=functools.partial(kd.models.mlp, [5]),
    temperature=2.0,
    alpha=0.6,
    epochs=6,
    quick_epochs=2,
    teacher_patience=3,
    student_patience=3,
    batch_size=32,
    learning_rate=1e-2,
)


def together(*, student, teacher, **parts):
    peer = kd.models.mlp([7], image_shape=(6, 6, 1), num_classes=3)
    return kd.adversarial.OnlineAdversarialDistiller(
        [student, peer], layer_names="hidden_1", **parts
    )


JUDGED = dataclasses.replace(
    PLAIN, distiller=functools.partial(kd.adversarial.DiscriminatorDistiller, beta=0.1)
)
RECIPES = {  # A plain one is of the group below.
    "everything": dataclasses.replace(
        PLAIN,
        student=functools.partial(kd.models.mlp, [5], dropout=0.3),
        optimizer=kd.experiment.optimizers.one_cycle(0.02, weight_decay=0.05, use_ema=True),
        augmentation=kd.data.RandomShift(1),
    ),
    "bfloat16": dataclasses.replace(
        PLAIN, augmentation=kd.data.RandomShift(1), views=2, precision="mixed_bfloat16"
    ),
    "stored views": dataclasses.replace(PLAIN, augmentation=kd.data.RandomShift(1), views=4),
    "a discriminator": JUDGED,
    "learning together": dataclasses.replace(PLAIN, distiller=together),
}


@pytest.fixture(scope="module")
def teacher():
    keras.utils.set_random_seed(3)
    return kd.models.mlp([12], image_shape=(6, 6, 1), num_classes=3)


def trainer(folder, recipe=PLAIN, seed=1):
    folder.mkdir(exist_ok=True)
    return Trainer(recipe, DATA, seed, folder, Progress(verbose=False))


def interrupt_at(monkeypatch, epoch):
    """Have a Ctrl-C come right after the checkpoint of an epoch."""
    write = checkpoint.Checkpoint._write

    def write_and_interrupt(self):
        write(self)
        if self.epoch == epoch:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.Checkpoint, "_write", write_and_interrupt)


def assert_equal(one, other):
    for ours, theirs in zip(one.model.get_weights(), other.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    without_time = [{**each.curves, "seconds": 0} for each in (one, other)]
    assert without_time[0] == without_time[1]


def interrupted(monkeypatch, epoch, train):
    with monkeypatch.context() as patch:
        interrupt_at(patch, epoch)
        with pytest.raises(KeyboardInterrupt):
            train()


def distilled(trainer, teacher):
    return trainer.students({"student": trainer.distilled(teacher)}, teacher)["student"]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.bfloat16 if name == "bfloat16" else ())
        for name in RECIPES
    ],
)
def test_an_interrupted_distillation_goes_on_to_the_bit(name, teacher, tmp_path, monkeypatch):
    whole, cut = (trainer(tmp_path / folder, RECIPES[name]) for folder in ("whole", "cut"))
    expected = distilled(whole, teacher)
    interrupted(monkeypatch, 3, lambda: distilled(cut, teacher))
    assert checkpoint.read(tmp_path / "cut" / "student.checkpoint.npz")["epoch"] == 3
    assert_equal(distilled(cut, teacher), expected)
    histories = [tmp_path / folder / "student_history.csv" for folder in ("whole", "cut")]
    assert histories[0].read_text() == histories[1].read_text()
    assert not (tmp_path / "cut" / "student.checkpoint.npz").exists()


def three(trainer, teacher):
    return {
        "student_alone": trainer.alone(),
        "label_smoothing": trainer.smoothed(0.1, teacher),
        "student": trainer.distilled(teacher),
    }


def test_a_group_goes_on_to_the_bit_when_some_have_stopped(teacher, tmp_path, monkeypatch):
    recipe = dataclasses.replace(PLAIN, epochs=30)
    whole, cut = (trainer(tmp_path / folder, recipe) for folder in ("whole", "cut"))

    def train(each):
        return each.students(three(each, teacher), teacher)

    expected = train(whole)
    lengths = sorted(len(each.curves["loss"]) for each in expected.values())
    assert lengths[0] < lengths[-1] < 30
    # Where the first stops, and after the last epoch of all.
    for epoch in (lengths[0], lengths[-1]):
        interrupted(monkeypatch, epoch, lambda: train(cut))
    resumed = train(cut)
    for name in expected:
        assert_equal(resumed[name], expected[name])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    trainer(folder).teacher()
    return folder


class TestWhatIsThereAlready:
    @pytest.fixture
    def folder(self, finished, tmp_path):
        return shutil.copytree(finished, tmp_path / "run")

    def trained_anew(self, folder, monkeypatch, recipe=PLAIN, seed=1):
        class TrainedAnew(Exception):
            pass

        def fit(*args, **options):
            raise TrainedAnew

        monkeypatch.setattr(kd.Distiller, "fit", fit)
        try:
            trainer(folder, recipe, seed).teacher()
        except TrainedAnew:
            return True
        return False

    def test_the_same_is_used_again(self, folder, monkeypatch):
        assert not self.trained_anew(folder, monkeypatch)

    def test_names_that_keras_counts_up_make_no_other(self, tmp_path, monkeypatch):
        def unnamed(image_shape, num_classes):
            layers = [keras.layers.Flatten(), keras.layers.Dense(num_classes)]
            return keras.Sequential([keras.Input(image_shape), *layers])

        recipe = dataclasses.replace(PLAIN, teacher=unnamed)
        trainer(tmp_path, recipe).teacher()
        assert not self.trained_anew(tmp_path, monkeypatch, recipe)

    @pytest.mark.parametrize(
        "change",
        [
            {"learning_rate": 1e-3},
            {"teacher_epochs": 5},
            {"teacher_batch_size": 16},
            {"precision": "mixed_bfloat16"},
            {"teacher_patience": 2},
            {"teacher_augmentation": kd.data.RandomShift(1)},
            {"teacher_optimizer": kd.experiment.optimizers.cosine(1e-2)},
            {"teacher": functools.partial(kd.models.mlp, [13])},
            {"teacher": functools.partial(kd.models.mlp, [12], mean=0.5)},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_another_is_not(self, folder, monkeypatch, change):
        assert self.trained_anew(folder, monkeypatch, dataclasses.replace(PLAIN, **change))

    def test_another_seed_is_not(self, folder, monkeypatch):
        assert self.trained_anew(folder, monkeypatch, seed=2)

    def test_a_changed_file_is_not(self, folder, monkeypatch):
        with (folder / "teacher.keras").open("ab") as file:
            file.write(b"\0")
        assert self.trained_anew(folder, monkeypatch)

    def test_a_record_of_another_layout_is_not(self, folder, monkeypatch):
        (folder / "teacher.json").write_text(json.dumps({"sha256": {}}))
        assert self.trained_anew(folder, monkeypatch)


def test_settings_say_what_a_distiller_is_told():
    settings = JUDGED.settings(DATA)
    assert settings["distiller"]["class"] == "DiscriminatorDistiller"
    assert settings["distiller"]["beta"] == 0.1
    assert json.loads(json.dumps(settings)) == json.loads(json.dumps(JUDGED.settings(DATA)))
    judge = functools.partial(kd.adversarial.discriminator, (3,), num_classes=3)
    told = [
        dataclasses.replace(
            PLAIN,
            distiller=functools.partial(
                kd.adversarial.DiscriminatorDistiller, discriminator=judge(hidden=hidden)
            ),
        ).settings(DATA)["distiller"]["discriminator"]
        for hidden in ((4,), (4,), (5,))
    ]
    assert told[0] == told[1] != told[2]
    # What plain recipes left in folders stays theirs.
    assert "distiller" not in PLAIN.settings(DATA)


def test_students_of_a_seed_begin_with_the_same_weights(teacher, tmp_path):
    first, *others = three(trainer(tmp_path), teacher).values()
    for other in others:
        for one, two in zip(first.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(one, two)
