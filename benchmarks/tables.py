"""How fast the live tables take in what the exchange sends: parse and apply, growth with the rows, and a whole feed.

    python benchmarks/tables.py [--baseline-python PATH] [--rounds N] [--seconds N] [--quick] [--json FILE]

Traffic is generated from a seed in the exact shape of the wire, and taken from the recordings in the folder that the
environment variable RECORDINGS names, where there is one.  Contenders take turns, each in a process of its own:

    ours, ours-json   Tables with orjson, and with the standard library's json
    classic           the tables of bitmex-market-maker 1.6.1, run by the Python that --baseline-python names
                      (python -m venv DIR; DIR/bin/pip install bitmex-market-maker==1.6.1 websocket-client==0.56)
    floor, floor-json a dict of rows and nothing else: no images, no checks, no order that ends

After each round the rows that are left must be those that the generator says.  The feed is measured over a socket, with
nothing but the base install: BitMEXWebsocket takes what a bare server sends at a given pace, and the lag is the time
from sending a message to its being applied.  How many messages a second of its processor the reader takes in does not
depend on what else the machine does.  Figures are medians over the rounds.
"""
import gzip
import hashlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile

import common

KEYS = {'order': ['orderID'], 'position': ['account', 'symbol', 'strategy'], 'margin': ['account', 'currency'],
        'orderBookL2': ['symbol', 'id', 'side'], 'instrument': ['symbol']}
KEPT = ('order', 'position', 'margin', 'orderBookL2')  # tables whose rows are compared
STAMP = '2025-11-14T07:03:58.{:03d}Z'
ACCOUNT = 273093

# What every contender shares: reading a workload, and a fingerprint of the rows that are left.
COMMON = r'''
import hashlib, json, sys, time
KEPT = ('order', 'position', 'margin', 'orderBookL2')

def fingerprint(tables):
    rows = {}
    for name in KEPT:
        found = [{field: value for field, value in row.items() if value is not None} for row in tables.get(name, [])]
        rows[name] = sorted(json.dumps(row, sort_keys=True) for row in found)
    return hashlib.sha1(json.dumps(rows, sort_keys=True).encode()).hexdigest()

def workload(path):
    with open(path, 'rb') as lines:
        images, _, deltas = lines.read().partition(b'\n\n')
    return images.split(b'\n'), deltas.rstrip(b'\n').split(b'\n')
'''

WORKER = COMMON + r'''
kind = sys.argv[1]
del sys.argv[1:]

class Ours:
    def __init__(self):
        from market_maker.ws import tables
        if kind.endswith('json'):
            tables.orjson = None
        elif tables.orjson is None:
            sys.exit('orjson is not installed')
        self.tables, self.parse = tables.Tables(), tables.parse

    def expect(self, images):
        topics = []
        for image in images:
            symbol = image['filter'].get('symbol')
            topics.append(image['table'] + (':' + symbol if symbol else ''))
        self.tables.expect(topics)

    def take(self, frames):
        parse, apply = self.parse, self.tables.apply
        for frame in frames:
            apply(parse(frame))

    def rows(self):
        return dict(self.tables.data)

class Floor:
    def __init__(self):
        if kind.endswith('json'):
            self.loads = lambda frame: json.loads(frame.decode())
        else:
            import orjson
            self.loads = orjson.loads
        self.stores, self.keys = {}, {}

    def expect(self, images):
        for image in images:
            self.keys[image['table']] = image['keys']
            self.stores.setdefault(image['table'], {})

    def take(self, frames):
        loads, stores, keys = self.loads, self.stores, self.keys
        for frame in frames:
            message = loads(frame)
            table, action = message['table'], message['action']
            store, names = stores[table], keys[table]
            if not names:
                continue
            for row in message['data']:
                key = row[names[0]] if len(names) == 1 else tuple([row[name] for name in names])
                if action == 'update':
                    store[key].update(row)
                elif action == 'delete':
                    del store[key]
                else:
                    store[key] = row

    def rows(self):
        return {name: [row for row in store.values() if row.get('leavesQty') != 0]
                for name, store in self.stores.items()}

class Classic:
    def __init__(self):
        from market_maker.ws.ws_thread import BitMEXWebsocket
        self.ws = BitMEXWebsocket()
        self.ws.ws = None
        self.ws._BitMEXWebsocket__reset()
        self.ws.symbol = 'XBTUSD'
        self.on_message = self.ws._BitMEXWebsocket__on_message

    def expect(self, images):
        pass

    def take(self, frames):
        on_message = self.on_message
        for frame in frames:
            on_message(frame.decode())   # its WebSocket hands over text

    def rows(self):
        return self.ws.data

made = {'ours': Ours, 'floor': Floor, 'classic': Classic}[kind.partition('-')[0]]
print('ready', flush=True)
for line in sys.stdin:
    images, deltas = workload(line.strip())
    contender = made()
    contender.expect([json.loads(image.decode()) for image in images])
    contender.take(images)
    began = time.process_time()
    contender.take(deltas)
    seconds = time.process_time() - began
    print(seconds / len(deltas), fingerprint(contender.rows()), flush=True)
'''

