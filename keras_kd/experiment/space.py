"""What a search may try: the range of each setting, and how a trial draws one from it."""

import dataclasses

from keras_kd._common.checks import (
    ALPHAS,
    MOST,
    RATES,
    TEMPERATURES,
    ArgumentError,
    is_number,
    words,
)
from keras_kd.experiment.grid import cells_of

# Two numbers each; those of a scale, such as rates, are drawn by their logarithm.
_RANGES = {
    "temperature": (TEMPERATURES, True),
    "alpha": (ALPHAS, False),
    "learning_rate": (RATES, True),
}
_NAMES = (*_RANGES, "loss", "batch_size")
_SYMBOLS = {
    "temperature": "T=", "alpha": "alpha=", "learning_rate": "rate=", "batch_size": "batch=",
}  # fmt: skip
DEFAULT = {"temperature": (1.0, 16.0), "alpha": (0.1, 0.9)}


class Space:
    """The settings of a recipe that a search varies.

    Args:
        recipe: the `Recipe`, which all other settings are from.
        axes: a dict with any of `temperature` and `learning_rate` (two numbers above 0, drawn
            log-uniformly), `alpha` (two numbers from 0 to 2, drawn uniformly), `loss` (names of
            losses on logits), `batch_size` (integers).

    Raises:
        ValueError: if a setting is unknown, a range is empty or out of range, or the recipe has
            no such setting.
    """

    def __init__(self, recipe, axes):
        _check_names(axes)
        self.recipe = recipe
        for name, values in axes.items():
            if not isinstance(values, (list, tuple, dict)):
                raise ArgumentError(f"`{name}` must be a list. Received: {name}={values!r}.")
        self.axes = {name: list(values) for name, values in axes.items()}
        for name in _RANGES.keys() & axes.keys():
            _check_range(name, axes[name])
        if "batch_size" in axes:
            _check_batch_sizes(self.axes["batch_size"])
        if "learning_rate" in axes and recipe.optimizer is not None:
            raise ValueError(
                "`learning_rate` is that of Adam. Received: a search over it, of the recipe "
                f"{recipe.name}, which has an optimizer of its own. Leave it out."
            )
        # The cells of a grid know which losses there are, and which have a temperature.
        cells = cells_of(recipe, (1.0,), (1.0,), self.axes.get("loss"))
        self._losses = {cell.loss: cell for cell in cells}

    def sample(self, trial):
        """Return the settings of an Optuna trial, as a dict that JSON can hold."""
        losses = list(self._losses)
        loss = trial.suggest_categorical("loss", losses) if "loss" in self.axes else losses[0]
        settings = {
            "loss": loss,
            "temperature": self.recipe.temperature,
            "alpha": self.recipe.alpha,
        }
        if self._losses[loss].temperature is None:
            settings["temperature"] = None
        for name, (_, logarithmic) in _RANGES.items():
            if name in self.axes and settings.get(name, 0) is not None:
                settings[name] = trial.suggest_float(name, *self.axes[name], log=logarithmic)
        if "batch_size" in self.axes:
            settings["batch_size"] = trial.suggest_categorical(
                "batch_size", self.axes["batch_size"]
            )
        return settings

    def recipe_of(self, settings):
        """Return the recipe with the settings of a trial."""
        changes = {name: value for name, value in settings.items() if value is not None}
        changes["loss"] = self._losses[settings["loss"]].build
        return dataclasses.replace(self.recipe, **changes)


def title(settings):
    """Return what people call the settings of a trial."""
    return " ".join(
        f"{_SYMBOLS[name]}{value:.3g}" if name != "loss" else value
        for name, value in settings.items()
        if value is not None
    )


def _check_names(axes):
    unknown = sorted(set(axes) - set(_NAMES))
    if unknown or not axes:
        raise ValueError(
            f"A search is over any of {', '.join(_NAMES)}. "
            f"Received: {', '.join(unknown) or 'none of them'}."
        )


def _check_range(name, values):
    bounds, _ = _RANGES[name]
    numbers_alone = all(is_number(value, bounds) for value in values)
    if not numbers_alone or len(values) != 2 or values[0] > values[1]:
        raise ValueError(
            f"`{name}` must be two numbers {words(bounds)}, the low one first. "
            f"Received: {list(values)}."
        )


def _check_batch_sizes(values):
    integers = all(isinstance(value, int) and 1 <= value <= MOST for value in values)
    if not integers or not values or len(set(values)) < len(values):
        raise ValueError(
            f"`batch_size` must be different integers of at least 1. Received: {values}."
        )
