"""Sphinx's settings for the site; `make docs` builds it, without a network."""

import pathlib
import sys

DOCS = pathlib.Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "_ext")]

from tlstm_jax import REPOSITORY_URL, __version__  # noqa: E402

project = "tlstm-jax"
author = "The authors of tlstm-jax"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "site_pages"]
exclude_patterns = ["_build", "_ext"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}

html_theme = "sphinx_book_theme"  # that of JAX, Flax and Optax
html_title = "tlstm-jax"
html_theme_options = {
    "repository_url": REPOSITORY_URL,
    "use_repository_button": True,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
}
html_copy_source = False

smartquotes = False  # what is quoted is code
myst_heading_anchors = 3
suppress_warnings = ["misc.highlighting_failure"]

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings have the shapes, which types do not tell
autodoc_preserve_defaults = True
napoleon_use_ivar = True
napoleon_numpy_docstring = False
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(collections|jax|matplotlib|numpy|optax|flax)\..*")
]  # no site is asked
