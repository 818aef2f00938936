"""Finds the local exchange, and starts it as a child process where nothing answers yet.

Base install only: ``aiohttp`` is looked for and never imported here.  Who starts the exchange holds one end of a pipe
to it.  The key travels through that pipe, and its closing, by whatever end the starter comes to, tells the exchange
that the starter is gone; it then ends as soon as no other client is left.
"""
import atexit
import binascii
import difflib
import http.client
import importlib.util
import ipaddress
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any, Dict, List, Optional, Sequence, Tuple  # noqa: F401
from urllib.parse import urlsplit

from market_maker.utils.constants import LOCAL_BASE_URL
from market_maker.utils.errors import AuthenticationError, ConnectionLost, LocalExchangeError, SettingsError

NAME = 'bitmex-market-maker local exchange'
HANDSHAKE = '/local-exchange'            # GET: who is there
ACCOUNTS = '/local-exchange/accounts'    # POST: open an account for a key
TOKEN_HEADER = 'x-local-client'          # tells the starter from other processes that shake hands
GOODBYE = b'bye\n'                       # written to the pipe by a starter that ends in good order

# The account of whoever has no key; of use on a local exchange only, where anybody may open one.
LOCAL_API_KEY = 'LocalExchangeDemoAccount'
LOCAL_API_SECRET = 'any-secret-will-do-where-no-money-is-at-stake-00'

PROBE_TIMEOUT = 5.0     # seconds for an answer from whoever listens on the port
START_TIMEOUT = 20.0    # seconds for a child to answer
POLL = 0.02             # seconds between two looks at a starting child
FAREWELL = 0.5          # seconds that the end of this process waits for the child's
PREFIX = 'marketmaker: '  # how the command line begins a line of error
OLDEST = (3, 9)         # Python that the server's libraries need
INSTALL = 'pip install "bitmex-market-maker[testnet]"'

_children = []          # type: List[_Child]  # what this process started
_lock = threading.Lock()
_token = []             # type: List[str]  # one item, once it is needed


def is_local(base_url: str) -> bool:
    """Return whether a URL's host is this machine's loopback: localhost, 127.0.0.0/8 or ::1."""
    return is_loopback(urlsplit(base_url).hostname or '')


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine's loopback."""
    if host.lower() == 'localhost':
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, 'ipv4_mapped', None)
    return bool((mapped or address).is_loopback)


def ensure(base_url: str, api_key: str = '', api_secret: str = '', market: str = 'simulated',
           seed: Optional[int] = None, symbols: Sequence[str] = (),
           timeout: float = START_TIMEOUT, start: bool = True) -> Tuple[str, str]:
    """Make sure that the local exchange answers at ``base_url`` and knows the key; return the key and secret to use.

    Without a key the well-known demo pair is used.  A child that has to be started plays ``market`` with ``seed``, with
    every instrument there is, and has ``timeout`` seconds to answer.  One that is there already is taken as it is.
    With ``start`` off nothing is started.

    Raise LocalExchangeError when something else answers there or the child does not start, SettingsError when the
    ``testnet`` extra is missing or one of ``symbols`` does not trade there, AuthenticationError when that exchange has
    accounts of its own and no key is given, ConnectionLost when none runs and none is to be started.
    """
    host, port = _address(base_url)
    if bool(api_key) != bool(api_secret):
        given, missing = ('API_KEY', 'API_SECRET') if api_key else ('API_SECRET', 'API_KEY')
        raise SettingsError('{} is set and {} is not: set both, or neither for the demo account of the local exchange'
                            .format(given, missing))
    key, secret = (api_key, api_secret) if api_key else (LOCAL_API_KEY, LOCAL_API_SECRET)
    with _lock:
        found = _probe(host, port)
        if found is None and not start:
            raise ConnectionLost('no local exchange runs at {}, so there are no orders and no positions: `marketmaker` '
                                 'starts one by itself, and another address is named by BASE_URL'.format(base_url))
        if found is None:
            found = _start(host, port, key, secret, market, seed, timeout)
    _check_symbols(symbols, found, base_url)
    _register(host, port, key, secret, bool(api_key))
    return key, secret


def introduction(base_url: str) -> Optional[Dict[str, Any]]:
    """Return what the local exchange at ``base_url`` says of itself (version, instance, market, symbols, accounts);
    None when nothing listens there.  Raise LocalExchangeError when something else does."""
    return _probe(*_address(base_url))


def release() -> None:
    """Say goodbye to every exchange that this process started; each ends unless others use it.

    Runs at exit; may be called twice.
    """
    while _children:
        child = _children.pop()
        # A forked copy of this process must not end what its parent still uses.
        if child.owner == os.getpid():
            child.farewell()


