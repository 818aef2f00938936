"""The command line: argv in, exit code out.

It imports next to nothing, so that ``--version`` and ``--help`` answer at once; a command is fetched when it is called.
It owns the one place where an error becomes a line on stderr, and the handover to a project's own copy of the package.
"""
from __future__ import absolute_import, print_function

import argparse
import importlib
import os
import re
import signal
import sys
from typing import Any, List, Optional  # noqa: F401

from market_maker.utils import later, signals
from market_maker.utils.constants import VERSION

# besides `run`, which is what happens without a command
COMMANDS = ('setup', 'demo', 'testnet', 'doctor', 'chaos', 'status', 'cancel', 'flatten', 'resume')

# What requests, orjson and the standard library bring along and a running bot does not use; or, the last two, only to
# start the local exchange or to word an error.  Not uuid: an older orjson looks into it, and dies (``later`` says why).
UNUSED = ('charset_normalizer', 'idna', 'inspect', 'pickle', 'zipfile', 'csv', 'locale', 'mimetypes',
          'bz2', 'lzma', 'difflib', 'subprocess')

EXIT_OK = 0  # these are those of utils/errors.py, which is too heavy to import here
EXIT_FAILURE = 1
EXIT_USAGE = 2

EXIT_CODES = """exit codes:
  0  the run ended as asked: Ctrl-C, SIGTERM, or its time was up
  1  an error that the run could not survive; an order or a position that could not be closed
  2  settings, arguments or files are not usable; nothing was connected
  3  the exchange refuses the API key
  4  the exchange cannot be reached, or its data did not come
  5  doctor: nothing that prevents a run, but something to look at
  6  doctor: something that prevents a run, or makes it dangerous
  10 chaos: the bot broke one of its promises
"""

SYMBOL_SHAPE = re.compile(r'\.?[A-Za-z0-9_]{2,30}\Z')


class UsageError(Exception):
    """The arguments cannot be used; the text is one line and names the way out."""
    exit_code = EXIT_USAGE


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line like all our errors."""

    def error(self, message):
        # type: (str) -> Any
        """Raise UsageError instead of printing the usage."""
        raise UsageError('{} (see `{} --help`)'.format(message, self.prog))


def main(argv: Optional[List[str]] = None, installed: Optional[str] = None) -> int:
    """Run the command line and return the exit code.

    ``argv`` are the arguments after the program's name (default: those of the process).  ``installed`` is set by the
    installed package when it has handed over to this copy: its version.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _main(arguments, installed)
    except KeyboardInterrupt:
        _complain('interrupted')
        return EXIT_FAILURE
    except BrokenPipeError:
        sys.stdout = open(os.devnull, 'w')  # or the interpreter complains once more when it flushes at its end
        return EXIT_FAILURE
    except SyntaxError as error:  # in a strategy, or in a project's copy that its owner has edited
        _complain('{}:{}: {}: {}'.format(error.filename, error.lineno, error.msg, (error.text or '').strip()))
        return EXIT_USAGE
    except Exception as error:
        # Known by its exit code, not by its class: the error tree needs requests, and this must stay cheap to import.
        exit_code = getattr(error, 'exit_code', None)
        if exit_code is None:
            raise
        for line in str(error).splitlines() or [type(error).__name__]:
            _complain(line)
        return int(exit_code)


def _main(arguments, installed):
    # type: (List[str], Optional[str]) -> int
    copy = _project_copy()
    if copy:
        return _hand_over(copy, arguments)
    if arguments[:1] == ['help']:
        arguments = arguments[1:2] + ['--help']
    if arguments[:1] in (['--version'], ['-V']):
        print('marketmaker {}'.format(VERSION))
        return 0
    if arguments and arguments[0] in COMMANDS:
        return _command(arguments[0], arguments[1:])
    return _run(arguments[1:] if arguments[:1] == ['run'] else arguments, installed)


