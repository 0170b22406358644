"""Sphinx: Markdown by MyST, furo."""

import xenmmu

project = "xenmmu"
author = copyright = "The xenmmu authors"
release = version = xenmmu.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
html_theme = "furo"
exclude_patterns = ["_build"]
