"""Sphinx configuration; `make docs` builds into docs/_build/html and treats warnings as errors."""

import sys
import warnings
from pathlib import Path

import skdiffusion

sys.path.insert(0, str(Path(__file__).parent))  # of record_tables

project = "skdiffusion"
author = "The skdiffusion developers"
version = release = skdiffusion.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "record_tables",
]
templates_path = ["templates"]
exclude_patterns = ["_build", "records"]
nitpicky = True
# Words of numpydoc type lines ("array-like of shape (n, d)", "fitted estimator") are prose, not references.
nitpick_ignore_regex = [("py:class|py:obj|py:data|py:func|py:meth", r"(?!skdiffusion\.[a-z_.]*[A-Z]).*")]

autosummary_generate = True
autodoc_default_options = {"members": True, "inherited-members": False}
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "pydata_sphinx_theme"
html_title = "skdiffusion"
html_theme_options = {"show_toc_level": 2, "navigation_with_keys": False, "secondary_sidebar_items": ["page-toc"]}
# Pages without pages below them.
html_sidebars = {page: [] for page in ("quickstart", "guide", "benchmarks", "robustness", "extending", "api")}
html_static_path = ["static"]
html_css_files = ["records.css"]
html_show_sourcelink = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"plot_",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "min_reported_time": 0,
}
warnings.filterwarnings("ignore", message=".*non-interactive.*")


def skip_requests(app, what, name, item, skip, options):
    """scikit-learn's generated metadata requests are documented there."""
    return True if name.startswith("set_") and name.endswith("_request") else None


def setup(app):
    app.connect("autodoc-skip-member", skip_requests)