SERVER = r'''
import base64, hashlib, json, socket, struct, sys, threading, time
size, pace, seconds = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
MAGIC = b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
IMAGES = json.loads(sys.argv[4])
ROW = {"timestamp": "2021-07-22T22:36:11.685Z", "symbol": "XBTUSD", "side": "Buy", "size": 100, "price": 32180.5,
       "tickDirection": "PlusTick", "sent": 1234567.123456}

def frame(payload):
    if len(payload) < 126:
        return bytes([0x81, len(payload)]) + payload
    return b'\x81' + (struct.pack('!BH', 126, len(payload)) if len(payload) < 65536 else
                      struct.pack('!BQ', 127, len(payload))) + payload

message = {"table": "trade", "action": "insert", "data": [dict(ROW)]}
while len(json.dumps(message, separators=(',', ':'))) < size - len(json.dumps(ROW)) // 2:
    message["data"].append(dict(ROW))
text = json.dumps(message, separators=(',', ':'))
head, tail = [part.encode() for part in text.rsplit('1234567.123456', 1)]
starts = {}   # length of a time stamp -> what begins the frame: the sender must not be what is slow

def stamped():
    stamp = b'%.6f' % time.perf_counter()
    if len(stamp) not in starts:
        whole = head + stamp + tail
        starts[len(stamp)] = frame(whole)[:-len(whole)] + head
    return starts[len(stamp)] + stamp + tail

listener = socket.socket()
listener.bind(('127.0.0.1', 0))
listener.listen(1)
print(listener.getsockname()[1], len(text), flush=True)
connection = listener.accept()[0]
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
request = b''
while b'\r\n\r\n' not in request:
    request += connection.recv(65536)
key = [line.split(b': ')[1] for line in request.split(b'\r\n') if line.lower().startswith(b'sec-websocket-key')][0]
connection.sendall(b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
                   b'Sec-WebSocket-Accept: ' + base64.b64encode(hashlib.sha1(key + MAGIC).digest()) + b'\r\n\r\n')
for image in IMAGES:
    connection.sendall(frame(json.dumps(image).encode()))
sys.stdin.readline()
sent, began = 0, time.perf_counter()
while True:
    now = time.perf_counter() - began
    if now > seconds:
        break
    due = int(now * pace) - sent if pace else 50
    if due <= 0:
        time.sleep(0.0005)
        continue
    due = min(due, 50)
    connection.sendall(b''.join([stamped() for _ in range(due)]))
    sent += due
connection.sendall(frame(b'{"table":"trade","action":"insert","data":[{"symbol":"XBTUSD","last":true}]}'))
print(sent, time.perf_counter() - began, flush=True)
sys.stdin.readline()
'''

READER = r'''
import json, sys, threading, time
kind, port = sys.argv[1], sys.argv[2]
del sys.argv[1:]
lags, over = [], threading.Event()

def seen(rows):
    row = rows[-1]
    if 'sent' in row:
        lags.append(time.perf_counter() - row['sent'])
    elif 'last' in row:
        over.set()

url = 'http://127.0.0.1:{}/api/v1/'.format(port)
if kind == 'ours':
    from market_maker.ws import tables
    from market_maker.ws.ws_thread import BitMEXWebsocket
    tables.orjson = None
    ws = BitMEXWebsocket('key', 'secret')
    inner = ws.tables.apply

    def outer(message):
        table = inner(message)
        if table == 'trade' and message['data']:
            seen(message['data'])
        return table
    ws.tables.apply = outer
    ws.connect(url, 'XBTUSD')
else:
    from market_maker.ws.ws_thread import BitMEXWebsocket
    inner = BitMEXWebsocket._BitMEXWebsocket__on_message

    def outer(self, text, *more):
        inner(self, text, *more)
        if '"trade"' in text and '"insert"' in text:
            seen(self.data['trade'])
    BitMEXWebsocket._BitMEXWebsocket__on_message = outer
    ws = BitMEXWebsocket()
    ws.connect(url, 'XBTUSD', True)
print('ready', flush=True)
sys.stdin.readline()
began = time.process_time()
over.wait(600)
used = time.process_time() - began
lags.sort()
print(json.dumps({'count': len(lags), 'median_ms': lags[len(lags) // 2] * 1e3,
                  'worst_percent_ms': lags[int(len(lags) * 0.99)] * 1e3, 'cpu_seconds': used}), flush=True)
import os
os._exit(0)
'''


