"""Writes requirements.txt for the image: the libraries of the program and of its servers, without PyTorch.

Which build of PyTorch follows decides the target of the Dockerfile.
"""

import tomllib
from pathlib import Path

_EXTRAS = ("kafka", "postgres")
_LATER = "torch>="

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
wanted = [*project["dependencies"], *(name for extra in _EXTRAS for name in project["optional-dependencies"][extra])]
Path("requirements.txt").write_text("\n".join(name for name in wanted if not name.startswith(_LATER)), encoding="utf-8")
