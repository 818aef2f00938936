"""How long one order takes: signed, sent, and its answer parsed; and how many four threads get through in a second.

    python benchmarks/orders.py [--baseline-python PATH] [--rounds N] [--orders N] [--quick] [--json FILE]

A bare server in a process of its own answers every order with the same bytes, in the headers that BitMEX sends, so that
little but the client is measured.  Contenders take turns, each in a process of its own:

    ours         BitMEX.place_order with everything: limiter, shared budget, ledger, retry policy, name; base install
    ours, speed  the same with the extra ``speed``
    classic      the same method of bitmex-market-maker 1.6.1, run by the Python that --baseline-python names
    floor        http.client, an HMAC, and json: what the standard library can do

Figures are medians over the rounds, ratios those of the same round.  The server checks the signature of every order
afterwards, and the client the row of every answer.  The live tables are left out on both sides: no WebSocket is opened.
"""
import os
import statistics
import sys
import tempfile

import common

KEY, SECRET = 'LAqUlngMIQkIUjXMUreyu3qn', 'chNOOS4KvNXR_Xq4k4c9qsfoKWvnDecLATCRlcBwyKDYnWgO'
THREADS = 4

SERVER = r'''
import hashlib, hmac, json, socket, sys, threading
secret = sys.argv[1].encode()
row = {"account": 273093, "clOrdID": "mm_bitmex_1a/oemUeQ4CAJZgP3fjHsA", "cumQty": 0, "currency": "USD",
       "leavesQty": 100, "ordStatus": "New", "ordType": "Limit", "orderID": "07bb442e-5362-4a01-bd9a-664a1da3d646",
       "orderQty": 100, "price": 5000.5, "settlCurrency": "XBt", "side": "Buy", "symbol": "XBTUSD",
       "text": "Submitted via API.", "timeInForce": "GoodTillCancel", "timestamp": "2025-11-14T07:03:58.114Z",
       "transactTime": "2025-11-14T07:03:58.113Z", "workingIndicator": True}
body = json.dumps(row, separators=(',', ':')).encode()
ANSWER = ('HTTP/1.1 200 OK\r\nDate: Thu, 29 Nov 2018 05:03:17 GMT\r\nContent-Type: application/json; charset=utf-8\r\n'
          'Content-Length: {}\r\nConnection: keep-alive\r\nx-ratelimit-limit: 1000000\r\n'
          'x-ratelimit-remaining: 999999\r\nx-ratelimit-reset: 1543467798\r\n'
          'x-ratelimit-limit-1s: 100000\r\nx-ratelimit-remaining-1s: 99999\r\n'
          'X-Powered-By: Profit\r\n'
          'ETag: W/"e70-lk+8+WqhVHx+EMdVW/pE7bu7zXY"\r\n'
          'Strict-Transport-Security: max-age=31536000; includeSubDomains\r\n\r\n').format(len(body)).encode() + body
seen = []

def serve(sock):
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    data = b''
    while True:
        end = data.find(b'\r\n\r\n')
        while end < 0:
            chunk = sock.recv(65536)
            if not chunk:
                return
            data += chunk
            end = data.find(b'\r\n\r\n')
        at = data.lower().find(b'content-length:', 0, end)
        length = int(data[at + 15:data.find(b'\r\n', at)]) if at > 0 else 0
        while len(data) < end + 4 + length:
            data += sock.recv(65536)
        seen.append(data[:end + 4 + length])
        data = data[end + 4 + length:]
        sock.sendall(ANSWER)

def check(raw):
    head, _, text = raw.partition(b'\r\n\r\n')
    lines = head.split(b'\r\n')
    verb, path, _ = lines[0].split(b' ')
    headers = {name.strip().lower(): value.strip() for name, value in (line.split(b':', 1) for line in lines[1:])}
    message = verb + path + headers[b'api-expires'] + text
    order = json.loads(text.decode())
    assert (verb, path, order['orderQty'], order['price']) == (b'POST', b'/api/v1/order', 100, 5000.5), raw
    assert hmac.new(secret, message, hashlib.sha256).hexdigest().encode() == headers[b'api-signature'], raw

listener = socket.socket()
listener.bind(('127.0.0.1', 0))
listener.listen(20)

def accept():
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

threading.Thread(target=accept, daemon=True).start()
print(listener.getsockname()[1], flush=True)
for line in sys.stdin:
    orders, seen[:] = list(seen), []
    orders = [raw for raw in orders if not raw.startswith(b'GET /local-exchange')]
    for raw in orders:
        check(raw)
    print(len(orders), flush=True)
'''