# -- traffic ---------------------------------------------------------------------------------------------------------

class Traffic(object):
    """Messages in wire shape from a seed, and the rows that they must leave."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.images = []
        self.deltas = []
        self.state = {}   # table -> row key -> row

    def image(self, table, rows, symbol=None):
        types = {name: '' for row in rows for name in row}
        self.images.append({'table': table, 'action': 'partial', 'keys': KEYS.get(table, []), 'types': types,
                            'filter': {'symbol': symbol} if symbol else {}, 'data': rows})
        if table in KEPT:
            self.state.setdefault(table, {}).update((self.key(table, row), dict(row)) for row in rows)

    @staticmethod
    def key(table, row):
        return tuple(row[name] for name in KEYS[table])

    def delta(self, table, action, *rows):
        self.deltas.append({'table': table, 'action': action, 'data': list(rows)})
        state = self.state.get(table)
        for row in rows if state is not None else ():
            if action == 'insert':
                state[self.key(table, row)] = dict(row)
            elif action == 'delete':
                del state[self.key(table, row)]
            else:
                state[self.key(table, row)].update(row)

    def fingerprint(self):
        rows = {name: sorted(json.dumps(row, sort_keys=True) for row in self.state.get(name, {}).values()
                             if row.get('leavesQty') != 0) for name in KEPT}
        return hashlib.sha1(json.dumps(rows, sort_keys=True).encode()).hexdigest()

    def write(self, path):
        write(path, self.images, self.deltas)
        return path, self.fingerprint()


def write(path, images, deltas):
    """Write a workload: images, an empty line, deltas; one message a line, as compact as the wire's."""
    with open(path, 'w') as output:
        for part in (images, deltas):
            output.writelines(json.dumps(message, separators=(',', ':')) + '\n' for message in part)
            output.write('\n' if part is images else '')


def an_order(rng, number):
    return {'orderID': '%08x-0000-4000-8000-%012x' % (number, rng.getrandbits(48)),
            'clOrdID': 'mm_bitmex_%022d' % number, 'account': ACCOUNT, 'symbol': 'XBTUSD',
            'side': rng.choice(['Buy', 'Sell']), 'orderQty': 1000 + number,
            'price': 32000.5 + number, 'currency': 'USD', 'settlCurrency': 'XBt', 'ordType': 'Limit',
            'timeInForce': 'GoodTillCancel', 'ordStatus': 'New', 'workingIndicator': True, 'leavesQty': 1000 + number,
            'cumQty': 0, 'text': 'Submitted via API.', 'transactTime': STAMP.format(0), 'timestamp': STAMP.format(0)}


