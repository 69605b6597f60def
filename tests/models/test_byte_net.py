"""The student that reads the bytes of texts."""

import keras
import numpy as np

import keras_kd as kd

TEXTS = ["Guten Tag", "Good day, how are you?", "Здравствуйте", "x"]


def test_a_pattern_is_found_wherever_it_stands():
    keras.utils.set_random_seed(0)
    student = kd.models.byte_net([8], num_bytes=64, num_classes=3)
    # Far from both ends, where what stands beyond them is not seen.
    here, there = (kd.data.encode_texts(["-" * n + "abcde" + "-" * (54 - n)], 64) for n in (8, 30))
    np.testing.assert_allclose(student(here), student(there), atol=1e-6)


def test_its_file_of_integers_reads_texts_and_says_so(tmp_path):
    keras.utils.set_random_seed(0)
    student = kd.models.byte_net([16, 32], num_bytes=32, num_classes=3)
    numbers = kd.data.encode_texts(TEXTS * 20, 32)
    path = tmp_path / "student.tflite"
    kd.export.litert(student, path, quantization="int8", calibration=numbers)
    told = kd.export.embedded(path)["input"]
    assert (told["dtype"], told["shape"], told["range"]) == ("int32", [1, 32], [0.0, 255.0])
    logits = kd.export.run_litert(path, kd.data.encode_texts(TEXTS, 32)).logits
    expected = np.asarray(student(kd.data.encode_texts(TEXTS, 32)))
    assert np.abs(logits - expected).max() < 0.1 * np.abs(expected).max()


def test_it_is_saved_and_loaded(tmp_path):
    student = kd.models.byte_net([4], num_bytes=16)
    student.save(tmp_path / "student.keras")
    loaded = keras.models.load_model(tmp_path / "student.keras")
    numbers = kd.data.encode_texts(TEXTS, 16)
    np.testing.assert_array_equal(loaded(numbers), student(numbers))
