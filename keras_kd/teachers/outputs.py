"""What a teacher said of a minibatch, as one value."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class TeacherOutputs:
    """What a teacher said of a minibatch, and what is known of it.

    Args:
        outputs: float32 logits, or values, `[batch, ...]` by the name of the output.
        features: what is inside the teacher, by the name of the layer.
        class_maps: for an output with classes of its own, the student's class of each.
        finite: whether the outputs were known to be finite before the step.
        index: integers `[batch]`, where the examples are in the training data, if that is known.
    """

    outputs: dict
    features: dict = dataclasses.field(default_factory=dict)
    class_maps: dict = dataclasses.field(default_factory=dict)
    finite: bool = False
    index: object = None

    def renamed(self, pairs: dict[str, str]) -> "TeacherOutputs":
        """Return what was said of some outputs, under other names.

        Args:
            pairs: the teacher's name of each output by the new one.
        """
        maps = {name: self.class_maps.get(own) for name, own in pairs.items()}
        return dataclasses.replace(
            self,
            outputs={name: self.outputs[own] for name, own in pairs.items()},
            class_maps={name: each for name, each in maps.items() if each is not None},
        )