def account_traffic(seed, orders, count, only_orders=False):
    """Return the traffic of a bot with that many resting orders: amends, position, margin, mark and quotes."""
    traffic = Traffic(seed)
    rng = traffic.rng
    rows = [an_order(rng, number) for number in range(orders)]
    position = {'account': ACCOUNT, 'symbol': 'XBTUSD', 'strategy': 'OneWay', 'currency': 'XBt', 'currentQty': 0,
                'markPrice': 32000.0, 'liquidationPrice': 1.0, 'timestamp': STAMP.format(0)}
    margin = {'account': ACCOUNT, 'currency': 'XBt', 'marginBalance': 10 ** 9, 'timestamp': STAMP.format(0)}
    traffic.image('quote', [], 'XBTUSD')
    traffic.image('trade', [], 'XBTUSD')
    traffic.image('instrument', [{'symbol': 'XBTUSD', 'tickSize': 0.5, 'bidPrice': 1.0, 'askPrice': 2.0}])
    traffic.image('order', rows, 'XBTUSD')
    traffic.image('execution', [], 'XBTUSD')
    traffic.image('margin', [margin])
    traffic.image('position', [position])
    for number in range(count):
        stamp = STAMP.format(number % 1000)
        kind = 0 if only_orders else rng.random()
        same = {'clOrdID': '', 'account': ACCOUNT, 'symbol': 'XBTUSD', 'timestamp': stamp}
        if kind < 0.5:
            order = rng.choice(rows)
            same.update(clOrdID=order['clOrdID'], orderID=order['orderID'])
            traffic.delta('order', 'update', dict(same, price=32000.5 + rng.randint(0, 400) / 2.0, transactTime=stamp,
                                                  text='Amended price: Amended via API.\nSubmitted via API.'))
        elif kind < 0.65:
            traffic.delta('position', 'update', {
                'account': ACCOUNT, 'symbol': 'XBTUSD', 'strategy': 'OneWay', 'currency': 'XBt', 'currentQty': number,
                'markPrice': 32000 + number / 100.0, 'markValue': -number, 'unrealisedPnl': number % 77,
                'liquidationPrice': 6125.5, 'timestamp': stamp})
        elif kind < 0.8:
            traffic.delta('margin', 'update', {
                'account': ACCOUNT, 'currency': 'XBt', 'grossMarkValue': number, 'riskValue': number,
                'unrealisedPnl': -number % 7, 'marginBalance': 10 ** 9 - number, 'availableMargin': 10 ** 8,
                'timestamp': stamp})
        elif kind < 0.9:
            traffic.delta('instrument', 'update', {'symbol': 'XBTUSD', 'fairPrice': 32000.25, 'markPrice': 32000.25,
                                                   'openValue': number, 'timestamp': stamp})
        else:
            traffic.delta('quote', 'insert', {'timestamp': stamp, 'symbol': 'XBTUSD', 'bidSize': number,
                                              'bidPrice': 32000.5, 'askPrice': 32001.0, 'askSize': 7})
    return traffic


def book_traffic(seed, symbols, levels, count):
    """Return the traffic of full books, ``levels`` rows in all: updates, inserts and deletes as often as recorded."""
    traffic = Traffic(seed)
    rng = traffic.rng
    per_symbol, living, next_id = levels // symbols, {}, {}
    for at in range(symbols):
        symbol = 'SYM{:02d}USDT'.format(at)
        rows = [{'symbol': symbol, 'id': 8799000000 + number, 'side': rng.choice(['Buy', 'Sell']),
                 'size': rng.randint(1, 10 ** 6), 'price': number / 2.0} for number in range(per_symbol)]
        living[symbol] = [(row['id'], row['side']) for row in rows]
        next_id[symbol] = 8799000000 + per_symbol
        traffic.image('orderBookL2', rows, symbol)
    for _ in range(count):
        symbol = rng.choice(sorted(living))
        kind = rng.choices(['update', 'insert', 'delete'], [1090, 445, 434])[0]
        rows = []
        for _ in range(rng.choice([1, 1, 1, 1, 2, 3])):
            if kind == 'insert':
                found = (next_id[symbol], rng.choice(['Buy', 'Sell']))
                next_id[symbol] += 1
                living[symbol].append(found)
            else:
                at = rng.randrange(len(living[symbol]))
                found = living[symbol][at]
            row = {'symbol': symbol, 'id': found[0], 'side': found[1]}
            if kind == 'delete':
                living[symbol][at] = living[symbol][-1]
                living[symbol].pop()
            else:
                row['size'] = rng.randint(1, 10 ** 6)
            if kind == 'insert':
                row['price'] = found[0] / 100.0
            rows.append(row)
        traffic.delta('orderBookL2', kind, *rows)
    return traffic


def recorded_book(path):
    """Return (images, deltas) of a recorded book."""
    images, deltas = [], []
    with gzip.open(path, 'rt', encoding='utf-8') as lines:
        for line in lines:
            stamp, _, text = line.partition(': ')
            if stamp.replace('.', '').isdigit() and '"orderBookL2"' in text and '"table"' in text:
                message = json.loads(text)
                (images if message['action'] == 'partial' else deltas).append(message)
    return images, deltas


# -- measuring -------------------------------------------------------------------------------------------------------

def contenders(baseline, folder):
    """Return [(name, Child)] of everybody that can take part."""
    root = common.ROOT
    with open(os.path.join(folder, 'settings.py'), 'w') as settings:
        settings.write('API_KEY = "key"\nAPI_SECRET = "secret"\nBASE_URL = "http://127.0.0.1:1/api/v1/"\n')
    names = [('ours-json', sys.executable, root), ('floor-json', sys.executable, root)]
    try:
        import orjson  # noqa: F401
        names += [('ours', sys.executable, root), ('floor', sys.executable, root)]
    except ImportError:
        pass
    if baseline:
        names.append(('classic', baseline, ''))
    made = []
    for name, python, path in names:
        process = common.Child(python, WORKER, name, env=common.environment(path), cwd=folder, name=name,
                               stderr=subprocess.DEVNULL if name == 'classic' else None)
        process.wait_until_ready()
        made.append((name, process))
    return made


