"""The plan of the house, kept by reading the files: floors, the five nevers, and the syntax of Python 3.5."""
import ast
import io
import os
import re
import subprocess
import sys
import tokenize

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PACKAGE = os.path.join(ROOT, 'market_maker')

# Room -> floor.  A room is a folder, or a file beside the folders; a file imports from below or from its own room.
FLOORS = {
    '_settings_base': 1, 'auth': 1, 'utils': 1,
    'settings': 2, 'contracts': 2,
    'ws': 3, 'rest': 3, 'orders': 3, 'state': 3, 'local': 3, 'judge': 3,
    'bitmex': 4, 'simulator': 4,
    'exchange_interface': 5, 'guard': 5, 'server': 5,
    'market_maker': 6,
    'custom_strategy': 7,
    'cli': 8, 'commands': 8,
    '__main__': 9, '__init__': 9,
}
# The second file of a room that has no folder.
ONE_ROOM = {'settings_rules': 'settings', 'deadman': 'guard', 'carrying': 'market_maker'}

PURE = ('contracts.py', 'settings_rules.py', 'orders/', 'simulator/', 'judge/', 'auth/signing.py', 'rest/retry.py',
        'rest/ratelimit.py', 'ws/tables.py', 'ws/views.py', 'ws/health.py')
IMPURE_MODULES = {'socket', 'threading', 'os', 'io', 'logging', 'requests', 'websocket', 'asyncio', 'aiohttp',
                  'subprocess', 'sqlite3', 'select', 'signal', 'tempfile', 'multiprocessing', 'queue'}
MAY_READ_SETTINGS = ('settings.py', 'exchange_interface.py', 'guard.py', 'market_maker.py', 'carrying.py',
                     'custom_strategy.py', 'commands/', 'ws/ws_thread.py')
NEEDS_THE_TESTNET_EXTRA = ('server/', 'commands/testnet.py', 'commands/trial.py')
MAY_IMPORT_LATE = ('__init__.py', 'cli.py', 'commands/')
TOO_NEW = {'secrets', 'dataclasses', 'contextvars', 'importlib.resources', 'importlib.metadata', 'zoneinfo', 'graphlib'}


def files():
    """Return the paths, from the package, of every file of it."""
    found = []
    for folder, folders, names in os.walk(PACKAGE):
        folders[:] = [name for name in folders if name != '__pycache__']
        found += [os.path.relpath(os.path.join(folder, name), PACKAGE).replace(os.sep, '/')
                  for name in names if name.endswith('.py')]
    return sorted(found)


def source(path):
    """Return the text of a file of the package."""
    with io.open(os.path.join(PACKAGE, path), encoding='utf-8') as file:
        return file.read()


def tree(path):
    """Return the syntax tree of a file of the package."""
    return ast.parse(source(path), path)


def is_in(path, places):
    """Tell whether a file is one of the places: names of files, and names of folders with a slash."""
    return any(path == place or (place.endswith('/') and path.startswith(place)) for place in places)


def imports(path, inside_functions=True):
    """Return the dotted names that a file imports, ``from a import b`` as ``a.b``, also by import_module."""
    nodes = ast.walk(tree(path)) if inside_functions else at_import(tree(path))
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level:
                parts = ('market_maker/' + path).split('/')[:-node.level]
                base = '.'.join(parts + ([node.module] if node.module else []))
            for alias in node.names:
                yield base + '.' + alias.name
        elif isinstance(node, ast.Call) and getattr(node.func, 'attr', '') == 'import_module':
            if node.args and isinstance(node.args[0], ast.Str if sys.version_info < (3, 8) else ast.Constant):
                yield node.args[0].s if sys.version_info < (3, 8) else node.args[0].value


def at_import(node):
    """Walk what runs when a file is imported: everything but the bodies of functions."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            for deeper in at_import(child):
                yield deeper


def room(dotted):
    """Return the room that an imported name of ours belongs to, or None for other people's modules."""
    parts = dotted.split('.')
    if parts[0] != 'market_maker':
        return None
    if len(parts) == 1 or (parts[1] not in FLOORS and parts[1] not in ONE_ROOM):
        return '__init__'
    return ONE_ROOM.get(parts[1], parts[1])


def room_of(path):
    """Return the room that a file stands in."""
    name = path.split('/')[0]
    name = name[:-3] if name.endswith('.py') else name
    return ONE_ROOM.get(name, name)


