"""One distillation after another: assistants, and generations."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_kd.distillers.distiller import Distiller
from keras_kd.teachers.ensemble import TeacherLike


def distill_in_turn(
    students: Sequence[keras.Model],
    *,
    teacher: TeacherLike,
    fit: Callable[[Distiller], Any],
    **options: Any,
) -> list[keras.Model]:
    """Distil each student from the one before it, the first from the teacher.

    With students that get smaller this is distillation through teacher assistants, for a gap
    that one step does not bridge; with students of one architecture, that of the teacher, it is
    self-distillation in generations (born-again networks).

    Args:
        students: built `keras.Model`s, in the order in which they are trained.
        teacher: as in `Distiller`.
        fit: called with each `Distiller`; compiles and fits it.
        **options: the other arguments of `Distiller` (`distillation_loss`, `alpha`, ...).

    Returns:
        The students, trained.

    Raises:
        ValueError: if there is no student, or one does not fit the one before it.

    Example:

    ```python
    import keras_kd as kd

    data = kd.data.load("digits", seed=0)

    def fit(distiller):
        batches = data.train.batches(32, shuffle_seed=0)
        distiller.compile().fit(batches, epochs=1, verbose=0)

    teacher, assistant, student = (
        kd.models.mlp([units], image_shape=data.image_shape) for units in (64, 32, 16)
    )
    kd.distill_in_turn([assistant, student], teacher=teacher, fit=fit, alpha=0.5)
    ```

    References:
        S. Mirzadeh et al., Improved Knowledge Distillation via Teacher Assistant, 2020, section
        3; T. Furlanello et al., Born Again Neural Networks, 2018, section 3.
    """
    students = list(students)
    if not students:
        raise ValueError("`students` must hold at least one model. Received: none.")
    for student in students:
        fit(Distiller(student=student, teacher=teacher, **options))
        teacher = student
    return students


# The spelling of earlier versions.
distil_in_turn = distill_in_turn
