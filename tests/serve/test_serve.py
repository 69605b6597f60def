"""The page: what it is made of, who may reach it, and what it computes in a real browser."""

import base64
import contextlib
import hashlib
import http.client
import importlib.util
import io
import json
import os
import re
import shutil
import signal
import socket
import struct
import tarfile
import threading
import time

import keras
import numpy as np
import pytest
import warm
from keras import layers
from PIL import Image

import keras_kd as kd
from keras_kd import cli
from keras_kd._common.looks import look_of
from keras_kd.data.files import ends_of
from keras_kd.serve import content as CONTENT
from keras_kd.serve import runtime as RUNTIME
from keras_kd.serve import server as SERVER
from keras_kd.serve import vendor as VENDOR
from keras_kd.serve.files import read_by
from keras_kd.teachers.fitting import opened_teacher

FORMATS = (None, "float16", "dynamic", "int8", "int8_uint8_input", "16x8")
BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


@pytest.fixture(scope="module")
def folder(digits, digits_teacher, tmp_path_factory):
    """A folder as `keras-kd run` leaves it, with a student in every format for one image."""
    folder = tmp_path_factory.mktemp("run")
    keras.utils.set_random_seed(1)
    student = kd.models.mlp([32], image_shape=digits.image_shape, name="student")
    student.compile("adam", kd.losses.CrossEntropy())
    student.fit(digits.train.batches(32, shuffle_seed=0), epochs=5, shuffle=False, verbose=0)
    for form in FORMATS:
        path = folder / f"student_{form or 'float32'}.tflite"
        kd.export.litert(student, path, quantization=form, calibration=digits.train)
    kd.export.litert(student, folder / "any_batch.tflite", batch_size=None)
    (folder / "foreign.tflite").write_bytes(b"not one of ours")
    digits_teacher.save(folder / "teacher.keras")
    (folder / "results.json").write_text(json.dumps({"data": {"name": "digits"}}))
    return folder


@pytest.fixture(scope="module")
def content(folder):
    return CONTENT.content_of(folder)


@pytest.fixture(scope="module")
def of_bytes(tmp_path_factory):
    """A folder with a student and a teacher that take the bytes of files."""
    folder = tmp_path_factory.mktemp("bytes")
    for name in ("student", "teacher"):
        keras.utils.set_random_seed(len(name) + (name == "teacher"))
        numbers = keras.Input((2048,), dtype="int32")
        x = layers.GlobalAveragePooling1D()(layers.Embedding(257, 4)(numbers))
        model = keras.Model(numbers, layers.Dense(30, kernel_initializer="he_normal")(x))
        model.save(folder / f"{name}.keras")
    kd.export.litert(keras.models.load_model(folder / "student.keras"), folder / "student.tflite")
    return folder


@pytest.fixture(scope="module")
def content_of_bytes(of_bytes):
    return CONTENT.content_of(of_bytes)


@pytest.fixture(scope="module")
def of_texts(tmp_path_factory):
    """A folder with a student and a teacher that take the beginnings of texts."""
    folder = tmp_path_factory.mktemp("texts")
    for name in ("student", "teacher"):
        keras.utils.set_random_seed(len(name) + (name == "teacher"))
        numbers = keras.Input((12,), dtype="int32")
        x = layers.GlobalAveragePooling1D()(layers.Embedding(256, 4)(numbers))
        model = keras.Model(numbers, layers.Dense(3, kernel_initializer="he_normal")(x))
        model.save(folder / f"{name}.keras")
    names = ["German", "French", "Thai"]
    student = keras.models.load_model(folder / "student.keras")
    kd.export.litert(student, folder / "student.tflite", class_names=names, reads="texts")
    return folder


@pytest.fixture(scope="module")
def content_of_texts(of_texts):
    return CONTENT.content_of(of_texts)


@pytest.fixture(scope="module")
def of_maps(tmp_path_factory):
    """A folder as a recipe of maps leaves it: a student's file, and what others said before."""
    folder = tmp_path_factory.mktemp("maps")
    keras.utils.set_random_seed(1)
    images = keras.Input((12, 16, 3))
    student = keras.Model(images, layers.Conv2D(1, 3, padding="same")(images))
    drawn = np.random.default_rng(0)
    some = drawn.integers(0, 256, (3, 12, 16, 3), dtype=np.uint8)
    path = folder / "student_int8.tflite"
    kd.export.litert(student, path, quantization="int8", calibration=some)
    said = drawn.integers(0, 256, (2, 3, 12, 16, 1), dtype=np.uint8)
    np.savez(folder / "shown.npz", images=some, teacher=said[0], student_alone=said[1])
    return folder


@pytest.fixture
def no_conversion(monkeypatch):
    """Leave the teacher out of the browser: its file takes longer than all else that is shown."""
    monkeypatch.setattr(CONTENT, "_in_the_browser", lambda *_: ({}, {}))


