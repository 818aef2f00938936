"""The live data over a real socket: a healthy start, every kind of trouble, and a clean end."""
import json
import logging
import queue
import shutil
import socket
import ssl
import subprocess
import threading
import time

import pytest

from market_maker.auth.signing import generate_signature
from market_maker.settings import settings
from market_maker.utils.errors import AuthenticationError, ConnectionLost, SettingsError
from market_maker.ws import ws_thread
from market_maker.ws.ws_thread import BitMEXWebsocket
from ws_server import Refuse, Server, cut, frame

SYMBOL = 'XBT7D'
KEY, SECRET = 'a-key-of-the-tests-00000', 'its-secret'

INSTRUMENT = {'symbol': SYMBOL, 'state': 'Open', 'tickSize': 0.01, 'lotSize': 1, 'bidPrice': 388.61, 'askPrice': 389.89,
              'lastPrice': 389.0, 'markPrice': 389.25, 'timestamp': '2026-01-01T00:00:00.000Z'}
QUOTE = {'timestamp': '2026-01-01T00:00:00.000Z', 'symbol': SYMBOL, 'bidSize': 5, 'bidPrice': 388.61,
         'askPrice': 389.89, 'askSize': 7}
MARGIN = {'account': 1, 'currency': 'XBt', 'marginBalance': 344349800, 'walletBalance': 344349800}
POSITION = {'account': 1, 'symbol': SYMBOL, 'strategy': 'OneWay', 'currency': 'XBt', 'currentQty': -1,
            'avgEntryPrice': 389.75}
ORDER = {'orderID': 'o1', 'clOrdID': 'mm_bitmex_1', 'symbol': SYMBOL, 'side': 'Sell', 'price': 389.88, 'orderQty': 100,
         'leavesQty': 100, 'cumQty': 0}
KEYS = {'instrument': ['symbol'], 'order': ['orderID'], 'position': ['account', 'symbol', 'strategy'],
        'margin': ['account', 'currency'], 'orderBookL2': ['symbol', 'id', 'side']}
ROWS = {'instrument': [INSTRUMENT], 'quote': [QUOTE], 'margin': [MARGIN], 'position': [POSITION], 'order': [ORDER]}


def images(topics, **rows):
    """Return the image of each topic; ``rows`` replace those of a table."""
    found = []
    for topic in topics:
        table, _, symbol = topic.partition(':')
        data = rows.get(table, ROWS.get(table, []))
        types = {name: '' for row in data for name in row}
        found.append({'table': table, 'action': 'partial', 'keys': KEYS.get(table, []), 'types': types,
                      'filter': {'symbol': symbol} if symbol else {}, 'data': data})
    return found


def insert(table, *rows):
    return {'table': table, 'action': 'insert', 'data': list(rows)}


def update(table, *rows):
    return {'table': table, 'action': 'update', 'data': list(rows)}


def a_fill(name, **fields):
    return dict({'execID': name, 'orderID': 'o1', 'symbol': SYMBOL, 'side': 'Sell', 'lastQty': 1, 'lastPx': 389.88,
                 'execType': 'Trade', 'execComm': 12, 'settlCurrency': 'XBt',
                 'timestamp': '2026-01-01T00:00:01.000Z'}, **fields)


def healthy(peer):
    """Welcome the client, send every image and stay."""
    peer.send({'info': 'Welcome to the BitMEX Realtime API.'})
    peer.send(*images(peer.topics))
    peer.serve()


def until(is_there, seconds=10.0):
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not is_there():
        assert time.monotonic() < deadline, 'it did not happen within {} s'.format(seconds)
        time.sleep(0.005)


class Step:
    """Lets a script wait for the test, with a deadline."""

    def __init__(self):
        self._event = threading.Event()

    def go(self):
        self._event.set()

    def wait(self):
        assert self._event.wait(10), 'the test never said go'


@pytest.fixture
def feed():
    """Return a factory of live data that are closed when the test ends."""
    made = []

    def make(heartbeat=5.0, **options):
        options.setdefault('api_key', KEY)
        options.setdefault('api_secret', SECRET)
        made.append(BitMEXWebsocket(heartbeat=heartbeat, **options))
        return made[-1]

    yield make
    for ws in made:
        ws.exit()


@pytest.fixture
def lines(caplog):
    """Return a function that gives the lines logged so far, as (level, message) of the feed's module."""
    caplog.set_level(logging.INFO, 'root')
    return lambda level=None: [record.getMessage() for record in caplog.records
                               if record.module == 'ws_thread' and level in (None, record.levelname)]


# -- a healthy run ---------------------------------------------------------------------------------------------------

