"""Train the models of a recipe in a folder; a training that was killed goes on, to the bit."""

import contextlib
import dataclasses
import json
import typing
from collections.abc import Callable

import keras

from keras_kd import data as data_module
from keras_kd import export
from keras_kd._files import written_whole
from keras_kd.callbacks import EarlyStopping
from keras_kd.distiller import Distiller
from keras_kd.experiment.checkpoint import Checkpoint
from keras_kd.experiment.making import description, digest_of, sha256_of
from keras_kd.experiment.progress import title_of
from keras_kd.losses import LabelSmoothing
from keras_kd.soft_labels import SoftLabels
from keras_kd.teacher import Teacher
from keras_kd.together import train_together


class Trained(typing.NamedTuple):
    """A model and how it came to be.

    Args:
        model: the `keras.Model`, with the weights of its best epoch.
        curves: `{key: [a value an epoch]}`, with `best_epoch` (from 1) and `seconds`.
    """

    model: keras.Model
    curves: dict


@dataclasses.dataclass(frozen=True)
class Trainer:
    """Trains the recipe's models on its data; every one with the same seed.

    What is finished lies in the folder as `<name>.keras` with a record of what it was made of,
    and is used again while that is the same.

    Args:
        recipe: a `Recipe`.
        data: a `Data`.
        seed: of first weights and orders.
        folder: to write to.
        progress: a `Progress`.
        callbacks: more callbacks for each model, `(name, checkpoint) -> list`; they come last.
    """

    recipe: object
    data: data_module.Data
    seed: int
    folder: object
    progress: object
    callbacks: Callable = lambda name, checkpoint: []

    def build(self, builder):
        """Return a new model, with the same first weights whatever was trained before."""
        keras.utils.set_random_seed(self.seed)
        return builder(image_shape=self.data.image_shape, num_classes=self.data.num_classes)

    def teacher(self):
        """Return the teacher, trained on the labels, as a `Trained`."""
        recipe = self.recipe
        distiller = self._on_labels(recipe.teacher, recipe.optimizer_of("teacher", self._num_train))
        training = _Training(
            epochs=recipe.epochs_of("teacher"),
            patience=recipe.teacher_patience,
            batch_size=recipe.batch_size_of("teacher"),
            augmentation=recipe.teacher_augmentation,
        )
        return self.train("teacher", {"teacher": distiller}, training)["teacher"]

    def distil(self, teacher):
        """Return a student trained from the teacher, as a `Trained`."""
        return self.students("student", {"student": self.distilled(teacher)}, teacher)["student"]

    def train_alone(self, teacher):
        """Return a student trained on the labels alone, as a `Trained`."""
        name = "student_alone"
        return self.students(name, {name: self.alone()}, teacher)[name]

    def students(self, name, distillers, teacher):
        """Return students, trained together if there are several, as `{name: Trained}`.

        Args:
            name: of the training.
            distillers: `{name: Distiller}`.
            teacher: the `keras.Model` that stored views are shown to, where the recipe has any.
        """
        recipe = self.recipe
        training = _Training(
            epochs=recipe.epochs,
            patience=recipe.student_patience,
            batch_size=recipe.batch_size,
            augmentation=recipe.augmentation,
            views=recipe.views,
        )
        return self.train(name, distillers, training, teacher)

    def distilled(self, teacher, **changes):
        """Return a compiled distiller of a new student.

        Args:
            teacher: a `keras.Model`.
            **changes: of the recipe's `temperature`, `alpha`, `loss` and `distiller`.
        """
        recipe = dataclasses.replace(self.recipe, **changes)
        distiller = recipe.distiller_of(self.build(recipe.student), self._live(teacher))
        return self._compiled(distiller, None, recipe.optimizer_of("student", self._num_train))

    def alone(self):
        """Return a compiled distiller that trains a new student on the labels alone."""
        recipe = self.recipe
        return self._on_labels(recipe.student, recipe.optimizer_of("student", self._num_train))

    def smoothed(self, smoothing, teacher):
        """Return a compiled distiller that trains a new student on smoothed labels."""
        distiller = Distiller(
            student=self.build(self.recipe.student),
            # It is not asked; where others are, all get its logits, and this one ignores them.
            teacher=self._live(teacher),
            distillation_loss=LabelSmoothing(smoothing),
            alpha=1.0,
        )
        return self._compiled(distiller, None, self.recipe.optimizer_of("student", self._num_train))

    def train(self, name, distillers, training, teacher=None):
        """Return `{name: Trained}`: from the folder, gone on with, or trained from the start."""
        made_of = self._made_of(distillers, training, teacher)
        found = self._finished(name, distillers, made_of)
        if found:
            return found
        stoppings = {each: EarlyStopping(patience=training.patience) for each in distillers}
        checkpoint = Checkpoint(self.folder, name, made_of, distillers, stoppings)
        if checkpoint.epoch:
            self.progress.say(f"{title_of(name):<17} goes on after epoch {checkpoint.epoch}")
        self._fit(name, distillers, stoppings, checkpoint, training, teacher)
        curves = {
            each: {
                **{key: values for key, values in checkpoint.logs(each).items() if key != "epoch"},
                "best_epoch": stoppings[each].best_epoch + 1,
                "seconds": checkpoint.seconds,
            }
            for each in distillers
        }
        self._keep(name, distillers, curves, made_of)
        checkpoint.remove()
        return {each: Trained(distillers[each].student, curves[each]) for each in distillers}

    def _on_labels(self, builder, optimizer):
        # At alpha=0 a distiller is plain training, to the bit, and on the same fast path.
        distiller = Distiller(student=self.build(builder), alpha=0.0)
        # Keras's own loss: the control has nothing of ours in it.
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        return self._compiled(distiller, loss, optimizer)

    def _live(self, teacher):
        # Stored views come with what the teacher says of them.
        return None if self.recipe.views else Teacher(teacher)

    def _compiled(self, distiller, loss, optimizer):
        return distiller.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"])

    @property
    def _num_train(self):
        return len(self.data.train)

    def _fit(self, name, distillers, stoppings, checkpoint, training, teacher):
        stopped = checkpoint.all_stopped
        options = {
            "validation_data": self.data.validation.batches(1000),
            "epochs": training.epochs,
            # With nothing left to do, `fit` still brings back the best weights.
            "initial_epoch": training.epochs if stopped else checkpoint.epoch,
            "verbose": 0,
        }
        data = self._batches(training, teacher, checkpoint.epoch)
        with self.progress.of(name, training.epochs, stoppings, checkpoint) as display:
            callbacks = {
                each: [
                    stoppings[each],
                    checkpoint.callback(each),
                    display.callback(each),
                    *self.callbacks(each, checkpoint),
                ]
                for each in distillers
            }
            if len(distillers) == 1:
                (each,) = distillers
                distillers[each].fit(data, callbacks=callbacks[each], **options)
                return
            names = {id(distiller): each for each, distiller in distillers.items()}
            train_together(
                list(distillers.values()),
                data,
                callbacks=lambda distiller: callbacks[names[id(distiller)]],
                **options,
            )

    def _batches(self, training, teacher, epoch):
        options = {"shuffle_seed": self.seed, "initial_epoch": epoch}
        train = self.data.train
        if not training.views:
            return train.batches(training.batch_size, augmentation=training.augmentation, **options)
        made_of = [training.views, repr(training.augmentation), self.seed, self.data.digest]
        folder = digest_of(*made_of, Teacher(teacher).fingerprint)[:12]
        labels = SoftLabels.create(
            self.folder / f"soft_labels_{folder}",
            teacher,
            train,
            views=training.views,
            augmentation=training.augmentation,
            seed=self.seed,
            verbose=self.progress.verbose,
        )
        return labels.join(train, training.batch_size, **options)

    def _made_of(self, distillers, training, teacher):
        """Return a digest of everything that the weights depend on."""
        parts = {name: description(distiller) for name, distiller in distillers.items()}
        stored = Teacher(teacher).fingerprint if training.views else None
        return digest_of(parts, training.settings(), stored, self.seed, self.data.digest)

    def _finished(self, name, distillers, made_of):
        """Return what the folder holds of the same making, or `None`."""
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError, KeyError):
            record = json.loads((self.folder / f"{name}.json").read_text())
            paths = {each: self.folder / f"{each}.keras" for each in distillers}
            whole = all(sha256_of(path) == record["sha256"][each] for each, path in paths.items())
            if whole and record["made_of"] == made_of:
                self._say_used_again(name, paths)
                return {
                    each: self._loaded(distillers[each], path, record["curves"][each])
                    for each, path in paths.items()
                }
        return None

    def _loaded(self, distiller, path, curves):
        # It was built as it was then, of whatever layers: the weights are all that is needed.
        distiller.student.load_weights(path)
        return Trained(distiller.student, curves)

    def _say_used_again(self, name, paths):
        first, *others = paths.values()
        these = f"{first} and {len(others)} more are" if others else f"{first} is"
        self.progress.say(
            f"{name.replace('_', ' ').capitalize()}: {these} of the same recipe, seed and data, "
            f"and {'are' if others else 'is'} used again"
        )

    def _keep(self, name, distillers, curves, made_of):
        paths = {each: self.folder / f"{each}.keras" for each in distillers}
        for each, path in paths.items():
            with written_whole(path) as unfinished:
                export.uncompiled(distillers[each].student).save(unfinished)
        record = {
            "made_of": made_of,
            "sha256": {each: sha256_of(path) for each, path in paths.items()},
            "curves": curves,
        }
        with written_whole(self.folder / f"{name}.json") as unfinished:
            unfinished.write_text(json.dumps(record) + "\n")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Training:
    """What one `fit` is asked for."""

    epochs: int
    patience: int
    batch_size: int
    augmentation: object = None
    views: int | None = None

    def settings(self):
        return {**dataclasses.asdict(self), "augmentation": repr(self.augmentation)}
