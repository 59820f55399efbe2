"""Pictures as PNG files."""

import os
import pathlib
from typing import Any


def save_figure(path: pathlib.Path, figure: Any) -> None:
    """Writes a matplotlib Figure to a new name and moves it into place."""
    temporary = path.with_name(path.name + ".tmp")
    figure.savefig(temporary, dpi=130, format="png")
    os.replace(temporary, path)