def test_a_start_writes_the_lines_that_people_know(feed, lines):
    """The diary of a healthy start, in its order, and nothing else."""
    ws = feed()
    with Server(healthy) as server:
        ws.connect(server.url, SYMBOL)

        assert lines() == [
            'Connecting to ws://127.0.0.1:{}/realtime?subscribe=quote:XBT7D,trade:XBT7D,instrument,order:XBT7D,'
            'execution:XBT7D,margin,position'.format(server.port),
            'Authenticating with API Key.',
            'Started thread',
            'Connected to WS. Waiting for data images, this may take a moment...',
            'Got all market data. Starting.']


def test_a_login_signs_the_handshake(feed):
    """Key, expiry and signature travel as headers; the secret never does."""
    ws = feed()
    with Server(healthy) as server:
        ws.connect(server.url, SYMBOL)

        headers = server.headers[0]
        assert headers['api-key'] == KEY
        assert time.time() < int(headers['api-expires']) < time.time() + 120
        assert headers['api-signature'] == generate_signature(SECRET, 'GET', '/realtime', headers['api-expires'], '')
        assert SECRET not in json.dumps([headers, server.paths])


def test_without_a_login_only_public_tables_are_subscribed(feed, lines):
    """shouldAuth False needs no key and asks for nothing private."""
    ws = feed(api_key=None, api_secret=None)
    with Server(healthy) as server:
        ws.connect(server.url.rstrip('/'), SYMBOL, False)

        assert server.paths == ['/realtime?subscribe=quote:XBT7D,trade:XBT7D,instrument']
        assert 'api-key' not in server.headers[0]
        assert lines()[1] == 'Not authenticating.'
        with pytest.raises(KeyError):
            ws.funds()


def test_keys_come_from_the_settings_when_none_are_handed(feed):
    """A feed that is made without keys logs in with those of the settings."""
    with Server(healthy) as server, settings.override(API_KEY='settings-key', API_SECRET='s'):
        feed(api_key=None, api_secret=None).connect(server.url, SYMBOL)

        assert server.headers[0]['api-key'] == 'settings-key'
    with settings.override(API_KEY='', API_SECRET=''), pytest.raises(AuthenticationError, match='API_KEY'):
        feed(api_key=None, api_secret=None).connect('http://127.0.0.1:1/', SYMBOL)


def test_everything_can_be_read(feed):
    """The questions that strategies ask are answered from memory."""
    ws = feed()
    with Server(healthy) as server:
        ws.connect(server.url, SYMBOL)

        assert ws.get_instrument(SYMBOL)['tickLog'] == 2
        assert ws.get_instrument(SYMBOL) is ws.get_instrument(SYMBOL)
        assert ws.get_ticker(SYMBOL) == {'last': 389.0, 'buy': 388.61, 'sell': 389.89, 'mid': 389.25}
        assert ws.position(SYMBOL)['currentQty'] == -1 and ws.position('ETHUSD')['currentQty'] == 0
        assert ws.funds()['marginBalance'] == 344349800
        assert [order['orderID'] for order in ws.open_orders('mm_bitmex_')] == ['o1']
        assert ws.open_orders('other_') == [] and len(ws.open_orders('')) == 1
        assert ws.recent_trades() == [] and len(ws.positions()) == 1 and len(ws.get_instruments()) == 1
        assert set(ws.data) == {'quote', 'trade', 'instrument', 'order', 'execution', 'margin', 'position'}
        assert ws.keys['order'] == ['orderID'] and ws.symbol == SYMBOL and not ws.exited
        assert ws.ws.sock.connected and ws.ready() and ws.reason() is None
        assert ws.lag() > 0
        with pytest.raises(SettingsError, match='did you mean XBT7D'):
            ws.get_instrument('XBT7')


def test_rows_are_live(feed):
    """A row that was taken once shows what the exchange says later."""
    go = Step()

    def script(peer):
        peer.send(*images(peer.topics))
        go.wait()
        peer.send(update('instrument', {'symbol': SYMBOL, 'lastPrice': 390.0}))
        peer.serve()

    ws = feed()
    with Server(script) as server:
        ws.connect(server.url, SYMBOL)
        held = ws.get_instrument(SYMBOL)
        go.go()

        until(lambda: held['lastPrice'] == 390.0)


def test_deltas_before_the_image_and_second_images(feed):
    """What comes before a table's image is dropped, and an image that comes twice replaces."""
    def script(peer):
        peer.send(insert('order', dict(ORDER, orderID='early')), update('position', dict(POSITION, currentQty=77)))
        peer.send(*images(peer.topics))
        peer.send(*images(['order:' + SYMBOL], order=[dict(ORDER, orderID='o2')]))
        peer.send(insert('trade', {'symbol': SYMBOL, 'price': 1.0}))
        peer.serve()

    ws = feed()
    with Server(script) as server:
        ws.connect(server.url, SYMBOL)
        until(ws.recent_trades)

        assert [order['orderID'] for order in ws.data['order']] == ['o2']
        assert ws.position(SYMBOL)['currentQty'] == -1