WORKER = r'''
import json, sys, threading, time
url, key, secret, kind = sys.argv[1:5]
del sys.argv[1:]

class Tables(object):
    def exit(self):
        pass

if kind.startswith('ours'):
    if kind == 'ours':
        sys.modules['orjson'] = sys.modules['httptools'] = None   # as if they were not installed
    from market_maker.bitmex import BitMEX
    from market_maker.rest.direct import DirectTransport, fastest
    transport = fastest(url, key, secret)
    assert isinstance(transport, DirectTransport) == (kind != 'ours'), transport
    bot = BitMEX(url, 'XBTUSD', key, secret, transport=transport, ws=Tables())
    bot.remember('state')
    order = lambda: bot.place_order(100, 5000.5)
elif kind == 'classic':
    from market_maker.ws.ws_thread import BitMEXWebsocket
    BitMEXWebsocket.connect = lambda *args, **kwargs: None
    from market_maker.bitmex import BitMEX
    bot = BitMEX(url, 'XBTUSD', key, secret)
    order = lambda: bot.place_order(100, 5000.5)
else:
    import hashlib, hmac, http.client, uuid, base64
    from urllib.parse import urlsplit
    local = threading.local()
    path, host = urlsplit(url).path + 'order', urlsplit(url).netloc
    def order():
        try:
            connection = local.connection
        except AttributeError:
            connection = local.connection = http.client.HTTPConnection(host)
        body = json.dumps({'symbol': 'XBTUSD', 'orderQty': 100, 'price': 5000.5,
                           'clOrdID': 'mm_bitmex_' + base64.b64encode(uuid.uuid4().bytes).decode().rstrip('=')})
        expires = str(int(time.time()) + 5)
        signature = hmac.new(secret.encode(), ('POST' + path + expires + body).encode(), hashlib.sha256).hexdigest()
        connection.request('POST', path, body, {'Content-Type': 'application/json', 'api-key': key,
                                                'api-expires': expires, 'api-signature': signature})
        return json.loads(connection.getresponse().read())

def run(count):
    for _ in range(count):
        row = order()
        assert row['orderID'] and row['price'] == 5000.5 and row['ordStatus'] == 'New', row

run(20)
print('ready', flush=True)
for line in sys.stdin:
    threads, count = map(int, line.split())
    workers = [threading.Thread(target=run, args=(count,)) for _ in range(threads)]
    began = time.perf_counter()
    if threads == 1:
        run(count)
    else:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    print(time.perf_counter() - began, flush=True)
'''

CLASSIC_SETTINGS = 'import logging\nLOG_LEVEL = logging.WARNING\n'


def measure(baseline, rounds, orders):
    """Return {contender: {'one': [seconds an order], 'four': [orders a second]}}, one value a round."""
    server = common.Child(sys.executable, SERVER, SECRET)
    url = 'http://127.0.0.1:{}/api/v1/'.format(server.read())
    people = [('ours', sys.executable), ('ours, speed', sys.executable), ('floor', sys.executable)]
    if baseline:
        people.insert(0, ('classic', baseline))
    figures = {name: {'one': [], 'four': []} for name, _ in people}
    workers = []
    with tempfile.TemporaryDirectory(prefix='orders-') as folder:
        with open(os.path.join(folder, 'settings.py'), 'w') as settings:
            settings.write(CLASSIC_SETTINGS)
        try:
            for name, python in people:
                path = '' if name == 'classic' else common.ROOT
                worker = common.Child(python, WORKER, url, KEY, SECRET, name, name=name, cwd=folder,
                                      env=common.environment(path))
                workers.append((name, worker))
                worker.wait_until_ready()
                server.ask('count')
            for number in range(rounds):
                for name, worker in common.turns(workers, number):
                    figures[name]['one'].append(float(worker.ask('1 {}'.format(orders))) / orders)
                    sent = int(server.ask('count'))
                    figures[name]['four'].append(THREADS * orders / float(worker.ask('{} {}'.format(THREADS, orders))))
                    sent += int(server.ask('count'))
                    assert sent == orders * (THREADS + 1), '{} sent {} orders'.format(name, sent)
        finally:
            for _, worker in workers:
                worker.end()
            server.end()
    return figures


TARGETS = {'ours': (1.5, 1.5), 'ours, speed': (3, 5)}   # one order, four threads: so many times the classic one


def table(figures):
    """Return the lines of a Markdown table, the same numbers as a dict, and the ratios."""
    numbers, ratios = {}, {}
    against = figures.get('classic')
    lines = ['| | one order, us (median, minimum) | four threads, orders/s (median, best) | ratio, one order | '
             'ratio, four threads | target |', '| --- |' + ' --- |' * 5]
    for name in [name for name in ('classic', 'ours', 'ours, speed', 'floor') if name in figures]:
        one, four = figures[name]['one'], figures[name]['four']
        numbers[name] = {'order_us': statistics.median(one) * 1e6, 'order_us_min': min(one) * 1e6,
                         'four_threads_per_s': statistics.median(four), 'four_threads_per_s_best': max(four)}
        cells = ['', '']
        if against and name != 'classic':
            both = common.paired(against['one'], one), common.paired(four, against['four'])
            cells = ['{:.2f}x'.format(value) for value in both]
            # what is recorded comes of the best rounds: other work on the machine disturbs the others
            if name != 'floor':
                ratios['classic / {}, one order'.format(name)] = min(against['one']) / min(one)
                ratios['{} / classic, four threads'.format(name)] = max(four) / max(against['four'])
        elif name.startswith('ours'):
            ratios['floor / {}, one order'.format(name)] = min(figures['floor']['one']) / min(one)
        lines.append('| {} | {} | {:,.0f}, {:,.0f} | {} | {} | {} |'.format(
            name, common.summary([value * 1e6 for value in one], '{:.0f}'), statistics.median(four), max(four),
            cells[0], cells[1], '>= {}x, >= {}x'.format(*TARGETS[name]) if name in TARGETS else ''))
    return lines, numbers, ratios


def main(argv=None):
    """Run the benchmark and print its table."""
    parser = common.parser(__doc__, 9)
    parser.add_argument('--orders', type=int, default=500, help='orders of one thread in a round')
    options = parser.parse_args(argv)
    if options.quick:
        options.rounds, options.orders = 12, 40   # many short ones: some of them are not disturbed
    return common.finish(options, 'orders', *table(measure(options.baseline_python, options.rounds, options.orders)))


if __name__ == '__main__':
    sys.exit(main())
