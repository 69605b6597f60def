"""`top_k`: what is kept of a vocabulary, and how right the loss is that comes of it."""

import json

import keras
import numpy as np
import pytest

import keras_kd as kd
from keras_kd.soft_labels import writing
from keras_kd.soft_labels.record import Stored
from keras_kd.soft_labels.rows import row_dtype

COUNT, STEPS, NUM_CLASSES = 24, 16, 1500


def vocabulary_logits(seed, sharpness=1.0):
    """Return logits `[COUNT, STEPS, NUM_CLASSES]` like those of a language model.

    Zipf's law for the words, and what a place says of them along 96 directions, of which the
    first say most.
    """
    generator = np.random.default_rng(7)
    scales = 2.5 / np.arange(1, 97) ** 1.2
    directions = generator.normal(size=(96, NUM_CLASSES))
    hidden = np.random.default_rng(seed).normal(size=(COUNT, STEPS, 96))
    return sharpness * (hidden * scales) @ directions - np.log(np.arange(1, NUM_CLASSES + 1))


LOGITS = vocabulary_logits(0)
STUDENT = 0.5 * LOGITS + 0.5 * vocabulary_logits(1)
IDS = np.arange(COUNT * STEPS, dtype="int32").reshape(COUNT, STEPS)


def stored(path, logits=LOGITS, top_k=16, **options):
    """Return what soft labels give back of logits."""
    labels = kd.SoftLabels.from_logits(path, logits, IDS, top_k=top_k, **options)
    ((_, targets),) = labels.join(IDS, COUNT).as_numpy_iterator()
    return targets.teacher_logits


def loss(teacher_logits, temperature):
    """By hand, in float64: `T^2 * KL(p, q)`."""
    log_p, log_q = (_log_softmax(each / temperature) for each in (teacher_logits, STUDENT))
    return temperature**2 * (np.exp(log_p) * (log_p - log_q)).sum(-1)


def _log_softmax(logits):
    logits = logits.astype("float64")
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def evenly(top_k):
    """Return logits of which those beside the largest share their mass, as formerly."""
    order = np.argsort(-LOGITS, axis=-1)
    others = np.exp(np.take_along_axis(LOGITS, order[..., top_k:], -1))
    level = np.log(others.mean(-1, keepdims=True))
    found = np.broadcast_to(level, LOGITS.shape).copy()
    kept = np.take_along_axis(LOGITS, order[..., :top_k], -1)
    np.put_along_axis(found, order[..., :top_k], kept, axis=-1)
    return found


class TestTheLoss:
    @pytest.mark.parametrize("temperature", [1.0, 2.0])
    def test_is_within_1_percent_at_16(self, tmp_path, temperature):
        exact = loss(LOGITS, temperature).mean()
        found = loss(stored(tmp_path / "labels"), temperature).mean()
        assert found == pytest.approx(exact, rel=0.01)
        # What it would be without.
        assert abs(loss(evenly(16), temperature).mean() - exact) > 0.1 * exact

    def test_mass_is_right_at_both_temperatures(self, tmp_path):
        found = stored(tmp_path / "labels", dtype="float32")
        order = np.argsort(-LOGITS, axis=-1)[..., :16]
        for temperature, tolerance in ((1.0, 2e-3), (2.0, 1e-2)):
            of_kept, expected = (
                np.exp(np.take_along_axis(_log_softmax(each / temperature), order, -1)).sum(-1)
                for each in (found, LOGITS)
            )
            np.testing.assert_allclose(1 - of_kept, 1 - expected, rtol=tolerance)


def test_a_token_takes_at_most_100_bytes_at_16():
    row = row_dtype(Stored("logits", 2**16, [128], "float16", 16))
    assert row.itemsize / 128 <= 100
    more = row_dtype(Stored("logits", 2**16 + 1, [128], "float16", 16))
    assert more.itemsize - row.itemsize == 128 * 16 * 2  # Classes of four bytes.


