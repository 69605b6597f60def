"""What a recipe leaves open is chosen on validation: student, temperature and alpha."""

import dataclasses
import time

from keras_kd import metrics
from keras_kd._common.checks import ALPHAS, TEMPERATURES, is_number
from keras_kd._common.json_files import NUMBER
from keras_kd.checking.findings import sample_of
from keras_kd.checking.temperature import temperature_of
from keras_kd.distillers.together import train_together
from keras_kd.experiment import blocks
from keras_kd.experiment.kind import worth
from keras_kd.experiment.proposing import lines, pick, proposed, size_of_teacher
from keras_kd.runs.evaluation import logits_of
from keras_kd.runs.fingerprints import digest_of
from keras_kd.runs.folder import remembered
from keras_kd.runs.students import AUTO

_ALPHAS = (0.5, 0.9)
_FACTORS = (1.0, 2.0)  # Of the temperature that follows from the logits.
_HIGHEST = 20.0
_IMAGES, _EPOCHS = 4096, 5
_JUDGES = 1000
_SHAPE = {
    "temperature": lambda value: value == AUTO or is_number(value, TEMPERATURES),
    "alpha": lambda value: value == AUTO or is_number(value, ALPHAS),
    "how": {str: object},
    "seconds": NUMBER,
}


def settled(trainer, varied=()):
    """Return the trainer of a recipe in which nothing is `"auto"`, and how it was chosen.

    What was chosen lies in the folder, and is used again.

    Args:
        trainer: a `Trainer`, in whose folder nobody else is at work.
        varied: settings that need not be chosen.

    Returns:
        `(trainer, how)`; `how` is a dict for the results: `chosen`, and `proposals` of students.
    """
    recipe = trainer.recipe
    specs = []
    if _is_auto(recipe.student):
        specs = proposed(trainer.data, recipe.max_kb, trainer.fixed)
    open_ = {name for name in ("temperature", "alpha") if getattr(recipe, name) == AUTO}
    if not specs:
        open_ -= set(varied)
    made_of = digest_of(trainer.settings(), trainer.data.digest, trainer.seed)
    if specs:
        trainer = _with(trainer, student=specs[0])
    results = {}
    if open_:
        path, names = trainer.folder / "chosen.json", sorted(open_)
        began = time.perf_counter()
        found = remembered(path, made_of, lambda: _timed(choose, trainer, names), _SHAPE)
        # What it took in an earlier process; nothing if it was chosen just now.
        trainer.earlier.append(max(0.0, found["seconds"] - (time.perf_counter() - began)))
        trainer = _with(trainer, temperature=found["temperature"], alpha=found["alpha"])
        results["chosen"] = {"temperature": found["temperature"], "alpha": found["alpha"]}
        results["chosen"] |= found["how"]
        trainer.progress.say(sentence(results["chosen"]))
    if specs:
        student, results["proposals"] = pick(trainer, specs, made_of)
        size = size_of_teacher(trainer.fixed)
        trainer.progress.say(*lines(results["proposals"], student, size))
        trainer = _with(trainer, student=student)
    return trainer, results


def choose(trainer, names):
    """Return temperature, alpha and how they were chosen, as a dict.

    The logits give a temperature (see `temperature_of`); that one and its double, with an alpha
    of 0.5 and of 0.9, train a student each on a few thousand images for five epochs, all in one
    pass. The most accurate on validation images wins, the likeliest among equals.

    Soft labels alone give the temperature of their logits, and an alpha of 0.9.

    NOTE: a probe sees the beginning of a training. It rules out what is bad; between two good
    choices it may choose the other one.

    Args:
        trainer: a `Trainer`.
        names: what is to be chosen, of `"temperature"` and `"alpha"`; the other is the recipe's.
    """
    recipe, data = trainer.recipe, trainer.data
    soft_labels = recipe.stored_soft_labels()
    how = {}
    temperature, alpha = recipe.temperature, recipe.alpha
    if soft_labels is None:
        images = sample_of(data.train, _IMAGES)
    if "temperature" in names:
        logits = logits_of(trainer.fixed, images) if soft_labels is None else _said(trainer)
        temperature = how["temperature_of_logits"] = temperature_of(logits)
    if soft_labels is not None:
        alpha = _ALPHAS[-1] if "alpha" in names else alpha
        return {"temperature": temperature, "alpha": alpha, "how": how | {"tried": []}}
    judges = sample_of(data.validation, _JUDGES)
    how |= {"images": len(images), "epochs": _EPOCHS, "judged_on": len(judges)}
    temperatures = [temperature]
    if "temperature" in names:
        temperatures = [min(factor * temperature, _HIGHEST) for factor in _FACTORS]
    tried = [
        {"temperature": each, "alpha": weight}
        for each in dict.fromkeys(temperatures)
        for weight in (_ALPHAS if "alpha" in names else [alpha])
    ]
    distillers = [trainer.probe(**each) for each in tried]
    batches = images.batches(recipe.batch_size, shuffle_seed=trainer.seed)
    train_together(distillers, batches, epochs=_EPOCHS, verbose=0)
    for each, distiller in zip(tried, distillers, strict=True):
        logits = logits_of(distiller.student, judges)
        each["accuracy"] = metrics.accuracy(judges.labels, logits)
        each["negative_log_likelihood"] = metrics.negative_log_likelihood(judges.labels, logits)
    best = max(tried, key=worth)
    how["tried"] = tried
    return {"temperature": best["temperature"], "alpha": best["alpha"], "how": how}


def sentence(chosen):
    """Return one line on what was chosen, and from what."""
    found = f"Chosen: T = {chosen['temperature']:g}"
    if not chosen["tried"]:
        return f"{found} from the soft labels, alpha = {chosen['alpha']:g}"
    accuracies = [100 * each["accuracy"] for each in chosen["tried"]]
    return (
        f"{found}, alpha = {chosen['alpha']:g}, of {len(accuracies)} probed for "
        f"{chosen['epochs']} epochs on {chosen['images']} examples (validation accuracy "
        f"{min(accuracies):.1f} to {max(accuracies):.1f} %)"
    )


def section(chosen):
    """Return the page's section on what was chosen."""
    rows = [
        [
            f"T = {each['temperature']:g}, alpha = {each['alpha']:g}",
            f"{100 * each['accuracy']:.1f} %",
            f"{each['negative_log_likelihood']:.3f}",
        ]
        for each in chosen["tried"]
    ]
    best = f"T = {chosen['temperature']:g}, alpha = {chosen['alpha']:g}"
    table = blocks.table(["probed", "validation accuracy", "NLL"], rows, best) if rows else ""
    return blocks.section("Temperature and alpha", table, blocks.note(f"{sentence(chosen)}."))


def _said(trainer):
    labels = trainer.recipe.stored_soft_labels()
    (logits,) = (
        each.teacher_logits.numpy() for _, each in labels.join(trainer.data.train, _IMAGES).take(1)
    )
    return logits


def _timed(function, *arguments):
    began = time.perf_counter()
    return {**function(*arguments), "seconds": time.perf_counter() - began}


def _with(trainer, **changes):
    return dataclasses.replace(trainer, recipe=dataclasses.replace(trainer.recipe, **changes))


def _is_auto(student):
    return isinstance(student, str) and student == AUTO
