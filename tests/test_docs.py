"""The words are held to the code: what README and docs say exists, is complete, compiles and leads somewhere."""
import argparse
import ast
import importlib
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest

from market_maker import cli
from market_maker.rest import retry
from market_maker.simulator import instruments, schema
from market_maker.simulator.api import Api
from market_maker.simulator.exchange import Exchange
from market_maker.utils import constants, errors

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DOCS = os.path.join(ROOT, 'docs')

pytestmark = pytest.mark.skipif(not os.path.isdir(DOCS), reason='these words are those of a checkout')


def read(*parts):
    """Return the text of a file of the checkout."""
    with open(os.path.join(ROOT, *parts), 'rb') as file:
        return file.read().decode('utf-8')


def pages():
    """Return the paths, from the root, of everything that is written for people."""
    found = ['README.md', 'CHANGELOG.md', 'CONTRIBUTING.md']
    found += [os.path.join('docs', name) for name in sorted(os.listdir(DOCS)) if name.endswith('.md')]
    return found


def blocks(path, *languages):
    """Return (line number, text) of each fenced code block in one of the languages."""
    found, fence, language, start, lines = [], None, None, 0, []
    for number, line in enumerate(read(path).splitlines(), 1):
        mark = re.match(r'\s*(```+)\s*(\S*)', line)
        if fence is None and mark:
            fence, language, start, lines = mark.group(1), mark.group(2), number, []
        elif fence is not None and line.strip() == fence:
            if language in languages:
                found.append((start, '\n'.join(lines) + '\n'))
            fence = None
        elif fence is not None:
            lines.append(line)
    return found


def prose(path):
    """Return a page without its fenced code blocks."""
    return re.sub(r'^(\s*)(```+).*?^\1\2\s*$', '', read(path), flags=re.MULTILINE | re.DOTALL)


def rows(path, columns):
    """Return the cells of every table row of a page that has that many columns."""
    found = []
    for line in prose(path).splitlines():
        if line.startswith('|') and not set(line) <= set('|- :'):
            cells = [cell.strip().replace('\\|', '|') for cell in re.split(r'(?<!\\)\|', line)[1:-1]]
            if len(cells) == columns:
                found.append(cells)
    return found


def documented_settings():
    """Return {name: default as written} of the settings reference."""
    found = {}
    for name, default, _, sentence in rows(os.path.join('docs', 'settings.md'), 4):
        if name.startswith('`'):
            assert sentence.endswith('.'), name
            assert name not in found, name
            found[name.strip('`')] = default.strip('`')
    return found


def real_settings():
    """Return {name: default as written} of settings_base.py."""
    source = read('settings_base.py')
    names = [target.id for node in ast.parse(source).body if isinstance(node, ast.Assign) for target in node.targets]
    assignment = {}
    for line in source.splitlines():
        found = re.match(r'([A-Z][A-Za-z_]+) = (.*?)(?:  +#.*)?$', line)
        if found:
            assignment[found.group(1)] = found.group(2)
    assert sorted(assignment) == sorted(names), 'a setting whose default does not stand on one line'
    return assignment


def slug(heading):
    """Return the anchor that both GitHub and the site give a heading."""
    text = re.sub(r'\[([^]]*)\]\([^)]*\)', r'\1', heading).replace('`', '').strip().lower()
    return re.sub(r'[^\w\- ]', '', text).replace(' ', '-')


def anchors(path):
    """Return the anchors of a page."""
    return {slug(heading) for heading in re.findall(r'^#+ +(.*)$', prose(path), re.MULTILINE)}


def links(path):
    """Return the targets of the page's links and pictures, without those inside code."""
    text = re.sub(r'`[^`\n]*`', '', prose(path))
    return re.findall(r'\]\(([^)\s]+)\)', text) + re.findall(r'^\[[^]]+\]: +(\S+)', text, re.MULTILINE)


def functions_of(path):
    """Return the names of the test functions of a test file."""
    return {node.name for node in ast.walk(ast.parse(read(path))) if isinstance(node, ast.FunctionDef)}


def test_every_setting_is_documented_with_its_default():
    """The settings reference and settings_base.py name the same settings with the same defaults."""
    assert documented_settings() == real_settings()


def test_every_exit_code_is_documented():
    """The table of exit codes in running.md has exactly the codes of utils/errors.py."""
    codes = sorted(value for name, value in vars(errors).items() if name.startswith('EXIT_'))

    documented = [int(cells[0].strip('`')) for cells in rows(os.path.join('docs', 'running.md'), 3)
                  if re.match(r'`\d+`$', cells[0])]

    assert sorted(documented) == codes