def test_the_loop_is_woken_by_what_matters(feed):
    """changed is set by the touch, an own order and the position, not by sizes, margin or marks."""
    steps = queue.Queue()

    def script(peer):
        peer.send(*images(peer.topics))
        while True:
            peer.send(steps.get(timeout=10))

    ws = feed(heartbeat=60.0)
    later = '2026-01-01T00:00:0{}.000Z'

    def after(*messages):
        """Return whether changed was set by these messages, and clear it."""
        done = {'symbol': SYMBOL, 'price': time.monotonic()}
        ws.changed.clear()
        for message in messages + (insert('trade', done),):
            steps.put(message)
        until(lambda: done in ws.recent_trades())
        return ws.changed.is_set()

    with Server(script) as server:
        ws.connect(server.url, SYMBOL)
        assert ws.changed.is_set()

        assert not after(insert('quote', dict(QUOTE, bidSize=99)))
        assert after(insert('quote', dict(QUOTE, bidPrice=388.62, timestamp=later.format(1))))
        assert ws.get_ticker(SYMBOL)['buy'] == 388.62
        assert not after(update('instrument', {'symbol': SYMBOL, 'markPrice': 400.0, 'timestamp': later.format(2)}))
        assert after(update('instrument', {'symbol': SYMBOL, 'askPrice': 389.5, 'timestamp': later.format(2)}))
        assert ws.get_ticker(SYMBOL)['sell'] == 389.5
        assert not after(update('margin', {'account': 1, 'currency': 'XBt', 'marginBalance': 5}))
        assert not after(update('position', dict(POSITION, markPrice=5)))
        assert after(update('position', dict(POSITION, currentQty=-2)))
        assert after(update('order', {'orderID': 'o1', 'leavesQty': 99}))


def test_more_tables_can_be_subscribed(feed):
    """The book comes when it is first asked for; a topic that the exchange does not know is given up."""
    book = [{'symbol': SYMBOL, 'id': 1, 'side': 'Buy', 'size': 5, 'price': 388.61},
            {'symbol': SYMBOL, 'id': 2, 'side': 'Sell', 'size': 5, 'price': 389.89}]

    def script(peer):
        peer.send(*images(peer.topics, orderBookL2=book))
        while True:
            message = peer.receive()
            if message == 'ping':
                peer.send('pong')
            elif message[0] == 'close':
                return
            else:
                asked = json.loads(message)
                known = [topic for topic in asked['args'] if topic.startswith('orderBookL2:')]
                peer.send(*images(known, orderBookL2=book))

    ws = feed()
    with Server(script) as server:
        ws.connect(server.url, SYMBOL)

        assert [row['price'] for row in ws.market_depth(SYMBOL)] == [389.89, 388.61]
        assert [row['price'] for row in ws.market_depth()] == [389.89, 388.61]
        with pytest.raises(ConnectionLost, match='no image of nonsense'):
            ws.subscribe('nonsense', timeout=0.05)
        cut(server._open[0])
        until(lambda: ws.reconnects == 1)
        assert server.paths[1].endswith(',position,orderBookL2:XBT7D')


def test_fragments_pings_and_large_messages(feed):
    """Messages in parts, protocol pings between them, and images of megabytes arrive whole."""
    many = [dict(INSTRUMENT, symbol='S{}'.format(number), padding='x' * 500) for number in range(4000)] + [INSTRUMENT]

    def script(peer):
        whole = json.dumps(images(['instrument'], instrument=many)[0]).encode()
        third = len(whole) // 3
        peer.raw(frame(whole[:third], 1, fin=False) + frame(b'are you there', 9) + frame(whole[third:-5], 0, fin=False)
                 + frame(whole[-5:], 0))
        assert peer.receive() == ('pong', b'are you there')
        peer.send(*images([topic for topic in peer.topics if topic != 'instrument']))
        peer.serve()

    ws = feed()
    with Server(script) as server:
        ws.connect(server.url, SYMBOL)

        assert len(ws.get_instruments()) == 4001


# -- executions ------------------------------------------------------------------------------------------------------

def executions(lines):
    return [line for line in lines() if line.startswith('Execution')]


