"""A plain client of the local exchange for tests: signed requests and a WebSocket that waits for what it wants."""
import http.client
import json
import time
from urllib.parse import urlsplit

import requests
import websocket

from market_maker.auth.signing import generate_signature


class Client:
    """Speaks REST with one key (or none)."""

    def __init__(self, testnet, key=None, secret=None, timeout=10):
        self.timeout = timeout
        self.base = testnet.url.rstrip('/')
        self.key = testnet.key if key is None else key
        self.secret = testnet.secret if secret is None else secret
        self.session = requests.Session()
        self.session.trust_env = False

    def send(self, verb, path, body=None, form=None, headers=None, signed=True, **options):
        """Return the answer; ``path`` includes the query, ``body`` is sent as JSON, ``form`` as text."""
        text = json.dumps(body) if body is not None else form or ''
        sent = {'Content-Type': 'application/json' if form is None else 'application/x-www-form-urlencoded'}
        if signed and self.key:
            expires = str(int(time.time()) + 60)
            sent.update({'api-key': self.key, 'api-expires': expires,
                         'api-signature': generate_signature(self.secret, verb, '/api/v1' + path, expires, text)})
        sent.update(headers or {})
        return self.session.request(verb, self.base + path, data=text.encode('utf-8'), headers=sent,
                                    timeout=self.timeout, **options)

    def get(self, path, **options):
        """Return the decoded answer of a GET that must succeed."""
        return self._good(self.send('GET', path, **options))

    def place(self, **fields):
        """Place an order that must be accepted; return its row."""
        return self._good(self.send('POST', '/order', fields))

    @staticmethod
    def _good(answer):
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return answer.json()


class Socket:
    """A WebSocket connection; every frame that was received stays in ``frames``."""

    def __init__(self, url, header=None, **options):
        self.frames = []
        self.socket = websocket.create_connection(url, timeout=10, header=header or [], http_no_proxy=['*'],
                                                  skip_utf8_validation=True, **options)

    def send(self, message):
        """Send a text, or anything else as JSON."""
        self.socket.send(message if isinstance(message, str) else json.dumps(message))

    def recv(self):
        """Return the next frame, decoded where it is JSON."""
        text = self.socket.recv()
        frame = json.loads(text) if text[:1] == '{' else text
        self.frames.append(frame)
        return frame

    def until(self, wanted):
        """Return the first frame from now on for which wanted(frame) is true."""
        while True:
            frame = self.recv()
            if wanted(frame):
                return frame

    def partial(self, table):
        """Return the next image of a table."""
        return self.until(lambda frame: is_about(frame, table) and frame['action'] == 'partial')

    def change(self, table, action, **fields):
        """Return the first row from now on of that table and action whose fields are these."""
        found = []

        def matches(frame):
            if is_about(frame, table) and frame['action'] == action:
                found.extend(row for row in frame['data'] if all(row.get(name) == value for name,
                                                                 value in fields.items()))
            return bool(found)
        self.until(matches)
        return found[0]

    def close(self):
        """Close the connection."""
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


def is_about(frame, table):
    """Tell whether a frame is an image or a change of a table."""
    return isinstance(frame, dict) and frame.get('table') == table


def refused_upgrade(url, headers=()):
    """Return status and decoded body of a refused WebSocket upgrade; old versions of websocket-client drop the body."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=10)
    try:
        connection.request('GET', place.path + ('?' + place.query if place.query else ''), headers=dict(
            [line.split(': ', 1) for line in headers], **{'Upgrade': 'websocket', 'Connection': 'Upgrade',
                                                          'Sec-WebSocket-Version': '13',
                                                          'Sec-WebSocket-Key': 'AAAAAAAAAAAAAAAAAAAAAA=='}))
        response = connection.getresponse()
        assert response.status != 101, 'the upgrade was not refused'
        return response.status, json.loads(response.read().decode('utf-8'))
    finally:
        connection.close()


def auth_headers(key, secret, expires=None):
    """Return the headers of a signed WebSocket upgrade as a list of lines."""
    expires = int(time.time()) + 60 if expires is None else expires
    return ['api-key: ' + key, 'api-expires: {}'.format(expires),
            'api-signature: ' + generate_signature(secret, 'GET', '/realtime', expires, '')]
