"""What unpacks to more than a file may is refused before it is unpacked, whatever it says."""

import gzip
import io
import json
import struct
import tracemalloc
import zipfile
import zlib

import keras
import numpy as np
import pytest
from PIL import Image

import keras_kd as kd
from keras_kd._common import limits
from keras_kd._common.model_files import load_model_file
from keras_kd.data.image_file import Form, decode

h5py = pytest.importorskip("h5py")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Four megabytes for all, so that nothing here takes a gigabyte."""
    monkeypatch.setenv(limits.VARIABLE, "0.004")


@pytest.fixture
def peak():
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


def saved(path):
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(path)
    return path


def rewritten(path, **members):
    """Put other members into a zip file, packed."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, each in {**content, **members}.items():
            archive.writestr(name, each)


def lying(path):
    """Let every packed member of a zip file say that it unpacks to 1000 bytes."""
    content = bytearray(path.read_bytes())
    for signature, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = 0
        while (start := content.find(signature, start)) >= 0:
            if struct.unpack_from("<I", content, start + place)[0] > 1_000_000:
                struct.pack_into("<I", content, start + place, 1000)
            start += 4
    path.write_bytes(content)


def datasets(**shapes):
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for name, shape in shapes.items():
            file.create_dataset(name, shape, "f4", chunks=True, compression="gzip")
    return stream.getvalue()


TOO_MUCH = r"must take at most .* unpacked. Received: .* allow more with KERAS_KD_MAX_GB"


class TestModels:
    @pytest.mark.parametrize("name", ["config.json", "metadata.json", "model.weights.h5", "more"])
    def test_a_member_that_says_it_is_large_is_not_unpacked(self, name, tmp_path, peak):
        path = saved(tmp_path / "model.keras")
        rewritten(path, **{name: bytes(30_000_000)})
        tracemalloc.reset_peak()
        with pytest.raises(ValueError, match=TOO_MUCH):
            load_model_file(path, "teacher")
        assert peak() < 3_000_000

    def test_a_member_that_says_it_is_small_is_counted(self, tmp_path, peak):
        path = saved(tmp_path / "model.keras")
        rewritten(path, **{"config.json": bytes(30_000_000)})
        lying(path)
        tracemalloc.reset_peak()
        with pytest.raises(ValueError, match="must be a whole .keras file"):
            load_model_file(path, "teacher")
        assert peak() < 5_000_000

    def test_weights_that_say_they_are_large_are_not_read(self, tmp_path):
        path = saved(tmp_path / "model.keras")
        rewritten(path, **{"model.weights.h5": datasets(a=(10, 10), b=(10_000, 10_000))})
        with pytest.raises(ValueError, match=TOO_MUCH):
            load_model_file(path, "teacher")

    def test_weights_that_lie_elsewhere_are_not_read(self, tmp_path):
        stream = io.BytesIO()
        with h5py.File(stream, "w") as file:
            file.create_dataset("a", (10,), "u1", external=[("/etc/hostname", 0, 10)])
        path = saved(tmp_path / "model.keras")
        rewritten(path, **{"model.weights.h5": stream.getvalue()})
        with pytest.raises(ValueError, match="Received: a dataset that lies in another file"):
            load_model_file(path, "teacher")

    def test_another_way_of_packing_is_refused(self, tmp_path):
        path = tmp_path / "model.keras"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
            archive.writestr("config.json", bytes(3_000_000))
        with pytest.raises(ValueError, match="packed by deflate or not at all"):
            load_model_file(path, "teacher")

    def test_the_limit_can_be_raised_and_a_whole_file_is_read(self, tmp_path, monkeypatch):
        path = saved(tmp_path / "model.keras")
        rewritten(path, more=bytes(30_000_000))
        monkeypatch.setenv(limits.VARIABLE, "0.1")
        assert load_model_file(path, "teacher").count_params() == 8

    def test_a_large_file_may_be_large(self, tmp_path):
        path = tmp_path / "model.keras"
        model = keras.Sequential([keras.Input((1000,)), keras.layers.Dense(1500)])  # 6 MB.
        model.save(path)
        assert load_model_file(path, "teacher").count_params() == 1_501_500


