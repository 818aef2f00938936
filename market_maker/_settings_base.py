"""The defaults under their old name.

This file stands in the checkout only: in an installed package and in a project's copy it is the text of
settings_base.py itself. The page is found by its place, not by its name, because a folder on the user's path may hold
a settings_base.py of its own.
"""
import os as _os
import runpy as _runpy

_page = _os.path.join(_os.path.dirname(_os.path.dirname(_os.path.abspath(__file__))), 'settings_base.py')
globals().update((name, value) for name, value in _runpy.run_path(_page).items() if not name.startswith('_'))
