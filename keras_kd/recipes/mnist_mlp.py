"""The smallest known experiment: a two-layer perceptron teaches one of 32 units on MNIST.

Command: `keras-kd run mnist_mlp`, over seeds `keras-kd compare mnist_mlp --seeds 5`.
Cost: half a minute a seed on two cores (measured: four minutes for five seeds on two busy ones).
Result, five seeds, test accuracy: teacher 0.9727 ± 0.0023, student distilled 0.9612 ± 0.0020, the
same student alone 0.9602 ± 0.0020, on smoothed labels 0.9621 ± 0.0022. The gain over the student
alone, +0.10 points (95 % interval over seeds -0.21 to +0.41), is INCONCLUSIVE; agreement with the
teacher gains +0.57 (+0.29 to +0.84).

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
