"""The first experiment of distillation: section 3 of Hinton et al. 2015, on MNIST.

Commands: `keras-kd compare hinton_mnist --seeds 3`, the shortened form with `--epochs 30`; a table
over T for students of 800 units per layer, and of 30 with `hinton_mnist_30`, which use the teacher
of a seed again (copied: a sweep in the seed's own folder is refused):

    mkdir saved_models/hinton_mnist_sweep
    cp saved_models/hinton_mnist_compare/seed_0/teacher* saved_models/hinton_mnist_sweep
    keras-kd sweep hinton_mnist --temperature 1 2.5 4 8 20 --alpha 0.5

Cost: in bfloat16 on two cores of an AMD EPYC a quarter of an hour a seed for the teacher's 150
epochs and four minutes for its three students.
Result, 3 seeds, errors on 10 000 test images: teacher 60 ± 7, student distilled 84 ± 3, the same
student alone 149 ± 4, on smoothed labels 132 ± 4; in the shortened form, five minutes a seed on two
virtual cores of a Xeon, 79 ± 4, 98 ± 2, 143 ± 5 and 133 ± 5. The table over T for 800 units (seed
0, alpha = 0.5, validation accuracy): T = 1 0.9863, 2.5 0.9893, 4 0.9907, 8 0.9905, 20 0.9910, alone
0.9842; that for 30 units is in `hinton_mnist_30`.

Teacher 784-1200-1200-10 with dropout, the norm of each unit's weights limited to 3.9, images
shifted by up to two pixels; student 784-800-800-10 with none of them, T = 20. Published errors on
the 10 000 test images: teacher 67, student alone 146, distilled 74. Not in the paper, ours: images
turned, sheared, zoomed and stretched as well, and dropout of 0.1 of the pixels and 0.25 of the
units (with shifts alone, 0.2 and 0.5 the teacher made 83 ± 4 errors, its student 109 ± 1); bfloat16
where the processor has it, Adam at 1e-3 falling on a cosine, batches of 250, alpha = 0.5 (best of
0.5, 0.9 and 1 on validation, one seed); a tenth of the training images is held back to choose the
epoch. What was tried: `benchmarks/tried.md`.

Reference: G. Hinton, O. Vinyals, J. Dean, Distilling the Knowledge in a Neural Network, 2015,
section 3.
"""

import functools

import keras

from keras_kd.data import RandomAffine
from keras_kd.experiment import Recipe
from keras_kd.experiment.optimizers import cosine
from keras_kd.models import mlp

hinton_mnist = Recipe(
    name="hinton_mnist",
    data="mnist",
    teacher=functools.partial(
        mlp, [1200, 1200], dropout=0.25, input_dropout=0.1, max_norm=3.9, name="teacher"
    ),
    student=functools.partial(mlp, [800, 800], name="student"),
    temperature=20.0,
    alpha=0.5,
    epochs=40,
    quick_epochs=2,
    teacher_patience=150,
    student_patience=40,
    batch_size=250,
    optimizer=cosine(1e-3, optimizer=keras.optimizers.Adam),
    teacher_epochs=150,
    teacher_optimizer=cosine(1e-3, optimizer=keras.optimizers.Adam),
    teacher_augmentation=RandomAffine(degrees=12, shear=0.15, zoom=0.1, stretch=0.08, pixels=2),
    precision="mixed",
)
