"""A recipe whose students answer with a map: yes or no at every pixel, as their teacher says."""

import contextlib
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_kd import data as data_module
from keras_kd import export
from keras_kd._common.backend import describe_machine, require_extra
from keras_kd._common.checks import ArgumentError, check_integer, check_seed, check_writable
from keras_kd._common.console import Console
from keras_kd._common.differences import differences, refuse_others
from keras_kd._common.files import written_whole
from keras_kd._common.json_files import misfit, parsed, read_json
from keras_kd._common.locks import at_work
from keras_kd._common.model_files import load_model_file
from keras_kd._common.typing import PathLike
from keras_kd.distillers.distiller import Distiller
from keras_kd.runs.evaluation import logits_of
from keras_kd.runs.fingerprints import architecture, digest_of
from keras_kd.runs.folder import write_json

# Which answers count as a yes is chosen among these.
THRESHOLDS = np.round(np.arange(0.04, 0.961, 0.04), 2)
# Of the examples `quick` takes every tenth.
_QUICK = 10
# Test images that the page shows.
_SHOWN = 30
_WRITTEN = ("student.keras", "student_alone.keras", "student_int8.tflite", "shown.npz")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MapRecipe:
    """The settings of a student distilled on maps, and of the same student on hard ones.

    Nobody drew the maps: what is right is what the teacher says. So there is no student on labels;
    the control, `student_alone`, learns from where the teacher says yes and not how surely. Both
    have the same first weights, batches, order and optimizer. The last epoch counts; each model's
    threshold is chosen on the validation split, for each measure.

    Args:
        name: of the folder below `saved_models/`.
        data: a function `(seed) -> Data`, whose labels are `Targets` of maps
            `[n, height, width, 1]`: uint8 where the teacher says yes, and its logits.
        student: a function `() -> keras.Model` that returns logits.
        loss: builds the distillation loss, `(temperature) -> loss`.
        temperature: as in `Recipe`, like what follows.
        alpha: as there.
        epochs: as there.
        quick_epochs: with `quick`, on a tenth of the examples.
        batch_size: as there.
        optimizer: as there.
        rivals: functions `(images) -> scores`, from 0 to 1, `[n, height, width, 1]`, by name, that
            learn nothing.
    """

    name: str
    data: Callable[[int], data_module.Data]
    student: Callable[[], keras.Model]
    loss: Callable[[float], Any]
    temperature: float
    alpha: float
    epochs: int
    quick_epochs: int
    batch_size: int
    optimizer: Callable[[int], keras.optimizers.Optimizer]
    rivals: dict[str, Callable[[Any], Any]] = dataclasses.field(default_factory=dict)

    best = None  # It has no other form.

    def __call__(
        self,
        seed: int = 0,
        *,
        epochs: int | None = None,
        quick: bool = False,
        output: PathLike | None = None,
        overwrite: bool = False,
        verbose: bool = True,
        **of_others: Any,
    ) -> dict[str, Any]:
        """Train both students, judge them on the test split, write a file and run it.

        A student that is there, made of the same, is not trained again, and a finished run is told
        at once.

        Args:
            seed: of first weights and order.
            epochs: the recipe's if `None`.
            quick: for a first look: few epochs on a tenth of the examples.
            output: the folder, below `saved_models/` if `None`. It gets `student.keras`,
                `student_alone.keras`, `student_int8.tflite`, `maps.json`, and what `keras-kd serve`
                shows.
            overwrite: replace what was made of something else.
            verbose: say what happens.
            **of_others: what other recipes take, such as `budget`: refused if anything is said.

        Returns:
            What `maps.json` holds: `models`, each with `iou`, `f_measure` and `thresholds`;
            `int8`; `settings`.

        Raises:
            ValueError: if an argument is out of range, the folder holds something else, or another
                process works in it.
            ImportError: if a package of an extra is missing.
        """
        check_seed(seed)
        for name in filter(of_others.get, of_others):
            raise ArgumentError(
                f"A recipe of maps knows no `{name}`. Received: {name}={of_others[name]!r}. Leave "
                "it out."
            )
        require_extra("ai_edge_litert", "export", "A recipe's .tflite file")
        if epochs is None:
            epochs = self.quick_epochs if quick else self.epochs
        check_integer("epochs", epochs, minimum=1)
        folder = Path(output or f"saved_models/{self.name}")
        check_writable("output", folder)
        with at_work(folder):
            return self._run(folder, seed, epochs, quick, overwrite, Console(quiet=not verbose))

    def _run(self, folder, seed, epochs, quick, overwrite, console):
        data = self.data(seed)
        splits = {
            name: getattr(data, name).take(slice(None, None, _QUICK if quick else 1))
            for name in ("train", "validation", "test")
        }
        settings = self._settings(seed, epochs, data, quick)
        found = _held(folder, settings, overwrite)
        if found is None:
            found = self._made(splits, folder, settings, console)
        for line in lines_of(found):
            console.say(line)
        console.say(f"Written to {folder}. `keras-kd serve {folder}` shows it side by side.")
        return found

    def _made(self, splits, folder, settings, console):
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "maps.json", {"settings": settings})
        students = {}
        for name, alpha in (("student", self.alpha), ("student_alone", 0.0)):
            path = folder / f"{name}.keras"
            students[name] = self._trained(path, alpha, splits["train"], settings, console)
        found = self._judged(students, splits, folder, settings)
        _leave_for_the_page(folder, students["student_alone"], splits["test"])
        write_json(folder / "maps.json", found)
        return found

    def distiller(self, alpha: float, seed: int) -> Distiller:
        """Return what trains a student: at `alpha` 0 on hard maps alone.

        Args:
            alpha: weight of what the teacher says.
            seed: of the first weights.
        """
        keras.utils.set_random_seed(seed)
        return Distiller(
            student=self.student(), distillation_loss=self.loss(self.temperature), alpha=alpha
        )

    def fit(self, distiller: Distiller, train: data_module.Split, epochs: int, seed: int) -> Any:
        """Train a student, and return Keras's `History`.

        Args:
            distiller: of `distiller`.
            train: a `Split` whose labels are `Targets`.
            epochs: how many.
            seed: of the order.
        """
        hard = keras.losses.BinaryCrossentropy(from_logits=True)
        steps = epochs * -(-len(train) // self.batch_size)
        distiller.compile(self.optimizer(steps), loss=hard)
        targets = train.labels if distiller.parts.live.terms else train.labels.labels
        keras.utils.set_random_seed(seed)  # Of the order: the same for both.
        return distiller.fit(
            train.images, targets, batch_size=self.batch_size, epochs=epochs, verbose=0
        )

    def _settings(self, seed, epochs, data, quick):
        names = ("temperature", "alpha", "batch_size")
        loss, optimizer = self.loss(self.temperature), self.optimizer(1000)
        # Keras counts the name up.
        rates = {name: each for name, each in optimizer.get_config().items() if name != "name"}
        return {
            "recipe": self.name,
            **{name: getattr(self, name) for name in names},
            "loss": keras.losses.serialize(loss),
            "optimizer": {"class": type(optimizer).__name__, **rates},
            "student": digest_of(architecture(self.student()))[:16],
            "data": data.digest,
            "seed": seed,
            "epochs": epochs,
            "quick": quick,
        }

    def _trained(self, path, alpha, train, settings, console):
        """Return the student of a file that was made of the same; train it if there is none."""
        made_of = digest_of({**settings, "alpha": alpha})
        record = path.with_suffix(".json")
        if path.exists() and _is_made_of(record, made_of):
            return load_model_file(path, path.stem)
        start = time.monotonic()
        distiller = self.distiller(alpha, settings["seed"])
        loss = self.fit(distiller, train, settings["epochs"], settings["seed"]).history["loss"]
        seconds = time.monotonic() - start
        record.unlink(missing_ok=True)
        with written_whole(path) as unfinished:
            distiller.student.save(unfinished)
        write_json(record, {"made_of": made_of, "loss": loss, "seconds": seconds})
        console.say(f"{path.stem}: {len(loss)} epochs, {seconds:.0f} s, loss {loss[-1]:.4f}")
        return distiller.student

    def _judged(self, students, splits, folder, settings):
        path = export.litert(
            students["student"], folder / "student_int8.tflite", quantization="int8",
            calibration=splits["train"].images[:256],
        )  # fmt: skip
        asked = {name: _scores_of(student) for name, student in students.items()} | self.rivals
        of_file = "student, as its int8 file"
        asked[of_file] = lambda images: sigmoid(export.run_litert(path, images).logits)
        right = {name: splits[name].labels.labels > 0 for name in ("validation", "test")}
        models = {}
        for name, ask in asked.items():
            # Chosen on validation, for the file that of its student; then the test split is read.
            told = "student" if name == of_file else name
            if name != of_file:
                chosen = chosen_on(right["validation"], ask(splits["validation"].images))
            else:
                chosen = models[told]["thresholds"]
            models[name] = figures_of(right["test"], ask(splits["test"].images), chosen)
        for name, student in students.items():
            models[name]["parameters"] = student.count_params()
        int8 = models.pop(of_file) | {"bytes": path.stat().st_size}
        counts = {name: len(split) for name, split in splits.items()}
        return {
            "settings": settings, "machine": describe_machine(), "images": counts,
            "models": models, "int8": int8,
        }  # fmt: skip


def sigmoid(logits: Any) -> np.ndarray:
    """Return probabilities of logits, float32 of the same shape."""
    return np.asarray(keras.ops.sigmoid(keras.ops.cast(logits, "float32")))


def iou(right: Any, said: Any) -> float:
    """Return intersection over union of what is right and what was said, over all pixels.

    Args:
        right: booleans `[n, height, width, 1]`.
        said: the same shape.

    Returns:
        From 0 to 1; 1 where both say nothing at all.
    """
    union = np.count_nonzero(right | said)
    return np.count_nonzero(right & said) / union if union else 1.0


def f_measure(right: Any, said: Any) -> float:
    """Return the F-measure of edges, where one that is a pixel beside another counts as found.

        2 P R / (P + R),  P: share of what was said that is within a pixel of what is right,
                          R: share of what is right that is within a pixel of what was said

    A pixel to each side is 0.0075 of the diagonal of 128 x 128, the tolerance that is usual for
    edges (Martin et al. 2004). NOTE: edges are compared as thick as they are, and several may
    share one; the usual measure thins them first and pairs them one to one.

    Args:
        right: booleans `[n, height, width, 1]`.
        said: the same shape.

    Returns:
        From 0 to 1; 0 where nothing was found.

    References:
        D. Martin, C. Fowlkes, J. Malik, Learning to Detect Natural Image Boundaries Using Local
        Brightness, Color, and Texture Cues, 2004, section 3.2.
    """
    found = np.count_nonzero(said & _widened(right)), np.count_nonzero(right & _widened(said))
    if not all(found):
        return 0.0
    precision, recall = found[0] / np.count_nonzero(said), found[1] / np.count_nonzero(right)
    return 2 * precision * recall / (precision + recall)


MEASURES = {"iou": iou, "f_measure": f_measure}


def chosen_on(right: Any, scores: Any) -> dict[str, float]:
    """Return by each measure the threshold at which scores do best.

    Args:
        right: booleans `[n, height, width, 1]`, of the validation split.
        scores: from 0 to 1, the same shape.
    """
    return {
        name: float(max(THRESHOLDS, key=lambda each: measure(right, scores > each)))
        for name, measure in MEASURES.items()
    }


def figures_of(right: Any, scores: Any, thresholds: dict[str, float]) -> dict[str, Any]:
    """Return both measures at thresholds that were chosen elsewhere, and those.

    Args:
        right: booleans `[n, height, width, 1]`.
        scores: from 0 to 1, the same shape.
        thresholds: of `chosen_on`.
    """
    said = {name: float(MEASURES[name](right, scores > each)) for name, each in thresholds.items()}
    # The other class too, as `keras.metrics.BinaryIoU` does.
    other = iou(~right, scores <= thresholds["iou"])
    return {**said, "mean_iou": float((said["iou"] + other) / 2), "thresholds": thresholds}


def lines_of(found: dict[str, Any]) -> list[str]:
    """Return what the figures of a run say, a line each.

    Args:
        found: what a `MapRecipe` returns.
    """
    titles = {"student": "distilled", "student_alone": "on hard maps"}
    figures = {titles.get(name, name): each for name, each in found["models"].items()}
    figures[f"int8 file, {found['int8']['bytes'] / 1000:,.0f} KB"] = found["int8"]
    first_look = ["`--quick` is too short to judge."] if found["settings"]["quick"] else []
    return first_look + [
        f"{name}: IoU {each['iou']:.4f} (mean of both classes {each['mean_iou']:.4f}), "
        f"F-measure {each['f_measure']:.4f}"
        for name, each in figures.items()
    ]


def _widened(maps):
    """Return maps of which each pixel is also at the four beside it."""
    wide = maps.copy()
    wide[:, 1:] |= maps[:, :-1]
    wide[:, :-1] |= maps[:, 1:]
    wide[:, :, 1:] |= maps[:, :, :-1]
    wide[:, :, :-1] |= maps[:, :, 1:]
    return wide


def _scores_of(student):
    return lambda images: sigmoid(logits_of(student, data_module.Split(images, None)))


def _leave_for_the_page(folder, alone, test):
    """Write some images, and what teacher and control say of them, for `serve` to show."""
    step = max(1, len(test) // _SHOWN)
    some = test.take(slice(None, _SHOWN * step, step))
    said = {
        "teacher": sigmoid(some.labels.teacher_logits),
        "student_alone": _scores_of(alone)(some.images),
    }
    levels = {name: np.round(255 * each).astype(np.uint8) for name, each in said.items()}
    with written_whole(folder / "shown.npz") as unfinished:
        np.savez_compressed(unfinished, images=some.images, **levels)


def _held(folder, settings, overwrite):
    """Return what a finished run of the same left in a folder, `None` if there is none.

    Raises:
        ValueError: if it holds something else, which would be lost, or is damaged.
    """
    if overwrite:
        return None
    path = folder / "maps.json"
    way_out = "Remove it, or pass `overwrite=True` (--overwrite)."
    found = read_json(path, {"settings": dict}, what="The record of a run", way_out=way_out)
    if found is None:
        foreign = [name for name in _WRITTEN if (folder / name).exists()]
        refuse_others(folder, "models", foreign)
        return None
    refuse_others(folder, "a run", differences(found["settings"], settings))
    is_whole = "models" in found and all((folder / name).exists() for name in _WRITTEN)
    return found if is_whole else None


def _is_made_of(record, made_of):
    """Return whether a student's record says so; one that is damaged says nothing."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        found = parsed(record)
        return misfit(found, {"made_of": str}) is None and found["made_of"] == made_of
    return False
