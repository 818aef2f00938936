"""The transport of the ``speed`` extra: a socket to send, and httptools, the parser that uvicorn uses, to read.

It stands behind the same seam as ``transport.Transport`` and says the same of every failure; a round trip takes a tenth
of the processor time.  Proxies are left to requests: ``fastest`` chooses.

Nothing is ever sent twice in here: a kept-alive connection that the other side has closed is noticed before it is used,
and one that breaks afterwards is told as RESET.
"""
from __future__ import absolute_import

import os
import select
import socket
import ssl
import time
import zlib
from typing import Any, List, Optional  # noqa: F401
from urllib.parse import urlsplit

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from market_maker.auth.signing import generate_signature
from market_maker.rest.transport import (DNS, LOST_TIMEOUT, PATIENCE, REFUSED, RESET, TLS, UNSENT_TIMEOUT,
                                         Request, Response, Transport, plain)  # noqa: F401
from market_maker.utils.errors import SettingsError

try:
    import httptools
except ImportError:
    httptools = None  # type: ignore[assignment]

CHUNK = 65536   # bytes read at once
PORTS = {'http': 80, 'https': 443}
UNCONNECTED = ((socket.gaierror, DNS), (socket.timeout, UNSENT_TIMEOUT), (ssl.SSLError, TLS))   # else REFUSED


def fastest(base_url, api_key=None, api_secret=None):
    # type: (str, Optional[str], Optional[str]) -> Transport
    """Return the fastest transport that can reach that API: a DirectTransport where httptools is installed and no
    proxy stands in between, else requests'.
    """
    made = Transport(base_url, api_key, api_secret)
    if httptools is None or not made.is_direct:
        return made
    return DirectTransport(base_url, api_key, api_secret)


