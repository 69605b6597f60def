"""Callbacks with defaults that suit a distiller."""

from typing import Any

import keras

from keras_kd._common.surface import only
from keras_kd._common.typing import Config

__all__ = ["EarlyStopping"]

__dir__ = only(__all__)


class EarlyStopping(keras.callbacks.EarlyStopping):
    """Keras's early stopping, watching validation accuracy and keeping the best weights.

    Keras's watches `val_loss`, by default, which a distiller reports too. This one watches
    `val_accuracy`, or whatever `monitor` names; for names that hold `loss` less is better, for
    the others more, unless `mode` says otherwise. At the end of `fit` the model has the weights
    of its best epoch, stopped early or not.

    Args:
        monitor: a key of the epoch's logs. `"val_accuracy"` needs `metrics=["accuracy"]` in
            `compile` and `validation_data` in `fit`.
        patience: epochs without improvement after which training stops.
        min_delta: the least change that counts as an improvement.
        mode: `"min"`, `"max"`, or `"auto"` for the rule above.
        restore_best_weights: whether the model ends with the weights of its best epoch.
        **kwargs: the other arguments of `keras.callbacks.EarlyStopping`.

    Raises:
        ValueError: at the end of the first epoch, if the logs do not hold `monitor`.

    Example:

    ```python
    import keras_kd as kd

    stopping = kd.callbacks.EarlyStopping(patience=20)
    assert stopping.monitor == "val_accuracy" and stopping.restore_best_weights
    ```
    """

    def __init__(
        self,
        monitor: str = "val_accuracy",
        *,
        patience: int = 20,
        min_delta: float = 0,
        mode: str = "auto",
        restore_best_weights: bool = True,
        **kwargs: Any,
    ):
        if mode == "auto":
            mode = "min" if "loss" in monitor else "max"
        super().__init__(
            monitor=monitor,
            patience=patience,
            min_delta=min_delta,
            mode=mode,
            restore_best_weights=restore_best_weights,
            **kwargs,
        )

    def on_epoch_end(self, epoch: int, logs: Config | None = None) -> None:
        if self.monitor not in (logs or {}):
            raise ValueError(
                f"EarlyStopping watches `{self.monitor}`, which the logs do not hold. "
                f"Received: {', '.join(sorted(logs or {}))}. Pass `validation_data` to `fit` and "
                "the metric to `compile`, or name another key with `monitor`."
            )
        super().on_epoch_end(epoch, logs)
