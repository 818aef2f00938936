"""How fast the local exchange answers: REST orders against a bare aiohttp handler, and updates to many subscribers.

    python benchmarks/server.py [--rounds N] [--orders N] [--updates N] [--quick] [--json FILE]

The exchange runs in a process of its own, the clients in this one, on raw sockets, so that little but the server is
measured.  The floor of a REST order is an aiohttp handler that reads the body and returns the same bytes.  Rounds of
floor and exchange alternate; the figures are medians over the rounds, ratios those of the same round.  Every round
asserts what it got.
"""
import json
import multiprocessing
import selectors
import socket
import statistics
import sys
import threading
import time

import common
from market_maker.auth.signing import generate_signature

KEY, SECRET = 'benchmark', 'benchmark-secret'
ORDER = {'symbol': 'XBTUSD', 'side': 'Buy', 'orderQty': 100, 'price': 50000, 'ordType': 'Limit',
         'execInst': 'ParticipateDoNotInitiate'}
BATCH = 100             # orders between two cancels of all: at most 200 may be open
SUBSCRIBERS = 100

LEAST = 15000           # deliveries in a second of the processor that a quick run asks for: half of the target

# figure, words for the table, which of several is the best, target
NAMES = [
    ('floor_us', 'bare aiohttp handler, us', min, ''), ('order_us', 'signed order, one client, us', min, ''),
    ('ratio', '... ratio', min, '<= 2.5x'), ('floor_cpu_us', 'bare aiohttp handler, us of its processor', min, ''),
    ('order_cpu_us', 'signed order, us of the exchange\'s processor', min, ''),
    ('ratio_cpu', '... ratio', min, '<= 2.5x'),
    ('order_16_us', 'signed order, 16 clients, us of the exchange\'s processor an order', min, ''),
    ('ratio_16', '... ratio to one client', min, '<= 1x'),
    ('deliveries', 'deliveries a second, 100 subscribers', max, '>= 30,000'),
    ('sent', '... as the sender sees it', max, ''),
    ('deliveries_cpu', '... in a second of its processor', max, '>= 30,000'),
    ('deliveries_stalled', '... with 5 more that read nothing', max, ''),
    ('ratio_stalled', '... ratio', max, '1x'),
]


def serve_exchange(pipe):
    """Run a local exchange; obey (name, argument) from the pipe until told to end."""
    from market_maker.server import collector
    from market_maker.server.local_exchange import running
    people = [{'key': KEY + str(number), 'secret': SECRET} for number in range(16)]
    collector.spare()   # as the exchange's own process does
    with running(bid=60000, ask=60000.1, accounts=people) as testnet:
        pipe.send(testnet.port)
        while True:
            name, argument = pipe.recv()
            if name == 'end':
                return
            if name == 'updates':
                pipe.send(testnet.call(lambda count=argument: updates(testnet, count), 600))
            elif name == 'cpu':
                pipe.send(time.process_time())


def updates(testnet, count):
    """Change the book ``count`` times, send each change out at once, and return the seconds and the processor seconds
    that it took."""
    exchange, hub = testnet.exchange, testnet.server.hub
    hub.flush()
    instrument = exchange.instruments['XBTUSD']
    ticks = instrument.ticks_of(59000)
    began, busy = time.perf_counter(), time.thread_time()
    for number in range(count):
        exchange.rest('XBTUSD', 'Buy', ticks - number % 50, 100)
        hub.flush()
    return time.perf_counter() - began, time.thread_time() - busy


def serve_floor(pipe):
    """Run the floor: one route, the body read, a constant answer."""
    import asyncio

    from aiohttp import web

    answer = pipe.recv()

    async def handler(request):
        await request.read()
        return web.Response(body=answer, content_type='application/json')

    async def main():
        app = web.Application()
        app.router.add_post('/api/v1/order', handler)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, '127.0.0.1', 0)
        await site.start()
        pipe.send(site._server.sockets[0].getsockname()[1])
        while (await asyncio.get_running_loop().run_in_executor(None, pipe.recv))[0] != 'end':
            pipe.send(time.process_time())
        await runner.cleanup()
    asyncio.run(main())


