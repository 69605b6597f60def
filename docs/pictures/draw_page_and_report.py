"""Draw the README's picture: the page of `keras-kd serve` and the report of a run, side by side.

Command: `python docs/pictures/draw_page_and_report.py small --image 410`, where `small` was made by
`keras-kd distill --teacher yours.keras --data photos/ --student conv:24-48-96 --output small` and
`keras-kd report small`, of what `python docs/yours.py cifar10` makes. The machine did much else.
Writes: `docs/pictures/page_and_report_light.png` and `page_and_report_dark.png`.
"""

import argparse
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image, ImageDraw

PICTURES = Path(__file__).parent
WIDTH, HEIGHT = 780, 900
BACKGROUND = {"light": "#ffffff", "dark": "#0d1117"}  # Those of the places where READMEs are read.
ANSWERED = "return document.getElementById('summary').textContent.includes('right');"
# As a hand would: a file and an image are chosen.
CHOOSE = """
document.getElementById("summary").textContent = "";
for (const [name, value] of [["file", "student_int8.tflite"], ["index", arguments[0]]]) {
  const element = document.getElementById(name);
  element.value = value;
  element.dispatchEvent(new Event("change"));
}
"""


def draw(folder, image, target=PICTURES):
    """Write both pictures.

    Args:
        folder: of a run.
        image: number of the test image that is shown.
        target: folder to write to.
    """
    command = [sys.executable, "-m", "keras_kd", "serve", str(folder), "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        said = iter(server.stdout.readline, "")
        address = next(filter(None, (re.search(r"http://\S+", line) for line in said)))[0]
        for scheme in BACKGROUND:
            shots = screenshots(scheme, address, (folder / "report.html").resolve(), image)
            path = target / f"page_and_report_{scheme}.png"
            side_by_side(shots, BACKGROUND[scheme]).save(path, optimize=True)
            print(f"{path}: {path.stat().st_size // 1000} KB")
    finally:
        server.terminate()


def screenshots(scheme, address, report, image):
    """Return what a browser shows of the page and of the report."""
    from selenium import webdriver
    from selenium.webdriver.support.wait import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "hide-scrollbars"):
        options.add_argument(f"--{argument}")
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        for command, settings in {
            "setEmulatedMedia": {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
            "setDeviceMetricsOverride": {
                "width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False,
            },
        }.items():  # fmt: skip
            driver.execute_cdp_cmd(f"Emulation.{command}", settings)
        driver.get(address)
        WebDriverWait(driver, 300).until(lambda page: page.execute_script(ANSWERED))
        for _ in ("the file", "the image, which a new file forgets"):
            driver.execute_script(CHOOSE, image)
            WebDriverWait(driver, 300).until(lambda page: page.execute_script(ANSWERED))
        yield driver.get_screenshot_as_png()
        driver.get(report.as_uri())
        yield driver.get_screenshot_as_png()
    finally:
        driver.quit()


def side_by_side(shots, background):
    """Return pictures beside each other, each in a frame with round corners, in few colours."""
    shots = [Image.open(io.BytesIO(shot)).convert("RGB") for shot in shots]
    gap, radius = 20, 12
    size = (sum(shot.width for shot in shots) + gap * (len(shots) - 1), shots[0].height)
    picture, left = Image.new("RGB", size, background), 0
    for shot in shots:
        mask = Image.new("L", shot.size, 0)
        box = (0, 0, shot.width - 1, shot.height - 1)
        ImageDraw.Draw(mask).rounded_rectangle(box, radius, fill=255)
        ImageDraw.Draw(shot).rounded_rectangle(box, radius, outline="#8b949e", width=2)
        picture.paste(shot, (left, 0), mask)
        left += shot.width + gap
    return picture.quantize(128, dither=Image.Dither.NONE)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folder", type=Path, help="of a run with report.html")
    arguments.add_argument("--image", type=int, default=0, help="number of the test image")
    arguments.add_argument("--target", type=Path, default=PICTURES, help="folder to write to")
    told = arguments.parse_args()
    draw(told.folder, told.image, told.target)