@pytest.mark.parametrize('path', pages() if os.path.isdir(DOCS) else [])
def test_links_lead_somewhere(path):
    """Each link inside the checkout names a file that is there, and a heading of it."""
    for target in links(path):
        if re.match(r'[a-z]+:', target):
            continue
        file_name, _, anchor = target.partition('#')
        there = os.path.normpath(os.path.join(os.path.dirname(path), file_name)) if file_name else path
        assert os.path.exists(os.path.join(ROOT, there)), '{}: {}'.format(path, target)
        if anchor:
            assert anchor in anchors(there), '{}: {}'.format(path, target)


@pytest.mark.parametrize('path', pages() if os.path.isdir(DOCS) else [])
def test_python_blocks_compile_for_python_3_5(path):
    """Code that people copy has the syntax of the oldest Python that the bot runs on."""
    for line, text in blocks(path, 'python', 'py'):
        floor = {'feature_version': (3, 5)} if sys.version_info >= (3, 8) else {}
        try:
            ast.parse(text, **floor)
        except SyntaxError as error:
            pytest.fail('{}:{}: {}'.format(path, line + (error.lineno or 0), error.msg))


def test_every_page_is_in_the_table_of_contents():
    """The index lists each page of docs/, once."""
    (_, contents), = blocks(os.path.join('docs', 'index.md'), '{toctree}')
    listed = [line.strip() for line in contents.splitlines() if line.strip() and not line.startswith(':')]

    names = [name[:-3] for name in os.listdir(DOCS) if name.endswith('.md') and name != 'index.md']
    assert sorted(listed) == sorted(names)


def test_readme_and_running_say_when_bitmex_closed():
    """Nobody is sent to an exchange that is gone: the pages with addresses give the closing date."""
    for path in ('README.md', os.path.join('docs', 'running.md'), os.path.join('docs', 'troubleshooting.md')):
        assert constants.CLOSING_DATE in prose(path), path


def test_promises_name_tests_that_exist():
    """Each test in the table of promises is a function of that file, and no test of a promise is left out."""
    named = re.findall(r'`(tests/[\w./]+\.py)::(\w+)`', read('docs', 'promises.md'))

    assert named
    for path, name in named:
        assert name in functions_of(path), '{}::{}'.format(path, name)
    ours = {name for path, name in named if path == 'tests/test_promises.py'}
    assert ours == {name for name in functions_of('tests/test_promises.py') if name.startswith('test_')}


def test_pages_do_not_name_the_machine_they_were_written_on():
    """No absolute path of anybody's home and no host name stands in the words."""
    for path in pages():
        assert not re.search(r'(?<![\w.])/(home|root|work|Users)/', read(path)), path


def constants_of_the_package():
    """Return every string constant of the package, blanks collapsed."""
    found = []
    for folder, _, names in os.walk(os.path.join(ROOT, 'market_maker')):
        for name in names:
            if name.endswith('.py'):
                tree = ast.parse(read(folder, name))
                found += [getattr(node, 's', None) if sys.version_info < (3, 8) else node.value
                          for node in ast.walk(tree)
                          if isinstance(node, ast.Str if sys.version_info < (3, 8) else ast.Constant)]
    return [' '.join(text.split()) for text in found if isinstance(text, str)]


def test_messages_in_troubleshooting_are_those_of_the_code():
    """Each message that the page explains before its last part is made by the package, word for word."""
    ours = read('docs', 'troubleshooting.md').partition('## From outside')[0]
    texts = constants_of_the_package()

    messages = re.findall(r'(?:^|^.*and )\*\*`([^`]+)`\*\*', ours, re.MULTILINE)
    messages += re.findall(r'^\*\*`([^`]+)`\*\* and ', ours, re.MULTILINE)

    assert len(messages) > 20
    for message in messages:
        parts = [part.strip() for part in message.split('\u2026') if part.strip()]
        assert any(all(part in text for part in parts) for text in texts), message


def test_the_table_of_outcomes_is_the_policy_of_the_client():
    """What the docs say about each answer of the exchange is what rest/retry.py does."""
    documented = {cells[0].strip('`'): tuple(cells[2:8]) for cells in rows(os.path.join('docs', 'resilience.md'), 9)
                  if cells[0].startswith('`')}

    assert documented == dict(retry.TABLE)