def need_extra() -> None:
    """Raise SettingsError unless this Python can run the local exchange: a new enough one, with ``aiohttp``."""
    if sys.version_info < OLDEST:
        raise SettingsError('the local exchange needs Python {}.{} or newer, and this is {}.{}: start it there with '
                            '`marketmaker testnet`, and it is found'.format(*(OLDEST + sys.version_info[:2])))
    if importlib.util.find_spec('aiohttp') is None:
        raise SettingsError('the local exchange needs aiohttp, which is not installed: ' + INSTALL)


class _Child(object):
    """An exchange that this process started: its process, the pipe to it, and what it wrote to stderr."""

    def __init__(self, command: List[str], log: Any) -> None:
        self.owner = os.getpid()
        self.log = log
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log,
                                        cwd=_folder(), **_own_group())

    def tell(self, words: bytes) -> None:
        """Write to the child, which may be gone."""
        try:
            self.process.stdin.write(words)  # type: ignore[union-attr]
            self.process.stdin.flush()  # type: ignore[union-attr]
        except OSError:
            # It has ended: that shows in its exit code, where somebody asks.
            pass

    def farewell(self) -> None:
        """Say goodbye, close the pipe and wait a moment for the child, which stays for other clients."""
        self.tell(GOODBYE)
        self.drop()
        try:
            self.process.wait(FAREWELL)
        except subprocess.TimeoutExpired:
            # Others use it.  It is theirs now; keep Python from warning about a process that it thinks forgotten.
            self.process.returncode = 0

    def drop(self) -> None:
        """Close our end of the pipe and of the log."""
        try:
            self.process.stdin.close()  # type: ignore[union-attr]
        except OSError:
            # Unsent words to a child that has ended.
            pass
        self.log.close()

    def last_words(self) -> str:
        """Return the last line that the child wrote to stderr, or how it ended."""
        self.log.seek(0)
        lines = self.log.read().decode('utf-8', 'replace').strip().splitlines()
        words = lines[-1].strip() if lines else ''
        words = words[len(PREFIX):] if words.startswith(PREFIX) else words
        return words or 'it ended with exit code {}'.format(self.process.returncode)


def _address(base_url: str) -> Tuple[str, int]:
    parts = urlsplit(base_url)
    try:
        port = parts.port
    except ValueError:
        raise SettingsError('BASE_URL {!r} has no valid port: the local exchange is {}'.format(
            base_url, LOCAL_BASE_URL))
    if parts.scheme != 'http':
        raise SettingsError('BASE_URL {!r}: the local exchange speaks http, for example {}'.format(
            base_url, LOCAL_BASE_URL))
    host = parts.hostname or ''
    if not is_loopback(host):
        raise SettingsError('BASE_URL {!r} is not on this machine: a local exchange is started on 127.0.0.1 only'
                            .format(base_url))
    return ('127.0.0.1' if host.lower() == 'localhost' else host), port or 80