def _command(name, arguments):
    # type: (str, List[str]) -> int
    module = _fetch(name)
    parser = Parser(prog='marketmaker ' + name, description=module.HELP, allow_abbrev=False,
                    epilog='examples:\n' + _indented(module.EXAMPLES) + _codes_of(module),
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    module.add_arguments(parser)
    args = parser.parse_args(arguments)
    # Those that read the settings of a run: these look at sys.argv for the symbol.
    if hasattr(args, 'base_url') or hasattr(args, 'strategy'):
        if args.symbol:
            args.symbol = _symbol(args.symbol)
        _normalise_argv(args.symbol, arguments)
    return _exit_code(module.main(args))


def _run(arguments, installed):
    # type: (List[str], Optional[str]) -> int
    """Run the bot.  SIGTERM ends the start as Ctrl-C does; the bot takes both over as soon as there is something to
    clean up, and what it raises after its clean-up is a KeyboardInterrupt with an exit code of its own."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _run_bot(arguments, installed)
    except KeyboardInterrupt as stop:
        if not isinstance(stop, SystemExit):
            _complain('interrupted before there was anything to clean up')
        return _exit_code(getattr(stop, 'code', None))


def _run_bot(arguments, installed):
    # type: (List[str], Optional[str]) -> int
    later.defer(*UNUSED)
    with signals.held():
        module = _fetch('run')
    wants_help = '-h' in arguments or '--help' in arguments
    parser = Parser(prog='marketmaker', usage='marketmaker [SYMBOL] [options]\n       marketmaker COMMAND [options]',
                    description=module.HELP, epilog=_epilog(module) if wants_help else None,
                    formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument('--version', action='version', version='marketmaker ' + VERSION,
                        help='print the version and leave')
    module.add_arguments(parser)
    args = parser.parse_args(arguments)
    if args.symbol:
        args.symbol = _symbol(args.symbol)
    args.copy = _copy_note(installed)
    _normalise_argv(args.symbol, arguments)
    return _exit_code(module.main(args))


def _symbol(word):
    # type: (str) -> str
    """Return the symbol in capitals; refuse what can only be a misspelt command."""
    if word in COMMANDS:
        raise UsageError('the command comes first: marketmaker {} ...'.format(word))
    if word.isupper() and SYMBOL_SHAPE.match(word):   # as symbols are written, and commands are not
        return word
    near = importlib.import_module('difflib').get_close_matches(word.lower(), COMMANDS + ('run', 'help'), 1, 0.7)
    if near:
        raise UsageError('{!r} is neither a command nor a symbol; did you mean `marketmaker {}`?'.format(word, near[0]))
    if not SYMBOL_SHAPE.match(word):
        raise UsageError('{!r} is neither a command nor a symbol; a run is `marketmaker XBTUSD`, the commands are {}'
                         .format(word, ', '.join(COMMANDS)))
    return word.upper()


def _normalise_argv(symbol, arguments):
    # type: (Optional[str], List[str]) -> None
    """Put the symbol first in sys.argv, where the settings, strategies and a restart look for it; options follow."""
    rest = list(arguments)
    if symbol:
        for position, word in enumerate(rest):
            if word.upper() == symbol:
                del rest[position]
                break
    sys.argv[1:] = ([symbol] if symbol else []) + rest


def _epilog(run):
    # type: (Any) -> str
    lines = ['commands:']
    for name in COMMANDS:
        lines.append('  {:<12}{}'.format(name, _fetch(name).HELP))
    lines += ['', 'examples:', _indented(run.EXAMPLES), '', EXIT_CODES]
    return '\n'.join(lines)


def _codes_of(module):
    # type: (Any) -> str
    """Return what a command says of its own exit codes."""
    codes = getattr(module, 'EXIT_CODES', '')
    return '\n\nexit codes:\n' + _indented(codes) + '\n  others as for a run, see `marketmaker --help`' if codes else ''


def _interrupt(signum, frame):
    # type: (int, Any) -> None
    raise KeyboardInterrupt()


def _fetch(name):
    # type: (str) -> Any
    return importlib.import_module('market_maker.commands.' + name)


def _exit_code(result):
    # type: (Any) -> int
    return int(result) if result is not None else EXIT_OK


def _indented(text):
    # type: (str) -> str
    return '\n'.join('  ' + line if line else '' for line in text.strip('\n').splitlines())


def _complain(line):
    # type: (str) -> None
    """Write a line to stderr, and to the log file where there is one."""
    try:
        sys.stderr.write('marketmaker: {}\n'.format(line))
        sys.stderr.flush()
    except (OSError, ValueError):  # nobody is listening; the exit code still tells
        pass
    log = sys.modules.get('market_maker.utils.log')
    if log is not None:
        log.to_files('cli', line)


########################################################################################################################
# A project's own copy of the package
########################################################################################################################

def _here():
    # type: () -> str
    return os.path.dirname(os.path.realpath(__file__))


def _project_copy():
    # type: () -> Optional[str]
    """Return the folder of the working folder's own market_maker, or None when there is none or it is this one."""
    try:
        folder = os.path.join(os.getcwd(), 'market_maker')
    except OSError:
        raise UsageError('the working folder is gone: go to another one')
    is_ours = all(os.path.isfile(os.path.join(folder, name)) for name in ('__init__.py', 'market_maker.py'))
    return folder if is_ours and os.path.realpath(folder) != _here() else None


def _hand_over(folder, arguments):
    # type: (str, List[str]) -> int
    """Forget the installed package and start over with the project's copy and that copy's own defaults."""
    for name in list(sys.modules):
        if name == 'market_maker' or name.startswith('market_maker.'):
            del sys.modules[name]
    sys.path.insert(0, os.path.dirname(folder))
    importlib.invalidate_caches()
    if os.path.isfile(os.path.join(folder, 'cli.py')):
        return importlib.import_module('market_maker.cli').main(arguments, VERSION)
    return _run_classic(folder)


def _run_classic(folder):
    # type: (str) -> int
    """Run a copy of the days before this command line the way it was run then."""
    _complain('market_maker/ in this folder is of an older kind and is what runs now; it knows neither the local '
              'exchange nor the options of {}. Move it aside and run `marketmaker setup` to renew it.'.format(VERSION))
    return _exit_code(importlib.import_module('market_maker.market_maker').run())


def _copy_note(installed):
    # type: (Optional[str]) -> Optional[str]
    """Return what the log says about running a project's copy, or None for the installed package and the checkout."""
    project = os.path.dirname(_here())
    if os.path.realpath(os.getcwd()) != project or os.path.exists(os.path.join(project, 'settings_base.py')):
        return None
    if installed is None:
        return 'Running the copy of market_maker in this folder, version {}.'.format(VERSION)
    return 'Running the copy of market_maker in this folder, version {} (installed: {}).'.format(VERSION, installed)
