"""The smallest known experiment: a two-layer perceptron teaches one of 32 units on MNIST.

Command: `keras-kd run mnist_mlp`, over seeds `keras-kd compare mnist_mlp --seeds 5`.
Cost: COST
Result, RESULT

Teacher 784-128-64-10, student 784-32-10, pixels as `(x - 0.1307) / 0.3081`, batches of 64, Adam at
1e-3, five epochs each, T = 2, alpha = 0.5, as published. Against the original: a tenth of the
training images is held back to choose the epoch (nearly always the last).
"""

import functools

from keras_kd.experiment import Recipe
from keras_kd.models import mlp

_normalized = functools.partial(mlp, mean=0.1307, std=0.3081)

mnist_mlp = Recipe(
    name="mnist_mlp",
    dataset="mnist",
    teacher=functools.partial(_normalized, [128, 64], name="teacher"),
    student=functools.partial(_normalized, [32], name="student"),
    temperature=2.0,
    alpha=0.5,
    epochs=5,
    quick_epochs=1,
    teacher_patience=5,
    student_patience=5,
    batch_size=64,
)
