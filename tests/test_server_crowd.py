"""A crowd on one local exchange: fifty WebSocket clients, twenty accounts that trade, and clients that never read.

The exchange runs in a process of its own, as users start it; the crowd lives in this one, in one event loop.  The long
form of five minutes is a soak test.
"""
import asyncio
import json
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import pytest

pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')

import aiohttp  # noqa: E402
import websocket  # noqa: E402
from local_client import auth_headers  # noqa: E402

from market_maker.auth.signing import generate_signature  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ACCOUNTS, SOCKETS = 20, 50
PAUSE = 0.5             # seconds between two rounds of an account
LOOK = 0.05             # seconds between two looks at the memory and at who has been dropped
# What the market's followers follow, in turn.
APPETITES = ('trade:XBTUSD,quote:XBTUSD', 'trade:XBTUSD,orderBookL2:XBTUSD', 'trade:XBTUSD,orderBookL2_25:XBTUSD',
             'trade,instrument', 'trade:XBTUSD,orderBook10:XBTUSD')
# What a greedy client asks for, again and again, without ever reading an answer: large images.
GREED = [{'op': op, 'args': ['instrument', 'orderBookL2']} for op in ('subscribe', 'unsubscribe')]
EVERYTHING = 'instrument,trade,quote,orderBookL2,orderBookL2_25,orderBook10'


class Process:
    """A ``marketmaker testnet`` with the crowd's accounts."""

    def __init__(self, *words):
        keys = [word for number in range(ACCOUNTS) for word in ('--account', 'key{0}:secret{0}'.format(number))]
        # Every fill is a line in its log: a pipe that nobody reads would be full one day, and the exchange would wait.
        self._log = tempfile.TemporaryFile(mode='w+')
        self.process = subprocess.Popen(
            [sys.executable, '-m', 'market_maker', 'testnet', '--port', '0'] + keys + list(words), cwd=ROOT,
            stdout=subprocess.PIPE, stderr=self._log, universal_newlines=True)
        said = []
        while not said or 'Ctrl-C ends it.' not in said[-1]:
            said.append(self.process.stdout.readline())
            assert said[-1], self._complaints()
        self.base = re.search(r'Local exchange at (http://\S+)/api/v1/', ''.join(said)).group(1)
        self.ws_url = 'ws' + self.base[len('http'):] + '/realtime'

    def memory(self):
        """Return the resident memory of the process in bytes."""
        try:
            with open('/proc/{}/statm'.format(self.process.pid)) as file:
                return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')
        except FileNotFoundError:   # a system without /proc
            return 1024 * int(subprocess.check_output(['ps', '-o', 'rss=', '-p', str(self.process.pid)]))

    def end(self):
        """End it; return what it complained about, line by line."""
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=20)
        with self._log:
            complaints = self._complaints()
        assert self.process.returncode == 0, complaints
        return complaints

    def _complaints(self):
        self._log.seek(0)
        return [line for line in self._log if ' - INFO - ' not in line]


class Stalled:
    """A client that reads nothing at all: a greedy one asks for ever more, a quiet one is just not there."""

    def __init__(self, ws_url, greedy):
        self.socket = websocket.create_connection(
            ws_url if greedy else ws_url + '?subscribe=' + EVERYTHING, timeout=20, http_no_proxy=['*'],
            sockopt=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)])
        self.greedy = greedy
        self.dropped = False

    def act(self):
        """Find out whether the exchange has had enough, and ask for more, or send a ping, when it has not."""
        try:
            for request in GREED if self.greedy else ['ping']:
                self.socket.send(request if request == 'ping' else json.dumps(request))
        except (OSError, websocket.WebSocketException):
            self.dropped = True

    def close(self):
        """Close what is left of the connection."""
        self.socket.shutdown()


class Follower:
    """A WebSocket client that reads; keeps how late each trade was, and which it saw."""

    def __init__(self):
        self.lags = []        # (time of arrival, seconds from the trade's timestamp to its arrival here)
        self.trades = {}      # trdMatchID of XBTUSD -> time of arrival
        self.fills = set()    # execID
        self.orders = {}      # clOrdID -> time of arrival of its insert
        self.frames = 0
        self.task = None

    async def follow(self, session, url, headers=None):
        """Connect and read in the background."""
        self._ws = await session.ws_connect(url, headers=headers or {})
        self.task = asyncio.ensure_future(self._read())

    async def _read(self):
        async for message in self._ws:
            self.frames += 1
            text = message.data
            if '"insert"' not in text or text.startswith('{"table":"orderBook'):
                continue
            now = time.time()
            frame = json.loads(text)
            if frame['table'] == 'trade':
                rows = [row for row in frame['data'] if row['symbol'] == 'XBTUSD']
                self.trades.update((row['trdMatchID'], now) for row in rows)
                self.lags.extend((now, now - unix(row['timestamp'])) for row in rows[-1:])
            elif frame['table'] == 'execution':
                self.fills.update(row['execID'] for row in frame['data'] if row['execType'] == 'Trade')
            elif frame['table'] == 'order':
                self.orders.update((row.get('clOrdID'), now) for row in frame['data'])

    async def stop(self):
        """Say goodbye; a connection that the exchange has closed fails here."""
        assert not self.task.done(), 'the exchange closed the connection of a client that reads'
        await self._ws.close()
        await self.task