def test_classes_that_are_masked_with_large_numbers_stay_without_a_part(tmp_path):
    logits = LOGITS.copy()
    logits[..., 1::2] = -1e9
    found = stored(tmp_path / "labels", logits)
    assert np.isfinite(found).all()
    probabilities = np.exp(_log_softmax(found))
    assert probabilities[..., 1::2].sum(-1).max() < 1e-6
    expected = np.exp(_log_softmax(logits))
    assert np.abs(probabilities - expected).sum(-1).mean() < 0.1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_refused_among_the_others_too(tmp_path, value):
    logits = LOGITS.copy()
    logits[3, 2, 700] = value
    with pytest.raises(ValueError, match=r"must be finite as float16. .*for image 3\."):
        stored(tmp_path / "labels", logits)


def test_few_places_and_few_classes(tmp_path):
    """Fewer than there are directions; and all of them."""
    few = LOGITS[..., :5]
    for top_k in (2, 5, 9):
        found = stored(tmp_path / str(top_k), few, top_k, dtype="float32")
        order = np.argsort(-few, axis=-1)
        kept, expected = (np.take_along_axis(each, order, -1) for each in (found, few))
        np.testing.assert_allclose(kept[..., :top_k], expected[..., :top_k], rtol=1e-5)
        np.testing.assert_allclose(np.exp(found).sum(-1), np.exp(few).sum(-1), rtol=1e-3)
    one = kd.SoftLabels.from_logits(tmp_path / "one", LOGITS[:1, :1], IDS[:1, :1], top_k=4)
    ((_, targets),) = one.join(IDS[:1, :1], 1).as_numpy_iterator()
    np.testing.assert_allclose(targets.teacher_logits, LOGITS[:1, :1], atol=0.01)


class TestWhatIsCommonToAllPlaces:
    def teacher(self):
        keras.utils.set_random_seed(0)
        ids = keras.Input((STEPS,), dtype="int32")
        x = keras.layers.Embedding(COUNT * STEPS, 8)(ids)
        return keras.Model(ids, keras.layers.Dense(30)(x))

    def create(self, path, **options):
        options = {"top_k": 3, "verbose": False} | options
        return kd.SoftLabels.create(path, self.teacher(), IDS, **options)

    def test_an_interrupted_creation_goes_on_with_it(self, tmp_path, monkeypatch):
        whole = self.create(tmp_path / "whole")
        with monkeypatch.context() as patch:
            patch.setattr(writing, "move", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                self.create(tmp_path / "labels")
        with monkeypatch.context() as patch:
            patch.setattr(writing.Others, "of", lambda *_: 1 / 0)
            again = self.create(tmp_path / "labels")
        for one, other in zip(whole.join(IDS, 16), again.join(IDS, 16), strict=True):
            np.testing.assert_array_equal(one[1].teacher_logits, other[1].teacher_logits)

    def test_one_of_the_former_version_begins_anew(self, tmp_path, monkeypatch):
        with monkeypatch.context() as patch:
            patch.setattr(writing, "move", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                self.create(tmp_path / "labels")
        record = tmp_path / ".labels.unfinished" / "store.json"
        content = json.loads(record.read_text())
        del content["others"], content["places"]
        record.write_text(json.dumps(content | {"places": [STEPS]}))
        assert self.create(tmp_path / "labels").verify(50, self.teacher(), IDS) < 1e-3

    def test_damage_is_found(self, tmp_path):
        self.create(tmp_path / "labels")
        file = tmp_path / "labels" / "others-0.npy"
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"others-0\.npy in .*damaged"):
            kd.SoftLabels(tmp_path / "labels")

    def test_each_output_has_its_own(self, tmp_path):
        logits = {"first": LOGITS[..., :40], "all": LOGITS[..., :20], "second": LOGITS[..., 50:80]}
        top_k = {"first": 4, "second": 4}
        labels = kd.SoftLabels.from_logits(tmp_path / "labels", logits, IDS, top_k=top_k)
        ((_, targets),) = labels.join(IDS, COUNT).as_numpy_iterator()
        for name, each in logits.items():
            p, found = (np.exp(_log_softmax(x)) for x in (each, targets.teacher_logits[name]))
            assert np.abs(p - found).sum(-1).mean() < 0.1, name  # Half bytes of 40 classes.
