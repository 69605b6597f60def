"""Optimizers with a schedule, as a `Recipe` asks for them: built from the number of steps."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_kd.experiment.muon import ConvMuon

__all__ = ["ConvMuon", "cosine", "one_cycle", "steps"]


def one_cycle(
    peak: float,
    *,
    optimizer: type[keras.optimizers.Optimizer] = keras.optimizers.AdamW,
    warm_up: float = 0.3,
    **options: Any,
) -> Callable[[int], keras.optimizers.Optimizer]:
    """Return a builder: the learning rate rises to its peak, then falls to 0 on half a cosine.

    Args:
        peak: the largest learning rate.
        optimizer: a class of `keras.optimizers`.
        warm_up: share of the steps on which it rises, from `peak / 25`.
        **options: for the optimizer, such as `weight_decay`.

    Returns:
        A function `(num_steps) -> keras.optimizers.Optimizer`.

    Example:

    ```python
    import keras_kd as kd

    adam = kd.experiment.optimizers.one_cycle(1e-2, weight_decay=0.05)(1000)
    assert abs(float(adam.learning_rate) - 4e-4) < 1e-8  # At step 0.
    ```

    References:
        L. Smith, N. Topin, Super-Convergence: Very Fast Training of Neural Networks Using Large
        Learning Rates, 2018, section 3.
    """

    def build(num_steps):
        num_warm_up = max(1, round(warm_up * num_steps))
        schedule = keras.optimizers.schedules.CosineDecay(
            peak / 25,
            decay_steps=max(1, num_steps - num_warm_up),
            warmup_target=peak,
            warmup_steps=num_warm_up,
        )
        return optimizer(schedule, **options)

    return build


def steps(
    start: float,
    *,
    at: Sequence[float],
    factor: float = 0.1,
    optimizer: type[keras.optimizers.Optimizer] = keras.optimizers.SGD,
    **options: Any,
) -> Callable[[int], keras.optimizers.Optimizer]:
    """Return a builder: the learning rate is multiplied by `factor` at shares of the training.

    Args:
        start: the first learning rate.
        at: shares of the steps, rising, between 0 and 1.
        factor: what it is multiplied by at each.
        optimizer: a class of `keras.optimizers`.
        **options: for the optimizer, such as `momentum`.

    Returns:
        A function `(num_steps) -> keras.optimizers.Optimizer`.
    """

    def build(num_steps):
        schedule = keras.optimizers.schedules.PiecewiseConstantDecay(
            [round(share * num_steps) for share in at],
            [start * factor**number for number in range(len(at) + 1)],
        )
        return optimizer(schedule, **options)

    return build


def cosine(
    start: float,
    *,
    optimizer: type[keras.optimizers.Optimizer] = keras.optimizers.AdamW,
    **options: Any,
) -> Callable[[int], keras.optimizers.Optimizer]:
    """Return a builder: the learning rate falls from `start` to 0 on half a cosine.

    Args:
        start: the first learning rate.
        optimizer: a class of `keras.optimizers`.
        **options: for the optimizer, such as `weight_decay`.

    Returns:
        A function `(num_steps) -> keras.optimizers.Optimizer`.
    """

    def build(num_steps):
        schedule = keras.optimizers.schedules.CosineDecay(start, decay_steps=num_steps)
        return optimizer(schedule, **options)

    return build
