"""Write the documentation of the Python packages, a page a module, with pdoc: what `make docs` runs.

python docs/api.py build/docs
"""

import pkgutil
import sys
import warnings
from pathlib import Path

import pdoc

import dlc.compiler
import dlc.dsl
import dlc.runtime

warnings.simplefilter("error", UserWarning)  # what pdoc says of a docstring or an annotation that it cannot read
packages = (dlc.dsl, dlc.compiler, dlc.runtime)
# All are named, since a package's `__all__` would hide its modules.
modules = [
    module.name for package in packages for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
]
pdoc.pdoc(*(package.__name__ for package in packages), *modules, output_directory=Path(sys.argv[1]))
