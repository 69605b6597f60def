"""Structures by the names of a model's ends."""

import keras
import pytest

from keras_kd._common.structures import by_name, output_names, part_for


def two_ends(inputs=lambda *tensors: list(tensors), outputs=lambda *tensors: list(tensors)):
    ids, mask = keras.Input((4,), name="ids"), keras.Input((4,), name="mask")
    first = keras.layers.Dense(2, name="first")(ids)
    second = keras.layers.Dense(2, name="second")(mask)
    return keras.Model(inputs(ids, mask), outputs(first, second))


def chain():
    return keras.Sequential([keras.Input((4,), name="ids"), keras.layers.Dense(2, name="last")])


class Subclassed(keras.Model):
    def call(self, inputs):
        return inputs


def test_outputs_have_the_names_that_keras_gives_them():
    assert output_names(two_ends()) == ("first", "second")
    by_key = two_ends(outputs=lambda one, other: {"class": one, "box": other})
    assert output_names(by_key) == ("class", "box")
    assert output_names(chain()) == ("last",)
    assert output_names(Subclassed()) == ("output",)
    assert output_names(Subclassed(), {"a": 1, "b": 2}) == ("a", "b")
    assert output_names(Subclassed(), [1, 2]) == ("output", "output_1")


def test_what_belongs_to_outputs_is_found_by_name_or_place():
    names = ("class", "box")
    assert by_name({"box": 1}, names, what="`alpha`") == {"box": 1}
    assert by_name([1, None], names, what="`alpha`") == {"class": 1, "box": None}
    assert by_name(1, ("class",), what="`alpha`") == {"class": 1}


@pytest.mark.parametrize(
    ("structure", "sentence"),
    [
        ({"boxes": 1}, "`alpha` must be by the names of the outputs, class, box. Received: boxes"),
        ([1], "`alpha` must be one for each output, class, box. Received: 1"),
        (1, "`alpha` must be one for each output, class, box, in a dict or a list"),
    ],
)
def test_what_belongs_to_no_output_is_refused(structure, sentence):
    with pytest.raises(ValueError, match=sentence):
        by_name(structure, ("class", "box"), what="`alpha`")


def test_a_model_takes_its_own_of_many_inputs():
    given = {"ids": 1, "mask": 2, "image": 3}
    assert part_for(two_ends(), given) == [1, 2]
    by_key = two_ends(inputs=lambda ids, mask: {"ids": ids, "mask": mask})
    assert part_for(by_key, given) == {"ids": 1, "mask": 2}
    assert part_for(chain(), given) == 1
    assert part_for(chain(), 5) == 5
    assert part_for(Subclassed(), given) is given


def test_a_missing_input_is_named():
    with pytest.raises(ValueError, match="needs the input mask. Received: ids, image"):
        part_for(two_ends(), {"ids": 1, "image": 2})