class TestContent:
    def test_it_holds_the_files_the_test_images_and_the_teachers_answers(
        self, content, folder, digits, digits_teacher
    ):
        description = json.loads(content["description.json"])
        names = [file["name"] for file in description["files"]]
        # Not the one for any number of images, which the browser's runtime does not take.
        assert sorted(names) == sorted(f"student_{form or 'float32'}.tflite" for form in FORMATS)
        assert names[0] == "student_float32.tflite"  # The largest.
        assert (
            content["models/student_int8.tflite"] == (folder / "student_int8.tflite").read_bytes()
        )
        assert description["images"] == {
            "name": "digits", "count": 359, "total": 359, "dtype": "uint8",
        }  # fmt: skip
        assert content["images"] == digits.test.images.tobytes()
        assert np.frombuffer(content["labels"], "<i4").tolist() == digits.test.labels.tolist()
        np.testing.assert_allclose(
            np.frombuffer(content["teacher_logits"], "<f4").reshape(-1, 10),
            digits_teacher.predict(digits.test.images, verbose=0),
            rtol=1e-4,
            atol=1e-4,
        )

    def test_a_teacher_that_ends_in_softmax_answers_in_logits_there_too(
        self, folder, digits, digits_teacher, tmp_path
    ):
        image = keras.Input(digits.image_shape)
        closed = keras.Model(image, layers.Softmax()(digits_teacher(image)))
        closed.save(tmp_path / "closed.keras")
        content = CONTENT.content_of(folder, teacher=tmp_path / "closed.keras")
        (tmp_path / "teacher.tflite").write_bytes(content["models/teacher"])
        np.testing.assert_allclose(
            kd.export.run_litert(tmp_path / "teacher.tflite", digits.test.images[:5]).logits,
            digits_teacher(digits.test.images[:5]),
            rtol=1e-3,
            atol=1e-3,
        )

    def test_where_a_teacher_or_data_are_gone_it_says_how_to_name_them(self, folder, tmp_path):
        for name in ("teacher", "data"):
            with pytest.raises(FileNotFoundError) as caught:
                CONTENT.content_of(folder, **{name: str(tmp_path / "gone.keras")})
            assert str(caught.value).endswith(f" Say where it lies now: `--{name} PATH`.")

    def test_of_a_teacher_that_litert_cannot_run_it_says_so(self, folder, digits, tmp_path):
        image = keras.Input(digits.image_shape)
        flat = layers.Flatten()(layers.Rescaling(1 / 256)(image))
        outputs = layers.Dense(10)(keras.ops.erfinv(flat))
        keras.Model(image, outputs).save(tmp_path / "odd.keras")
        content = CONTENT.content_of(folder, teacher=tmp_path / "odd.keras")
        told = json.loads(content["description.json"])["teacher"]
        assert not told["runs_in_browser"] and "Erfinv" in told["reason"]
        assert "models/teacher" not in content and "teacher_logits" in content

    def test_without_data_and_teacher_there_is_a_student_to_draw_for(self, folder, tmp_path):
        shutil.copy(folder / "student_int8.tflite", tmp_path)
        (tmp_path / "export.json").write_text(json.dumps({"data": "arrays of somebody"}))
        content = CONTENT.content_of(tmp_path)
        description = json.loads(content["description.json"])
        assert description["images"] is None and description["teacher"] is None
        assert set(content) == {"description.json", "models/student_int8.tflite"}

    def test_of_a_large_set_a_part_is_shown(self, folder, digits, monkeypatch, no_conversion):
        monkeypatch.setattr(CONTENT, "_MOST_IMAGE_BYTES", 64 * 10)
        content = CONTENT.content_of(folder)
        images = json.loads(content["description.json"])["images"]
        assert (images["count"], images["total"]) == (10, 359)
        assert content["images"] == digits.test.images[:10].tobytes()

    def test_a_file_of_several_inputs_is_no_page(self, tmp_path):
        left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
        model = keras.Model([left, right], layers.Dense(3)(left - right))
        kd.export.litert(model, tmp_path / "student.tflite")
        with pytest.raises(
            ValueError, match="one image is told as. Received: .*student.tflite, with"
        ):
            CONTENT.content_of(tmp_path)

    def test_what_does_not_fit_is_refused(self, folder, digits_teacher, tmp_path):
        with pytest.raises(FileNotFoundError, match="must be a folder.*Received: .*no folder"):
            CONTENT.content_of(tmp_path / "none")
        with pytest.raises(FileNotFoundError, match="must hold a .tflite file for one image"):
            CONTENT.content_of(tmp_path)
        with pytest.raises(ValueError, match=r"mnist must be for images \(8, 8, 1\) of 10 classes"):
            CONTENT.content_of(folder, data="mnist")
        other = kd.models.mlp([8], image_shape=(8, 8, 1), num_classes=3)
        other.save(tmp_path / "other.keras")
        with pytest.raises(ValueError, match=r"The teacher .*Received: \(8, 8, 1\) of 3 classes"):
            CONTENT.content_of(folder, teacher=tmp_path / "other.keras")
        shutil.copy(folder / "student_int8.tflite", tmp_path)
        kd.export.litert(other, tmp_path / "other.tflite")
        with pytest.raises(ValueError, match="same images and know the same classes"):
            CONTENT.content_of(tmp_path)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A student of planes and frogs."""
    student = kd.models.mlp([4], image_shape=(8, 10, 3), num_classes=2)
    path = tmp_path_factory.mktemp("own") / "student_float32.tflite"
    kd.export.litert(student, path, class_names=["plane", "frog"])
    return path


class TestOwnRun:
    """Teacher and images are the user's, and neither lies in the folder."""

    @pytest.fixture
    def own(self, file, tmp_path):
        """Where a distillation lies that `config.json` says the making of."""
        generator = np.random.default_rng(0)
        for number in range(60):
            place = tmp_path / "pictures" / ("plane", "frog")[number % 2]
            place.mkdir(parents=True, exist_ok=True)
            pixels = generator.integers(0, 256, (*generator.integers(9, 14, 2), 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / f"{number}.png")
        teacher = kd.models.conv_net([2], image_shape=(16, 16, 3), num_classes=2)
        teacher.save(tmp_path / "mine.keras")
        run = tmp_path / "run"
        run.mkdir()
        shutil.copy(file, run)
        made_from = {
            "data": str(tmp_path / "pictures"),
            "data_options": {"default_size": [8, 10], "class_names": ["plane", "frog"]},
            "teacher": [str(tmp_path / "mine.keras")],
            "scale": "imagenet",
        }
        (run / "config.json").write_text(json.dumps({"kind": "distill", "made_from": made_from}))
        (run / "results.json").write_text(json.dumps({"data": {"name": "pictures"}}))
        return run

    def test_its_images_and_teacher_are_found_where_they_lie(self, own, tmp_path):
        content = CONTENT.content_of(own)
        names = ["plane", "frog"]
        data = kd.data.read(tmp_path / "pictures", class_names=names, image_size=(8, 10))
        assert content["images"] == data.test.images.tobytes()
        assert np.frombuffer(content["labels"], "<i4").tolist() == data.test.labels.tolist()
        description = json.loads(content["description.json"])
        assert description["class_names"] == names and description["images"]["name"] == "pictures"
        teacher = opened_teacher(tmp_path / "mine.keras", data, scale="imagenet")
        expected = np.asarray(teacher(data.test.images))
        received = np.frombuffer(content["teacher_logits"], "<f4").reshape(-1, 2)
        np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-4)
        (tmp_path / "teacher.tflite").write_bytes(content["models/teacher"])
        there = kd.export.run_litert(tmp_path / "teacher.tflite", data.test.images).logits
        np.testing.assert_allclose(there, expected, rtol=1e-3, atol=1e-3)

    def test_what_was_moved_is_named_anew(self, own, tmp_path, no_conversion):
        (tmp_path / "mine.keras").rename(tmp_path / "moved.keras")
        with pytest.raises(FileNotFoundError, match=r"mine.keras.* `--teacher PATH`"):
            CONTENT.content_of(own)
        shown = CONTENT.content_of(own, teacher=tmp_path / "moved.keras")
        other = CONTENT.content_of(own, teacher=tmp_path / "moved.keras", scale="0..255")
        assert other["teacher_logits"] != shown["teacher_logits"]
        (tmp_path / "pictures").rename(tmp_path / "moved")
        with pytest.raises(FileNotFoundError, match=r"pictures.* `--data PATH`"):
            CONTENT.content_of(own)
        moved = {"data": tmp_path / "moved", "teacher": tmp_path / "moved.keras"}
        again = CONTENT.content_of(own, **moved)
        for name in ("images", "labels", "teacher_logits"):
            assert again[name] == shown[name]

    def test_students_of_a_comparison_are_converted(self, own, no_conversion):
        (own / "student_float32.tflite").unlink()
        seeds = [own / f"seed_{seed}" for seed in (0, 1)]
        names = ("student", "student_alone")
        for seed in seeds:
            seed.mkdir()
            for name in names:
                keras.utils.set_random_seed(len(name))
                student = kd.models.mlp([4], image_shape=(8, 10, 3), num_classes=2)
                student.save(seed / f"{name}.keras")
        said = []
        content = CONTENT.content_of(own, say=said.append)
        assert said == [f"2 students of {seeds[0]} are converted for the browser ..."]
        description = json.loads(content["description.json"])
        assert [file["name"] for file in description["files"]] == [
            f"{each}.keras" for each in names
        ]
        assert content["models/student.keras"] != content["models/student_alone.keras"]
        assert description["class_names"] == ["plane", "frog"] and "teacher_logits" in content

    def test_of_bytes_it_says_how_they_are_read_and_drawn(self, content_of_bytes):
        description = json.loads(content_of_bytes["description.json"])
        assert description["image_shape"] == [32, 64, 1] and description["range"] == [0, 256]
        read = {"block": 4096, "kept": 1024, "padding": 256, "fewest": 8}
        assert description["bytes"] == read and description["teacher"]["runs_in_browser"]

    def test_of_texts_it_says_how_many_bytes_are_read(self, content_of_texts):
        description = json.loads(content_of_texts["description.json"])
        assert description["reads"] == "texts" and description["image_shape"] == [1, 12, 1]
        assert description["bytes"] is None and description["teacher"]["runs_in_browser"]
        assert description["class_names"] == ["German", "French", "Thai"]

    def test_where_a_file_names_no_classes_the_run_does(self, of_texts, tmp_path, no_conversion):
        shutil.copy(of_texts / "student.keras", tmp_path)
        names = ["German", "French", "Thai"]
        for said, expected in ((names, names), (names[:2], ["0", "1", "2"])):
            data = {"name": "languages", "class_names": said}
            (tmp_path / "results.json").write_text(json.dumps({"data": data}))
            description = json.loads(CONTENT.content_of(tmp_path)["description.json"])
            assert description["class_names"] == expected

    def test_a_seed_of_a_comparison_is_shown_by_itself(self, of_texts, tmp_path, no_conversion):
        shutil.copy(of_texts / "student.tflite", tmp_path)
        # As each seed leaves it: what the data are says the folder above.
        (tmp_path / "results.json").write_text(json.dumps({"recipe": "languages", "seed": 0}))
        description = json.loads(CONTENT.content_of(tmp_path)["description.json"])
        assert description["class_names"] == ["German", "French", "Thai"]

    def test_students_of_texts_and_of_files_are_told_when_they_are_converted(
        self, of_texts, of_bytes, tmp_path, no_conversion
    ):
        for folder, reads in ((of_texts, "texts"), (of_bytes, "files")):
            (tmp_path / reads).mkdir()
            shutil.copy(folder / "student.keras", tmp_path / reads)
            description = json.loads(CONTENT.content_of(tmp_path / reads)["description.json"])
            assert description["reads"] == description["files"][0]["input"]["reads"] == reads

    @pytest.mark.parametrize(
        ("shape", "dtype", "limits", "expected"),
        [
            ((28, 28, 1), "float32", (0, 255), "images"),
            ((28, 28), "uint8", (0, 255), "images"),
            ((2048,), "int32", (0, 256), "files"),
            ((64,), "int32", (0, 255), "texts"),
            ((64,), "int32", (0, 9999), "numbers"),
            ((13,), "float32", (0, 255), "numbers"),
        ],
    )
    def test_of_a_file_that_does_not_say_what_it_reads_its_shape_tells(
        self, shape, dtype, limits, expected
    ):
        taken = {"shape": [1, *shape], "dtype": dtype, "range": limits}
        assert read_by({"input": taken}) == expected  # As the former version wrote it.
        assert read_by({"input": {**taken, "reads": None}}) == expected
        assert read_by({"input": {**taken, "reads": "numbers"}}) == "numbers"

    def test_what_is_no_image_is_told_in_a_sentence(self, tmp_path):
        student = kd.models.from_spec("mlp:4", input_shape=(13,), num_classes=2)
        kd.export.litert(student, tmp_path / "student.tflite")
        with pytest.raises(ValueError, match=r"shows images of .* take numbers of shape \(13,\)"):
            CONTENT.content_of(tmp_path)


