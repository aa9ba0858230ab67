"""Sphinx configuration; warnings are errors.

`make docs` runs the examples and builds the site into docs/_build/html. `make docs-check`, a part of `make test`, sets
SPHINX_GALLERY=0: the pages are built without running an example, so that their pictures are missing.
"""

import os
import sys
import warnings
from pathlib import Path

import skdiffusion

sys.path.insert(0, str(Path(__file__).parent))  # of record_tables and record_figures

project = "skdiffusion"
author = "The skdiffusion developers"
version = release = skdiffusion.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "record_tables",
]
templates_path = ["templates"]
exclude_patterns = ["_build", "records"]
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(numpy|np|torch|scipy|sklearn|joblib)\..*")]  # documented elsewhere

autosummary_generate = True
autosummary_ignore_module_all = False  # the page of a module lists what its __all__ names
toc_object_entries_show_parents = "hide"
autodoc_typehints = "none"  # the docstrings state types, with shapes and units
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "pydata_sphinx_theme"
html_title = "skdiffusion"
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "header_links_before_dropdown": 3,
}
# Pages without pages below them.
ALONE = """
    quickstart guide coming_from blend fit_quality cost nats tables regression care scale distributed benchmarks
    robustness extending glossary api
""".split()
html_sidebars = {page: [] for page in [*ALONE, "generated/*"]}
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sourcelink = False

RUN_EXAMPLES = os.environ.get("SPHINX_GALLERY", "1") != "0"
if not RUN_EXAMPLES:
    suppress_warnings = ["image.not_readable"]
sphinx_gallery_conf = {
    "plot_gallery": RUN_EXAMPLES,
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "subsection_order": ["../examples/first_steps", "../examples/questions", "../examples/papers"],
    "filename_pattern": r"plot_",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "remove_config_comments": True,
    "reset_modules": ("matplotlib", "record_figures.use_style"),
    "show_memory": False,
    "min_reported_time": 0,
}
warnings.filterwarnings("ignore", message=".*non-interactive.*")


def skip_inherited(app, what, name, item, skip, options):
    """Leave out what scikit-learn generates or documents itself."""
    request = name.startswith("set_") and name.endswith("_request")
    return True if request or name in ("get_metadata_routing", "set_output") else None


def setup(app):
    app.connect("autodoc-skip-member", skip_inherited)