def test_the_table_of_faults_has_each_fault_of_the_local_exchange_once():
    """A reader finds in one place what the bot does about whatever can be made to go wrong."""
    faults = pytest.importorskip('market_maker.server.faults')
    told = [name for cells in rows(os.path.join('docs', 'resilience.md'), 3) if cells[0].startswith('`')
            for name in cells[0].replace('`', '').split(', ')]

    assert sorted(told) == sorted(faults.CATALOGUE)


def test_what_the_bot_does_is_shown_by_tests_that_exist():
    """Each row of the tables of answers, faults and ends names at least one test, and those it names are there."""
    lines = [cells for count in (3, 9) for cells in rows(os.path.join('docs', 'resilience.md'), count)
             if cells[-1] != 'shown by']

    assert len(lines) > 40
    for cells in lines:
        named = re.findall(r'`(tests/[\w./]+\.py)::(\w+)`', cells[-1])
        assert named, cells
        for path, name in named:
            assert name in functions_of(path), '{}::{}'.format(path, name)


def parsers():
    """Return {command: its parser}, a run under ''."""
    made = {}
    for name in ('run',) + cli.COMMANDS:
        parser = cli.Parser(prog='marketmaker', allow_abbrev=False)
        importlib.import_module('market_maker.commands.' + name).add_arguments(parser)
        made['' if name == 'run' else name] = parser
    return made


def command_lines(path):
    """Return the words of each marketmaker command in the shell blocks of a page, without assignments and comments."""
    found = []
    for line, text in blocks(path, 'sh', 'console', ''):
        for row in text.splitlines():
            words = shlex.split(row.lstrip('$ '), comments=True)
            while words and re.match(r'[A-Z_]+=', words[0]):
                del words[0]
            if words[:1] == ['marketmaker']:
                found.append((line, words[1:]))
    return found


@pytest.mark.parametrize('path', pages() if os.path.isdir(DOCS) else [])
def test_commands_in_the_words_are_understood(path):
    """Each marketmaker command line of the words parses: the command and its options exist."""
    for line, words in command_lines(path):
        if words in (['--version'], ['--help']):
            continue
        name = words[0] if words and words[0] in cli.COMMANDS else ''
        try:
            parsers()[name].parse_args(words[1:] if name else words)
        except cli.UsageError as error:
            pytest.fail('{}:{}: {}'.format(path, line, error))


def test_every_command_and_option_is_documented():
    """running.md and local-exchange.md name each command and each option that --help shows."""
    text = read('docs', 'running.md') + read('docs', 'local-exchange.md')
    for name, parser in parsers().items():
        assert '`marketmaker {}'.format(name or '[SYMBOL]') in text
        for action in parser._actions:
            if action.help != argparse.SUPPRESS and action.option_strings and action.dest != 'help':
                assert re.search(r'`{}[ `]'.format(re.escape(action.option_strings[-1])), text), action.option_strings


@pytest.mark.parametrize('path', pages() if os.path.isdir(DOCS) else [])
def test_make_targets_in_the_words_exist(path):
    """Each `make something` of the words is a target of the Makefile."""
    targets = re.findall(r'^([a-z-]+):', read('Makefile'), re.MULTILINE)
    code = '\n'.join(text for _, text in blocks(path, 'sh')) + '\n' + '\n'.join(re.findall(r'`([^`\n]+)`', prose(path)))
    for target in re.findall(r'^(?:[A-Z_]+=\S+ )*make ([a-z][a-z-]*)', code, re.MULTILINE):
        assert target in targets, '{}: make {}'.format(path, target)


def test_texts_that_were_chosen_are_those_that_are_sent():
    """The texts of refusals in local-exchange.md's list of choices stand in the code."""
    section = read('docs', 'local-exchange.md').partition('**Chosen**')[2].partition('**Missing**')[0]
    folders = [os.path.join('market_maker', name) for name in ('simulator', 'server')]
    code = ''.join(read(folder, name) for folder in folders for name in os.listdir(os.path.join(ROOT, folder))
                   if name.endswith('.py'))

    texts = [text.strip() for pair in re.findall(r'`` (.+?) ``|`([^`]+)`', section) for text in pair
             if ' ' in text.strip()]
    assert len(texts) > 6
    assert [text for text in texts if text not in code] == []


def test_every_route_of_the_local_exchange_is_documented():
    """local-exchange.md lists the REST routes that are served, no more and no fewer."""
    section = read('docs', 'local-exchange.md').partition('## REST')[2].partition('\n## ')[0]
    documented = re.findall(r'`(GET|POST|PUT|DELETE) (/[\w/]+)`', section)

    exchange = Exchange(instruments.catalogue(), 0.0, random.Random(1))
    assert sorted(documented) == sorted(Api(exchange)._routes)