class TestArrays:
    def test_arrays_that_unpack_to_too_much_are_not_read(self, tmp_path, peak):
        path = tmp_path / "data.npz"
        labels = np.arange(4) % 2
        np.savez_compressed(path, train_images=np.zeros((4, 2000, 2000), np.uint8),
                            train_labels=labels, test_images=np.zeros((4, 2, 2)),
                            test_labels=labels)  # fmt: skip
        tracemalloc.reset_peak()
        with pytest.raises(ValueError, match=TOO_MUCH):
            kd.data.read_npz(path)
        lying(path)
        with pytest.raises(ValueError, match="must be an .npz file of plain arrays"):
            kd.data.read_npz(path)
        assert peak() < 5_000_000

    def test_an_array_that_says_it_is_large_and_is_not_is_refused(self, tmp_path):
        path = tmp_path / "data.npz"
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 10, 10)}
        )
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("train_images.npy", header.getvalue() + bytes(50))
        with pytest.raises(ValueError, match="must be an .npz file of plain arrays"):
            kd.data.read_npz(path)

    def test_a_checkpoint_that_unpacks_to_too_much_is_damaged(self, tmp_path):
        from keras_kd.runs import checkpoint

        path = tmp_path / "student.checkpoint.npz"
        np.savez_compressed(path, head=json.dumps({}), more=np.zeros(30_000_000, np.uint8))
        with pytest.raises(ValueError, match="which is damaged"):
            checkpoint.read(path)


class TestIDX:
    @staticmethod
    def write(path, shape, count, pack=gzip.compress):
        head = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
        path.write_bytes(pack(head + bytes(count)))
        return path

    def test_what_it_declares_is_checked(self, tmp_path, peak):
        path = self.write(tmp_path / "x.gz", (30_000, 1000), 30_000_000)
        tracemalloc.reset_peak()
        with pytest.raises(ValueError, match=TOO_MUCH):
            kd.data.read_idx(path)
        assert peak() < 3_000_000

    def test_what_comes_beyond_is_not_unpacked(self, tmp_path, peak):
        path = self.write(tmp_path / "x.gz", (10, 10), 30_000_000)
        tracemalloc.reset_peak()
        with pytest.raises(ValueError, match="at least 1048576 trailing bytes"):
            kd.data.read_idx(path)
        assert peak() < 5_000_000

    def test_a_header_that_declares_more_than_there_is(self, tmp_path):
        for pack in (gzip.compress, bytes):
            path = self.write(tmp_path / "x", (2**31, 2**31), 30, pack)
            with pytest.raises(ValueError, match=TOO_MUCH):
                kd.data.read_idx(path)
        path = self.write(tmp_path / "x", 200 * (1,), 1, bytes)
        with pytest.raises(ValueError, match="from 1 to 4 dimensions. Received: 200"):
            kd.data.read_idx(path)

    def test_a_broken_stream_is_named(self, tmp_path):
        path = self.write(tmp_path / "x.gz", (10, 10), 100)
        path.write_bytes(path.read_bytes()[:-12])
        with pytest.raises(ValueError, match="broken gzip file"):
            kd.data.read_idx(path)


def png(width, height):
    """A picture of one colour, small as a file."""

    def chunk(kind, content):
        sum_ = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", sum_)

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes((width + 1) * height), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


class TestPictures:
    def test_a_picture_of_too_many_pixels_is_not_decoded(self, peak):
        content = png(400, 400)
        tracemalloc.reset_peak()
        with pytest.raises(ValueError, match=r"400 x 400 pixels, above 125,000.*KERAS_KD_MAX_GB"):
            decode(content, Form(8, 8, 3))
        assert peak() < 1_000_000

    def test_by_default_it_may_have_31_million(self, monkeypatch):
        monkeypatch.delenv(limits.VARIABLE)
        image = Image.new("1", (9200, 9200))  # 84 megapixels of one colour.
        stream = io.BytesIO()
        image.save(stream, "PNG")
        with pytest.raises(ValueError, match=r"9200 x 9200 pixels, above 31,250,000"):
            decode(stream.getvalue(), Form(8, 8, 3))

    def test_pictures_are_decoded_one_after_another_where_memory_ends(self):
        import concurrent.futures

        content = png(350, 350)  # Two of them fit.
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: decode(content, Form(4, 4, 1)), range(40)))
        assert len(found) == 40 and not np.any(found)

    def test_a_file_is_named_with_the_way_out(self, tmp_path):
        for name in ("cat", "dog"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "large.png").write_bytes(png(400, 400))
        with pytest.raises(ValueError, match=r"large.png \(400 x 400 pixels, above .*MAX_GB"):
            kd.data.image_folder(tmp_path)


@pytest.mark.parametrize("text", ["much", "nan", "inf", "-1", "0", "1e9"])
def test_the_limit_is_a_number_of_gigabytes(text, monkeypatch):
    monkeypatch.setenv(limits.VARIABLE, text)
    with pytest.raises(ValueError, match="KERAS_KD_MAX_GB must be a number of gigabytes"):
        limits.most_bytes()
