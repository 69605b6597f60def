"""Texts as numbers, and back."""

import numpy as np
import pytest

import keras_kd as kd


def test_texts_are_the_bytes_of_their_utf8_padded_with_zero():
    numbers = kd.data.encode_texts(["abc", "Grüße"], num_bytes=8)
    assert numbers.dtype == np.int32
    assert bytes(numbers[0].tolist()) == b"abc\0\0\0\0\0"
    assert bytes(numbers[1].tolist()) == "Grüße".encode() + b"\0"


@pytest.mark.parametrize(
    ("num_bytes", "kept"), [(1, ""), (2, "é"), (3, "é"), (5, "é漢"), (8, "é漢")]
)
def test_no_character_is_cut_in_two(num_bytes, kept):
    numbers = kd.data.encode_texts(["é漢🙂"], num_bytes=num_bytes)
    assert kd.data.decode_texts(numbers) == [kept]
    assert (numbers[0, len(kept.encode()) :] == 0).all()


def test_white_space_at_the_ends_is_not_kept():
    numbers = kd.data.encode_texts(["  a b\n", "a b"], num_bytes=6)
    np.testing.assert_array_equal(numbers[0], numbers[1])


def test_one_text_is_one_row():
    assert kd.data.encode_texts("Hello", num_bytes=5).shape == (1, 5)


def test_half_a_surrogate_is_a_question_mark():
    assert kd.data.decode_texts(kd.data.encode_texts(["a\ud800b"], 4)) == ["a?b"]


@pytest.mark.parametrize(
    ("text", "said"), [(7, "7 as number 1"), (" \n", "nothing in it"), ("a\0b", "a NUL in it")]
)
def test_what_is_no_text_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        kd.data.encode_texts(["fine", text])


@pytest.mark.parametrize("numbers", [None, "text", [1, 2], [[0.5]]])
def test_what_no_text_became_is_not_turned_back(numbers):
    with pytest.raises(ValueError, match=r"must be integers \[n, num_bytes\]"):
        kd.data.decode_texts(numbers)


@pytest.mark.parametrize("num_bytes", [0, -1, 65_537, 2.5])
def test_a_number_of_bytes_out_of_range_is_refused(num_bytes):
    with pytest.raises(ValueError, match="num_bytes"):
        kd.data.encode_texts(["a"], num_bytes)


def test_arrays_of_texts_are_known_as_texts():
    x, y = kd.data.encode_texts(["one", "two"] * 20), np.arange(40) % 2
    data = kd.data.from_arrays((x, y), (x, y), reads="texts")
    assert data.reads == "texts" and data.input_shape == (256,)
    with pytest.raises(ValueError, match="as `data.encode_texts` returns them"):
        kd.data.from_arrays((x / 2, y), (x / 2, y), reads="texts")