class Trader:
    """An account that quotes and takes, and watches itself over the WebSocket."""

    def __init__(self, number, process, session):
        self.key, self.secret = 'key{}'.format(number), 'secret{}'.format(number)
        self.follower = Follower()
        self.sent = {}        # clOrdID -> time at which the order was sent
        self.answers = []     # seconds that a request took
        self._base, self._ws_url, self._session = process.base, process.ws_url, session
        self._chance = random.Random(number)

    async def connect(self):
        """Follow the own account."""
        headers = dict(line.split(': ', 1) for line in auth_headers(self.key, self.secret))
        await self.follower.follow(self._session, self._ws_url + '?subscribe=order,execution,position,margin', headers)

    async def request(self, verb, path, body=None):
        """Return the decoded answer, whatever its status."""
        text = json.dumps(body) if body is not None else ''
        expires = str(int(time.time()) + 60)
        signature = generate_signature(self.secret, verb, '/api/v1' + path, expires, text)
        began = time.time()
        async with self._session.request(verb, self._base + '/api/v1' + path, data=text or None, headers={
                'Content-Type': 'application/json', 'api-key': self.key, 'api-expires': expires,
                'api-signature': signature}) as answer:
            said = await answer.json()
            self.answers.append(time.time() - began)
            assert answer.status in (200, 400), said
            return said

    async def trade(self, until):
        """Quote at the touch, take, amend and cancel until a time."""
        turn = 0
        while time.time() < until:
            touch = await self.request('GET', '/orderBook/L2?symbol=XBTUSD&depth=1')
            for side, price in sorted((row['side'], row['price']) for row in touch):
                name = '{}-{}-{}'.format(self.key, turn, side)
                self.sent[name] = time.time()
                await self.request('POST', '/order', {'symbol': 'XBTUSD', 'side': side, 'orderQty': 100,
                                                      'price': price, 'clOrdID': name})
            if turn % 4 == 1:
                await self.request('POST', '/order', {'symbol': 'XBTUSD', 'side': self._chance.choice(('Buy', 'Sell')),
                                                      'orderQty': 100, 'ordType': 'Market'})
            elif turn % 4 == 3:
                await self.request('DELETE', '/order/all', {})
            turn += 1
            await asyncio.sleep(PAUSE * self._chance.uniform(0.5, 1.5))
        await self.request('DELETE', '/order/all', {})

    async def fills(self):
        """Return the execIDs of the fills that REST knows."""
        found, start = set(), 0
        while True:
            page = await self.request('GET', '/execution/tradeHistory?count=500&start={}'.format(start))
            found.update(row['execID'] for row in page if row['execType'] == 'Trade')   # not funding
            if len(page) < 500:
                return found
            start += 500


def unix(stamp):
    """Return the Unix seconds of a timestamp as rows carry it."""
    return time.mktime(time.strptime(stamp[:19], '%Y-%m-%dT%H:%M:%S')) - time.timezone + float(stamp[19:23])


async def settled(condition, timeout=30):
    """Return whether the condition came true."""
    deadline = time.time() + timeout
    while not condition() and time.time() < deadline:
        await asyncio.sleep(0.02)
    return condition()


async def oversleep(seconds):
    """Sleep, and return by how many seconds too long: what this busy process itself adds to every lag."""
    began = time.time()
    await asyncio.sleep(seconds)
    return time.time() - began - seconds