@pytest.fixture
def address(monkeypatch):
    """Where a server runs that shows one file, without a runtime."""
    monkeypatch.setattr(SERVER, "vendored_files", dict)
    with SERVER.server_of({"models/a b.tflite": b"bytes"}) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address
        server.shutdown()
        thread.join()


def asked(address, path, method="GET", **headers):
    connection = http.client.HTTPConnection(*address)
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


class TestServer:
    def test_it_answers_with_the_page_and_says_what_the_page_may_do(self, address):
        response, body = asked(address, "/")
        assert response.status == 200 and body.startswith(b"<!doctype html>")
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "'wasm-unsafe-eval'" in policy
        assert "unsafe-inline" not in policy and "http" not in policy
        assert response.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        response, body = asked(address, "/page.js")
        assert response.headers["Content-Type"].startswith("text/javascript")
        assert asked(address, "/models/a%20b.tflite")[1] == b"bytes"

    def test_it_is_on_the_loopback_and_knows_its_own_name_only(self, address):
        assert address[0] == "127.0.0.1"
        assert asked(address, "/", Host=f"localhost:{address[1]}")[0].status == 200
        # A name of somebody else's that was made to point here (DNS rebinding).
        for host in ("attacker.example", f"attacker.example:{address[1]}", "127.0.0.1", ""):
            assert asked(address, "/", Host=host)[0].status == 403

    @pytest.mark.parametrize(
        "path",
        ["/server.py", "/../server.py", "/%2e%2e/server.py", "//etc/passwd", "/vendor/", "/models"],
    )
    def test_nothing_else_is_served(self, address, path):
        assert asked(address, path)[0].status == 404

    def test_only_reading_is_answered(self, address):
        response, body = asked(address, "/page.css", method="HEAD")
        assert response.status == 200 and body == b""
        assert int(response.headers["Content-Length"]) > 100
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            assert asked(address, "/", method=method)[0].status == 501

    @pytest.mark.parametrize(
        ("lines", "status"),
        [
            ("GET / HTTP/1.1\nHost: {host}\nHost: {host}", 400),
            ("GET / HTTP/1.1\nHost: {host}\nHost: attacker.example", 400),
            ("GET / HTTP/1.1", 403),
            ("GET / HTTP/1.1\nHost: {host}\nContent-Length: 4", 400),
            ("GET / HTTP/1.1\nHost: {host}\nContent-Length: x", 400),
            ("GET / HTTP/1.1\nHost: {host}\nContent-Length: 0\nContent-Length: 4", 400),
            ("HEAD / HTTP/1.1\nHost: {host}\nTransfer-Encoding: chunked", 400),
            ("GET / HTTP/1.1\nHost: {host}\nContent-Length: 4\nExpect: 100-continue", 417),
            ("GET / HTTP/1.1\nHost: {host}\nno colon here", 400),
            ("GET /" + 70_000 * "a" + " HTTP/1.1\nHost: {host}", 414),
            ("GET / HTTP/1.1\nHost: {host}\nX: " + 70_000 * "a", 431),
            ("GET / HTTP/1.1\nHost: {host}" + 200 * "\nX: y", 431),
            ("GET http://attacker.example/ HTTP/1.1\nHost: {host}", 404),
            ("GET / HTTP/1.1\nHost: {host}\nContent-Length: 0", 200),
        ],
    )
    def test_what_could_be_read_in_two_ways_is_refused(self, address, lines, status):
        request = lines.format(host=f"127.0.0.1:{address[1]}").replace("\n", "\r\n") + "\r\n\r\n"
        with socket.create_connection(address, timeout=20) as connection:
            connection.sendall(request.encode())
            answer = connection.makefile("rb")
            assert answer.readline().split()[1] == str(status).encode()
            # What follows a refused request is not taken for another.
            assert status == 200 or b"\r\nConnection: close\r\n" in answer.read()

    def test_an_idle_or_slow_connection_is_closed(self, address, monkeypatch):
        monkeypatch.setattr(SERVER, "_SECONDS_TO_ASK", 0.3)
        idle, slow = (socket.create_connection(address, timeout=20) for _ in range(2))
        started = time.monotonic()
        with idle, slow:
            with contextlib.suppress(ConnectionError):  # It was closed meanwhile.
                for letter in 10 * b"GET ":
                    slow.sendall(bytes([letter]))
                    time.sleep(0.03)
            for each in (idle, slow):
                with contextlib.suppress(ConnectionError):
                    assert each.recv(1) == b""
        assert time.monotonic() - started < 10

    def test_connections_are_bounded(self, address):
        with contextlib.ExitStack() as stack:
            many = [
                stack.enter_context(socket.create_connection(address, timeout=20))
                for _ in range(SERVER._MOST_CONNECTIONS + 3)
            ]
            closed = many[-1]
            with contextlib.suppress(ConnectionError):
                assert closed.recv(1) == b""
        for _ in range(100):  # The others are gone: there is room again.
            with contextlib.suppress(OSError, http.client.HTTPException):
                if asked(address, "/")[0].status == 200:
                    return
            time.sleep(0.05)
        pytest.fail("There is no room after all connections were closed.")

    def test_a_browser_that_leaves_is_no_error(self, address, capfd):
        for _ in range(3):
            with socket.create_connection(address) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.sendall(b"GET / HTTP/1.1\r\n")
        time.sleep(0.2)
        assert capfd.readouterr().err == ""

    def test_a_port_that_is_taken_is_named(self, address):
        with pytest.raises(OSError, match=f"`port` must be one that is free.*port={address[1]}"):
            SERVER.server_of({}, port=address[1])

    def test_a_model_has_the_colour_that_it_has_everywhere(self):
        style = (RUNTIME.STATIC / "page.css").read_text()
        for name in ("teacher", "student"):
            assert re.findall(rf"--{name}: (.*);", style) == [look_of(name).colour]

    def test_the_page_names_no_other_place(self):
        for path in RUNTIME.STATIC.iterdir():
            if path.suffix in (".html", ".js", ".css"):
                assert "http" not in path.read_text(), path


