"""Run a recipe: train, choose on validation, read the test split once, export, write it down."""

import contextlib
import dataclasses
import hashlib
import json
import time
from pathlib import Path

import keras

from keras_kd import data as data_module
from keras_kd import export, metrics
from keras_kd._backend import describe_machine, require_extra
from keras_kd._checks import check_integer
from keras_kd._files import size_of, written_whole
from keras_kd.callbacks import EarlyStopping
from keras_kd.distiller import Distiller
from keras_kd.experiment import report
from keras_kd.experiment.progress import Progress
from keras_kd.losses import SoftTargets


def run(recipe, *, seed=0, epochs=None, quick=False, output=None, data_dir=None, verbose=True):
    """Train the teacher, distil the student, train the same student alone, and compare them.

    Every choice is made on the validation split; the test split is read once, at the end. A
    teacher that the same recipe, seed and data left in the folder is used again.

    Written to the folder, each file whole or not at all: `teacher.keras`, `student.keras`,
    `student_alone.keras` (uncompiled), `student_savedmodel/`, `student.tflite` and its `.json`,
    `picture.png`, `results.json`, and `teacher.json`, by which a later run knows the teacher.

    Args:
        recipe: a `Recipe`.
        seed: integer, at least 0, that splits, first weights and orders of the data depend on.
        epochs: the most epochs of each of the three runs; the recipe's if `None`.
        quick: a first look: the recipe's `quick_epochs`.
        output: folder to write to; `saved_models/<recipe.name>` if `None`.
        data_dir: as in `data.load`.
        verbose: show the progress and the closing table.

    Returns:
        The contents of `results.json`, as a dict.

    Raises:
        ValueError: if an argument is out of range.
        FileNotFoundError: if the data set is nowhere to be found.
        ImportError: if a package of the extras `export` or `report` is missing.
    """
    check_integer("seed", seed, minimum=0)
    check_integer("epochs", 1 if epochs is None else epochs, minimum=1)
    require_extra("ai_edge_litert", "export", "A run's .tflite file")
    require_extra("matplotlib", "report", "A run's picture")
    recipe = dataclasses.replace(
        recipe, epochs=epochs or (recipe.quick_epochs if quick else recipe.epochs)
    )
    folder = Path(output or Path("saved_models") / recipe.name)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"`output` must be a folder. Received: {folder}, a file.")
    progress = Progress(verbose)
    started = time.perf_counter()
    machine = describe_machine()
    progress.say(f"Device: {machine['device']}")
    data = data_module.load(recipe.dataset, seed=seed, data_dir=data_dir)
    progress.say(
        f"Data: {data.name} from {data.source}: {len(data.train)} to train, "
        f"{len(data.validation)} to validate"
    )
    folder.mkdir(parents=True, exist_ok=True)  # Before minutes of work, if it cannot be.

    trained = _train_and_export(_Trainer(recipe, data, seed, progress), folder)
    # Every choice is made: from here on the test split may be read.
    test = data.test
    logits = {
        name: model.predict(test.images, batch_size=1000, verbose=0)
        for name, (model, _) in trained.items()
    }
    results = {
        "recipe": recipe.name,
        "seed": seed,
        "settings": _settings(recipe),
        "machine": machine,
        "data": _describe(data, test),
        "models": {
            name: _describe_model(folder / f"{name}.keras", *trained[name])
            | {"test": _test_figures(test.labels, logits[name], logits["teacher"])}
            for name in trained
        },
        "gain": _gain(test.labels, logits),
        "litert": _run_litert(folder / "student.tflite", test, logits["student"]),
        "curves": {name: curves for name, (_, curves) in trained.items()},
    }
    report.draw(
        folder / "picture.png",
        title=recipe.name,
        curves=results["curves"],
        test=test,
        class_names=data.class_names,
        teacher_logits=logits["teacher"],
    )
    results["seconds"] = time.perf_counter() - started
    with written_whole(folder / "results.json") as unfinished:
        unfinished.write_text(json.dumps(results, indent=1) + "\n")
    progress.show(report.table(results))
    progress.say(*report.sentences(results, folder))
    return results


def _train_and_export(trainer, folder):
    """Return `{name: (model, curves)}` of teacher, student and student alone, all written."""
    teacher, teacher_curves = _reused_or_trained_teacher(trainer, folder)
    student, student_curves = trainer.distil(teacher)
    alone, alone_curves = trainer.train(
        "student alone", trainer.recipe.student, trainer.recipe.student_patience
    )
    _save(student, folder / "student.keras")
    _save(alone, folder / "student_alone.keras")
    export.saved_model(student, folder / "student_savedmodel")
    export.litert(student, folder / "student.tflite")
    return {
        "teacher": (teacher, teacher_curves),
        "student": (student, student_curves),
        "student_alone": (alone, alone_curves),
    }