def request_bytes(verb, path, body, key):
    """Return a signed request as it goes over the wire."""
    text = json.dumps(body)
    expires = str(int(time.time()) + 3600)
    return '\r\n'.join([
        '{} {} HTTP/1.1'.format(verb, path), 'Host: 127.0.0.1', 'Content-Type: application/json', 'api-key: ' + key,
        'api-expires: ' + expires, 'api-signature: ' + generate_signature(SECRET, verb, path, expires, text),
        'Content-Length: {}'.format(len(text)), '', text]).encode('ascii')


class Caller:
    """One kept-alive connection."""

    def __init__(self, port, key):
        self.socket = socket.create_connection(('127.0.0.1', port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.order = request_bytes('POST', '/api/v1/order', ORDER, key)
        self.clear = request_bytes('DELETE', '/api/v1/order/all', {}, key)

    def call(self, request):
        """Return the body of the answer, which must be a 200."""
        self.socket.sendall(request)
        data = self.socket.recv(65536)
        head, _, body = data.partition(b'\r\n\r\n')
        assert head.startswith(b'HTTP/1.1 200'), data
        length = int(head.lower().split(b'content-length: ')[1].split(b'\r\n')[0])
        while len(body) < length:
            body += self.socket.recv(65536)
        return body

    def orders(self, count, clears, meter=None):
        """Place ``count`` orders; return the seconds spent on them, and the server's processor seconds by ``meter``.

        Between batches all are canceled where ``clears``, which is not counted.
        """
        spent = busy = 0.0
        for first in range(0, count, BATCH):
            before = meter() if meter else 0.0
            began = time.perf_counter()
            for _ in range(min(BATCH, count - first)):
                body = self.call(self.order)
            spent += time.perf_counter() - began
            busy += (meter() if meter else 0.0) - before
            assert b'"ordStatus":"New"' in body, body
            if clears:
                self.call(self.clear)
        return spent, busy


def measure_many(port, keys, count, meter):
    """Return the server's processor seconds per order of several clients at once, each in a thread; by ``meter``.

    They place no more than may be open, and cancel all when that is measured.
    """
    callers = [Caller(port, key) for key in keys]
    threads = [threading.Thread(target=caller.orders, args=(count, False)) for caller in callers]
    before = meter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = (meter() - before) / (count * len(keys))
    for caller in callers:
        caller.call(caller.clear)
    return spent


class Subscriber:
    """A WebSocket that counts the bytes that it is sent."""

    def __init__(self, port):
        self.socket = socket.create_connection(('127.0.0.1', port))
        self.socket.sendall(b'GET /realtime?subscribe=orderBookL2:XBTUSD HTTP/1.1\r\n'
                            b'Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
                            b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n')
        self.count = 0


def read_all(subscribers, marker, wanted):
    """Read until every subscriber has got ``wanted`` times the marker; return the moment when the last one had."""
    selector = selectors.DefaultSelector()
    for subscriber in subscribers:
        subscriber.count = 0
        subscriber.rest = b''
        selector.register(subscriber.socket, selectors.EVENT_READ, subscriber)
    left = len(subscribers)
    deadline = time.monotonic() + 120
    while left:
        assert time.monotonic() < deadline, 'the updates did not come'
        for key, _ in selector.select(10):
            subscriber = key.data
            data = subscriber.rest + subscriber.socket.recv(1 << 18)
            subscriber.count += data.count(marker)
            # What may be the beginning of a marker is looked at again with what follows it.
            subscriber.rest = data[-(len(marker) - 1):]
            if subscriber.count == wanted:
                left -= 1
                selector.unregister(subscriber.socket)
    return time.perf_counter()


def measure_broadcast(pipe, port, count, stalled=0):
    """Return deliveries a second of ``count`` book updates to SUBSCRIBERS: as they arrive, as the sender sees it, and
    as its processor does; ``stalled`` further ones read nothing."""
    subscribers = [Subscriber(port) for _ in range(SUBSCRIBERS)]
    sleepers = [Subscriber(port) for _ in range(stalled)]
    read_all(subscribers, b'"action":"partial"', 1)
    for sleeper in sleepers:
        sleeper.socket.recv(1024)
    marker = b'"table":"orderBookL2","action"'
    began = time.perf_counter()
    pipe.send(('updates', count))
    ended = read_all(subscribers, marker, count)
    assert pipe.poll(60)
    sending, busy = pipe.recv()
    for subscriber in subscribers + sleepers:
        subscriber.socket.close()
    return SUBSCRIBERS * count / (ended - began), SUBSCRIBERS * count / sending, SUBSCRIBERS * count / busy


def meter_of(pipe):
    """Return a function that returns the processor seconds of the server at the other end."""
    def meter():
        pipe.send(('cpu', None))
        return pipe.recv()
    return meter


def timed(pipe, port, key, count, clears):
    """Return microseconds and the server's processor microseconds per order."""
    spent, busy = Caller(port, key).orders(count, clears, meter_of(pipe))
    return spent / count * 1e6, busy / count * 1e6


def start(target):
    """Return a process and the pipe to it."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context('spawn').Process(target=target, args=(theirs,), daemon=True)
    process.start()
    return process, ours


def measure(rounds, count, broadcasts):
    """Return the figures of all rounds: name -> list."""
    exchange, pipe = start(serve_exchange)
    port = pipe.recv()
    keys = [KEY + str(number) for number in range(16)]
    sample = Caller(port, keys[0]).call(Caller(port, keys[0]).order)
    Caller(port, keys[0]).orders(2000, True)
    floor, floor_pipe = start(serve_floor)
    floor_pipe.send(sample)
    floor_port = floor_pipe.recv()
    Caller(floor_port, keys[0]).orders(500, False)
    figures = {name: [] for name, _, _, _ in NAMES}
    for _ in range(rounds):
        bare, bare_cpu = timed(floor_pipe, floor_port, keys[0], count, False)
        ours, ours_cpu = timed(pipe, port, keys[0], count, True)
        for name, value in (('floor_us', bare), ('floor_cpu_us', bare_cpu), ('order_us', ours),
                            ('order_cpu_us', ours_cpu), ('ratio', ours / bare), ('ratio_cpu', ours_cpu / bare_cpu)):
            figures[name].append(value)
        figures['order_16_us'].append(measure_many(port, keys, BATCH, meter_of(pipe)) * 1e6)
        figures['ratio_16'].append(figures['order_16_us'][-1] / ours_cpu)
        delivered, sent, by_processor = measure_broadcast(pipe, port, broadcasts)
        figures['deliveries'].append(delivered)
        figures['sent'].append(sent)
        figures['deliveries_cpu'].append(by_processor)
        figures['deliveries_stalled'].append(measure_broadcast(pipe, port, broadcasts, 5)[0])
        figures['ratio_stalled'].append(figures['deliveries_stalled'][-1] / delivered)
    pipe.send(('end', None))
    floor_pipe.send(('end', None))
    exchange.join(10)
    floor.join(10)
    return figures


def report(figures):
    """Return the lines of the table."""
    lines = ['| what | median | best | target |', '| --- | --- | --- | --- |']
    for name, words, best, target in NAMES:
        form = '{:.2f}x' if name.startswith('ratio') else '{:,.0f}'
        lines.append('| {} | {} | {} | {} |'.format(words, form.format(statistics.median(figures[name])),
                                                    form.format(best(figures[name])), target))
    return lines


def main():
    """Measure and print."""
    parser = common.parser(__doc__, 5, baseline=False)
    parser.add_argument('--orders', type=int, default=2000)
    parser.add_argument('--updates', type=int, default=1000)
    options = parser.parse_args()
    figures = measure(*((3, 300, 100) if options.quick else (options.rounds, options.orders, options.updates)))
    # Processor time and the best round, for other work on the machine disturbs all the others.
    ratios = {'floor / order, processor': 1 / min(figures['ratio_cpu']),
              'one client / 16 clients, processor': 1 / min(figures['ratio_16'])}
    if options.quick:
        assert max(figures['deliveries_cpu']) > LEAST, figures['deliveries_cpu']
    return common.finish(options, 'server', report(figures), figures, ratios)


if __name__ == '__main__':
    sys.exit(main())