def test_each_fill_is_logged_once(feed, lines):
    """As the exchange prints them, with the instrument's decimals; old ones, repeated ones and other kinds are not."""
    def script(peer):
        peer.send(*images(peer.topics, execution=[a_fill('old')]))
        peer.send(insert('execution', a_fill('new'), a_fill('new'), a_fill('old')))
        peer.send(insert('execution', a_fill('sent', execType='New'), a_fill('gone', execType='Canceled')))
        peer.send(insert('execution', a_fill('bought', side='Buy', lastQty=20, lastPx=389.9)))
        peer.send(insert('execution', {'execID': 'bare', 'execType': 'Trade', 'orderID': 'o1', 'lastQty': 3}))
        peer.serve()

    ws = feed()
    with Server(script) as server:
        ws.connect(server.url, SYMBOL)
        until(lambda: len(executions(lines)) == 3)

        assert executions(lines) == ['Execution: Sell 1 Contracts of XBT7D at 389.88',
                                     'Execution: Buy 20 Contracts of XBT7D at 389.90',
                                     'Execution: Sell 3 Contracts of XBT7D at 389.88']
        assert [row['execID'] for row in ws.executions_since_start()] == ['new', 'bought', 'bare']
        assert [row['execID'] for row in ws.fills('o1')] == ['new', 'bought', 'bare'] and ws.fills('o2') == []
        assert ws.executions.fills == 3 and ws.executions.fees['XBt'] == 24


def test_fills_of_a_gap_are_logged_once(feed, lines):
    """What the image after a reconnect shows for the first time was missed; it counts once, wherever it is heard."""
    def script(peer):
        if server.connections == 1:
            peer.send(*images(peer.topics, execution=[a_fill('old')]))
            peer.send(insert('execution', a_fill('live')))
            until(lambda: executions(lines))
            return
        later = '2026-01-01T00:00:09.000Z'
        peer.send(insert('execution', a_fill('missed', lastQty=2, timestamp=later)))
        peer.send(*images(peer.topics, execution=[a_fill('old'), a_fill('live'),
                                                  a_fill('missed', lastQty=2, timestamp=later),
                                                  a_fill('missed too', lastQty=3, timestamp=later)]))
        peer.serve()

    ws = feed()
    with Server(script) as server:
        ws.connect(server.url, SYMBOL)
        until(lambda: ws.reconnects == 1)

        assert [line.split()[2] for line in executions(lines)] == ['1', '2', '3']
        assert ws.add_executions([a_fill('missed'), a_fill('over REST', lastQty=4)]) == 1
        assert [line.split()[2] for line in executions(lines)] == ['1', '2', '3', '4']
        assert ws.executions.sold[SYMBOL] == 10


# -- trouble ---------------------------------------------------------------------------------------------------------

def drop_first(how, first=1):
    """Return a script that ends its first connections in the way that ``how`` does, and stays in the others."""
    def script(peer):
        peer.send(*images(peer.topics))
        script.count += 1
        if script.count <= first:
            script.go.wait()
            how(peer)
        else:
            peer.serve()
    script.count, script.go = 0, Step()
    return script


@pytest.mark.parametrize('how, said', [
    (lambda peer: cut(peer.connection), 'the connection was cut'),
    (lambda peer: peer.raw(frame(b'\x03\xe9bye', 8)), 'the exchange closed the connection (code 1001: bye)'),
    (lambda peer: peer.raw(b'\x81\x83abc'), 'a masked frame from a server'),
    (lambda peer: peer.send('{"table":'), 'a message that is no JSON: '),
    (lambda peer: peer.send([1, 2, 3]), 'a message that is no object: [1, 2, 3]'),
], ids=['cut', 'closed', 'nonsense', 'no-json', 'no-object'])
def test_a_lost_connection_is_opened_again_in_place(feed, lines, how, said):
    """However it ends: a new connection, a new login, fresh images under the rows that are held, and two lines."""
    script = drop_first(how)
    ws = feed()
    with Server(script) as server:
        ws.connect(server.url, SYMBOL)
        held = ws.get_instrument(SYMBOL)
        held['lastPrice'] = 1.0
        ws.changed.clear()
        script.go.go()
        until(lambda: ws.reconnects == 1)

        assert ws.ready() and ws.get_instrument(SYMBOL) is held and held['lastPrice'] == 389.0
        assert held['tickLog'] == 2 and ws.changed.is_set()
        assert server.headers[1]['api-key'] == KEY and server.paths[0] == server.paths[1]
        warnings = lines('WARNING')
        assert len(warnings) == 1 and warnings[0].startswith('Lost the connection to the exchange: ' + said)
        assert lines('INFO')[-1] == 'Connected again: {:.1f} s without data. Every table has a fresh image.'.format(
            ws.last_gap)


def test_many_drops_in_a_row(feed):
    """Each is followed by a connection with a login of its own; the data are ready again after each."""
    script = drop_first(lambda peer: cut(peer.connection), first=8)
    ws = feed()
    with Server(script) as server:
        ws.connect(server.url, SYMBOL)
        script.go.go()
        until(lambda: ws.reconnects == 8, 30)

        assert server.connections == 9 and ws.ready()
        assert len({headers['sec-websocket-key'] for headers in server.headers}) == 9


