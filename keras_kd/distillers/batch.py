"""What a training step is given, and what the student answers: two values that are passed on."""

import dataclasses

from keras_kd.data.targets import unpack


@dataclasses.dataclass(frozen=True)
class Batch:
    """A minibatch, as Keras's `fit` names its parts.

    Args:
        inputs: any structure of tensors that the models take.
        labels: a tensor, or a structure of some by output; `None` if there are none.
        sample_weight: likewise.
    """

    inputs: object
    labels: object = None
    sample_weight: object = None


@dataclasses.dataclass(frozen=True)
class StudentOutputs:
    """What a student answered, from one pass.

    Args:
        structure: as the model returned it, for Keras's metrics.
        outputs: the same by the name of the output.
        features: what is inside the student, by the name of the layer.
        training: whether it is learning from it.
    """

    structure: object
    outputs: dict
    features: dict = dataclasses.field(default_factory=dict)
    training: bool = False


def batch_of(data):
    """Return a `Batch`, and what a teacher said of it before; `None` if nothing is stored.

    Args:
        data: as in `data.targets.unpack`.
    """
    *parts, stored = unpack(data)
    return Batch(*parts), stored
