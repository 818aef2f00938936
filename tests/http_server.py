"""A small HTTP server on loopback that does what a test tells it: answer, stall, break off, reset, or talk nonsense.

Standard library only, one thread a connection.  Each step of the script serves one request; when the script is empty,
``server.default`` does.  A step is a callable ``step(exchange)`` with an Exchange: the request as it came, and the
connection to misuse.
"""
import contextlib
import json
import socket
import socketserver
import struct
import threading
import time
from email.utils import formatdate


class Seen(object):
    """One request as it arrived: verb, path (with query), headers (lower case), body text, and the number of its
    connection."""

    def __init__(self, verb, path, headers, body, connection):
        self.verb = verb
        self.path = path
        self.headers = headers
        self.body = body
        self.connection = connection

    @property
    def data(self):
        """The body decoded from JSON, or None."""
        return json.loads(self.body) if self.body else None

    def __repr__(self):
        return '{} {} {}'.format(self.verb, self.path, self.body)


class Exchange(object):
    """What a step works with: the request, the socket, and the server."""

    def __init__(self, server, sock, request):
        self.server = server
        self.sock = sock
        self.request = request

    def write(self, status, body, headers, length=None):
        """Send an answer; ``length`` lies about the body's."""
        body = body if isinstance(body, bytes) else body.encode('utf-8')
        lines = ['HTTP/1.1 {} Whatever'.format(status)]
        for name, value in headers.items():
            lines.append('{}: {}'.format(name, value))
        lines.append('Content-Length: {}'.format(len(body) if length is None else length))
        self.sock.sendall('\r\n'.join(lines).encode('latin-1') + b'\r\n\r\n' + body)

    def reset(self):
        """Break the connection off with a TCP reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.sock.close()
        raise Over()


class Over(Exception):
    """The connection is at its end."""


def answer(data, status=200, **headers):
    """A step: JSON with that status; ``Retry_After='1'`` becomes a Retry-After header."""
    return raw(json.dumps(data), status, 'application/json; charset=utf-8', **headers)


def raw(body, status=200, content_type='text/html', date=None, **headers):
    """A step: that body; ``date`` is in Unix seconds, the machine's own by default."""
    def step(exchange):
        names = {name.replace('_', '-'): value for name, value in headers.items()}
        names['Date'] = formatdate(time.time() if date is None else date, usegmt=True)
        names['Content-Type'] = content_type
        exchange.write(status, body, names)
    return step


def error(status, message, name='HTTPError', **headers):
    """A step: an error in BitMEX's shape."""
    return answer({'error': {'message': message, 'name': name}}, status, **headers)


def html(status, title, **headers):
    """A step: an error page of a gateway."""
    return raw('<html>\r\n<head><title>{0}</title></head>\r\n<body><center><h1>{0}</h1></body></html>'.format(title),
               status, **headers)


def reset(exchange):
    """A step: the request was read, then the connection breaks."""
    exchange.reset()


def hang_up(exchange):
    """A step: the request was read, then the connection ends in good order without an answer."""
    exchange.sock.close()
    raise Over()


def half(exchange):
    """A step: the answer breaks off in its middle."""
    exchange.write(200, '{"orderID":"', {'Content-Type': 'application/json'}, length=500)
    exchange.sock.close()
    raise Over()


def stall(exchange):
    """A step: nothing comes back until the server ends."""
    exchange.server.over.wait(30)
    raise Over()


def after(seconds, step):
    """A step: that step, but late."""
    def late(exchange):
        exchange.server.over.wait(seconds)
        step(exchange)
    return late


def doing(action, step):
    """A step: ``action(request)`` first (the order is carried out), then that step (and its answer is lost)."""
    def both(exchange):
        action(exchange.request)
        step(exchange)
    return both


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """The server; ``seen`` lists the requests, ``script`` the steps to come, ``default`` serves when there is none."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 50

    def __init__(self):
        socketserver.TCPServer.__init__(self, ('127.0.0.1', 0), _Handler)
        self.url = 'http://127.0.0.1:{}/api/v1/'.format(self.server_address[1])
        self.seen = []
        self.script = []
        self.default = answer([])
        self.connections = 0
        self.refuse_before_reading = 0   # so many new connections are reset before a byte is read
        self.over = threading.Event()
        self.lock = threading.Lock()

    def verbs(self):
        """Return what was asked for: [('GET', '/api/v1/order'), ...] without queries."""
        return [(each.verb, each.path.partition('?')[0]) for each in self.seen]

    def next_step(self):
        """Return the step for the next request."""
        with self.lock:
            return self.script.pop(0) if self.script else self.default

    def handle_error(self, request, client_address):
        """Say nothing: broken connections are what this server is for."""


class _Handler(socketserver.BaseRequestHandler):
    def handle(self):
        server = self.server
        with server.lock:
            server.connections += 1
            number = server.connections
            refused = server.refuse_before_reading > 0
            server.refuse_before_reading -= refused
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if refused:
            Exchange(server, self.request, None).reset()
        with contextlib.suppress(Over, OSError):
            buffered = b''
            while True:
                request, buffered = self._read(buffered, number)
                if request is None:
                    return
                server.seen.append(request)
                server.next_step()(Exchange(server, self.request, request))

    def _read(self, buffered, number):
        while b'\r\n\r\n' not in buffered:
            chunk = self.request.recv(65536)
            if not chunk:
                return None, b''
            buffered += chunk
        head, _, rest = buffered.partition(b'\r\n\r\n')
        lines = head.decode('latin-1').split('\r\n')
        pairs = [line.split(':', 1) for line in lines[1:]]
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
        length = int(headers.get('content-length', 0))
        while len(rest) < length:
            rest += self.request.recv(65536)
        verb, path, _ = lines[0].split(' ')
        return Seen(verb, path, headers, rest[:length].decode('utf-8'), number), rest[length:]


@contextlib.contextmanager
def running():
    """Run a server in the background for the length of a with block."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


def wait_for(ready, seconds=5.0):
    """Return once ``ready()`` is true; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, 'waited {} s in vain'.format(seconds)
        time.sleep(0.005)