def test_not_ready_until_every_table_has_a_fresh_image(feed):
    """After a reconnect old rows can be read, but the data do not count as ready, and deltas do not count at all."""
    leave, go = Step(), Step()

    def script(peer):
        if server.connections == 1:
            peer.send(*images(peer.topics))
            leave.wait()
            return
        peer.send(*images([topic for topic in peer.topics if topic != 'margin']))
        peer.send(update('margin', dict(MARGIN, marginBalance=7)))
        go.wait()
        peer.send(*images(['margin'], margin=[dict(MARGIN, marginBalance=8)]))
        peer.serve()

    ws = feed()
    with Server(script) as server:
        ws.connect(server.url, SYMBOL)
        leave.go()
        until(lambda: ws.tables.missing() == ['margin'])

        assert not ws.ready() and not ws.wait_until_ready(0.05)
        assert 'no image of margin' in ws.reason()
        assert ws.funds()['marginBalance'] == 344349800
        go.go()
        assert ws.wait_until_ready(10) and ws.funds()['marginBalance'] == 8


def test_a_silent_connection_is_given_up(feed, lines):
    """After a heartbeat without a word a ping is sent; without an answer the connection is opened anew."""
    said = []

    def script(peer):
        peer.send(*images(peer.topics))
        if server.connections > 1:
            peer.serve()
        while True:
            said.append(peer.receive())

    ws = feed(heartbeat=0.3)
    with Server(script) as server:
        ws.connect(server.url, SYMBOL)
        until(lambda: ws.reconnects == 1)

        assert said[:1] == ['ping']
        assert 'no sign of life for' in lines('WARNING')[0]
        assert 0.6 <= ws.last_gap < 10


def test_a_quiet_connection_is_kept(feed):
    """As long as pings are answered, nothing else needs to come."""
    pings = []

    def script(peer):
        peer.send(*images(peer.topics))
        while len(pings) < 4:
            assert peer.receive() == 'ping'
            pings.append(time.monotonic())
            peer.send('pong')
        peer.serve()

    ws = feed(heartbeat=0.5)
    with Server(script) as server:
        ws.connect(server.url, SYMBOL)
        until(lambda: len(pings) == 4)

        assert server.connections == 1 and ws.ready() and ws.reconnects == 0


def test_an_image_that_does_not_come_is_asked_for_again(feed, lines):
    """A line says which table is missing and since when, and the subscription is made anew."""
    asked = []

    def script(peer):
        peer.send(*images([topic for topic in peer.topics if topic not in ('margin', 'order:' + SYMBOL)]))
        asked.extend(json.loads(peer.receive()) for _ in range(2))
        peer.send(*images(asked[1]['args']))
        peer.serve()

    ws = feed(heartbeat=0.5, image_patience=0.2)
    with Server(script) as server:
        ws.connect(server.url, SYMBOL)

        missing = ['order:' + SYMBOL, 'margin']
        assert asked == [{'op': 'unsubscribe', 'args': missing}, {'op': 'subscribe', 'args': missing}]
        assert lines('WARNING')[0].startswith('No image of order:XBT7D, margin for 0.')
        assert 'since ' in lines('WARNING')[0]


def test_an_image_that_never_comes_ends_in_an_error(feed, lines):
    """Asked for again, then over a new connection; when the time is up, one line names the table."""
    def script(peer):
        peer.send(*images([topic for topic in peer.topics if topic != 'margin']))
        peer.serve()

    ws = feed(heartbeat=0.5, image_patience=0.2)
    with Server(script) as server:
        began = time.monotonic()
        with pytest.raises(ConnectionLost) as caught:
            ws.connect(server.url, SYMBOL, timeout=1.5)

        assert 'no image of margin' in str(caught.value) and '1.5 s' in str(caught.value)
        assert time.monotonic() - began < 5
        assert server.connections > 1
        assert ws.exited and not ws._thread.is_alive()


@pytest.mark.parametrize('status, body', [
    (401, '{"error":{"message":"Signature not valid.","name":"HTTPError"}}'), (403, '<html>Forbidden</html>')])
def test_a_refused_key_is_an_error_of_its_own(feed, status, body):
    """A handshake that is answered with 401 or 403 is not tried again; the line names the key's beginning only."""
    def refuse(number, path, headers):
        raise Refuse(status, body)

    ws = feed()
    with Server(healthy, refuse) as server:
        with pytest.raises(AuthenticationError) as caught:
            ws.connect(server.url, SYMBOL)

        assert str(status) in str(caught.value) and KEY[:4] in str(caught.value)
        assert KEY not in str(caught.value) and SECRET not in str(caught.value) and '\n' not in str(caught.value)
        assert server.connections == 1


def test_a_key_refused_under_way_is_told_at_the_next_read(feed):
    """The thread ends; whoever reads next hears of it, in his own thread."""
    def refuse(number, path, headers):
        if number > 1:
            raise Refuse(401)

    ws = feed()
    script = drop_first(lambda peer: cut(peer.connection))
    with Server(script, refuse) as server:
        ws.connect(server.url, SYMBOL)
        script.go.go()
        ws._thread.join(10)

        for read in (lambda: ws.get_ticker(SYMBOL), lambda: ws.open_orders(''), ws.ready, ws.funds,
                     lambda: ws.wait_until_ready(5), lambda: ws.position(SYMBOL)):
            with pytest.raises(AuthenticationError):
                read()
        assert server.connections == 2 and 'refuses key' in ws.reason()


