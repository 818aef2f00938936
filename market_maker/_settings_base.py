"""The defaults under their old name.

This file stands in the checkout only: in an installed package and in a project's copy it is the text of
settings_base.py itself. The page is found by its place, not by its name, because a folder on the user's path may hold
a settings_base.py of its own.
"""
import os as _os
from importlib.machinery import SourceFileLoader as _Loader

_page = _os.path.join(_os.path.dirname(_os.path.dirname(_os.path.abspath(__file__))), 'settings_base.py')
exec(_Loader(__name__, _page).get_code(__name__))  # type: ignore[arg-type]
