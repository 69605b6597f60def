"""What a student learns from labels and a teacher: the losses of each output, and their sum."""

import dataclasses
import functools

from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from keras_kd._common.structures import by_name
from keras_kd.distillers.hard_losses import counted, known_labels
from keras_kd.distillers.terms import DistillationTerms
from keras_kd.losses.weights import check_weights, weighed


@dataclasses.dataclass(frozen=True)
class Objective:
    """The losses on labels and on a teacher, and how they are weighed.

        loss = sum_o weight_o * (alpha_o * distillation_loss_o + (1 - alpha_o) * hard_loss_o)

    over the outputs of the student. An output without a distillation loss learns from labels
    alone, one without a hard loss from the teacher alone.

    Args:
        names: of the student's outputs.
        terms: the `DistillationTerms`.
        alphas: by output, a number from 0 to 2 or a schedule.
        hard_losses: by output, `None` for one that learns no labels.
        loss_weights: by output; 1 for those not named.
    """

    names: tuple
    terms: DistillationTerms
    alphas: dict
    hard_losses: dict
    loss_weights: dict = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def live(self):
        """The terms that count: at an alpha of 0 the teacher is not asked."""
        return self.terms.without([name for name in self.names if self.alphas[name] == 0])

    def alpha_of(self, name):
        """Return alpha of an output: 0 where no loss asks, 1 where there are no labels to learn."""
        if not self.live.of(name):
            return 0.0
        return self.alphas[name] if self.hard_losses[name] is not None else 1.0

    def learned(self):
        """Return the names of the outputs whose labels count in training."""
        # At alpha=1 labels may be placeholders, for the compiled metrics alone.
        return [name for name in self.labelled() if self.alpha_of(name) != 1]

    def labelled(self):
        """Return the names of the outputs that have a hard-label loss."""
        return [name for name in self.names if self.hard_losses[name] is not None]

    def check(self):
        """Refuse an objective of which nothing is left.

        Raises:
            ValueError: if no output learns from labels or from a teacher.
        """
        if not self.labelled() and not self.live.terms:
            raise ValueError(
                "An output must learn from labels or from the teacher. Received: no hard loss and "
                "an alpha of 0, or no distillation loss, for each. Pass `loss` to `compile`, or "
                "an `alpha` above 0."
            )

    def needs_labels(self):
        """Return whether training needs labels."""
        return bool(self.learned()) or not self.live.needs_teacher()

    def heads(self, teacher_heads, pairs):
        """Return what each output of the student is; `None` if no distillation loss is on it.

        Args:
            teacher_heads: what each of the teacher's outputs is, by its name.
            pairs: the teacher's output for each of the student's.
        """
        heads = {}
        for name in self.names:
            said = teacher_heads.get(pairs.get(name))
            if not self.terms.of(name):
                heads[name] = None
            elif self.terms.is_binary(name) or said == "sigmoid":
                heads[name] = "sigmoid"
            elif self.terms.is_of_values(name) or said == "values":
                heads[name] = "values"
            else:
                heads[name] = "logits"
        return heads

    def losses(self, batch, teacher, student, *, learned, projectors, step):
        """Return the losses by their names in the logs, as far as they can be had.

        Args:
            batch: a `Batch`.
            teacher: `TeacherOutputs` by the student's names, or `None`.
            student: `StudentOutputs`.
            learned: names of the outputs whose labels are there to be learned.
            projectors: what brings features together, by the name of the term.
            step: of the training, for settings that are schedules.
        """
        labels = _by_output(batch.labels, self.names, "Labels")
        weights = batch.sample_weight
        if weights is not None and not isinstance(weights, (dict, list, tuple)):
            weights = dict.fromkeys(self.names, weights)
        weights = _by_output(weights, self.names, "Sample weights")
        for name, weight in weights.items():
            check_weights(weight, student.outputs[name])
        missing = [name for name in learned if labels.get(name) is None]
        if missing:
            raise ValueError(
                f"The output {missing[0]} learns from labels. Received: labels of "
                f"{', '.join(labels)} alone. Pass them, or `loss={{...}}` to `compile` with `None` "
                f"for {missing[0]}."
            )
        hard = {
            name: weighed(
                self.hard_losses[name], labels[name], student.outputs[name], weights.get(name)
            )
            for name in learned
        }
        losses = self._logged(hard, "hard_loss", "loss")
        if teacher is None:
            return losses
        outputs = {
            name: counted(each, labels.get(name), self.hard_losses[name])
            for name, each in student.outputs.items()
        }
        values = self.live.values(
            teacher,
            dataclasses.replace(student, outputs=outputs),
            {name: known_labels(each, self.hard_losses[name]) for name, each in labels.items()},
            weights,
            projectors=projectors,
            step=step,
        )
        by_output = self.live.sums(values)
        losses |= self._logged(by_output, "distillation_loss", "distillation_loss")
        return losses | {name: values[name] for name in self.terms.logged() if name in values}

    def weighted(self, losses, step):
        """Return the weighted parts of the objective.

        Args:
            losses: what `losses` returned.
            step: of the training, for an alpha that is a schedule.
        """
        parts = [part for name in self.names for part in self._parts_of(name, step)]
        return [weight * losses[key] for key, weight in parts]

    def names_in_logs(self):
        """Return the names of the losses in the logs, in their order."""
        names = ["hard_loss", "distillation_loss"]
        if len(self.names) > 1:
            names += [f"{name}_loss" for name in self.names]
            names += [f"{name}_distillation_loss" for name in self.terms.outputs()]
        return names + self.terms.logged()

    def _parts_of(self, name, step):
        """Return each part of an output's objective that counts: its key and its weight."""
        if self.hard_losses[name] is None and not self.live.of(name):
            return []
        alpha, weight, keys = self.alpha_of(name), 1, ("hard_loss", "distillation_loss")
        if len(self.names) > 1:
            weight = self.loss_weights.get(name, 1)
            keys = f"{name}_loss", f"{name}_distillation_loss"
        changes = isinstance(alpha, LearningRateSchedule)
        now = alpha(step) if changes else alpha
        return [
            (key, share if weight == 1 else weight * share)
            for key, share in zip(keys, (1 - now, now), strict=True)
            if changes or share != 0
        ]

    def _logged(self, by_output, total, suffix):
        """Return losses of outputs under their names in the logs, with their weighted sum."""
        if not by_output:
            return {}
        weights = {name: self.loss_weights.get(name, 1) for name in by_output}
        terms = [
            value if weights[name] == 1 else weights[name] * value
            for name, value in by_output.items()
        ]
        if len(self.names) == 1:
            return {total: terms[0]}
        return {total: sum_of(terms)} | {
            f"{name}_{suffix}": value for name, value in by_output.items()
        }


def sum_of(terms):
    """Return the sum of scalars in a list; the only one as it is."""
    return ops.sum(terms) if len(terms) > 1 else terms[0]


def _by_output(structure, names, what):
    return {} if structure is None else by_name(structure, names, what=what)
