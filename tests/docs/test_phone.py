"""What `docs/start/to_the_phone.md` shows: the page in a real browser, and what it rests on."""

import functools
import http.server
import importlib.util
import shutil
import threading

import keras
import numpy as np
import pytest
from helpers import ROOT
from PIL import Image

import keras_kd as kd
from keras_kd.serve import runtime

START = ROOT / "docs" / "start"
PAGE = START / "to_the_phone.md"
BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


def vendored():
    try:
        return runtime.vendored_files()
    except FileNotFoundError:
        return {}


@pytest.fixture(scope="module")
def app(digits, tmp_path_factory):
    """The example, a student of the digits beside it, and the runtime where npm puts it."""
    folder = tmp_path_factory.mktemp("app")
    keras.utils.set_random_seed(0)
    student = kd.models.mlp([32], image_shape=digits.image_shape)
    student.compile("adam", kd.losses.CrossEntropy())
    student.fit(digits.train.batches(32, shuffle_seed=0), epochs=5, shuffle=False, verbose=0)
    names = [f"digit {number}" for number in range(10)]
    path = kd.export.litert(
        student, folder / "student_dynamic.tflite", quantization="dynamic", class_names=names
    )
    shutil.copy(START / "browser.html", folder / "index.html")
    for package, (_, files) in runtime.PACKAGES.items():
        for inside, name in files.items():
            place = folder / "node_modules" / package.rpartition("@")[0] / inside
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(vendored()[name], place)
    return path


@pytest.mark.skipif(
    not (BROWSER and DRIVER and importlib.util.find_spec("selenium") and vendored()),
    reason="A browser, its driver, selenium or the runtime is not here: `make browser page`.",
)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_page_names_a_picture_as_the_interpreter_does(app, digits, mode, tmp_path):
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    pixels = np.asarray(digits.test.images[2])[..., 0].astype(np.uint8)
    Image.fromarray(pixels).convert(mode).save(tmp_path / "picture.png")
    logits = kd.export.run_litert(app, digits.test.images[2:3]).logits[0]
    shares = np.exp(logits - logits.max())
    expected = f"digit {logits.argmax()}, {100 * shares.max() / shares.sum():.0f} %"

    handler = functools.partial(Quiet, directory=app.parent)
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("headless", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{argument}")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
        try:
            driver.get(f"http://127.0.0.1:{server.server_port}/")

            def wait(said):
                answer = driver.find_element(By.ID, "answer")
                WebDriverWait(driver, 60).until(lambda _: said in answer.text, answer.text)

            wait("Choose a picture.")
            driver.find_element(By.ID, "file").send_keys(str(tmp_path / "picture.png"))
            wait("%")
            assert driver.find_element(By.ID, "answer").text == expected
        finally:
            driver.quit()
            server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Writes nothing of what it is asked."""

    def log_message(self, *arguments):
        pass


def test_the_page_shows_the_file_that_is_tested():
    assert f"```html\n{(START / 'browser.html').read_text()}```" in PAGE.read_text()