class DirectTransport(Transport):
    """HTTP over sockets of our own: signed and kept alive.  Arguments, threads and errors as for Transport."""

    def __init__(self, base_url, api_key=None, api_secret=None):
        # type: (str, Optional[str], Optional[str]) -> None
        Transport.__init__(self, base_url, api_key, api_secret)
        parts = urlsplit(base_url)
        self._address = parts.hostname or '', parts.port or PORTS[parts.scheme]
        self._context = trusting(self._verify) if parts.scheme == 'https' else None
        headers = dict(self._headers, Host=parts.netloc.rpartition('@')[2])
        self._fixed = ''.join('{}: {}\r\n'.format(*item) for item in sorted(headers.items()))

    def send(self, request: Request) -> Response:
        """Carry out one round trip and return what came of it; raise nothing but what ends the process."""
        message = self._message(request)
        started = time.perf_counter()
        connection, response = self._idle_connection(), None
        try:
            if connection is None:
                connection = _Connection(self._address, self._context, request.timeout)
            response = connection.round_trip(message, request.timeout, request.written)
        except _Failed as error:
            response = Response(error=error.kind, detail=error.detail)
        finally:   # also when a signal ends the call: half an answer would be taken for the next one's
            if connection is not None:
                if connection.is_reusable:
                    self._idle.append(connection)
                else:
                    connection.close()
        response.elapsed = time.perf_counter() - started
        return response

    def _idle_connection(self):
        # type: () -> Optional[_Connection]
        """Return a connection that is still open, or None."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if connection.is_quiet():
                return connection
            connection.close()

    def _message(self, request):
        # type: (Request) -> bytes
        """Return the bytes of a signed request."""
        path = self._prefix + request.path
        body = request.body.encode('utf-8')
        parts = [request.verb, ' ', path, ' HTTP/1.1\r\n', self._fixed]
        if body:
            parts.append('Content-Type: application/json\r\n')
        if self._api_key:
            parts += ['api-key: ', self._api_key, '\r\napi-expires: ', str(request.expires), '\r\napi-signature: ',
                      generate_signature(self._api_secret, request.verb, path, request.expires, request.body), '\r\n']
        if body or request.verb in ('POST', 'PUT'):
            parts.append('Content-Length: {}\r\n'.format(len(body)))
        parts.append('\r\n')
        return ''.join(parts).encode('latin-1') + body


class _Failed(Exception):
    """A round trip without an answer."""

    def __init__(self, kind, detail):
        # type: (str, str) -> None
        Exception.__init__(self, detail)
        self.kind = kind
        self.detail = detail


class _Connection(object):
    """One connection; it serves one round trip after another while ``is_reusable``.  Its ``on_`` methods are what the
    parser calls.
    """

    def __init__(self, address, context, timeout):
        # type: (Any, Any, float) -> None
        self.is_reusable = False
        self._sock = _connected(address, context, timeout)   # type: Any
        self._timeout = None   # type: Optional[float]   # of the socket
        self._parser = None    # type: Any
        self._raw = []         # type: List[bytes]   # names and values of headers, in turn
        self._headers = {}     # type: Any
        self._parts = []       # type: List[bytes]
        self._is_complete = False
        self._has_head = False
        if hasattr(select, 'poll'):   # not on Windows
            poll = select.poll()
            poll.register(self._sock, select.POLLIN)
            self._ready = lambda: poll.poll(0)   # type: Any
        else:
            self._ready = lambda: select.select([self._sock], [], [], 0)[0]

    def is_quiet(self) -> bool:
        """Tell whether nothing has arrived since the last answer: neither a farewell nor what nobody asked for."""
        return not self._ready()

    def close(self) -> None:
        """Close it, without a word."""
        self._sock.close()

    def round_trip(self, message, timeout, written):
        # type: (bytes, float, Any) -> Response
        """Send a request and return its answer; raise _Failed."""
        self.is_reusable = False
        try:
            self._wait_for(timeout)
            self._sock.sendall(message)
            if written is not None:
                written()
            self._read(timeout)
            content = b''.join(self._parts)
            encoding = self._headers.get('content-encoding')
            if encoding in ('gzip', 'deflate'):
                content = zlib.decompress(content, zlib.MAX_WBITS | 32)
        except socket.timeout:
            raise _Failed(LOST_TIMEOUT, 'no answer in time')
        except OSError as error:
            raise _Failed(RESET, error.strerror or plain(str(error)) or type(error).__name__)
        except (httptools.HttpParserError, zlib.error) as error:
            raise _Failed(RESET, plain('the answer cannot be read: {}'.format(error)))
        response = Response(self._parser.get_status_code(), (), content)
        response.headers = self._headers   # their names are in lower case already
        return response

    def _read(self, timeout):
        # type: (float) -> None
        """Read one answer, which has PATIENCE times the time-out to arrive as a whole."""
        self._parser = httptools.HttpResponseParser(self)
        self._begin()
        deadline = time.monotonic() + PATIENCE * timeout
        while not self._is_complete:
            left = deadline - time.monotonic()
            if left <= 0:
                raise socket.timeout()
            if left < timeout:
                self._wait_for(left)
            data = self._sock.recv(CHUNK)
            if not data:
                if self._has_head and not {'content-length', 'transfer-encoding'}.intersection(self._headers):
                    return   # its end is the end of the connection
                raise OSError('the connection was closed before the whole answer had come')
            self._parser.feed_data(data)

    def _wait_for(self, seconds):
        # type: (float) -> None
        """Set the socket's time-out, which is a call of the system each time, if it is another one."""
        if seconds != self._timeout:
            self._timeout = None
            self._sock.settimeout(seconds)
            self._timeout = seconds

    def _begin(self):
        # type: () -> None
        self._raw, self._headers, self._parts = [], {}, []
        self._is_complete = self._has_head = False

    def on_header(self, name, value):
        # type: (bytes, bytes) -> None
        """Take a header; of repeated ones the last counts."""
        self._raw += (name, value)

    def on_headers_complete(self) -> None:
        """Take note that the headers are there; decode them in one go."""
        texts = [raw.decode('latin-1') for raw in self._raw]
        self._headers.update(zip([name.lower() for name in texts[::2]], texts[1::2]))
        self._has_head = True

    def on_body(self, data):
        # type: (bytes) -> None
        """Take a part of the body."""
        self._parts.append(data)

    def on_message_complete(self) -> None:
        """Take note of the end of the answer; what only says that the answer is to come is none (100 and the like)."""
        if self._parser.get_status_code() < 200:
            self._begin()
        else:
            self._is_complete = True
            self.is_reusable = self._parser.should_keep_alive()


def trusting(verify):
    # type: (Any) -> ssl.SSLContext
    """Return what checks certificates, as requests does: against its own list, or a file or folder of the user's.

    Raise SettingsError when that cannot be read.
    """
    where = DEFAULT_CA_BUNDLE_PATH if verify is True else str(verify)
    context = ssl.create_default_context()
    try:
        if os.path.isdir(where):
            context.load_verify_locations(capath=where)
        else:
            context.load_verify_locations(where)
    except OSError as error:   # also ssl.SSLError
        raise SettingsError('the certificates of {} cannot be read ({}): correct REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE'
                            .format(where, error.strerror or error))
    return context


def _connected(address, context, timeout):
    # type: (Any, Any, float) -> Any
    """Return an open socket; raise _Failed with one of UNSENT, for nothing has been sent."""
    sock = None
    try:
        sock = socket.create_connection(address, timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock if context is None else context.wrap_socket(sock, server_hostname=address[0])
    except OSError as error:
        if sock is not None:
            sock.close()
        kind = next((kind for cause, kind in UNCONNECTED if isinstance(error, cause)), REFUSED)
        raise _Failed(kind, plain(error.strerror or str(error)) or 'no connection')
