"""One round trip: a Request goes out, a Response comes back; nothing is decided, repeated or logged here.

``Transport.send(request) -> Response`` is a seam: whatever has this one method can stand in for it, such as a backtest
that calls the simulated exchange, or a faster HTTP library.  A failure is not raised but told in ``Response.error``,
because what follows from it depends on the verb, and that is decided in ``retry.py``.

Secrets: the key and the signature exist only in the headers of the request on the wire; no text made here has them.
"""
from __future__ import absolute_import

import collections
import http.client
import io
import json
import os
import socket
import ssl
import time
from typing import Any, Dict, List, Mapping, Optional, Tuple, Union  # noqa: F401
from urllib.parse import urlsplit

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies

from market_maker.auth.signing import generate_signature
from market_maker.utils.constants import LOCAL_BASE_URL, VERSION
from market_maker.utils.errors import SettingsError

try:
    from orjson import loads
except ImportError:
    from json import loads  # type: ignore[assignment]

# What Response.error says: how a round trip failed, and thereby whether the exchange can have carried the request out.
REFUSED = 'refused'                  # no connection could be opened: nothing was sent
DNS = 'dns'                          # the host name has no address: nothing was sent
UNSENT_TIMEOUT = 'timeout-before-sending'
PROXY = 'proxy'                      # the proxy did not let us through: nothing was sent
TLS = 'tls'                          # the certificate is not trusted: nothing was sent, and repeating does not help
LOST_TIMEOUT = 'timeout-after-sending'
RESET = 'reset'                      # the connection broke after the request, or a part of it, had gone out
UNSENT = (REFUSED, DNS, UNSENT_TIMEOUT, PROXY, TLS)
PATIENCE = 2.0   # times the time-out that an answer may take from its first byte to its last
HANDSHAKE_WORDS = ('certificate', 'hostname', 'wrong_version', 'wrong version', 'unknown_protocol', 'handshake')

Request = collections.namedtuple('Request', 'verb path body expires timeout written')
Request.__new__.__defaults__ = (None,)  # type: ignore[attr-defined]
Request.__doc__ = """What goes out.

``path`` begins after ``/api/v1`` with a slash and carries its query string, encoded; ``body`` is JSON text or '';
``expires`` is the Unix second after which the exchange must not accept it; ``timeout`` is in seconds, for connecting
and for each wait for bytes.  ``written`` is called without arguments once the request has gone out, where the transport
can tell; None: nobody asks.
"""


class Response(object):
    """What came back: ``status`` 0 with ``error`` set, or a status with headers (names in lower case) and a body.

    ``elapsed`` is in seconds, ``detail`` says in a few words why there is no answer.  ``status_code`` and ``json()``
    are what readers of ``requests.exceptions.HTTPError.response`` expect.
    """

    __slots__ = ('status', 'headers', 'content', 'elapsed', 'error', 'detail', '_data')

    def __init__(self, status=0, headers=(), content=b'', elapsed=0.0, error=None, detail=''):
        # type: (int, Any, Union[bytes, str], float, Optional[str], str) -> None
        self.status = status
        self.headers = {name.lower(): value for name, value in dict(headers).items()}  # type: Dict[str, str]
        self.content = content if isinstance(content, bytes) else content.encode('utf-8')
        self.elapsed = elapsed
        self.error = error
        self.detail = detail
        self._data = _UNREAD  # type: Any

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode('utf-8', 'replace')

    @property
    def data(self) -> Any:
        """The body decoded from JSON, once, when first asked for; raise ValueError when it is no JSON."""
        if self._data is _UNREAD:
            self._data = decode(self.content)
        return self._data

    @property
    def is_json(self) -> bool:
        """Whether the body can be decoded."""
        try:
            return self.data is not _UNREAD
        except ValueError:
            return False

    @property
    def status_code(self) -> int:
        """The status, under the name that requests gives it."""
        return self.status

    def json(self) -> Any:
        """Return ``data``, as requests does."""
        return self.data

    def __repr__(self) -> str:
        return '<Response {}>'.format(self.status or self.error)