def test_a_key_refused_by_message(feed):
    """An error frame with 401 counts as a refused handshake does."""
    def script(peer):
        peer.send({'status': 401, 'error': 'Signature not valid.', 'meta': {}, 'request': {'op': 'authKeyExpires'}})
        peer.serve()

    ws = feed()
    with Server(script) as server, pytest.raises(AuthenticationError, match='Signature not valid'):
        ws.connect(server.url, SYMBOL)


def test_errors_that_do_not_matter_are_told_and_survived(feed, lines):
    """A busy or scolding exchange is quoted in a line."""
    def script(peer):
        peer.send({'status': 429, 'error': 'Rate limit exceeded, retry in 1 seconds.', 'meta': {'retryAfter': 1},
                   'request': {'op': 'subscribe', 'args': 'orderBook'}})
        peer.send({'status': 400, 'error': 'You are already subscribed to this topic: margin', 'request': {}})
        healthy(peer)

    ws = feed()
    with Server(script) as server:
        ws.connect(server.url, SYMBOL)

        assert lines('WARNING') == ['The exchange says: Rate limit exceeded, retry in 1 seconds. (orderBook)']


def test_an_unknown_symbol_names_the_nearest(feed):
    """A mistyped symbol is no riddle, whether the exchange complains or sends empty images."""
    def complain(peer):
        peer.send(*images([topic for topic in peer.topics if ':' not in topic]))
        peer.send({'status': 400, 'error': 'Unknown or expired symbol.', 'meta': {},
                   'request': {'op': 'subscribe', 'args': 'quote:XBT7B'}})
        peer.serve()

    def shrug(peer):
        peer.send(*images(peer.topics, quote=[], order=[], position=[]))
        peer.serve()

    for script in (complain, shrug):
        with Server(script) as server, pytest.raises(SettingsError, match='XBT7B; did you mean XBT7D'):
            feed().connect(server.url, 'XBT7B')


def test_nobody_there(feed, lines):
    """A refused connection is tried again until the time is up, and told in one line."""
    listener = socket.socket()
    listener.bind(('127.0.0.1', 0))
    url = 'http://127.0.0.1:{}/api/v1/'.format(listener.getsockname()[1])

    began = time.monotonic()
    with pytest.raises(ConnectionLost, match='refused'):
        feed().connect(url, SYMBOL, timeout=0.8)

    assert 0.7 < time.monotonic() - began < 5
    assert len(lines('WARNING')) == 1 and 'No connection to ws://' in lines('WARNING')[0]
    listener.close()


def test_an_exchange_that_starts_late_is_waited_for(feed):
    """Answers with errors for a while, then does its work."""
    def refuse(number, path, headers):
        if number < 3:
            raise Refuse(502, '<html>Bad gateway</html>')

    with Server(healthy, refuse) as server:
        ws = feed()
        ws.connect(server.url, SYMBOL)

        assert server.connections == 3 and ws.ready()


def test_too_many_connections_are_waited_out(feed):
    """A handshake answered with 429 says how long to stay away, in a header or in its text."""
    def refuse(number, path, headers):
        times.append(time.monotonic())
        if number == 1:
            raise Refuse(429, '{"error":"Rate limit exceeded, retry in 16 minutes."}', {'Retry-After': '1'})

    times = []
    with Server(healthy, refuse) as server:
        feed().connect(server.url, SYMBOL)

        assert times[1] - times[0] >= 1.0


@pytest.mark.parametrize('headers, body, seconds', [
    ({'retry-after': '3'}, '', 3), ({}, '{"error":"Rate limit exceeded, retry in 29 seconds."}', 29),
    ({}, '...retry in 16 minutes.', 960), ({'retry-after': 'soon'}, '', 0), ({}, '', 0)])
def test_how_long_to_stay_away(headers, body, seconds):
    """From the header or the text."""
    assert ws_thread.LinkError('x', 429, headers, body).retry_after() == seconds


@pytest.mark.parametrize('host', ['testnet.bitmex.com', 'www.bitmex.com', 'bitmex.com'])
def test_bitmex_itself_is_gone(feed, monkeypatch, host):
    """The address that every old settings.py names gets one line with the date and the ways on, at once."""
    def nobody(*args, **kwargs):
        raise socket.gaierror(-2, 'Name or service not known')
    monkeypatch.setattr(socket, 'getaddrinfo', nobody)

    began = time.monotonic()
    with pytest.raises(ConnectionLost) as caught:
        feed().connect('https://{}/api/v1/'.format(host), SYMBOL)

    text = str(caught.value)
    for part in ('(Name or service not known)', '23 September 2026, 04:00 UTC', 'BASE_URL', '--local'):
        assert part in text
    assert '\n' not in text
    assert time.monotonic() - began < 5


