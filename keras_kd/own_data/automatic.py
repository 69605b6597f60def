"""Temperature and alpha, from the teacher's logits and a short probe on validation images."""

import keras

from keras_kd import metrics
from keras_kd.checking.findings import sample_of
from keras_kd.checking.temperature import temperature_of
from keras_kd.distillers.distiller import Distiller
from keras_kd.distillers.together import train_together
from keras_kd.losses import SoftTargets
from keras_kd.runs.evaluation import logits_of

AUTO = "auto"

_ALPHAS = (0.5, 0.9)
_FACTORS = (1.0, 2.0)  # Of the temperature that follows from the logits.
_HIGHEST = 20.0
_IMAGES, _EPOCHS = 4096, 5
_JUDGES = 1000


def choose(training, teacher, temperature, alpha):
    """Return temperature and alpha, and how they were chosen.

    The logits give a temperature (see `temperature_of`); that one and its double, with an alpha
    of 0.5 and of 0.9, train a student each on a few thousand images for five epochs, all in one
    pass. The most accurate on validation images wins, the likeliest among equals. What is given
    as a number is left as it is.

    NOTE: a probe sees the beginning of a training. It rules out what is bad; between two good
    choices it may choose the other one.

    Args:
        training: a `Training`.
        teacher: a `Teacher` or an `Ensemble`.
        temperature: a number, or `"auto"`.
        alpha: a number, or `"auto"`.

    Returns:
        `(temperature, alpha, how)`; `how` is a dict for the report, empty if both were given.
    """
    if AUTO not in (temperature, alpha):
        return temperature, alpha, {}
    data = training.data
    images = sample_of(data.train, _IMAGES)
    judges = sample_of(data.validation, _JUDGES)
    how = {"images": len(images), "epochs": _EPOCHS, "judged_on": len(judges)}
    temperatures = [temperature]
    if temperature == AUTO:
        how["temperature_of_logits"] = temperature_of(logits_of(teacher, images))
        temperatures = [min(factor * how["temperature_of_logits"], _HIGHEST) for factor in _FACTORS]
    tried = [
        {"temperature": each, "alpha": weight}
        for each in dict.fromkeys(temperatures)
        for weight in (_ALPHAS if alpha == AUTO else [alpha])
    ]
    distillers = [_distiller(training, teacher, **each) for each in tried]
    batches = images.batches(training.batch_size, shuffle_seed=training.seed)
    train_together(distillers, batches, epochs=_EPOCHS, verbose=0)
    for each, distiller in zip(tried, distillers, strict=True):
        logits = logits_of(distiller.student, judges)
        each["accuracy"] = metrics.accuracy(judges.labels, logits)
        each["negative_log_likelihood"] = metrics.negative_log_likelihood(judges.labels, logits)
    how["tried"] = tried
    best = max(tried, key=lambda each: (each["accuracy"], -each["negative_log_likelihood"]))
    return best["temperature"], best["alpha"], how


def choose_without_probe(soft_labels, data, temperature, alpha):
    """Return what `choose` does, from soft labels alone: the temperature of their logits.

    Args:
        soft_labels: `SoftLabels` of the training images.
        data: a `Data`.
        temperature: a number, or `"auto"`.
        alpha: a number, or `"auto"` for 0.9.
    """
    if AUTO not in (temperature, alpha):
        return temperature, alpha, {}
    if temperature == AUTO:
        batches = soft_labels.join(data.train, _IMAGES).take(1)
        (temperature,) = (temperature_of(each.teacher_logits.numpy()) for _, each in batches)
    alpha = _ALPHAS[-1] if alpha == AUTO else alpha
    return temperature, alpha, {"temperature_of_logits": temperature, "tried": []}


def sentence(temperature, alpha, how):
    """Return one line on what was chosen, and from what."""
    if not how["tried"]:
        return f"Chosen: T = {temperature:g} from the soft labels, alpha = {alpha:g}"
    accuracies = [100 * each["accuracy"] for each in how["tried"]]
    return (
        f"Chosen: T = {temperature:g}, alpha = {alpha:g}, of {len(accuracies)} probed for "
        f"{how['epochs']} epochs on {how['images']} images (validation accuracy "
        f"{min(accuracies):.1f} to {max(accuracies):.1f} %)"
    )


def _distiller(training, teacher, temperature, alpha):
    distiller = Distiller(
        student=training.build(),
        teacher=teacher,
        distillation_loss=SoftTargets(temperature),
        alpha=alpha,
    )
    return distiller.compile(optimizer=keras.optimizers.Adam(training.learning_rate))