_UNREAD = object()


def decode(content: bytes) -> Any:
    """Return the value of a JSON text in UTF-8; raise ValueError when it is none."""
    try:
        return loads(content)
    except TypeError:  # Python 3.5's json reads text only
        return json.loads(content.decode('utf-8'))


class Transport(object):
    """HTTP by requests: signed, kept alive, with the environment read once, here, at the start.

    Safe to call from any thread: a session serves one call at a time, and is then free for the next call, from whatever
    thread, so that there are never more connections than there were calls at once.  ``base_url`` is that of the API,
    with or without a slash at its end.  Without a key requests go out unsigned.  Proxies and the CA bundle come from
    the usual variables (HTTP_PROXY, HTTPS_PROXY, NO_PROXY, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE); a loopback address is
    never asked for through a proxy.
    """

    def __init__(self, base_url, api_key=None, api_secret=None):
        # type: (str, Optional[str], Optional[str]) -> None
        parts = urlsplit(base_url)
        if parts.scheme not in ('http', 'https') or not parts.hostname:
            raise SettingsError('BASE_URL {!r} is no http or https address; for example {}'
                                .format(base_url, LOCAL_BASE_URL))
        self._root = '{}://{}'.format(parts.scheme, parts.netloc.rpartition('@')[2])
        self._prefix = parts.path.rstrip('/')
        self._api_key = checked(api_key, 'API_KEY')
        self._api_secret = checked(api_secret, 'API_SECRET')
        self._proxies = {}  # type: Mapping[str, str]
        if not is_loopback(parts.hostname):
            self._proxies = get_environ_proxies(self._root + '/')
        bundle = os.environ.get('REQUESTS_CA_BUNDLE') or os.environ.get('CURL_CA_BUNDLE')
        self._verify = bundle or True  # type: Union[str, bool]
        self._headers = {'User-Agent': 'bitmex-market-maker/' + VERSION, 'Accept-Encoding': 'gzip, deflate'}
        self._idle = collections.deque()  # type: Any   # free sessions; the last used is taken first: it is alive

    def send(self, request: Request) -> Response:
        """Carry out one round trip and return what came of it; raise nothing but what ends the process."""
        prepared = self._prepare(request)
        started = time.perf_counter()
        session = self._take_session()
        try:
            adapter = session.get_adapter(self._root)  # type: Any   # an _Adapter, which returns our Response
            adapter.written = request.written
            response = adapter.send(prepared, timeout=request.timeout, verify=self._verify, proxies=self._proxies)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            kind, detail = failure(error)
            response = Response(error=kind, detail=detail)
        finally:
            self._idle.append(session)
        response.elapsed = time.perf_counter() - started
        return response

    @property
    def is_direct(self) -> bool:
        """Whether no proxy stands in between."""
        return not self._proxies

    def close(self) -> None:
        """Close the connections that no call is using; a later send opens a new one."""
        while self._idle:
            self._idle.pop().close()

    def _take_session(self):
        # type: () -> requests.Session
        try:
            return self._idle.pop()
        except IndexError:
            session = requests.Session()
            session.trust_env = False
            session.mount(self._root, _Adapter(direct=self.is_direct))
            return session

    def _prepare(self, request):
        # type: (Request) -> requests.PreparedRequest
        """Return the signed request, assembled by hand: requests' own preparation takes longer than all the rest."""
        path = self._prefix + request.path
        headers = dict(self._headers)
        if request.body:
            headers['Content-Type'] = 'application/json'
        if self._api_key:
            headers['api-key'] = self._api_key
            headers['api-expires'] = str(request.expires)
            headers['api-signature'] = generate_signature(
                self._api_secret, request.verb, path, request.expires, request.body)
        body = request.body.encode('utf-8')
        if body or request.verb in ('POST', 'PUT'):
            headers['Content-Length'] = str(len(body))
        prepared = requests.PreparedRequest()
        prepared.method = request.verb
        prepared.url = self._root + path
        prepared.headers = headers  # type: ignore[assignment]
        prepared.body = body or None
        return prepared