@pytest.mark.parametrize('endpoint', ['', 'localhost:8765', 'ftp://127.0.0.1/', 'http:///api/v1/'])
def test_a_base_url_that_is_none(feed, endpoint):
    """A wrong BASE_URL is named with its value."""
    with pytest.raises(SettingsError, match='BASE_URL'):
        feed().connect(endpoint, SYMBOL)


@pytest.mark.parametrize('endpoint, url', [
    ('https://testnet.bitmex.com/api/v1/', 'wss://testnet.bitmex.com/realtime'),
    ('http://127.0.0.1:8765/api/v1', 'ws://127.0.0.1:8765/realtime'),
    ('http://[::1]:8765/', 'ws://[::1]:8765/realtime'),
    ('wss://user:word@host/', 'wss://host/realtime')])
def test_the_address_of_the_websocket(endpoint, url):
    """Host and port are those of the REST API."""
    assert ws_thread.websocket_url(endpoint) == url


def test_a_clock_that_is_behind_is_allowed_for(feed):
    """A login refused as expired tells the exchange's time; the next signature is good by it."""
    def refuse(number, path, headers):
        if int(headers['api-expires']) < time.time() + 3600:
            ahead = time.strftime('%a, %d %b %Y %H:%M:%S GMT', time.gmtime(time.time() + 3600))
            raise Refuse(400, '{"error":{"message":"This request has expired"}}', {'Date': ahead})

    ws = feed()
    with Server(healthy, refuse) as server:
        ws.connect(server.url, SYMBOL)

        assert server.connections == 2 and abs(ws.clock_offset - 3600) < 5


def test_the_offset_of_the_clock_can_be_set(feed):
    """Whoever has measured the difference says so before connecting."""
    ws = feed()
    ws.clock_offset = -1000.0
    with Server(healthy) as server:
        ws.connect(server.url, SYMBOL)

        assert abs(int(server.headers[0]['api-expires']) - (time.time() - 1000 + 60)) < 5


# -- the way there ---------------------------------------------------------------------------------------------------

def a_proxy(port_of):
    """Return a listening proxy that tunnels every CONNECT to port_of(), and the requests that it got."""
    listener, got = socket.socket(), []
    listener.bind(('127.0.0.1', 0))
    listener.listen(4)

    def pump(source, target):
        try:
            for piece in iter(lambda: source.recv(65536), b''):
                target.sendall(piece)
        except OSError:
            pass
        cut(target)

    def serve():
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            request = b''
            while b'\r\n\r\n' not in request:
                request += client.recv(65536)
            got.append(request.decode('latin-1'))
            target = socket.create_connection(('127.0.0.1', port_of()))
            client.sendall(b'HTTP/1.1 200 Connection established\r\n\r\n')
            threading.Thread(target=pump, args=(client, target), daemon=True).start()
            threading.Thread(target=pump, args=(target, client), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return listener, got


@pytest.fixture
def no_proxies(monkeypatch):
    for name in ('http_proxy', 'https_proxy', 'all_proxy', 'no_proxy'):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


def test_a_proxy_of_the_environment_is_used(feed, no_proxies):
    """http_proxy leads there, with its user and password."""
    with Server(healthy) as server:
        proxy, got = a_proxy(lambda: server.port)
        no_proxies.setenv('http_proxy', 'http://me:a%20word@127.0.0.1:{}'.format(proxy.getsockname()[1]))
        feed().connect('http://exchange.test/api/v1/', SYMBOL)
        proxy.close()

        assert got[0].startswith('CONNECT exchange.test:80 ')
        assert 'Proxy-Authorization: Basic bWU6YSB3b3Jk' in got[0]


def test_loopback_and_no_proxy_go_straight(feed, no_proxies):
    """The local exchange is never looked for behind a proxy."""
    no_proxies.setenv('http_proxy', 'http://127.0.0.1:1')
    with Server(healthy) as server:
        feed().connect(server.url, SYMBOL)
    no_proxies.setenv('no_proxy', 'exchange.test')
    assert ws_thread.route('ws://exchange.test/realtime')['http_no_proxy'] == ['*']
    assert ws_thread.route('ws://other.test/realtime')['http_proxy_host'] == '127.0.0.1'
    no_proxies.setenv('http_proxy', 'socks5://127.0.0.1:1')
    with pytest.raises(SettingsError, match='socks5'):
        feed().connect('http://other.test/', SYMBOL)


@pytest.fixture
def certificate(tmp_path):
    """Return the path of a new certificate for localhost, with its key in the same file."""
    if shutil.which('openssl') is None:
        pytest.skip('openssl is not installed: no certificate can be made')
    path = str(tmp_path / 'localhost.pem')
    subprocess.check_output(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj',
                             '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-keyout', path + '.key',
                             '-out', path], stderr=subprocess.STDOUT)
    return path


