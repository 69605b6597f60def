"""Cuts the pictures of `docs/start/reading_the_verdict.md` out of a report, by Chromium.

Command: `python docs/pictures/draw_report.py out/report.html`, after `keras-kd report out` of:

    keras-kd distill --teacher yours.keras --data photos --output out \\
        --student conv:8-16-32 --seeds 3

on what `python docs/yours.py clothes` makes.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
WIDTH = 1100
# Where each part begins and ends, in pixels of the page at that width.
PARTS = {
    "verdict": (0, 815),
    "curves": (1120, 1466),
    "classes": (1500, 2210),
    "differ": (2905, 3380),
}


def draw(report):
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "page.png"
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        size = f"--window-size={WIDTH},6000"
        command = ["chromium", *flags, size, f"--screenshot={shot}", report.resolve().as_uri()]
        subprocess.run(command, check=True, capture_output=True)
        page = Image.open(shot).convert("RGB")
    for name, (top, bottom) in PARTS.items():
        part = page.crop((0, top, WIDTH, bottom))
        # A hundred colours are enough for a page, and a third of the bytes.
        part.quantize(128, dither=Image.Dither.NONE).save(
            HERE / f"report_{name}.png", optimize=True
        )


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