class _Adapter(HTTPAdapter):
    """requests' adapter with what it works out anew for each call remembered: there is one host and one way to it."""

    def __init__(self, direct):
        # type: (bool) -> None
        HTTPAdapter.__init__(self, pool_connections=1, pool_maxsize=1, max_retries=0)
        self._direct = direct   # no proxy in between
        self._pool = None       # type: Any
        self.written = None     # type: Any   # what Request.written says of the request under way

    def get_connection_with_tls_context(self, request, verify, proxies=None, cert=None):
        # type: (Any, Any, Any, Any) -> Any
        """Return the pool of the one host (requests 2.32 and later ask for it so)."""
        if self._pool is None:
            ask = super(_Adapter, self).get_connection_with_tls_context
            self._pool = self._watched(ask(request, verify, proxies=proxies, cert=cert))
        return self._pool

    def get_connection(self, url, proxies=None):
        # type: (Any, Any) -> Any
        """Return the pool of the one host (requests before 2.32 ask for it so)."""
        if self._pool is None:
            self._pool = self._watched(super(_Adapter, self).get_connection(url, proxies))
        return self._pool

    def _watched(self, pool):
        # type: (Any) -> Any
        """Have the connections of a pool tell when a request is written, write it in one go, and bound the time of its
        answer."""
        adapter = self

        class Connection(pool.ConnectionCls):   # type: ignore[misc,name-defined]
            """One connection to the exchange."""
            response_class = _BoundedResponse
            held = b''   # what is to be sent

            def send(self, data):
                # type: (Any) -> None
                """Send a part of a request: http.client hands in head and body one after the other, which would be two
                packets and wake the exchange twice."""
                if self.sock is None or not adapter._direct:   # it connects, and may have to talk to a proxy
                    pool_connection.send(self, data)
                else:
                    self.held += data

            def getresponse(self, *args, **options):
                # type: (*Any, **Any) -> Any
                """Return the answer; by now the request is written.  (urllib3 before 2 calls this twice.)"""
                held, self.held = self.held, b''
                if held:
                    pool_connection.send(self, held)
                written, adapter.written = adapter.written, None
                if written is not None:
                    written()
                return pool_connection.getresponse(self, *args, **options)

            def close(self):
                # type: () -> None
                """Close the connection; half a request is not for the next one."""
                self.held = b''
                pool_connection.close(self)

        pool_connection = pool.ConnectionCls
        pool.ConnectionCls = Connection
        return pool

    def request_url(self, request, proxies):
        # type: (Any, Any) -> Any
        """Return what stands in the request line: the path, or the whole URL for a proxy that wants it."""
        if not self._direct:
            return super(_Adapter, self).request_url(request, proxies)
        return request.url[request.url.index('/', 8):]

    def build_response(self, req, resp):
        # type: (Any, Any) -> Any
        """Read the body, which gives the connection back for the next call, and return our Response."""
        content = resp.read(decode_content=True)
        return Response(resp.status, resp.headers, content)

    def close(self):
        # type: () -> None
        """Close the connections."""
        self._pool = None
        super(_Adapter, self).close()


class _BoundedResponse(http.client.HTTPResponse):
    """An answer that has PATIENCE times the time-out to arrive as a whole.

    The time-out of a socket counts for each wait anew: a server that sends a byte now and then would hold us for ever.
    """

    def __init__(self, sock, *args, **options):
        # type: (Any, *Any, **Any) -> None
        http.client.HTTPResponse.__init__(self, sock, *args, **options)
        timeout = sock.gettimeout()
        if timeout:
            self.fp = io.BufferedReader(_BoundedStream(sock, timeout, self.fp))  # type: ignore[assignment]


