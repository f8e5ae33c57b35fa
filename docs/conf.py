"""The documentation as a site: ``make docs`` builds it, with every warning an error."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Our own directives lie beside the pages.
sys.path.insert(0, str(HERE))

project = "Mixtura"
author = "Mixtura contributors"
project_copyright = "Apache-2.0"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
    "sphinx_design",
    "command_help",
    "request_fields",
]
highlight_language = "text"
pygments_style, pygments_dark_style = "a11y-high-contrast-light", "github-dark"
default_role = "literal"  # docstrings write `name` for code
smartquotes = False  # a quotation mark in a command stays one

myst_enable_extensions = ["attrs_block", "colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_preserve_defaults = True
# Optional libraries: a class that wraps one is described without it.
autodoc_mock_imports = ["aiohttp", "yarl", "pydantic_ai"]
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 120
add_module_names = False
# The site is built without a network, so types of other libraries are named and not linked; nor are
# types of ours that are not public. A public name must be found.
nitpick_ignore_regex = [(r"py:.*", r"(?!mixtura\.[A-Z]\w*$).*")]

html_theme = "furo"
html_title = "Mixtura"
html_static_path = ["static", "../src/mixtura/web/vendor/geist.woff2"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
LIGHT = {
    "color-brand-primary": "#2f5fd6",
    "color-brand-content": "#2f5fd6",
    "color-brand-visited": "#2f5fd6",
    "color-background-primary": "#fbfbfa",
    "color-background-secondary": "#f4f4f2",
    "color-background-border": "#e7e6e3",
    "color-foreground-primary": "#18181a",
    "color-foreground-secondary": "#48484d",
    "color-code-background": "#f4f4f2",
    "color-inline-code-background": "#f4f4f2",
    "color-sidebar-link-text": "#48484d",
    "color-sidebar-link-text--top-level": "#48484d",
    "color-sidebar-item-background--current": "#ebebe8",
    "color-api-name": "#2f5fd6",
    "color-api-pre-name": "#6a6a70",
}
DARK = {
    "color-brand-primary": "#7ba2ff",
    "color-brand-content": "#7ba2ff",
    "color-brand-visited": "#7ba2ff",
    "color-background-primary": "#0c0c0e",
    "color-background-secondary": "#131316",
    "color-background-border": "#26262b",
    "color-foreground-primary": "#ededf0",
    "color-foreground-secondary": "#b4b4bc",
    "color-code-background": "#131316",
    "color-inline-code-background": "#1a1a1e",
    "color-sidebar-link-text": "#b4b4bc",
    "color-sidebar-link-text--top-level": "#b4b4bc",
    "color-sidebar-item-background--current": "#1f1f24",
    "color-api-name": "#7ba2ff",
    "color-api-pre-name": "#8c8c96",
}
html_theme_options = {
    "navigation_with_keys": True,
    "light_css_variables": LIGHT,
    "dark_css_variables": DARK,
}