async def crowd(process, seconds):
    """Let the crowd live for some seconds, the second half beside clients that do not read; return what was measured.
    """
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        followers = [Follower() for _ in range(SOCKETS - ACCOUNTS)]
        traders = [Trader(number, process, session) for number in range(ACCOUNTS)]
        for number, follower in enumerate(followers):
            await follower.follow(session, process.ws_url + '?subscribe=' + APPETITES[number % len(APPETITES)])
        for trader in traders:
            await trader.connect()
        assert await settled(lambda: all(one.trades for one in followers))
        began, at_first = time.time(), process.memory()
        half, end = began + seconds / 2, began + seconds
        trading = [asyncio.ensure_future(trader.trade(end)) for trader in traders]
        late = []
        while time.time() < half:
            late.append(await oversleep(LOOK))
        memory = [process.memory()]
        in_thread = asyncio.get_running_loop().run_in_executor   # for what waits for its socket
        stalled = [await in_thread(None, Stalled, process.ws_url, False)]
        while time.time() < end or not any(one.dropped for one in stalled):
            assert time.time() < end + 60, 'no client that reads nothing is dropped'
            if all(one.dropped for one in stalled if one.greedy):
                stalled.append(await in_thread(None, Stalled, process.ws_url, True))
            for one in stalled:
                if not one.dropped:
                    await in_thread(None, one.act)
            memory.append(process.memory())
            late.append(await oversleep(LOOK))
        await asyncio.gather(*trading)
        for one in stalled:
            one.close()

        for trader in traders:
            fills = await trader.fills()
            assert await settled(lambda: trader.follower.fills == fills), (trader.key, len(fills))  # noqa: B023
        assert sum(len(trader.follower.fills) for trader in traders) > ACCOUNTS
        over = time.time()
        assert await settled(lambda: all(max(one.trades.values()) > over for one in followers))
        for one in followers + [trader.follower for trader in traders]:
            await one.stop()
    return {'followers': followers, 'traders': traders, 'stalled': stalled, 'at first': at_first, 'memory': memory,
            'began': began, 'half': half, 'end': end, 'late': late}


def check(found):
    """Hold what a crowd measured against what is promised."""
    followers, traders, half, end = found['followers'], found['traders'], found['half'], found['end']
    everything = {}
    for one in followers:
        everything.update(one.trades)
    common = [name for name, when in everything.items() if found['began'] + 0.5 < when < end - 0.5]
    assert len(common) > 10
    for one in followers:
        assert set(common) <= set(one.trades), 'a client missed trades'

    lags = {'before': [], 'beside': []}
    orders = {'before': [], 'beside': []}
    for one in followers:
        for when, lag in one.lags:
            lags['before' if when < half else 'beside'].append(lag)
    for trader in traders:
        for name, when in trader.sent.items():
            orders['before' if when < half else 'beside'].append(trader.follower.orders[name] - when)
    # What a machine that is busy with other things adds is not the exchange's.
    ours, ours_at_most = statistics.median(found['late']), max(found['late'])
    for name, seen in (('trades', lags), ('own orders', orders)):
        before, beside = [sorted(seen[phase]) for phase in ('before', 'beside')]
        print('{}: median {:.1f} ms, 99 of 100 within {:.1f} ms; beside those who do not read {:.1f}, {:.1f} ms'.format(
            name, *[1000 * value for some in (before, beside) for value in (
                statistics.median(some), some[len(some) * 99 // 100])]))
        # A slow machine is slow in both halves; who does not read must make no difference.
        assert statistics.median(beside) < 2 * statistics.median(before) + 0.2 + ours, (
            'others notice those who do not read')
        assert beside[len(beside) * 99 // 100] < 3 * before[len(before) * 99 // 100] + 0.5 + ours_at_most, (
            'others notice those who do not read')
        assert statistics.median(beside) < 1 and beside[len(beside) * 99 // 100] < 5
    memory = found['memory']
    history, growth = memory[0] - found['at first'], max(memory) - memory[0]
    print('memory: {:.0f} MB, {:.0f} MB more by the history of the first half, {:.0f} MB more beside those who do not '
          'read; dropped: {} of {}'.format(found['at first'] / 1e6, history / 1e6, growth / 1e6,
                                           sum(one.dropped for one in found['stalled']), len(found['stalled'])))
    # Two of them at a time may leave 4 MB unread each, in pieces of any size.
    assert growth < 1.5 * max(history, 0) + 40e6, 'clients that do not read cost memory'


def live(seconds):
    """Run a crowd for some seconds on a lively exchange and check it; return what it measured."""
    process = Process('--market', 'lively', '--seed', '7', '--no-rate-limits')
    try:
        found = asyncio.run(crowd(process, seconds))
    finally:
        complaints = process.end()
    assert all('Dropped a WebSocket client' in line for line in complaints), complaints
    # One may be dropped and not know it yet.
    assert 0 <= len(complaints) - sum(one.dropped for one in found['stalled']) <= 2, complaints
    check(found)
    return found


def test_a_crowd_and_some_that_read_nothing():
    """Everybody gets every trade and fill in time; who reads nothing is dropped, and nobody else notices."""
    live(4)


@pytest.mark.soak
def test_a_crowd_for_five_minutes():
    """The same for five minutes; a client that just stands there, asking for nothing more, is dropped in time, too."""
    assert live(300)['stalled'][0].dropped
