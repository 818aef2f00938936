"""Modules that are loaded when something of them is first used."""
import os
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@pytest.fixture
def said(tmp_path):
    """Run a program, in which ``parcel`` is a deferred package that prints when it is loaded; return its words."""
    folder = tmp_path / 'parcel'
    folder.mkdir()
    (folder / '__init__.py').write_text('print("loaded", end=" ")\nfrom .version import __version__\n'
                                        'from . import inner\nvalue = inner.value\n')
    (folder / 'version.py').write_text('__version__ = "1.2"\n')
    (folder / 'inner.py').write_text('value = 7\n')
    (tmp_path / 'broken.py').write_text('print("tried", end=" ")\nraise ValueError("no")\n')

    def said(program):
        path = os.pathsep.join([ROOT, str(tmp_path)])
        begin = 'from market_maker.utils import later\nlater.defer("parcel", "broken", "that_is_not_there")\n'
        return subprocess.check_output([sys.executable, '-c', begin + program], cwd=str(tmp_path), timeout=60,
                                       env=dict(os.environ, PYTHONPATH=path)).decode().split()
    return said


@pytest.mark.parametrize('program, words', [
    ('import parcel', []),
    ('import parcel; print("next", parcel.value, parcel.value)', ['loaded', 'next', '7', '7']),
    ('from parcel import value; print(value)', ['loaded', '7']),
    ('from parcel import *; print(value)', ['loaded', '7']),
    ('import parcel.inner; print(parcel.inner.value)', ['7']),
    ('import parcel; print(parcel.__name__, parcel.__version__)', ['parcel', '1.2']),
    ('import parcel; parcel.value; print(parcel.__version__)', ['loaded', '1.2']),
    ('import parcel; print(hasattr(parcel, "other"), hasattr(parcel, "other"))', ['loaded', 'False', 'False']),
])
def test_a_deferred_package_is_loaded_once_and_when_it_is_used(said, program, words):
    assert said(program) == words


def test_what_is_not_installed_is_still_missing(said):
    assert said('try:\n  import that_is_not_there\nexcept ImportError: print("missing")') == ['missing']


def test_what_is_loaded_already_stays_as_it_is(said):
    assert said('import json; later.defer("json"); print(type(json).__name__)') == ['module']


def test_a_module_that_cannot_be_loaded_says_so_at_each_use(said):
    program = 'import broken\nfor _ in range(2):\n  try:\n    broken.x\n  except ValueError as error: print(error)\n'

    assert said(program) == ['tried', 'no', 'tried', 'no']


def test_threads_that_use_it_first_together_all_get_it(said):
    program = '''
import parcel, sys, threading
sys.setswitchinterval(1e-6)
start, seen = threading.Barrier(8), []
def use():
    start.wait(10)
    seen.append(parcel.value)
threads = [threading.Thread(target=use) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join(10)
print(*seen)'''

    assert said(program) == ['loaded'] + ['7'] * 8


def test_what_the_bot_defers_works_for_a_strategy_that_uses_it(said):
    """requests still finds encodings and reads zip files; functions can still be looked into."""
    program = '''
from market_maker import cli
later.defer(*cli.UNUSED)
import market_maker.market_maker
import inspect, requests, sys, zipfile
assert not any(name.startswith('charset_normalizer.md') for name in sys.modules)
answer = requests.Response()
answer._content = 'schön und grün, über alle Maßen'.encode('utf-8')
print(answer.apparent_encoding)
def one(a, b): pass
print(list(inspect.signature(one).parameters), zipfile.is_zipfile(__import__('os').devnull))'''

    assert said(program) == ['utf-8', "['a',", "'b']", 'False']


def test_a_script_that_imports_the_package_keeps_its_modules(said):
    program = '''
import market_maker.market_maker
import inspect, requests, zipfile
print(*(type(module).__name__ for module in (inspect, requests.compat.chardet, zipfile)))'''

    assert said(program) == ['module'] * 3