class TestVendor:
    """With a made-up package, and an `npm` that hands it over."""

    @pytest.fixture
    def npm(self, tmp_path, monkeypatch):
        archive = tmp_path / "package.tgz"
        with tarfile.open(archive, "w:gz") as members:
            member = tarfile.TarInfo("package/dist/index.js")
            member.size = 4
            members.addfile(member, io.BytesIO(b"code"))
        digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        packages = {"made-up@1.0.0": (f"sha512-{digest}", {"dist/index.js": "made_up.js"})}
        for module, name, value in (
            (VENDOR, "PACKAGES", packages),
            (VENDOR, "VENDORED", tmp_path / "vendor"),
            (RUNTIME, "VENDORED", tmp_path / "vendor"),
        ):
            monkeypatch.setattr(module, name, value)
        (tmp_path / "bin").mkdir()
        monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)

        def install(script):
            (tmp_path / "bin" / "npm").write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / "bin" / "npm").chmod(0o755)
            return tmp_path

        return install

    def test_it_tries_again_and_unpacks_once(self, npm):
        place = npm(
            'echo "$@" >> "$0.calls"\n'
            'test $(wc -l < "$0.calls") -ge 2 || exit 1\n'
            'cp "$(dirname "$0")/../package.tgz" "$4"'
        )
        files = VENDOR.vendor()
        assert files["made_up.js"].read_bytes() == b"code"
        assert "Apache License" in files["LICENSE"].read_text()
        calls = (place / "bin" / "npm.calls").read_text().splitlines()
        assert len(calls) == 2 and calls[0].startswith("pack made-up@1.0.0 ")
        VENDOR.vendor()
        assert (place / "bin" / "npm.calls").read_text().splitlines() == calls

    def test_another_archive_is_not_unpacked(self, npm):
        place = npm('echo changed > "$4/package.tgz"')
        with pytest.raises(ValueError, match=r"made-up@1.0.0 must have the hash sha512-.*Nothing"):
            VENDOR.vendor()
        assert not (place / "vendor").exists()

    def test_what_npm_says_is_passed_on(self, npm):
        npm("echo npm error code E503 >&2; exit 1")
        with pytest.raises(OSError, match="could not fetch made-up@1.0.0, in 2 tries.*E503"):
            VENDOR.vendor()

    def test_without_npm_the_remedy_is_named(self, npm, monkeypatch):
        monkeypatch.setenv("PATH", "")
        with pytest.raises(FileNotFoundError, match="npm.*is not installed. Install Node.js"):
            VENDOR.vendor()

    def test_without_the_runtime_the_remedy_is_named(self, npm, folder):
        with pytest.raises(FileNotFoundError, match=r"Run `python -m keras_kd.serve.vendor`"):
            kd.serve.serve(folder)

    def test_a_runtime_of_other_versions_is_not_used(self, npm, tmp_path):
        (tmp_path / "vendor").mkdir()
        (tmp_path / "vendor" / "packages.json").write_text("{}")
        with pytest.raises(FileNotFoundError, match="@litertjs/core@"):
            RUNTIME.vendored_files()


