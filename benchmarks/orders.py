"""How long one order takes: signed, sent, and its answer parsed; and how many four threads get through in a second.

    python benchmarks/orders.py [--baseline-python PATH] [--rounds N] [--orders N] [--quick] [--json FILE]

A bare server in a process of its own answers every order with the same bytes, in the headers that BitMEX sends, so that
little but the client is measured.  Contenders take turns, each in a process of its own:

    ours      BitMEX.place_order, with limiter, retry policy, name and everything
    classic   the same method of bitmex-market-maker 1.6.1, run by the Python that --baseline-python names
              (python -m venv DIR; DIR/bin/pip install bitmex-market-maker==1.6.1 websocket-client==0.56)
    floor     http.client, an HMAC, and json: what the standard library can do

Figures are medians over the rounds.  The server checks the signature of every order afterwards, and the client the row
of every answer.  The live tables are left out on both sides: no WebSocket is opened.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

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
          'Content-Length: {}\r\nConnection: keep-alive\r\nx-ratelimit-limit: 120\r\nx-ratelimit-remaining: 119\r\n'
          'x-ratelimit-reset: 1543467798\r\nx-ratelimit-remaining-1s: 9\r\nX-Powered-By: Profit\r\n'
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

if kind == 'ours':
    from market_maker.bitmex import BitMEX
    from market_maker.rest.transport import Transport
    bot = BitMEX(url, 'XBTUSD', key, secret, transport=Transport(url, key, secret), ws=Tables())
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


class Process(object):
    """A child that answers each line with a line."""

    def __init__(self, python, program, *args, **options):
        self.child = subprocess.Popen([python, '-c', program] + list(args), stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, universal_newlines=True, **options)

    def read(self):
        line = self.child.stdout.readline()
        if not line:
            raise SystemExit('a contender ended with status {}'.format(self.child.wait(10)))
        return line.strip()

    def ask(self, text):
        self.child.stdin.write(text + '\n')
        self.child.stdin.flush()
        return self.read()

    def end(self):
        self.child.stdin.close()
        self.child.wait(10)


def measure(baseline, rounds, orders):
    """Return {contender: {'one': [seconds an order], 'four': [orders a second]}}, one value a round."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    server = Process(sys.executable, SERVER, SECRET)
    url = 'http://127.0.0.1:{}/api/v1/'.format(server.read())
    folder = tempfile.mkdtemp(prefix='orders-')
    with open(os.path.join(folder, 'settings.py'), 'w') as settings:
        settings.write(CLASSIC_SETTINGS)
    pythons = [('ours', sys.executable, root), ('floor', sys.executable, root)]
    if baseline:
        pythons.insert(0, ('classic', baseline, ''))
    workers = []
    for name, python, path in pythons:
        environment = dict(os.environ, PYTHONPATH=path)
        workers.append((name, Process(python, WORKER, url, KEY, SECRET, name, env=environment, cwd=folder)))
    figures = {name: {'one': [], 'four': []} for name, _ in workers}
    try:
        for _, worker in workers:
            while worker.read() != 'ready':   # the classic one prints lines of its own at import
                continue
            server.ask('count')
        for number in range(rounds):
            order = workers if number % 2 else workers[::-1]   # whoever comes first may find a colder machine
            for name, worker in order:
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


def table(figures):
    """Return the lines of a Markdown table, and the same numbers as a dict."""
    numbers = {}
    for name, values in figures.items():
        numbers[name] = {'order_us': statistics.median(values['one']) * 1e6, 'order_us_min': min(values['one']) * 1e6,
                         'four_threads_per_s': statistics.median(values['four'])}
    against = numbers.get('classic')
    lines = ['| | one order, median us | minimum us | four threads, orders/s | order, ratio | threads, ratio |',
             '| --- | --- | --- | --- | --- | --- |']
    for name in ('classic', 'ours', 'floor'):
        if name in numbers:
            row = numbers[name]
            if against:
                row['order_ratio'] = against['order_us'] / row['order_us']
                row['threads_ratio'] = row['four_threads_per_s'] / against['four_threads_per_s']
            ratios = ['{:.2f}'.format(row[key]) if key in row else '' for key in ('order_ratio', 'threads_ratio')]
            lines.append('| {} | {:.0f} | {:.0f} | {:.0f} | {} | {} |'.format(
                name, row['order_us'], row['order_us_min'], row['four_threads_per_s'], *ratios))
    return lines, numbers


def main(argv=None):
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--baseline-python', metavar='PATH', help='Python of an environment with the classic bot')
    parser.add_argument('--rounds', type=int, default=9)
    parser.add_argument('--orders', type=int, default=500, help='orders of one thread in a round')
    parser.add_argument('--quick', action='store_true', help='three short rounds: does it still run?')
    parser.add_argument('--json', metavar='FILE', help='write the numbers there too')
    options = parser.parse_args(argv)
    if options.quick:
        options.rounds, options.orders = 3, 100
    lines, numbers = table(measure(options.baseline_python, options.rounds, options.orders))
    print('\n'.join(lines))
    if options.json:
        with open(options.json, 'w') as output:
            json.dump(numbers, output, indent=2, sort_keys=True)


if __name__ == '__main__':
    main()