@pytest.mark.parametrize('variable', ['REQUESTS_CA_BUNDLE', 'SSL_CERT_FILE'])
def test_encrypted_with_a_bundle_of_our_own(feed, monkeypatch, certificate, variable):
    """wss trusts the bundle that the environment names, reads and ends like any other, and trusts nobody else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate + '.key')
    with Server(healthy, wrap=lambda sock: context.wrap_socket(sock, server_side=True)) as server:
        url = 'https://localhost:{}/api/v1/'.format(server.port)
        with pytest.raises(ConnectionLost, match='certificate'):
            feed().connect(url, SYMBOL, timeout=0.5)
        for name in ('REQUESTS_CA_BUNDLE', 'CURL_CA_BUNDLE', 'SSL_CERT_FILE'):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(variable, certificate)
        ws = feed()
        ws.connect(url, SYMBOL)

        began = time.monotonic()
        assert ws.ready()
        ws.exit()
        assert time.monotonic() - began < 2
        until(lambda: not ws._thread.is_alive())


# -- the end ---------------------------------------------------------------------------------------------------------

def test_a_clean_exit(feed):
    """exit() takes leave with a close frame, ends the thread at once, and may be called twice."""
    said = []
    ws = feed()

    def script(peer):
        peer.send(*images(peer.topics))
        said.extend(peer.serve())

    with Server(script) as server:
        ws.exit()
        ws.connect(server.url, SYMBOL)
        began = time.monotonic()
        ws.exit()
        ws.exit()

        assert time.monotonic() - began < 2
        until(lambda: not ws._thread.is_alive())
        until(lambda: said)
        assert said == [('close', b'\x03\xe8')]
        assert ws.exited and not ws.ws.sock.connected and not ws.ready() and ws.reason() == 'the connection was closed'
        assert ws.get_ticker(SYMBOL)['buy'] == 388.61


def test_exit_while_data_pour_in(feed):
    """A flood does not hold up the end."""
    def script(peer):
        peer.send(*images(peer.topics))
        while True:
            peer.send(*[insert('trade', {'symbol': SYMBOL, 'price': 1.0})] * 50)

    ws = feed()
    with Server(script) as server:
        ws.connect(server.url, SYMBOL)
        until(lambda: len(ws.recent_trades()) == 200)
        ws.exit()

        assert not ws._thread.is_alive()


def test_exit_while_waiting_to_reconnect(feed, monkeypatch):
    """The wait between two attempts ends at once."""
    monkeypatch.setattr('market_maker.ws.backoff.FIRST', 60.0)
    monkeypatch.setattr('market_maker.ws.backoff.LONGEST', 60.0)
    script = drop_first(lambda peer: cut(peer.connection))
    ws = feed()
    with Server(script) as server:
        ws.connect(server.url, SYMBOL)
        script.go.go()
        until(lambda: not ws.ready())
        began = time.monotonic()
        ws.exit()

        assert time.monotonic() - began < 2
        until(lambda: not ws._thread.is_alive())
        assert server.connections == 1


def test_exit_while_connecting(feed):
    """A handshake that hangs does not hold up the end for long."""
    release = Step()

    def hang(number, path, headers):
        release.wait()

    ws = feed()
    with Server(healthy, hang) as server:
        arguments = (ConnectionLost, ws.connect, server.url, SYMBOL, True, 0.5)
        connecting = threading.Thread(target=pytest.raises, args=arguments)
        connecting.start()
        until(lambda: server.connections == 1)
        began = time.monotonic()
        ws.exit()
        assert time.monotonic() - began < 2
        connecting.join(10)
        release.go()
        until(lambda: not ws._thread.is_alive())


def test_a_waiting_thread_hears_of_the_end(feed):
    """Whoever waits for data that will not come any more is told so."""
    script = drop_first(lambda peer: cut(peer.connection))
    ws = feed()
    with Server(script) as server:
        ws.connect(server.url, SYMBOL)
        server.close()
        until(lambda: not ws.ready())
        threading.Timer(0.1, ws.exit).start()

        assert ws.wait_until_ready(10) is False


def test_two_feeds_live_side_by_side(feed):
    """Several symbols in one process, each with its own connection and rows."""
    with Server(healthy) as server:
        one, two = feed(), feed()
        one.connect(server.url, SYMBOL)
        two.connect(server.url, SYMBOL)
        one.exit()

        assert two.ready() and two.get_instrument(SYMBOL) is not one.get_instrument(SYMBOL)
        assert [thread.name for thread in threading.enumerate()].count('bitmex-ws') == 1
