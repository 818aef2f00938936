"""The WebSocket itself: opened, read, written and closed; no table, no thread and no log line here.

websocket-client does the handshake, TLS, proxies and sending; ``frames`` reads.  Every trouble is a LinkError.
"""
import json
import os
import re
import socket
from email.utils import parsedate_to_datetime
from typing import Any, Callable, Dict, Mapping, Optional  # noqa: F401
from urllib.parse import unquote, urlsplit

import requests.utils
import websocket

from market_maker.ws.frames import BINARY, CLOSE, PIECE, PING, TEXT, Frames, ProtocolError

TIMEOUT = 10.0  # seconds for the handshake, and for a piece of it


class LinkError(Exception):
    """The connection cannot be opened or has ended; the text says why, in a few words.

    ``status``: the HTTP status of a refused handshake, None when there was no answer.  ``headers``: its headers, lower
    case names.  ``body``: its body as far as it is known, else ''.  ``opened``: whether the connection had been open.
    """

    def __init__(self, text, status=None, headers=None, body='', opened=False):
        # type: (str, Optional[int], Optional[Mapping[str, str]], str, bool) -> None
        Exception.__init__(self, text)
        self.status = status
        self.headers = dict(headers or {})
        self.body = body
        self.opened = opened

    def message(self):
        # type: () -> str
        """Return the message in the body of a refusal, shortened; '' when the body is a page and no JSON."""
        try:
            error = json.loads(self.body)['error']
        except (ValueError, KeyError, TypeError):
            return ''
        return ' '.join(str(error.get('message', '') if isinstance(error, dict) else error).split())[:200]

    def retry_after(self):
        # type: () -> float
        """Return the seconds that a refusal asks us to stay away, 0 when it says nothing."""
        header = self.headers.get('retry-after', '').strip()
        if header.isdigit():
            return float(header)
        asked = re.search(r'retry in (\d+) (second|minute)', self.body)
        return float(asked.group(1)) * (60 if asked.group(2) == 'minute' else 1) if asked else 0.0

    def exchange_time(self):
        # type: () -> Optional[float]
        """Return the exchange's clock (Unix seconds) at a refusal, None when it does not tell."""
        told = re.search(r'Current time: (\d+)', self.body)
        if told:
            return float(told.group(1))
        try:
            return parsedate_to_datetime(self.headers['date']).timestamp()
        except (KeyError, TypeError, ValueError):
            return None


class Link:
    """At most one open connection at a time.  ``sock`` is websocket-client's WebSocket, with its ``connected``.

    ``options`` are those of ``route``.  One thread opens and receives; any may send, interrupt or look.
    """

    def __init__(self, options=None, tick=0.25):
        # type: (Optional[Dict[str, Any]], float) -> None
        self.sock = self._new({})  # type: Any
        self._options = options or {}
        self._tick = tick      # seconds that receive waits at most
        self._raw = None       # type: Any  # the open socket
        self._frames = None    # type: Any

    @staticmethod
    def _new(sslopt):
        # type: (Dict[str, Any]) -> Any
        return websocket.WebSocket(sslopt=sslopt, enable_multithread=True, skip_utf8_validation=True)

    def open(self, url, headers):
        # type: (str, Dict[str, str]) -> None
        """Connect and shake hands; raise LinkError."""
        options = dict(self._options)
        self.sock = sock = self._new(options.pop('sslopt', {}))
        try:
            sock.connect(url, timeout=TIMEOUT, header=['{}: {}'.format(*pair) for pair in sorted(headers.items())],
                         suppress_origin=True, **options)
        except websocket.WebSocketBadStatusException as error:
            raise LinkError('the handshake was answered with HTTP {}'.format(error.status_code), error.status_code,
                            getattr(error, 'resp_headers', None), _text(getattr(error, 'resp_body', b'')))
        except (websocket.WebSocketException, OSError, ValueError, EOFError) as error:
            raise LinkError(describe(error))
        sock.settimeout(self._tick)
        self._raw = sock.sock
        self._frames = Frames(receiver(self._raw))

    def receive(self):
        # type: () -> Optional[bytes]
        """Return the next message; b'' for a sign of life without content, None when nothing came for a tick.

        Raise LinkError when the connection has ended.
        """
        try:
            opcode, payload = self._frames.next()
        except socket.timeout:
            return None
        except EOFError:
            raise LinkError('the connection was cut', opened=True)
        except (OSError, ProtocolError, ValueError) as error:
            raise LinkError(describe(error), opened=True)
        if opcode == TEXT or opcode == BINARY:
            return payload
        if opcode == PING:
            self._pong(payload)
        elif opcode == CLOSE:
            code = int.from_bytes(payload[:2], 'big') if len(payload) > 1 else 'none'
            raise LinkError('the exchange closed the connection (code {}{})'.format(
                code, ': ' + _text(payload[2:]) if len(payload) > 2 else ''), opened=True)
        return b''

    def send(self, text):
        # type: (str) -> None
        """Send one text message; raise LinkError when there is no connection."""
        try:
            self.sock.send(text)
        except (websocket.WebSocketException, OSError, AttributeError) as error:
            raise LinkError(describe(error), opened=True)

    def _pong(self, payload):
        # type: (bytes) -> None
        try:
            self.sock.pong(payload)
        except (websocket.WebSocketException, OSError, AttributeError) as error:
            raise LinkError(describe(error), opened=True)

    def is_open(self):
        # type: () -> bool
        """Say whether a connection is open as far as is known here."""
        return bool(self.sock.connected)

    def interrupt(self):
        # type: () -> None
        """Wake whoever receives: its connection ends for reading at once.  From any thread; never raises."""
        raw = self._raw
        if raw is not None:
            try:
                # Past an SSLSocket's own shutdown(), which would pull TLS from under the thread that reads.
                socket.socket.shutdown(raw, socket.SHUT_RD)
            except OSError:  # closed already: whoever received knows
                pass

    def close(self, farewell=True):
        # type: (bool) -> None
        """Close the connection, with a close frame if ``farewell``; may be called twice, never raises."""
        self._raw = None
        try:
            if farewell and self.sock.connected:
                self.sock.send_close()
        except (websocket.WebSocketException, OSError, AttributeError):  # nobody is there to take leave of
            pass
        self.sock.shutdown()


