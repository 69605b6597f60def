"""A teacher and data of one's own to a measured student, in one call."""

import tempfile
from collections.abc import Sequence
from typing import Any

from keras_kd._common.checks import check_seed
from keras_kd._common.typing import PathLike
from keras_kd.data import Data
from keras_kd.experiment.compare import check_seeds
from keras_kd.experiment.distill import Distill
from keras_kd.experiment.frame import carry_out
from keras_kd.experiment.recipe import Recipe
from keras_kd.experiment.result import Result
from keras_kd.teachers.ensemble import TeacherLike


def distill(
    teacher: TeacherLike | PathLike | None,
    data: Data | PathLike,
    *,
    output: PathLike | None = None,
    seeds: int | Sequence[int] | None = None,
    seed: int = 0,
    patience: int = 10,
    control: bool = True,
    formats: Sequence[str] | None = None,
    max_drop: float | None = None,
    quick: bool = False,
    budget: float | str | None = None,
    tensorboard: bool = False,
    overwrite: bool = False,
    verbose: bool = True,
    **settings: Any,
) -> Result:
    """Distil a teacher of yours on data of yours, in one call.

    It is `experiment.distill` of the `Recipe` that these arguments make.

    Args:
        teacher: a trained `keras.Model` that ends in logits, softmax or sigmoid, its file, or a
            list of several. It may take another size, colours or scale than the images have.
            `None` with `soft_labels`.
        data: a `Data` (see `data.read`, `data.from_arrays` and `data.load`), a path, or a name.
        output: a new folder, or that of the same distillation, which goes on; nothing is kept
            of it if `None`.
        seeds: how many seeds, from 0, or a list of them; `seed` alone if `None`.
        seed: of first weights, orders of the data and, unless `data` is a `Data`, the split.
        patience: epochs without a better validation accuracy that end a training.
        control: as in `experiment.distill`, also below.
        formats: the same.
        max_drop: the same.
        quick: the same.
        budget: the same.
        tensorboard: the same.
        overwrite: the same.
        verbose: the same.
        **settings: of the `Recipe`, such as `student`, `temperature`, `alpha`, `unlabelled`,
            `soft_labels`, `epochs`, `batch_size`, `learning_rate`, `scale`, `head`, `max_kb`,
            `max_us`, `checked`.

    Returns:
        A `Result`: its contents, `student`, `export(folder)`.

    Raises:
        ValueError: as `experiment.distill`.

    Example:

    ```python
    import keras_kd as kd

    data = kd.data.load("digits")
    teacher = kd.models.mlp([64], image_shape=data.image_shape)
    teacher.compile("adam", kd.losses.CrossEntropy())
    teacher.fit(data.train.batches(32, shuffle_seed=0), epochs=5, shuffle=False, verbose=0)
    settings = dict(student="mlp:8", temperature=2.0, alpha=0.9, epochs=2)  # All can be left out.
    result = kd.distill(teacher, data, **settings, verbose=False)
    assert set(result["models"]) == {"teacher", "student", "student_alone"}
    ```
    """
    if seeds is None:
        check_seed(seed)
    seeds = check_seeds([seed] if seeds is None else seeds)
    recipe = Recipe(teacher=teacher, data=data, student_patience=patience, **settings)
    kind = Distill(seeds, control, formats, max_drop, ships=output is not None)
    options = {
        "quick": quick, "budget": budget, "tensorboard": tensorboard, "overwrite": overwrite,
        "verbose": verbose,
    }  # fmt: skip
    if output is not None:
        return carry_out(kind, recipe, output=output, **options)
    with tempfile.TemporaryDirectory(prefix="keras_kd.") as folder:
        result = carry_out(kind, recipe, output=folder, **options)
    result.folder = None
    return result
