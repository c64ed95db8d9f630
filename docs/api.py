"""Write the documentation of the Python packages, a page a module, with pdoc: what `make docs` runs.

python docs/api.py build/docs
"""

import pkgutil
import sys
import warnings
from pathlib import Path

import pdoc
from pdoc import extract

import dlc.compiler
import dlc.dsl
import dlc.runtime

warnings.simplefilter("error", UserWarning)  # what pdoc says of a docstring or an annotation that it cannot read
packages = (dlc.dsl, dlc.compiler, dlc.runtime)
names = [package.__name__ for package in packages]
shown = set(extract.walk_specs(names))
for package in packages:  # a package's `__all__` hides its modules, which are wanted too
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if module.name not in shown:
            names.append(module.name)
            shown.update(extract.walk_specs([module.name]))
pdoc.pdoc(*names, output_directory=Path(sys.argv[1]))
