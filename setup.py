"""What pyproject.toml cannot say: in a wheel the students of the zoo lie inside the package."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithZoo(build_py):
    """Copies `saved_models/zoo/` to where `keras_kd.zoo` looks first."""

    def run(self):
        super().run()
        if not self.editable_mode:
            inside = Path(self.build_lib) / "keras_kd" / "saved_models"
            shutil.rmtree(inside, ignore_errors=True)
            shutil.copytree("saved_models/zoo", inside)


setup(cmdclass={"build_py": BuildWithZoo})
