"""The site of docs/: ``make docs`` writes it to docs/_build."""

import re
from importlib.metadata import version as _version

from sphinx.application import Sphinx

project = "CEA"
author = "the CEA authors"
copyright = author
release = version = _version("cea")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_copybutton"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "comparison/*"]

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
suppress_warnings = [
    "myst.xref_missing",  # links out of docs/ lead to files of the repository; a test holds them
    "ref.python",  # an attribute that two classes have
]

napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_class_signature = "separated"
autodoc_preserve_defaults = True

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def _titled(_app: Sphinx, _name: str, source: list[str]) -> None:
    """Links whose text is a file's name, as on GitHub, show the title of the page that they lead to."""
    source[0] = re.sub(r"\[([\w-]+\.md)\]\(\1(#[\w-]*)?\)", r"[](\1\2)", source[0])


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _titled)


html_theme = "furo"
html_title = "Continuous Expert Assembly"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b5a6f", "color-brand-content": "#0b5a6f"},
    "dark_css_variables": {"color-brand-primary": "#6cc4da", "color-brand-content": "#6cc4da"},
}