def workloads(folder, quick):
    """Return [(title, path, fingerprint or None, path for the classic one)]."""
    few = 10 if quick else 1
    made = []

    def add(title, make, count, classic_count):
        paths = [make(count // few).write(os.path.join(folder, 'load{}'.format(len(made)))),
                 make(classic_count // few).write(os.path.join(folder, 'load{}-classic'.format(len(made))))]
        made.append((title, paths[0], paths[1]))

    add('account, 12 own orders', lambda count: account_traffic(1, 12, count), 20000, 5000)
    add('amends, 12 own orders', lambda count: account_traffic(2, 12, count, True), 20000, 5000)
    add('amends, 1,000 own orders', lambda count: account_traffic(2, 1000, count, True), 20000, 2000)
    add('books, 10 symbols, 11,740 rows', lambda count: book_traffic(3, 10, 11740, count), 20000, 200)
    add('book, 200 levels', lambda count: book_traffic(4, 1, 200, count), 20000, 2000)
    add('book, 10,000 levels', lambda count: book_traffic(4, 1, 10000, count), 20000, 200)
    recording = os.path.join(os.environ.get('RECORDINGS', ''), 'ws', 'cryptofeed_20210722_ws.txt.gz')
    if os.path.exists(recording):
        images, deltas = recorded_book(recording)
        path, part = os.path.join(folder, 'recorded'), os.path.join(folder, 'recorded-classic')
        write(path, images, deltas)
        write(part, images, deltas[:300 // few])
        made.append(('books, recorded, 11,746 rows', (path, None), (part, None)))
    return made


def measure(baseline, rounds, quick):
    """Return {workload: {contender: [microseconds a message, one value a round]}}."""
    folder = tempfile.mkdtemp(prefix='tables-')
    people = contenders(baseline, folder)
    try:
        loads = {title: (load, classic_load) for title, load, classic_load in workloads(folder, quick)}
        figures = {title: {name: [] for name, _ in people} for title in loads}
        for number in range(rounds):
            left = {title: set() for title in loads}
            for group in grouped(loads):
                for name, process in common.turns(people, number):
                    for title in group:
                        path, wanted = loads[title][name == 'classic']
                        seconds, got = process.ask(path).split()
                        assert wanted is None or got == wanted, '{}: {} leaves other rows'.format(title, name)
                        if name != 'classic':
                            left[title].add(got)
                        figures[title][name].append(float(seconds) * 1e6)
            for title in loads:
                assert len(left[title]) == 1, '{}: contenders leave different rows'.format(title)
    finally:
        for _, process in people:
            process.end()
    return figures


def grouped(titles):
    """Return the workloads as lists: those whose figures are compared, for their growth, are measured together."""
    pairs = [[small, large] for _, small, large, _ in GROWTHS]
    paired = [title for pair in pairs for title in pair]
    return [[title] for title in titles if title not in paired] + pairs


def measure_feed(kind, python, size, pace, seconds):
    """Return what a feed of messages of ``size`` bytes came to; ``pace`` is messages a second, 0 as many as go."""
    folder = tempfile.mkdtemp(prefix='feed-')
    with open(os.path.join(folder, 'settings.py'), 'w') as settings:
        settings.write('API_KEY = "key"\nAPI_SECRET = "secret"\n')
    images = account_traffic(1, 1, 0).images
    server = common.Child(sys.executable, SERVER, size, pace, seconds, json.dumps(images))
    port, length = server.read().split()
    reader = common.Child(python, READER, kind, port, cwd=folder, stderr=subprocess.DEVNULL, name=kind,
                          env=common.environment(common.ROOT if kind == 'ours' else ''))
    reader.wait_until_ready()
    reader.tell('')
    sent, lasted = server.ask('go').split()
    answer = json.loads(reader.read())
    assert answer['count'] == int(sent), '{} of {} messages arrived'.format(answer['count'], sent)
    server.child.stdin.close()
    answer.update(bytes=int(length), per_second=int(sent) / float(lasted),
                  per_cpu_second=int(sent) / answer['cpu_seconds'])
    return answer


TARGETS = {'account, 12 own orders': '>= 5.5x, >= 2.4x', 'books, recorded, 11,746 rows': '>= 500x'}
GROWTHS = (('12 to 1,000 own orders', 'amends, 12 own orders', 'amends, 1,000 own orders', '<= 1.5x'),
           ('200 to 10,000 levels', 'book, 200 levels', 'book, 10,000 levels', '<= 1.25x'))


def table(figures):
    """Return the lines of a Markdown table, the same numbers as a dict, and the ratios."""
    names = [name for name in ('classic', 'ours', 'floor', 'ours-json', 'floor-json')
             if any(name in row for row in figures.values())]
    lines = ['| us of the processor a message (median, minimum) | ' + ' | '.join(names)
             + ' | classic / ours | classic / ours-json | target |', '| --- |' + ' --- |' * (len(names) + 3)]
    numbers, ratios = {}, {}
    for title, row in figures.items():
        numbers[title] = {name: {'median_us': statistics.median(row[name]), 'minimum_us': min(row[name])}
                          for name in names}
        cells = []
        for name in ('ours', 'ours-json'):
            if name not in row:
                cells.append('')
                continue
            ratios['floor / {}, {}'.format(name, title)] = common.paired(row[name.replace('ours', 'floor')], row[name])
            if 'classic' in row:
                ratio = ratios['classic / {}, {}'.format(name, title)] = common.paired(row['classic'], row[name])
                numbers[title][name]['ratio'] = ratio
            cells.append('{:.1f}x'.format(ratio) if 'classic' in row else '')
        lines.append('| {} | {} | {} |'.format(title, ' | '.join(
            [common.summary(row[name]) for name in names] + cells), TARGETS.get(title, '')))
    for title, small, large, target in GROWTHS:
        growth = {name: common.paired(figures[large][name], figures[small][name]) for name in names}
        numbers['growth, ' + title] = growth
        best = {name: min(figures[large][name]) / min(figures[small][name]) for name in names}
        numbers['growth of the minima, ' + title] = best
        lines.append('| growth, {}; of the minima | {} | | | {} |'.format(
            title, ' | '.join('{:.2f}x, {:.2f}x'.format(growth[name], best[name]) for name in names), target))
        for name in ('ours', 'ours-json'):
            if name in growth:
                ratios['1 / growth of {}, {}'.format(name, title)] = 1 / growth[name]
    return lines, numbers, ratios


def feed_table(baseline, seconds, paced_seconds):
    """Measure whole feeds and return the lines of a Markdown table, the numbers, and the ratios."""
    lines = ['', '| feed, base install | messages/s | median lag ms | 99 % below ms | messages/s of the reader\'s '
             'processor | target |', '| --- |' + ' --- |' * 5]
    numbers, ratios = {}, {}
    pythons = [('ours', sys.executable)] + ([('classic', baseline)] if baseline else [])
    for title, size, pace, target in (('300 B at 20,000/s', 300, 20000, 'median lag < 1 ms'),
                                      ('300 B, as fast as it goes', 300, 0, ''),
                                      ('5 kB, as fast as it goes', 5000, 0, '>= 7,000/s')):
        for kind, python in pythons:
            lasts = paced_seconds if pace and kind == 'ours' else seconds
            found = numbers['{}, {}'.format(title, kind)] = measure_feed(kind, python, size, pace, lasts)
            lines.append('| {}, {} | {:,.0f} | {:.2f} | {:.2f} | {:,.0f} | {} |'.format(
                kind, title, found['per_second'], found['median_ms'], found['worst_percent_ms'],
                found['per_cpu_second'],
                target if kind == 'ours' else ''))
        if baseline and not pace:
            ratios['ours / classic, feed of ' + title] = (numbers[title + ', ours']['per_cpu_second']
                                                          / numbers[title + ', classic']['per_cpu_second'])
    return lines, numbers, ratios


def main(argv=None):
    """Run the benchmark and print its tables."""
    parser = common.parser(__doc__, 7)
    parser.add_argument('--seconds', type=float, default=10.0, help='length of each feed')
    options = parser.parse_args(argv)
    paced_seconds = 6 * options.seconds
    if options.quick:
        options.rounds, options.seconds, paced_seconds = 3, 1.0, 1.0
    lines, numbers, ratios = table(measure(options.baseline_python, options.rounds, options.quick))
    feeds, numbers['feed'], more = feed_table(options.baseline_python, options.seconds, paced_seconds)
    return common.finish(options, 'tables', lines + feeds, numbers, dict(ratios, **more))


if __name__ == '__main__':
    sys.exit(main())
