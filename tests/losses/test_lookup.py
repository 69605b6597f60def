"""Losses by name, and the words that others have for what is ours."""

import dataclasses
import inspect
import pickle

import keras
import pytest

import keras_kd as kd
from keras_kd.experiment.grid import cells_of

SHAPE = {"image_shape": (4, 4, 1), "num_classes": 3}
NAMES = {
    name: member
    for name, member in vars(kd.losses).items()
    if inspect.isclass(member) and issubclass(member, keras.losses.Loss)
}
BASES = {"DistillationLoss", "FeatureLoss", "ValueLoss"}


def models():
    return {"student": kd.models.mlp([4], **SHAPE), "teacher": kd.models.mlp([5], **SHAPE)}


@pytest.mark.parametrize("name", sorted(set(NAMES) - BASES))
def test_every_loss_has_its_name(name):
    needs = {"Contrastive": {"num_examples": 8}}.get(name, {})
    loss = NAMES[name](**needs)
    if needs:
        with pytest.raises(ValueError, match=r"has no default for num_examples\. Received: 'contr"):
            kd.losses.get(loss.name)
    else:
        for identifier in (name, loss.name, NAMES[name]):
            assert type(kd.losses.get(identifier)) is NAMES[name]
        assert type(kd.losses.deserialize(loss.name)) is NAMES[name]
    assert kd.losses.get(loss) is loss
    config = kd.losses.serialize(loss)
    for copy in (kd.losses.deserialize(config), kd.losses.get(config)):
        assert kd.losses.serialize(copy) == config


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"Received: 'soft'\. There are: soft_targets, .*hints"):
        kd.losses.get("soft")
    with pytest.raises(ValueError, match="must be that of a loss"):
        kd.losses.deserialize(keras.saving.serialize_keras_object(keras.optimizers.Adam()))
    assert kd.losses.get(None) is None


class TestWhereLossesAreTaken:
    def test_alone_in_a_list_and_in_a_dict(self, tmp_path):
        for given, names in (
            ("soft_targets", ["soft_targets"]),
            (["soft_targets", "DIST", kd.losses.Hints()], ["soft_targets", "dist", "hints"]),
            ({"one": "soft_targets", "two": "dist"}, ["one", "two"]),
        ):
            distiller = kd.Distiller(**models(), distillation_loss=given)
            assert list(distiller.parts.terms.losses) == names
            distiller.save(tmp_path / "distiller.keras")
            loaded = keras.models.load_model(tmp_path / "distiller.keras")
            assert list(loaded.parts.terms.losses) == names

    def test_by_every_distiller_and_loss(self):
        students = [kd.models.mlp([units], **SHAPE) for units in (4, 5)]
        adversarial = kd.adversarial
        for distiller in (
            kd.MutualDistiller(students, distillation_loss="logit_matching"),
            adversarial.KDGANDistiller(students, distillation_loss="logit_matching"),
            adversarial.DiscriminatorDistiller(**models(), distillation_loss="logit_matching"),
            adversarial.DataFreeDistiller(**models(), distillation_loss="logit_matching"),
        ):
            assert isinstance(distiller.distillation_loss, kd.losses.LogitMatching)
        assert isinstance(kd.losses.StandardizedLogits("dist").loss, kd.losses.DIST)
        term = adversarial.Disagreement(distance="logit_distance")
        assert isinstance(term.distance, kd.losses.LogitDistance)

    def test_the_hard_loss_too(self):
        distiller = kd.Distiller(**models()).compile(loss="cross_entropy")
        assert isinstance(distiller.hard_loss, kd.losses.CrossEntropy)

    def test_the_command_knows_the_same_names(self):
        of_class, of_loss = (
            [cell.name for cell in cells_of(None, (2.0,), (0.5,), loss)]
            for loss in (["SoftTargets", "DecoupledKD"], ["soft_targets", "decoupled_kd"])
        )
        assert of_class == of_loss == ["SoftTargets_T_2_alpha_0.5", "DecoupledKD_T_2_alpha_0.5"]
        with pytest.raises(ValueError, match="must name different losses"):
            cells_of(None, (2.0,), (0.5,), ["SoftTargets", "soft_targets"])

    def test_recipes_too(self):
        recipe = kd.recipes.digits
        for name, kind in (("decoupled_kd", kd.losses.DecoupledKD), ("DIST", kd.losses.DIST)):
            loss = dataclasses.replace(recipe, loss=name).distillation_loss()
            assert type(loss) is kind and loss.temperature == recipe.temperature
        matching = pickle.loads(pickle.dumps(dataclasses.replace(recipe, loss="logit_matching")))
        assert isinstance(matching.distillation_loss(), kd.losses.LogitMatching)
        with pytest.raises(ValueError, match=r"Received: 'soft'\. There are: soft_targets"):
            dataclasses.replace(recipe, loss="soft")


@pytest.mark.parametrize("none", [[], (), {}])
def test_no_loss_at_all_is_refused(none):
    with pytest.raises(
        ValueError, match="`distillation_loss` must be a loss, or several. Received"
    ):
        kd.Distiller(**models(), distillation_loss=none)


def test_losses_of_one_name_are_counted():
    losses = ["soft_targets", "hints", "hints", "soft_targets", "hints"]
    distiller = kd.Distiller(**models(), distillation_loss=losses)
    assert list(distiller.parts.terms.losses) == [
        "soft_targets", "hints", "hints_2", "soft_targets_2", "hints_3",
    ]  # fmt: skip


class TestWordsOfOthers:
    @pytest.mark.parametrize(
        ("options", "ours"),
        [
            ({"distillation_losses": kd.losses.SoftTargets()}, "distillation_loss=losses.SoftT"),
            ({"student_loss_weight": 0.3}, "alpha=1 - student_loss_weight"),
            ({"temperature": 3.0}, "distillation_loss=losses.SoftTargets"),
        ],
    )
    def test_arguments_of_keras(self, options, ours):
        (name,) = options
        with pytest.raises(TypeError, match=f"no argument `{name}`.* Pass `{ours}"):
            kd.Distiller(**models(), **options)
        with pytest.raises(TypeError, match=f"no argument `{name}`.* Pass `{ours}"):
            kd.adversarial.DataFreeDistiller(**models(), **options)

    @pytest.mark.parametrize(
        "name", ["alpha", "temperature", "student_loss_fn", "distillation_loss_fn"]
    )
    def test_arguments_of_the_guide(self, name):
        with pytest.raises(TypeError, match=f"`compile` has no argument `{name}`"):
            kd.Distiller(**models()).compile("adam", **{name: 0.1})

    def test_models_by_position(self):
        student, teacher = models().values()
        for kind in (kd.Distiller, kd.adversarial.DiscriminatorDistiller):
            with pytest.raises(TypeError, match=r"by name, .* Received: 2 by position"):
                kind(teacher, student)

    def test_a_subclass_may_have_words_of_its_own(self):
        class Warm(kd.Distiller):
            def __init__(self, *, temperature, **options):
                loss = kd.losses.SoftTargets(temperature)
                super().__init__(distillation_loss=loss, **options)

        assert Warm(temperature=3.0, **models()).distillation_loss.temperature == 3.0
