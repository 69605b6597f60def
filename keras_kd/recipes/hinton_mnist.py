"""The first experiment of distillation: section 3 of Hinton et al. 2015, on MNIST.

Commands: `keras-kd compare hinton_mnist --seeds 3`, the shortened form with `--epochs 30`; a table
over T for students of 800 units per layer, and of 30 with `hinton_mnist_30`, which use the teacher
of a seed again (copied, since a sweep in the seed's own folder would replace its results):

    mkdir saved_models/hinton_mnist_sweep
    cp saved_models/hinton_mnist_compare/seed_0/teacher* saved_models/hinton_mnist_sweep
    keras-kd sweep hinton_mnist --temperature 1 2.5 4 8 20

Cost: in bfloat16 on two virtual cores of a Xeon a quarter of an hour a seed for the teacher's 200
epochs and five minutes for its three students.
Result, 3 seeds, errors on 10 000 test images: teacher 83 ± 4, student distilled 109 ± 1, the same
student alone 141 ± 10, on smoothed labels 129 ± 8. Seed 0 of the shortened form (`keras-kd sweep
hinton_mnist --temperature 20 --alpha 0.5 0.9 0.98 --epochs 30`, in float32; all of it in
`benchmarks/recipes.md`): teacher 121, student distilled with the best alpha 114, alone 159. The
table over T for 800 units is still to be run; that for 30 units is in `hinton_mnist_30`.

Teacher 784-1200-1200-10 with dropout (0.2 of the pixels, 0.5 of the units), the norm of each unit's
weights limited, images shifted by up to two pixels; student 784-800-800-10 with none of them,
T = 20. Published errors on the 10 000 test images: teacher 67, student alone 146, distilled 74. Not
in the paper, ours: bfloat16 where the processor has it, Adam at 1e-3 falling on a cosine, batches
of 250, a limit of 3.9, alpha = 0.5 (best of 0.5, 0.9 and 0.98 on validation, one seed of the
shortened form); a tenth of the training images is held back to choose the epoch.

Reference: G. Hinton, O. Vinyals, J. Dean, Distilling the Knowledge in a Neural Network, 2015,
section 3.
"""

import functools

import keras

from keras_kd.data import RandomShift
from keras_kd.experiment import Recipe
from keras_kd.experiment.optimizers import cosine
from keras_kd.models import mlp

hinton_mnist = Recipe(
    name="hinton_mnist",
    dataset="mnist",
    teacher=functools.partial(
        mlp, [1200, 1200], dropout=0.5, input_dropout=0.2, max_norm=3.9, name="teacher"
    ),
    student=functools.partial(mlp, [800, 800], name="student"),
    temperature=20.0,
    alpha=0.5,
    epochs=60,
    quick_epochs=2,
    teacher_patience=200,
    student_patience=60,
    batch_size=250,
    optimizer=cosine(1e-3, optimizer=keras.optimizers.Adam),
    teacher_epochs=200,
    teacher_optimizer=cosine(1e-3, optimizer=keras.optimizers.Adam),
    teacher_augmentation=RandomShift(2),
    precision="mixed",
)
