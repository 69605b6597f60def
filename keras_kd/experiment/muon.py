"""Muon for convolutions, whose kernels Keras's own leaves to Adam."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_kd._common.typing import Config, Tensor

# The quintic that brings singular values near 1 when it is iterated: K. Jordan et al. 2024.
_A, _B, _C = 3.4445, -4.7750, 2.0315
_TINY = 1e-7
# Of Adam.
_BETA_1, _BETA_2 = 0.9, 0.95


@keras.saving.register_keras_serializable("keras_kd")
class ConvMuon(keras.optimizers.SGD):
    """Orthogonal steps for the kernels of convolutions, Adam for all other weights.

    A kernel is a matrix, a row for each output channel. Of the mean gradient `U S V^T` it steps
    along `U V^T`, equally far in every direction. Its norm is kept at the root of the number of
    channels: such nets have a BatchNormalization behind every convolution, and its scale means
    nothing. Take large batches: a step costs as much as some twenty images.

    Args:
        learning_rate: how far a row of a kernel, of norm 1, moves in a step.
        adam_ratio: Adam's learning rate, as a multiple of it.
        beta: of the mean gradient of a kernel, Nesterov's.
        num_iterations: of Newton and Schulz, towards `U V^T`.
        **options: of `keras.optimizers.Optimizer`.

    Example:

    ```python
    import keras_kd as kd

    muon = kd.experiment.optimizers.one_cycle(0.1, optimizer=kd.experiment.optimizers.ConvMuon)
    kd.models.conv_net([8], batch_norm=True).compile(muon(100), kd.losses.CrossEntropy())
    ```

    References:
        K. Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024.
    """

    def __init__(
        self,
        learning_rate: Any = 0.1,
        *,
        adam_ratio: float = 0.1,
        beta: float = 0.6,
        num_iterations: int = 3,
        **options: Any,
    ):
        super().__init__(learning_rate, **options)
        self.adam_ratio = adam_ratio
        self.beta = beta
        self.num_iterations = num_iterations
        # In the order of the variables; squares of what Adam trains alone.
        self.trained, self.means, self.squares = [], [], []

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Make room for the mean gradients, once."""
        if self.built:
            return
        super().build(variables)
        self.trained = list(variables)
        for variable in variables:
            mean = self.add_variable_from_reference(variable, name="mean")
            self.means.append(mean)
            is_kernel = len(variable.shape) == 4
            square = None if is_kernel else self.add_variable_from_reference(variable, "square")
            self.squares.append(square)

    def apply(
        self, grads: Sequence[Tensor], trainable_variables: Sequence[keras.Variable] | None = None
    ) -> None:
        """Move the variables, those that the optimizer was built with, by their gradients."""
        if trainable_variables is not None:
            self.build(trainable_variables)
        step = ops.cast(self.iterations + 1, "float32")
        directions = []
        for variable, gradient, mean, square in zip(
            self.trained, grads, self.means, self.squares, strict=True
        ):
            if square is None:
                variable.assign(variable * (variable.shape[-1] ** 0.5 / _norm(variable)))
                directions.append(self._orthogonal(gradient, mean))
            else:
                directions.append(self.adam_ratio * _adam(gradient, mean, square, step))
        super().apply(directions, trainable_variables)

    def _orthogonal(self, gradient, mean):
        """Return the direction for a kernel, from its gradient and the mean that this moves."""
        mean.assign(self.beta * mean + gradient)
        rows = _as_rows(gradient + self.beta * mean)
        # bfloat16 is enough, as in the reference, and twice as fast where it is fast.
        x = ops.cast(rows / (_norm(rows) + _TINY), "bfloat16")
        for _ in range(self.num_iterations):
            square = x @ ops.transpose(x)
            x = _A * x + (_B * square + _C * (square @ square)) @ x
        return _as_kernel(ops.cast(x, gradient.dtype), gradient.shape)

    def get_config(self) -> Config:
        """Return the arguments."""
        own = {name: getattr(self, name) for name in ("adam_ratio", "beta", "num_iterations")}
        return super().get_config() | own


def _as_rows(kernel):
    """Return a kernel as a matrix that is not higher than wide."""
    matrix = ops.reshape(kernel, [-1, kernel.shape[-1]])
    return matrix if matrix.shape[0] < matrix.shape[1] else ops.transpose(matrix)


def _as_kernel(rows, shape):
    is_wide = rows.shape[1] == shape[-1] and rows.shape[0] < rows.shape[1]
    return ops.reshape(rows if is_wide else ops.transpose(rows), shape)


def _norm(values):
    return ops.sqrt(ops.sum(ops.square(values)))


def _adam(gradient, mean, square, step):
    """Return the direction of Adam, whose two means this moves."""
    mean.assign(_BETA_1 * mean + (1 - _BETA_1) * gradient)
    square.assign(_BETA_2 * square + (1 - _BETA_2) * gradient**2)
    unbiased = ops.sqrt(square / (1 - _BETA_2**step))
    return mean / (1 - _BETA_1**step) / (unbiased + _TINY)