def route(url):
    # type: (str) -> Dict[str, Any]
    """Return websocket-client's options for the way to ``url``: proxy and CA bundle, from the environment.

    http_proxy, https_proxy, all_proxy and no_proxy as everywhere; loopback is never reached through a proxy.  The
    bundle is that of REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE or SSL_CERT_FILE, else the one that ``requests`` brings.
    Raise LinkError for a proxy of a kind that cannot be used.
    """
    host = urlsplit(url).hostname or ''
    # It has to be told of a proxy and that no host uses it: told of none, it would look in the environment itself.
    options = {'http_proxy_host': 'none', 'http_proxy_port': 1, 'http_no_proxy': ['*']}  # type: Dict[str, Any]
    as_http = url.replace('ws', 'http', 1)
    proxies = {} if _is_loopback(host) else requests.utils.get_environ_proxies(as_http)
    proxy = requests.utils.select_proxy(as_http, proxies)
    if proxy:
        options = _proxy_options(proxy)
    if url.startswith('wss:'):
        named = [os.environ.get(name) for name in ('REQUESTS_CA_BUNDLE', 'CURL_CA_BUNDLE', 'SSL_CERT_FILE')]
        bundle = next(filter(None, named), requests.utils.DEFAULT_CA_BUNDLE_PATH)
        options['sslopt'] = {'ca_cert_path' if os.path.isdir(bundle) else 'ca_certs': bundle}
    return options


def _proxy_options(proxy):
    # type: (str) -> Dict[str, Any]
    parts = urlsplit(proxy if '//' in proxy else 'http://' + proxy)
    if parts.scheme != 'http' or not parts.hostname:
        raise LinkError('the proxy {}://{} is of a kind that the WebSocket cannot use: give an http:// one'.format(
            parts.scheme, parts.hostname))
    options = {'http_proxy_host': parts.hostname, 'http_proxy_port': parts.port or 80, 'proxy_type': 'http',
               'http_no_proxy': ['.invalid']}  # type: Dict[str, Any]  # no_proxy has been obeyed by now
    if parts.username:
        options['http_proxy_auth'] = (unquote(parts.username), unquote(parts.password or ''))
    return options


def _is_loopback(host):
    # type: (str) -> bool
    return host.lower() == 'localhost' or host.startswith('127.') or host == '::1'


def receiver(sock):
    # type: (Any) -> Callable[[int], bytes]
    """Return what ``sock.recv`` is, but with one buffer for all calls.

    ``recv`` takes memory for all that might come and gives most of it back, some sixty kilobytes a call, which leaves
    the thread's heap in pieces and a long run with half a megabyte more.
    """
    buffer = bytearray(PIECE)
    view, receive_into = memoryview(buffer), sock.recv_into

    def receive(size):
        # type: (int) -> bytes
        return bytes(view[:receive_into(view[:size])])
    return receive


def describe(error):
    # type: (BaseException) -> str
    """Return an error of the socket or of websocket-client in a few words on one line."""
    if error.args and isinstance(error.args[0], OSError):
        error = error.args[0]  # websocket-client wraps what DNS says
    text = ' '.join(str(getattr(error, 'strerror', None) or error).split())
    if isinstance(error, (socket.timeout, websocket.WebSocketTimeoutException)):
        return 'timed out'
    if 'certificate verify failed' in text:
        return text + '; REQUESTS_CA_BUNDLE can name another bundle of CA certificates to trust'
    return text or type(error).__name__


def _text(body):
    # type: (Any) -> str
    return body.decode('utf-8', 'replace') if isinstance(body, bytes) else str(body or '')