def test_every_table_of_the_local_exchange_is_documented():
    """local-exchange.md lists the WebSocket tables that can be subscribed to, each once."""
    section = read('docs', 'local-exchange.md').partition('## WebSocket')[2].partition('\n## ')[0]

    listed = [name for row in section.splitlines() if row.startswith('| ') for name in re.findall(r'`(\w+)`', row)]

    assert sorted(listed) == sorted(schema.TABLES)


def test_instruments_in_the_words_are_those_of_the_local_exchange():
    """The table of instruments has each of them with its tick, lot and settlement currency."""
    rows_of = {cells[0]: cells for cells in rows(os.path.join('docs', 'local-exchange.md'), 5)}
    for symbol, instrument in instruments.catalogue().items():
        if instrument.is_index:
            assert '`{}`'.format(symbol) in read('docs', 'local-exchange.md')
        else:
            cells = rows_of['`{}`'.format(symbol)]
            assert cells[1].startswith(instrument.kind)
            assert (float(cells[2]), int(cells[3]), cells[4]) == (instrument.tick, instrument.lot, instrument.currency)


def strategies_in_the_words():
    """Return [(place, code)] of the code blocks that define a strategy."""
    found = []
    for path in ('README.md', os.path.join('docs', 'strategies.md')):
        found += [('{}:{}'.format(path, line), text)
                  for line, text in blocks(path, 'python') if '(OrderManager' in text]
    return found


class Example:
    """A strategy of the words at work in a folder of its own, with an account of its own."""

    def __init__(self, folder, place, text, key, url):
        self.place = place
        self.key = key
        folder.mkdir()
        (folder / 'my_strategy.py').write_text(text)
        (folder / 'settings.py').write_text('LOOP_INTERVAL = 0.2\nAPI_REST_INTERVAL = 0.1\n')
        command = ['my_strategy.py', 'XBTUSD']
        if '__main__' not in text:
            command = ['-m', 'market_maker', 'XBTUSD', '--strategy', 'my_strategy.py']
        environment = dict(os.environ, PYTHONPATH=ROOT, BITMEX_BASE_URL=url, BITMEX_API_KEY=key,
                           BITMEX_API_SECRET='shown', PYTHONUNBUFFERED='1')
        self.output = folder / 'output.txt'
        with open(str(self.output), 'w') as sink:
            self.process = subprocess.Popen([sys.executable] + command, cwd=str(folder), env=environment, stdout=sink,
                                            stderr=subprocess.STDOUT)

    def story(self):
        """Return what it wrote, below the place of its code."""
        return '{}\n{}'.format(self.place, self.output.read_text())

    def has_looked_twice(self):
        """Tell whether its loop runs; fail when it has ended already."""
        assert self.process.poll() is None, self.story()
        return self.output.read_text().count('-----') > 1


@pytest.mark.skipif(os.name == 'nt', reason='signals of this kind are POSIX')
def test_strategies_in_the_words_quote_and_clean_up(tmp_path):
    """Each example strategy runs as it stands: it quotes, obeys a signal, and leaves no order behind."""
    pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')
    from market_maker.server.local_exchange import running
    codes = strategies_in_the_words()
    assert len(codes) > 5
    people = [{'key': 'example{}'.format(number), 'secret': 'shown'} for number in range(len(codes))]
    with running(market='still', bid=60000.4, ask=60000.5, accounts=people) as testnet:
        examples = []
        try:
            for (place, text), person in zip(codes, people):
                examples.append(Example(tmp_path / person['key'], place, text, person['key'], testnet.url))
            for example in examples:
                wait_until(example.has_looked_twice, 60, example.story)
            for example in examples:
                assert testnet.exchange.account_of(example.key).orders, example.story()
                example.process.send_signal(signal.SIGINT)
            for example in examples:
                assert example.process.wait(30) == 0, example.story()
                assert not testnet.exchange.account_of(example.key).orders, example.story()
                assert not re.search('WARNING|ERROR|CRITICAL|Traceback', example.output.read_text()), example.story()
        finally:
            for example in examples:
                if example.process.poll() is None:
                    example.process.kill()
                    example.process.wait()


def wait_until(condition, seconds, story):
    """Return when the condition holds; fail with the story when it does not within that time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, 'waited {} s in vain: {}'.format(seconds, story())
        time.sleep(0.02)