class _BoundedStream(io.RawIOBase):
    """What arrives at a socket, until a deadline.

    ``plain`` is the socket's own stream: while it is open, the socket outlives the close of its connection, as it must
    for an answer that is the last one.
    """

    def __init__(self, sock, timeout, plain):
        # type: (Any, float, Any) -> None
        io.RawIOBase.__init__(self)
        self._plain = plain
        self._sock = sock
        self._timeout = timeout
        self._deadline = time.monotonic() + PATIENCE * timeout

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def close(self) -> None:
        """Let go of the socket."""
        self._plain.close()
        io.RawIOBase.close(self)

    def readinto(self, buffer: Any) -> int:
        """Read what is there; raise socket.timeout when nothing comes in time, or the deadline is over."""
        left = self._deadline - time.monotonic()
        if left >= self._timeout:
            return self._sock.recv_into(buffer)
        if left <= 0:
            raise socket.timeout('the answer is not complete after {:.0f} s'.format(PATIENCE * self._timeout))
        self._sock.settimeout(left)
        return self._sock.recv_into(buffer)


def failure(error: BaseException) -> Tuple[str, str]:
    """Return (kind, detail) of an exception that requests or urllib3 raised for a round trip.

    Doubt counts as sent: only what certainly happened before the first byte went out is one of UNSENT.
    """
    chain = _causes(error)
    has = lambda *types: any(isinstance(each, types) for each in chain)  # noqa: E731
    detail = _reason(chain)
    if has(requests.exceptions.ProxyError):
        return PROXY, detail
    if has(socket.gaierror):
        return DNS, detail
    if has(requests.exceptions.ConnectTimeout):
        return UNSENT_TIMEOUT, detail
    if has(urllib3.exceptions.NewConnectionError, ConnectionRefusedError):
        return REFUSED, detail
    if has(requests.exceptions.SSLError, urllib3.exceptions.SSLError, ssl.SSLError) and _is_handshake(chain):
        return TLS, detail
    if has(requests.exceptions.ReadTimeout, urllib3.exceptions.ReadTimeoutError, socket.timeout):
        return LOST_TIMEOUT, 'no answer in time'
    return RESET, detail


def is_loopback(host: Optional[str]) -> bool:
    """Tell whether that host name or address is this machine's own."""
    return host in ('localhost', '::1') or str(host).startswith('127.')


def checked(value: Optional[str], name: str) -> str:
    """Return a key or secret that can stand in a header ('' for None); raise SettingsError, which does not show it."""
    value = value or ''
    if not all('!' <= character <= '~' for character in value):
        raise SettingsError('{} contains blanks, line ends or letters that no key has: copy it anew'.format(name))
    return value


def _is_handshake(chain):
    # type: (List[BaseException]) -> bool
    """Tell whether TLS failed before a request could go out: a doubtful certificate, or no TLS at the other end."""
    text = ' '.join(str(each) for each in chain).lower()
    return any(word in text for word in HANDSHAKE_WORDS)


def _causes(error):
    # type: (BaseException) -> List[BaseException]
    """Return the exception and those that it wraps: libraries pass them on as argument, as ``reason`` or as cause."""
    found = []  # type: List[BaseException]
    waiting = [error]
    while waiting:
        each = waiting.pop(0)
        if each in found:
            continue
        found.append(each)
        inner = list(each.args) + [getattr(each, 'reason', None), each.__cause__, each.__context__]
        waiting += [one for one in inner if isinstance(one, BaseException)]
    return found


def _reason(chain):
    # type: (List[BaseException]) -> str
    """Return the plainest words in the chain on one line: the operating system's, else the innermost exception's."""
    for each in chain:
        if isinstance(each, OSError) and not isinstance(each, requests.RequestException) and each.strerror:
            return str(each.strerror)
    # urllib3 1.x first tries an argument of Python 2's http.client, and what that raised stays in the chain.
    innermost = [each for each in chain if not isinstance(each, TypeError)][-1]
    return plain(str(innermost)) or type(innermost).__name__


def plain(text: str) -> str:
    """Return a text on one line, cut short."""
    return ' '.join(text.split())[:120]
