"""A small WebSocket server in plain sockets, which does what a test tells it: the exchange's end of the wire.

RFC 6455 as far as a test needs it: the handshake, text frames both ways, ping, close.  Each connection runs ``script``
in a thread of its own; the script talks through the Peer that it is given and the connection ends when it returns.
"""
import base64
import hashlib
import json
import socket
import struct
import threading

MAGIC = b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11'


def frame(payload, opcode=1, fin=True):
    """Return one unmasked frame."""
    head = bytes([(0x80 if fin else 0) | opcode])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    if len(payload) < 65536:
        return head + struct.pack('!BH', 126, len(payload)) + payload
    return head + struct.pack('!BQ', 127, len(payload)) + payload


class Gone(Exception):
    """The client has left."""


class Peer:
    """One client as the script sees it."""

    def __init__(self, connection, path, headers):
        self.connection = connection
        self.path = path
        self.headers = headers   # lower-case name -> value
        self.query = path.partition('subscribe=')[2]
        self.topics = [topic for topic in self.query.split(',') if topic]
        self._data = b''

    def send(self, *messages):
        """Send each as a text frame; dicts as JSON."""
        for message in messages:
            text = message if isinstance(message, str) else json.dumps(message)
            self.raw(frame(text.encode('utf-8')))

    def raw(self, data):
        """Send bytes as they are."""
        try:
            self.connection.sendall(data)
        except OSError:
            raise Gone()

    def receive(self):
        """Return the next text message of the client, or ('close', payload), ('pong', payload)."""
        first, second = self._take(2)
        length = second & 0x7f
        if length == 126:
            length = struct.unpack('!H', self._take(2))[0]
        elif length == 127:
            length = struct.unpack('!Q', self._take(8))[0]
        mask = self._take(4)
        payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(self._take(length)))
        kinds = {8: 'close', 9: 'ping', 10: 'pong'}
        return (kinds[first & 15], payload) if first & 15 in kinds else payload.decode('utf-8')

    def _take(self, count):
        while len(self._data) < count:
            try:
                piece = self.connection.recv(65536)
            except OSError:
                raise Gone()
            if not piece:
                raise Gone()
            self._data += piece
        taken, self._data = self._data[:count], self._data[count:]
        return taken

    def serve(self):
        """Answer pings until the client leaves; return what else it said."""
        said = []
        try:
            while True:
                message = self.receive()
                if message == 'ping':
                    self.send('pong')
                said.append(message)
                if message[0] == 'close':
                    return said
        except Gone:
            return said


class Refuse(Exception):
    """Raised by ``on_handshake`` to answer with an HTTP error instead of an upgrade."""

    def __init__(self, status, body='', headers=()):
        Exception.__init__(self, status)
        self.status, self.body, self.headers = status, body, dict(headers)


class Server:
    """``with Server(script) as server:`` listens on an ephemeral loopback port; ``server.url`` is its REST base URL.

    ``script(peer)`` is called for each connection; ``on_handshake(number, path, headers)`` may raise Refuse.
    ``connections`` counts handshakes, ``errors`` keeps what scripts raised.
    """

    def __init__(self, script, on_handshake=None, wrap=None):
        self.script = script
        self.on_handshake = on_handshake
        self.wrap = wrap
        self.connections = 0
        self.paths = []
        self.headers = []
        self.errors = []
        self._open = []
        self._listener = socket.socket()
        self._listener.bind(('127.0.0.1', 0))
        self._listener.listen(16)
        self.port = self._listener.getsockname()[1]
        self.url = 'http://127.0.0.1:{}/api/v1/'.format(self.port)

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *failure):
        self.close()
        if failure[0] is None and self.errors:
            raise self.errors[0]

    def close(self):
        """Stop listening and cut every connection."""
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        for connection in self._open:
            cut(connection)

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._connection, args=(connection,), daemon=True).start()

    def _connection(self, connection):
        try:
            if self.wrap is not None:
                connection = self.wrap(connection)
            self._shake_hands(connection)
        except (Gone, OSError):
            pass
        except Exception as error:
            self.errors.append(error)
        cut(connection)

    def _shake_hands(self, connection):
        request = b''
        while b'\r\n\r\n' not in request:
            piece = connection.recv(65536)
            if not piece:
                return
            request += piece
        lines = request.decode('latin-1').split('\r\n')
        pairs = [line.partition(':') for line in lines[1:] if line]
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        path = lines[0].split(' ')[1]
        self.connections += 1
        self.paths.append(path)
        self.headers.append(headers)
        try:
            if self.on_handshake is not None:
                self.on_handshake(self.connections, path, headers)
        except Refuse as refusal:
            connection.sendall(http_answer(refusal))
            return
        key = headers['sec-websocket-key'].encode()
        accept = base64.b64encode(hashlib.sha1(key + MAGIC).digest()).decode()
        connection.sendall(('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
                            'Sec-WebSocket-Accept: {}\r\n\r\n'.format(accept)).encode())
        self.script(Peer(connection, path, headers))


def http_answer(refusal):
    """Return a Refuse as the bytes of an HTTP answer."""
    body = refusal.body.encode('utf-8')
    headers = dict({'Content-Length': len(body), 'Connection': 'close'}, **refusal.headers)
    lines = ['HTTP/1.1 {} No'.format(refusal.status)] + ['{}: {}'.format(*pair) for pair in headers.items()]
    return '\r\n'.join(lines).encode() + b'\r\n\r\n' + body


def cut(connection):
    """End a connection without a close frame."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    connection.close()