def calls(path):
    """Return each call of a file as (line, dotted name of what is called)."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield node.lineno, dotted_name(node.func)


def dotted_name(node):
    """Return a.b.c of an expression, with '?' for whatever is no name."""
    if isinstance(node, ast.Attribute):
        return dotted_name(node.value) + '.' + node.attr
    return node.id if isinstance(node, ast.Name) else '?'


def test_every_file_has_a_floor():
    """A new room is put into the plan before it is used."""
    assert sorted({room_of(path) for path in files()} - set(FLOORS)) == []


@pytest.mark.parametrize('path', files())
def test_imports_lead_downstairs(path):
    """A file imports only from lower floors and from its own room."""
    here = room_of(path)
    for name in imports(path):
        there = room(name)
        if there in (None, here, '__init__') or path == '__init__.py':
            continue
        assert FLOORS[there] < FLOORS[here], '{} imports {}'.format(path, name)


@pytest.mark.parametrize('path', [path for path in files() if not is_in(path, MAY_IMPORT_LATE)])
def test_imports_stand_at_the_top(path):
    """What a file needs is seen at its top; only the command line fetches things when they are called."""
    assert sorted(set(imports(path)) - set(imports(path, inside_functions=False))) == []


@pytest.mark.parametrize('path', [path for path in files() if path.startswith('simulator/')])
def test_the_simulator_knows_nothing_of_the_bot(path):
    """It imports contracts, the signing rules and the utils, nothing else of ours."""
    for name in imports(path):
        signing = name.startswith('market_maker.auth.signing')
        assert signing or room(name) in (None, 'simulator', 'contracts', 'utils'), name


@pytest.mark.parametrize('path', [path for path in files() if path.startswith('judge/')])
def test_the_judge_relies_on_nobody(path):
    """An error of the bot's, or of the local exchange's, cannot hide in code that the judge shares with them."""
    assert [name for name in imports(path) if room(name) not in (None, 'judge')] == []


@pytest.mark.parametrize('path', [path for path in files()
                                  if not is_in(path, ('simulator/', 'server/', 'judge/', 'commands/'))])
def test_the_bot_knows_nothing_of_the_local_exchange(path):
    """It meets its exchange over the wire only; the commands know both."""
    assert [name for name in imports(path) if room(name) in ('simulator', 'server', 'judge')] == []


@pytest.mark.parametrize('path', [path for path in files() if not is_in(path, MAY_READ_SETTINGS)])
def test_settings_are_read_by_few(path):
    """Every other room is handed plain values."""
    found = [name for name in imports(path) if name.startswith('market_maker.settings')
             and not name.startswith('market_maker.settings_rules')]
    assert path == '__init__.py' or found == []


@pytest.mark.parametrize('path', [path for path in files() if is_in(path, PURE)])
def test_pure_files_decide_and_do_nothing_else(path):
    """No socket, thread, clock, file, log, settings or hidden randomness: values in, values out."""
    for name in imports(path):
        assert name.split('.')[0] not in IMPURE_MODULES or path == 'auth/signing.py', '{} imports {}'.format(path, name)
        assert room(name) != 'settings' or path == 'settings_rules.py', '{} imports {}'.format(path, name)
        assert not name.startswith(('market_maker.utils.log', 'market_maker.utils.clock')), '{}: {}'.format(path, name)
    for line, name in calls(path):
        assert name not in ('open', 'print', 'input', 'exec', 'eval'), '{}:{} calls {}'.format(path, line, name)
        assert not re.match(r'random\.(?!Random$)', name), '{}:{} draws from the shared generator'.format(path, line)
        assert not re.search(r'(^|\.)datetime\.(now|utcnow|today)$|(^|\.)date\.today$|uuid\.uuid[14]$', name) and \
            (path == 'auth/signing.py' or not re.match(r'time\.(?!strptime|strftime|struct_time|gmtime)', name)), \
            '{}:{} calls {}'.format(path, line, name)


@pytest.mark.parametrize('path', [path for path in files() if FLOORS[room_of(path)] < 6])
def test_no_room_below_the_manager_ends_the_process(path):
    """It raises what happened; the top decides."""
    for line, name in calls(path):
        leaves = name in ('sys.exit', 'exit', 'quit', 'os._exit', 'os.abort', 'SystemExit')
        assert not leaves, '{}:{}'.format(path, line)
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Name):
            assert node.exc.id != 'SystemExit', '{}:{}'.format(path, node.lineno)


@pytest.mark.parametrize('path', files())
def test_no_error_is_swallowed_unseen(path):
    """No bare except, and no broad one whose body is only `pass`."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, '{}:{} is a bare except'.format(path, node.lineno)
            broad = dotted_name(node.type) in ('Exception', 'BaseException')
            assert not (broad and all(isinstance(child, ast.Pass) for child in node.body)), \
                '{}:{} swallows everything'.format(path, node.lineno)