def vendored():
    try:
        return bool(RUNTIME.vendored_files())
    except FileNotFoundError:
        return False


needs_runtime = pytest.mark.skipif(
    not vendored(), reason="The browser's runtime is not here: run `make page`."
)


def test_the_command_refuses_in_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(SERVER, "vendored_files", dict)
    assert cli.main(["serve", str(tmp_path / "none"), "--no-browser"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("keras-kd: error: `DIR` must be a folder")
    assert error.count("\n") == 1
    assert cli.main(["serve", str(tmp_path), "--no-browser", "--import", "nowhere_at_all"]) == 2
    assert "--import must name a module that can be imported" in capsys.readouterr().err


@needs_runtime
@pytest.mark.slow
def test_the_command_serves_until_it_is_interrupted(folder):
    process = warm.start("serve", folder, "--no-browser")
    try:
        said = process.stdout.readline()
        url = said.split(" is shown at ")[1].split()[0]
        port = int(url.split(":")[2].strip("/"))
        response, body = asked(("127.0.0.1", port), "/description.json")
        assert response.status == 200 and json.loads(body)["title"] == folder.name
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0 and errors == ""
    assert rest == "\nThe page is closed.\n"


def test_a_folder_of_maps_has_a_page_of_its_own(of_maps):
    content = CONTENT.content_of(of_maps)
    assert b"Side by side" in content[""]
    assert json.loads(content["description.json"])["shape"] == [12, 16, 3]
    assert len(content["images"]) == 3 * len(content["teacher"]) == 3 * 12 * 16 * 3


@pytest.mark.parametrize(
    ("spoilt", "sentence"),
    [
        (b"PK no archive", "shown.npz, which is damaged"),
        ({"images": np.zeros((1, 12, 16, 3), np.uint8)}, "shown.npz, which is damaged"),
        ({"images": np.zeros((1, 8, 8, 3), np.uint8)}, "with others. Say the command"),
        (None, "shown.npz without student_int8.tflite"),
    ],
)
def test_of_maps_that_do_not_fit_it_is_said(spoilt, sentence, of_maps, tmp_path):
    shutil.copytree(of_maps, tmp_path, dirs_exist_ok=True)
    if isinstance(spoilt, bytes):
        (tmp_path / "shown.npz").write_bytes(spoilt)
    elif spoilt is None:
        (tmp_path / "student_int8.tflite").unlink()
    else:
        maps = np.zeros((1, 8, 8, 1), np.uint8)
        wrong = spoilt["images"].shape[1] == 8
        more = {"teacher": maps, "student_alone": maps} if wrong else {}
        np.savez(tmp_path / "shown.npz", **spoilt, **more)
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        CONTENT.content_of(tmp_path)


@contextlib.contextmanager
def serving(content):
    with SERVER.server_of(content) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def served(content):
    with serving(content) as url:
        yield url


@pytest.fixture(scope="module")
def browser():
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in (
        "headless", "no-sandbox", "disable-gpu", "disable-quic", "disable-dev-shm-usage",
        "no-first-run", "disable-background-networking", "disable-component-update",
        "disable-sync", "window-size=1280,1000",
    ):  # fmt: skip
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(60)
    yield driver
    driver.quit()


# What a test asks of the page, in terms of its own elements and of what `page.js` exports.
READY = """
const done = arguments[0];
const wait = () => {
  const problem = document.getElementById("problem");
  const ready = document.getElementById("summary").textContent.includes("right");
  if (!problem.hidden || ready) done(problem.textContent); else setTimeout(wait, 20);
};
wait();
"""
# The same of any of its elements and words.
SAYS = (
    READY.replace("const done = arguments[0]", "const [place, word, done] = arguments")
    .replace('"summary"', "place")
    .replace('"right"', "word")
)
CHOOSE = """
document.getElementById("summary").textContent = "";
const file = document.getElementById("file");
file.value = arguments[0];
file.dispatchEvent(new Event("change"));
"""
LOGITS = """
const [count, done] = arguments;
import("./page.js").then((page) => done(page.studentLogits.slice(0, count).map((x) => [...x])));
"""
SHOWN = """
const done = arguments[0];
import("./page.js").then(({ shown }) => done({
  student: [...shown.student], teacher: shown.teacher && [...shown.teacher],
  pixels: [...document.getElementById("canvas").getContext("2d").getImageData(0, 0, 8, 8).data],
  verdict: document.getElementById("verdict").textContent,
  name: document.getElementById("shown").textContent,
}));
"""
MAPS = """
const done = arguments[0];
const { data } = document.getElementById("teacher").getContext("2d").getImageData(0, 0, 16, 12);
import("./maps.js").then(({ shown }) => done({
  student: [...shown], teacher: [...data].filter((_, place) => place % 4 === 0),
}));
"""
PICK = """
const index = document.getElementById("index");
return [...Array(arguments[0]).keys()].map((place) => {
  index.value = place;
  index.dispatchEvent(new Event("change"));
  return document.getElementById("verdict").textContent;
});
"""


@needs_runtime
@pytest.mark.skipif(
    not (BROWSER and DRIVER and importlib.util.find_spec("selenium")),
    reason="Chromium, its driver or the package selenium is not installed.",
)
class TestPage:
    @pytest.fixture
    def page(self, browser, served):
        browser.get(served)
        assert browser.execute_async_script(READY) == ""
        yield browser
        serious = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
        assert serious == []  # Scripts that failed, and what the policy had to forbid.

    @pytest.mark.parametrize("form", FORMATS)
    def test_a_file_answers_there_as_in_the_interpreter(self, form, page, folder, digits):
        name = f"student_{form or 'float32'}.tflite"
        page.execute_script(CHOOSE, name)
        assert page.execute_async_script(READY) == ""
        expected = kd.export.run_litert(folder / name, digits.test.images[:100]).logits
        received = np.array(page.execute_async_script(LOGITS, 100))
        # Sums in another order; an integer file has no such choice.
        np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-4)
        verdicts = page.execute_script(PICK, 100)
        said = [int(verdict.split("Student: ")[1]) for verdict in verdicts]
        assert said == np.argmax(expected, -1).tolist()
        assert " ms an image in this browser" in page.find_element("id", "about").text

    def test_what_is_drawn_is_what_teacher_and_student_answer_to(
        self, page, content, folder, tmp_path
    ):
        from selenium.webdriver import ActionChains

        before = page.execute_async_script(SHOWN)
        assert before["name"].startswith("Test image 0: ")
        page.find_element("id", "clear").click()
        canvas = page.find_element("id", "canvas")
        stroke = ActionChains(page).move_to_element_with_offset(canvas, 0, -100).click_and_hold()
        stroke.move_by_offset(0, 200).release().perform()
        drawn = page.execute_async_script(SHOWN)
        assert drawn["name"] == "A drawing of yours"
        assert drawn["student"] != before["student"] and drawn["verdict"] != before["verdict"]
        image = np.array(drawn["pixels"], "uint8").reshape(1, 8, 8, 4)[..., :1]
        assert image.max() > 200 and (image == 0).any()
        (tmp_path / "teacher.tflite").write_bytes(content["models/teacher"])
        for name, path in (
            ("student", folder / "student_float32.tflite"),
            ("teacher", tmp_path / "teacher.tflite"),
        ):
            expected = kd.export.run_litert(path, image).logits[0]
            np.testing.assert_allclose(drawn[name], expected, rtol=1e-4, atol=1e-4)

    def test_the_keyboard_draws_too(self, page):
        from selenium.webdriver import Keys

        page.find_element("id", "clear").click()
        canvas = page.find_element("id", "canvas")
        canvas.send_keys(Keys.ARROW_LEFT)
        assert max(page.execute_async_script(SHOWN)["pixels"][::4]) == 0  # Moved, not drawn.
        canvas.send_keys(Keys.SPACE)
        assert max(page.execute_async_script(SHOWN)["pixels"][::4]) > 100

    def test_probabilities_are_softened_by_the_temperature(self, page):
        from selenium.webdriver import Keys

        shown = page.execute_async_script(SHOWN)
        slider = page.find_element("id", "temperature")
        slider.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
        assert page.find_element("id", "temperature-value").text == "2.0"
        for name in ("teacher", "student"):
            logits = np.array(shown[name]) / 2
            expected = 100 * np.exp(logits) / np.exp(logits).sum()
            cells = page.find_elements("css selector", f".number .{name}")
            np.testing.assert_allclose([float(cell.text) for cell in cells], expected, atol=0.051)
            bars = page.find_elements("css selector", f".bar.{name}")
            widths = np.array([bar.rect["width"] for bar in bars])
            np.testing.assert_allclose(widths / widths.sum(), expected / 100, atol=0.01)

    def test_the_grid_holds_the_images_on_which_they_differ(self, page, folder, digits, content):
        path = folder / "student_float32.tflite"
        student = np.argmax(kd.export.run_litert(path, digits.test.images).logits, -1)
        teacher = np.argmax(np.frombuffer(content["teacher_logits"], "<f4").reshape(-1, 10), -1)
        (differing,) = np.nonzero(student != teacher)
        assert 0 < len(differing) < 48  # All of them fit on the first part of the grid.
        buttons = page.find_elements("css selector", "#grid button")
        assert [int(button.get_attribute("data-index")) for button in buttons] == differing.tolist()
        assert f"they differ on {len(differing)} (" in page.find_element("id", "summary").text
        last = differing[-1]
        buttons[-1].click()
        shown = page.execute_async_script(SHOWN)
        assert shown["name"] == f"Test image {last}: {digits.test.labels[last]}"
        assert shown["verdict"] == f"Teacher: {teacher[last]} · Student: {student[last]}"

    def test_it_fetches_from_its_own_server_only_and_fits_a_phone(self, page, served):
        script = "return performance.getEntriesByType('resource').map((entry) => entry.name)"
        fetched = page.execute_script(script)
        assert f"{served}vendor/core.js" in fetched
        assert all(name.startswith(served) for name in fetched)
        assert page.execute_script("return crossOriginIsolated")  # So the clock is a fine one.
        size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
        page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        assert page.execute_script("return document.documentElement.scrollWidth") == 390
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    def test_a_teacher_that_cannot_run_there_answers_for_test_images_only(self, browser, content):
        description = json.loads(content["description.json"])
        description["teacher"] = {"runs_in_browser": False, "reason": "It is too odd."}
        odd = {**content, "description.json": json.dumps(description).encode()}
        with serving(odd) as url:
            browser.get(url)
            assert browser.execute_async_script(READY) == ""
            assert "Teacher: " in browser.find_element("id", "verdict").text
            browser.find_element("id", "clear").click()
            assert "Teacher: " not in browser.find_element("id", "verdict").text
            note = browser.find_element("id", "teacher-note")
            assert note.is_displayed() and "It is too odd." in note.text

    def test_without_a_teacher_nobody_is_said_to_differ(self, browser, content):
        description = {**json.loads(content["description.json"]), "teacher": None}
        alone = {**content, "description.json": json.dumps(description).encode()}
        del alone["teacher_logits"]
        with serving(alone) as url:
            browser.get(url)
            assert browser.execute_async_script(READY) == ""
            section = browser.find_element("id", "differences").text
            assert section.startswith("On the test images\n") and "student" in section
            assert "differ" not in section

    @pytest.mark.parametrize(
        "written", [b" \n\t" + bytes(range(33, 127)) * 60 + b"\r\n ", b"A few words."]
    )
    def test_of_a_file_it_reads_the_bytes_that_the_package_reads(
        self, browser, of_bytes, content_of_bytes, tmp_path, written
    ):
        (tmp_path / "some.file").write_bytes(written)
        with serving(content_of_bytes) as url:
            browser.get(url)
            assert browser.execute_async_script(SAYS, "about", " ms ") == ""
            assert browser.find_element("id", "verdict").text == "Choose a file, or drop one here."
            browser.find_element("id", "own-file").send_keys(str(tmp_path / "some.file"))
            assert browser.execute_async_script(SAYS, "shown", " ms") == ""
            found = browser.execute_async_script(SHOWN)
        images = ends_of(tmp_path / "some.file")[None].astype("int32")
        seen = (images < 256).sum()
        assert found["name"].startswith(f"some.file: {seen:,} bytes looked at of {len(written):,}.")
        for who in ("student", "teacher"):
            model = keras.models.load_model(of_bytes / f"{who}.keras")
            np.testing.assert_allclose(found[who], model.predict_on_batch(images)[0], atol=1e-5)

    def test_of_too_few_bytes_it_says_so(self, browser, content_of_bytes, tmp_path):
        (tmp_path / "small").write_bytes(b"  1234567")
        with serving(content_of_bytes) as url:
            browser.get(url)
            assert browser.execute_async_script(SAYS, "about", " ms ") == ""
            browser.find_element("id", "own-file").send_keys(str(tmp_path / "small"))
            assert browser.execute_async_script(SAYS, "verdict", "fewer than 8 bytes") == ""

    @pytest.mark.parametrize("written", ["Grüße aus Köln", "  où ça ?\n", "ไทย"])
    def test_a_text_that_is_typed_is_answered_as_by_the_models(
        self, browser, of_texts, content_of_texts, written
    ):
        from selenium.webdriver import Keys

        with serving(content_of_texts) as url:
            browser.get(url)
            assert browser.execute_async_script(SAYS, "about", " ms a text") == ""
            assert browser.find_element("id", "verdict").text == "Type some words."
            assert not browser.find_element("id", "canvas").is_displayed()
            browser.find_element("id", "own-text").send_keys(written)
            assert browser.execute_async_script(SAYS, "shown", "texts a second") == ""
            found = browser.execute_async_script(SHOWN)
            browser.find_element("id", "own-text").send_keys(Keys.CONTROL, "a", Keys.DELETE)
            assert browser.find_element("id", "verdict").text == "Type some words."
        texts = kd.data.encode_texts([written], num_bytes=12)
        whole = len(written.strip().encode())
        assert found["name"].startswith(f"{(texts > 0).sum()} bytes read of {whole}.")
        for who in ("student", "teacher"):
            model = keras.models.load_model(of_texts / f"{who}.keras")
            np.testing.assert_allclose(found[who], model.predict_on_batch(texts)[0], atol=1e-5)

    def test_test_texts_are_read_there_and_shown_as_words(self, browser, of_texts, tmp_path):
        words = {"German": "Grüße", "French": "très", "Thai": "ไทย"}
        lines = [f"{name},{word} {number}" for number in range(12) for name, word in words.items()]
        (tmp_path / "some.csv").write_text("\n".join(["label,text", *lines]))
        data = kd.data.read(
            tmp_path / "some.csv", num_bytes=12, class_names=["German", "French", "Thai"]
        )
        content = CONTENT.content_of(of_texts, data=tmp_path / "some.csv")
        said = {}
        for who in ("student", "teacher"):
            model = keras.models.load_model(of_texts / f"{who}.keras")
            said[who] = model.predict(data.test.images, verbose=0).argmax(-1)
        with serving(content) as url:
            browser.get(url)
            assert browser.execute_async_script(READY) == ""
            summary = browser.find_element("id", "summary").text
            field = browser.find_element("id", "own-text").get_property("value")
            shown = browser.find_element("id", "shown").text
            buttons = browser.find_elements("css selector", "#grid button .text")
            differing = [button.text for button in buttons]
        texts = kd.data.decode_texts(data.test.images)
        right = 100 * (said["student"] == data.test.labels).mean()
        assert summary.startswith(
            f"On {len(texts)} test texts of some: student {right:.2f} % right"
        )
        assert field == texts[0]
        assert shown == f"Test text 0: {data.class_names[data.test.labels[0]]}"
        expected = np.flatnonzero(said["student"] != said["teacher"])
        assert differing == [texts[each] for each in expected]

    def test_maps_stand_side_by_side_and_the_students_is_computed_there(
        self, browser, of_maps, tmp_path
    ):
        with np.load(of_maps / "shown.npz") as arrays:
            images, teacher = arrays["images"], arrays["teacher"]
        path = of_maps / "student_int8.tflite"
        Image.fromarray(images[2]).save(tmp_path / "own.png")
        with serving(CONTENT.content_of(of_maps)) as url:
            browser.get(url)
            assert browser.execute_async_script(SAYS, "shown", "Test image 0") == ""
            browser.find_element("id", "next").click()
            found = browser.execute_async_script(MAPS)
            browser.find_element("id", "own").send_keys(str(tmp_path / "own.png"))
            assert browser.execute_async_script(SAYS, "shown", "own.png") == ""
            of_own = browser.execute_async_script(MAPS)
        expected = kd.export.run_litert(path, images).logits
        for logits, place in ((found, 1), (of_own, 2)):
            np.testing.assert_allclose(logits["student"], expected[place].ravel(), atol=1e-4)
        assert found["teacher"] == (255 - teacher[1]).ravel().tolist()
        assert set(of_own["teacher"]) == {255}  # It is not there to be asked.