def _ask(host: str, port: int, verb: str, path: str, body: Optional[Dict[str, Any]] = None) -> Tuple[int, str, bytes]:
    """Return status, Server header and body of one request, past all proxies; raise OSError or HTTPException."""
    connection = http.client.HTTPConnection(host, port, timeout=PROBE_TIMEOUT)
    try:
        headers = {TOKEN_HEADER: _own_token(), 'Connection': 'close'}
        text = None
        if body is not None:
            text = json.dumps(body)
            headers['Content-Type'] = 'application/json'
        connection.request(verb, path, body=text, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.getheader('Server') or '', answer.read(1000000)
    finally:
        connection.close()


def _probe(host: str, port: int) -> Optional[Dict[str, Any]]:
    """Return the introduction of the local exchange there, None when nothing listens; LocalExchangeError for others."""
    try:
        status, server, body = _ask(host, port, 'GET', HANDSHAKE)
    except ConnectionRefusedError:
        return None
    except http.client.RemoteDisconnected:
        # Also what a connection gives that was waiting when a listener closed.
        _check_closed(host, port)
        return None
    except http.client.HTTPException:
        raise _stranger(host, port, 'it does not speak HTTP')
    except ConnectionError:
        _check_closed(host, port)
        return None
    except OSError as error:
        if isinstance(error, socket.timeout):
            raise _stranger(host, port, 'it accepts connections and does not answer')
        raise LocalExchangeError('{} port {} cannot be reached ({}): check the host in BASE_URL'.format(
            host, port, error))
    try:
        introduction = json.loads(body.decode('utf-8'))
    except ValueError:
        introduction = None
    if status == 200 and isinstance(introduction, dict) and introduction.get('name') == NAME:
        return introduction
    raise _stranger(host, port, 'it answers HTTP {}{}'.format(status, ' as ' + server[:60] if server else ''))


def _check_closed(host: str, port: int) -> None:
    """Return when nothing listens any more; whoever listens and hangs up is a stranger."""
    try:
        socket.create_connection((host, port), PROBE_TIMEOUT).close()
    except OSError:
        return
    raise _stranger(host, port, 'it closes connections without an answer')


def _stranger(host: str, port: int, answer: str) -> LocalExchangeError:
    return LocalExchangeError('port {} of {} is taken by a program that is not the local exchange ({}): end it, or put '
                              'another port into BASE_URL'.format(port, host, answer))


def _start(host: str, port: int, key: str, secret: str, market: str, seed: Optional[int],
           timeout: float) -> Dict[str, Any]:
    """Start a child and return the introduction of whoever then answers: the child, or another that was quicker."""
    need_extra()
    command = [sys.executable or 'python3', '-m', 'market_maker', 'testnet', '--attached',
               '--host', host, '--port', str(port), '--market', market]
    if seed is not None:
        command += ['--seed', str(seed)]
    log = tempfile.TemporaryFile()
    try:
        child = _Child(command, log)
    except OSError as error:
        log.close()
        raise LocalExchangeError('the local exchange cannot be started with {} ({}): start it by hand with '
                                 '`marketmaker testnet`'.format(command[0], error.strerror or error))
    child.tell(json.dumps({'key': key, 'secret': secret, 'token': _own_token()}).encode('utf-8') + b'\n')
    try:
        found = _wait_for(child, host, port, timeout)
    except BaseException:   # a Ctrl-C too must leave nothing behind
        child.drop()
        child.process.kill()
        child.process.wait()
        raise
    if not _children:
        # Once is enough, and harmless when it runs for nothing.
        atexit.unregister(release)
        atexit.register(release)
    _children.append(child)
    return found


def _wait_for(child: _Child, host: str, port: int, timeout: float) -> Dict[str, Any]:
    deadline = time.monotonic() + timeout
    while True:
        ended = child.process.poll() is not None
        found = _probe(host, port)
        if found is not None:
            return found
        if ended:
            raise LocalExchangeError('the local exchange did not start on {} port {}: {}'.format(
                host, port, child.last_words()))
        if time.monotonic() > deadline:
            raise LocalExchangeError('the local exchange on {} port {} did not answer within {:.0f} s: start it '
                                     'by hand with `marketmaker testnet --port {}` to see why'
                                     .format(host, port, timeout, port))
        time.sleep(POLL)


def _register(host: str, port: int, key: str, secret: str, own: bool) -> None:
    """Open an account for the key; what an exchange with accounts of its own thinks of the key shows at the login."""
    try:
        status, _, body = _ask(host, port, 'POST', ACCOUNTS, {'key': key, 'secret': secret})
    except (OSError, http.client.HTTPException) as error:
        raise LocalExchangeError('the local exchange on {} port {} went away ({}): start again'.format(
            host, port, error))
    if status == 200 or (own and status in (403, 409)):
        return
    if status == 403:
        raise AuthenticationError('the local exchange on {} port {} has accounts of its own: put the key and secret '
                                  'of one into API_KEY and API_SECRET'.format(host, port))
    raise LocalExchangeError('the local exchange on {} port {} opens no account for key {}...: {}'.format(
        host, port, key[:4], _message(body) or 'HTTP {}'.format(status)))


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body.decode('utf-8'))['error']['message'])
    except (ValueError, KeyError, TypeError):
        return ''


def _check_symbols(symbols: Sequence[str], introduction: Dict[str, Any], base_url: str) -> None:
    known = [str(symbol) for symbol in introduction.get('symbols', [])]
    for symbol in symbols:
        if symbol.upper() not in known:
            nearest = difflib.get_close_matches(symbol.upper(), known, 1)
            raise SettingsError('{} does not trade on the local exchange at {}: {}there are {}'.format(
                symbol, base_url, 'did you mean {}? '.format(nearest[0]) if nearest else '',
                ', '.join(name for name in known if not name.startswith('.'))))


def _own_token() -> str:
    if not _token:
        _token.append(binascii.hexlify(os.urandom(16)).decode())
    return _token[0]


def _folder() -> str:
    """Return the folder to start the child in, so that ``-m`` finds the same package as this process has imported."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    # The libraries' folder must not stand before the standard library on the child's path; installed packages are found
    # anyway.
    return sys.prefix if os.path.basename(root) in ('site-packages', 'dist-packages') else root


def _own_group() -> Dict[str, Any]:
    """Return the options that keep a Ctrl-C in our terminal from the child: it must outlive the cancelling of the
    orders.
    """
    if os.name == 'nt':
        return {'creationflags': subprocess.CREATE_NEW_PROCESS_GROUP}  # type: ignore[attr-defined]
    return {'start_new_session': True}