def test_importing_has_no_effect(tmp_path):
    """No user file is read, nothing is written, printed or started, no handler added, for any module of the package."""
    (tmp_path / 'settings.py').write_text('open("was-run", "w").close()\n')
    modules = ['market_maker' + ('.' + path[:-3].replace('/', '.') if path != '__init__.py' else '')
               for path in files() if path != '__main__.py']
    modules = [name[:-len('.__init__')] if name.endswith('.__init__') else name for name in modules]
    program = '''
import importlib, logging, os, sys, threading
try:
    import aiohttp
    has_aiohttp = True
except ImportError:
    has_aiohttp = False
import requests, websocket, future.utils
seen = []
def watch(event, arguments):
    if event in ('subprocess.Popen', 'os.system', 'os.fork', 'socket.connect', 'socket.bind'):
        seen.append((event, arguments))
    elif event == 'open' and isinstance(arguments[1], str) and set(arguments[1]) & set('wax+'):
        seen.append((event, arguments))
if hasattr(sys, 'addaudithook'):
    sys.addaudithook(watch)
before = list(sys.argv)
for name in {modules!r}:
    if has_aiohttp or not name.startswith(('market_maker.server', 'market_maker.commands.trial')):
        importlib.import_module(name)
assert seen == [], seen
assert sys.argv == before
assert threading.enumerate() == [threading.main_thread()], threading.enumerate()
assert logging.getLogger('root').handlers == [] and logging.getLogger().handlers == []
'''.format(modules=modules)
    environment = dict(os.environ, PYTHONPATH=ROOT, PYTHONDONTWRITEBYTECODE='1')

    run = subprocess.Popen([sys.executable, '-c', program, 'XBTUSD'], cwd=str(tmp_path), env=environment,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = run.communicate(timeout=60)[0].decode()

    assert (run.returncode, output) == (0, '')
    assert os.listdir(str(tmp_path)) == ['settings.py']


@pytest.mark.skipif(sys.version_info < (3, 8), reason='ast checks older syntax from Python 3.8 on')
@pytest.mark.parametrize('path', files() + ['../settings_base.py', '../setup.py'])
def test_syntax_is_that_of_python_3_5(path):
    """Installing compiles every file, whatever the Python; so all are written in the syntax of the oldest."""
    text = source(path)
    for node in ast.walk(ast.parse(text, path, feature_version=(3, 5))):
        where = '{}:{}'.format(path, getattr(node, 'lineno', 0))
        assert not isinstance(node, (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr)), where
        assert type(node).__name__ not in ('Match', 'TryStar', 'TypeAlias'), where
        assert not getattr(node, 'type_params', None), where
        if isinstance(node, ast.arguments):
            assert not node.posonlyargs, where
        if isinstance(node, ast.AsyncFunctionDef):
            assert not any(isinstance(child, (ast.Yield, ast.YieldFrom)) for child in ast.walk(node)), where
        if isinstance(node, ast.Name):
            assert node.id != 'ModuleNotFoundError', where
    assert underscored_numbers(text) == []
    assert commas_after_star_args(text) == []


@pytest.mark.parametrize('path', [path for path in files() if not is_in(path, NEEDS_THE_TESTNET_EXTRA)])
def test_no_library_newer_than_python_3_5(path):
    """The bot runs there, not only compiles."""
    assert sorted(set(imports(path)) & TOO_NEW) == []
    assert [name for name in imports(path) if name.split('.')[0] in TOO_NEW] == []
    for line, name in calls(path):
        assert not re.search(r'(^|\.)(random\.choices|datetime\.fromisoformat|ThreadingHTTPServer|asyncio\.run'
                             r'|breakpoint|subprocess\.run)$', name), '{}:{} calls {}'.format(path, line, name)


def tokens(text):
    """Return the tokens of a source text that are no comments and no line ends."""
    return [token for token in tokenize.generate_tokens(io.StringIO(text).readline)
            if token[0] not in (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)]


def underscored_numbers(text):
    """Return the lines with a number like 1_000."""
    return [token[2][0] for token in tokens(text) if token[0] == tokenize.NUMBER and '_' in token[1]]


def commas_after_star_args(text):
    """Return the lines of `def f(*args,)`: a syntax error until Python 3.6, which ast does not tell."""
    found, words = [], tokens(text)
    for start, token in enumerate(words):
        if token[1] != 'def':
            continue
        depth, star = 0, False
        for position in range(start + 2, len(words)):
            word = words[position][1]
            if word in '([{':
                depth += 1
            elif word in ')]}':
                depth -= 1
                if depth == 0:
                    if star and words[position - 1][1] == ',':
                        found.append(words[position][2][0])
                    break
            elif word in ('*', '**') and depth == 1 and words[position - 1][1] in ('(', ','):
                star = True
    return found
