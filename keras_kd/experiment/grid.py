"""The cells of a sweep: temperatures, alphas and losses."""

import dataclasses
import inspect
import itertools

from keras_kd import losses
from keras_kd._common.checks import ALPHAS, TEMPERATURES, is_number, words
from keras_kd.losses.lookup import builder_of, class_of


@dataclasses.dataclass(frozen=True)
class Cell:
    """One student of a grid.

    Args:
        loss: name of the loss.
        temperature: T, or `None` for a loss without one.
        alpha: weight of the distillation loss.
        build: `(temperature) -> loss`.
    """

    loss: str
    temperature: float | None
    alpha: float
    build: object

    @property
    def name(self):
        """What its files are called."""
        temperature = "" if self.temperature is None else f"_T_{self.temperature:g}"
        return f"{self.loss}{temperature}_alpha_{self.alpha:g}"

    def settings(self):
        """Return what tells it from the others, as a dict."""
        names = ("name", "loss", "temperature", "alpha")
        return {name: getattr(self, name) for name in names}


def cells_of(recipe, temperature, alpha, loss):
    """Return the cells of a grid, in the order loss, temperature, alpha.

    Raises:
        ValueError: if an axis is empty, holds one value twice or one out of range, or a loss is
            unknown.
    """
    _check_axis("temperature", temperature, TEMPERATURES)
    _check_axis("alpha", alpha, ALPHAS)
    cells = []
    for name, build, has_temperature in _losses(recipe, loss):
        temperatures = temperature if has_temperature else (None,)
        cells += [
            Cell(name, each, weight, build)
            for each, weight in itertools.product(temperatures, alpha)
        ]
    return cells


def _losses(recipe, loss):
    """Yield name, builder and whether there is a temperature, for each loss."""
    if loss is None:
        yield type(recipe.distillation_loss()).__name__, recipe.loss, True
        return
    if not loss or len({class_of(name) or name for name in loss}) < len(loss):
        raise ValueError(f"`loss` must name different losses, at least one. Received: {loss}.")
    for name in loss:
        if isinstance(loss, dict):
            yield name, loss[name], True
            continue
        found = class_of(name)
        on_logits = [each for each in sorted(losses.__all__) if _is_on_logits(each)]
        if found is None or found.__name__ not in on_logits:
            raise ValueError(
                f"`loss` must name losses on logits: {', '.join(on_logits)}. "
                f"Received: {name!r}. Pass a dict by name of functions of the temperature for "
                "others."
            )
        yield found.__name__, *builder_of(name)


def _is_on_logits(name):
    loss = getattr(losses, name)
    return (
        inspect.isclass(loss)
        and issubclass(loss, losses.DistillationLoss)
        and not issubclass(loss, (losses.FeatureLoss, losses.ValueLoss))
        and loss not in (losses.DistillationLoss, losses.LabelSmoothing, losses.BinarySoftTargets)
        and hasattr(loss, "call")
    )


def _check_axis(name, values, bounds):
    is_list = isinstance(values, (list, tuple))
    numbers_alone = is_list and all(is_number(value, bounds) for value in values)
    if not values or not numbers_alone or len(set(values)) < len(values):
        raise ValueError(
            f"`{name}` must be different numbers {words(bounds)}, at least one. "
            f"Received: {values!r}."
        )
