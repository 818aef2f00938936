"""How Sphinx turns these pages into a site: ``make docs`` builds it with every warning an error."""
import os
import re

HERE = os.path.dirname(os.path.abspath(__file__))

with open(os.path.join(HERE, os.pardir, 'market_maker', 'utils', 'constants.py')) as constants:
    release = re.search(r"^VERSION = '([^']+)'", constants.read(), re.MULTILINE).group(1)

project = 'bitmex-market-maker'
author = 'the bitmex-market-maker maintainers'
copyright = author
version = release

extensions = ['myst_parser']
source_suffix = {'.md': 'markdown'}
exclude_patterns = ['_build']
myst_heading_anchors = 3
suppress_warnings = ['myst.header']  # pages that include CHANGELOG.md begin with its own heading

html_title = 'BitMEX Market Maker {}'.format(release)
html_show_sphinx = False