@dataclasses.dataclass(frozen=True)
class _Trainer:
    """Trains the recipe's models on its data; every one with the same seed."""

    recipe: object
    data: data_module.Data
    seed: int
    progress: Progress

    def build(self, builder):
        # The same first weights for the same architecture, whatever was trained before.
        keras.utils.set_random_seed(self.seed)
        return builder(image_shape=self.data.image_shape, num_classes=self.data.num_classes)

    def train(self, title, builder, patience):
        """Return a model trained on the labels alone, and its curves."""
        model = self.build(builder)
        # At alpha=0 a distiller is plain training, to the bit, and on the same fast path.
        trainer = Distiller(student=model, alpha=0.0)
        # Keras's own loss: the control has nothing of ours in it.
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        trainer.compile(loss=loss, **self._compile_options())
        return model, self._fit(title, trainer, patience)

    def distil(self, teacher):
        """Return a student trained from the teacher, and its curves."""
        distiller = Distiller(
            student=self.build(self.recipe.student),
            teacher=teacher,
            distillation_loss=SoftTargets(self.recipe.temperature),
            alpha=self.recipe.alpha,
        )
        distiller.compile(**self._compile_options())
        curves = self._fit("student distilled", distiller, self.recipe.student_patience)
        return distiller.student, curves

    def _compile_options(self):
        return {
            "optimizer": keras.optimizers.Adam(self.recipe.learning_rate),
            "metrics": ["accuracy"],
        }

    def _fit(self, title, model, patience):
        stopping = EarlyStopping(patience=patience)
        start = time.perf_counter()
        with self.progress.of(title, self.recipe.epochs, stopping) as display:
            history = model.fit(
                self.data.train.batches(self.recipe.batch_size, shuffle_seed=self.seed),
                validation_data=self.data.validation.batches(1000),
                epochs=self.recipe.epochs,
                verbose=0,
                callbacks=[stopping, display],
            ).history
        curves = {key: [float(value) for value in values] for key, values in history.items()}
        return {
            **curves,
            "best_epoch": stopping.best_epoch + 1,
            "seconds": time.perf_counter() - start,
        }


def _reused_or_trained_teacher(trainer, folder):
    """Return the teacher of the same recipe, seed and data from the folder, or a new one."""
    path, record_path = folder / "teacher.keras", folder / "teacher.json"
    # A fresh one of the same settings tells by its configuration what the file must be.
    made_of = _digest_of(
        trainer.build(trainer.recipe.teacher).get_config(),
        {
            key: getattr(trainer.recipe, key)
            for key in ("epochs", "teacher_patience", "batch_size", "learning_rate")
        },
        trainer.seed,
        trainer.data.digest,
    )
    with contextlib.suppress(FileNotFoundError, json.JSONDecodeError, KeyError):
        record = json.loads(record_path.read_text())
        if record["made_of"] == made_of and record["sha256"] == _sha256(path):
            trainer.progress.say(
                f"Teacher: {path} is of the same recipe, seed and data, and is used again"
            )
            return keras.models.load_model(path, compile=False, safe_mode=True), record["curves"]
    teacher, curves = trainer.train(
        "teacher", trainer.recipe.teacher, trainer.recipe.teacher_patience
    )
    _save(teacher, path)
    with written_whole(record_path) as unfinished:
        record = {"made_of": made_of, "sha256": _sha256(path), "curves": curves}
        unfinished.write_text(json.dumps(record) + "\n")
    return teacher, curves


def _save(model, path):
    with written_whole(path) as unfinished:
        export.uncompiled(model).save(unfinished)


def _sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _digest_of(*parts):
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _settings(recipe):
    return {
        field.name: getattr(recipe, field.name)
        for field in dataclasses.fields(recipe)
        if field.name not in ("teacher", "student", "name")
    }


def _describe(data, test):
    return {
        "name": data.name,
        "train": len(data.train),
        "validation": len(data.validation),
        "test": len(test),
        "digest": data.digest,
    }


def _describe_model(path, model, curves):
    best = curves["best_epoch"]
    return {
        "epochs": len(curves["loss"]),
        "best_epoch": best,
        "seconds": curves["seconds"],
        "validation_accuracy": curves["val_accuracy"][best - 1],
        "parameters": model.count_params(),
        "bytes": size_of(path),
    }


def _test_figures(labels, logits, teacher_logits):
    return {
        "accuracy": metrics.accuracy(labels, logits),
        "negative_log_likelihood": metrics.negative_log_likelihood(labels, logits),
        "expected_calibration_error": metrics.expected_calibration_error(labels, logits),
        "agreement_with_teacher": metrics.agreement(logits, teacher_logits),
    }


def _gain(labels, logits):
    gain, low, high = metrics.paired_gain(labels, logits["student"], logits["student_alone"])
    return {"accuracy": gain, "interval_95": [low, high]}


def _run_litert(path, test, keras_logits):
    run = export.run_litert(path, test.images)
    return {
        "accuracy": metrics.accuracy(test.labels, run.logits),
        "agreement_with_keras": metrics.agreement(run.logits, keras_logits),
        "microseconds_per_image": run.microseconds,
        "images": len(test),
        "bytes": size_of(path),
    }
