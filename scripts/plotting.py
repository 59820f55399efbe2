"""Pictures as PNG files."""

import pathlib
from typing import Any

from scripts.files import replacing


def save_figure(path: pathlib.Path, figure: Any) -> None:
    """Writes a matplotlib Figure."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
