"""The smallest exchange on which both bots can quote: what the benchmarks of whole bots run against.

    python benchmarks/bare_exchange.py

It listens on a free port of this machine, prints the port, and then answers each line of JSON on its standard input
with a line of JSON.  Orders rest and are echoed; nothing trades by itself.  It sends no header of a rate limit unless
told to, and checks no signature: what is measured is the bot.  Times are seconds of the system's monotonic clock, which
all processes of a machine share.
"""
import asyncio
import collections
import json
import sys
import time

from aiohttp import WSMsgType, web

SYMBOL, ACCOUNT = 'XBTUSD', 273093
KEYS = {'order': ['orderID'], 'position': ['account', 'symbol', 'strategy'], 'margin': ['account', 'currency'],
        'instrument': ['symbol'], 'execution': [], 'quote': [], 'trade': []}
LIMIT = 120   # requests a minute that the headers speak of when a limit is set


def stamp():
    """Return the time as the exchange writes it."""
    now = time.time()
    return '{}.{:03d}Z'.format(time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now)), int(now % 1 * 1000))


class BareExchange(object):
    """Orders in a dict, subscribers in a set, and a log of what was asked for."""

    def __init__(self):
        self.orders = collections.OrderedDict()   # orderID -> row, the finished ones too
        self.sockets = set()
        self.log = []               # (time, kind, orderID) of every order request
        self.delay = 0.0            # seconds before an answer
        self.echo = 0.0             # seconds before the echo on the WebSocket
        self.limit = 0              # orders a second that the headers allow; 0: no headers
        self.number = 0
        self.arrived = asyncio.Event()
        self.bid = 60000.0
        self.position = 0

    # What the bots see

    def instrument(self):
        bid = self.bid
        return {'symbol': SYMBOL, 'rootSymbol': 'XBT', 'state': 'Open', 'typ': 'FFWCSX', 'positionCurrency': 'USD',
                'underlying': 'XBT', 'quoteCurrency': 'USD', 'underlyingSymbol': 'XBT=', 'reference': 'BMEX',
                'referenceSymbol': '.BXBT', 'maxOrderQty': 10000000, 'maxPrice': 1000000, 'lotSize': 100,
                'tickSize': 0.5, 'multiplier': -100000000, 'settlCurrency': 'XBt',
                'underlyingToSettleMultiplier': -100000000, 'isQuanto': False, 'isInverse': True, 'initMargin': 0.01,
                'maintMargin': 0.005, 'makerFee': -0.0001, 'takerFee': 0.00075, 'fundingRate': 0.0001,
                'lastPrice': bid, 'bidPrice': bid, 'midPrice': bid + 0.25, 'askPrice': bid + 0.5, 'markPrice': bid,
                'indicativeSettlePrice': bid, 'openInterest': 1000, 'timestamp': stamp()}

    def image(self, table):
        rows = {'instrument': [self.instrument()], 'order': self.open_orders(), 'quote': [self.quote()],
                'margin': [{'account': ACCOUNT, 'currency': 'XBt', 'amount': 10 ** 9, 'walletBalance': 10 ** 9,
                            'marginBalance': 10 ** 9, 'availableMargin': 10 ** 9, 'excessMargin': 10 ** 9,
                            'withdrawableMargin': 10 ** 9, 'timestamp': stamp()}],
                'position': [{'account': ACCOUNT, 'symbol': SYMBOL, 'strategy': 'OneWay', 'currency': 'XBt',
                              'currentQty': self.position, 'avgCostPrice': 60000.0, 'avgEntryPrice': 60000.0,
                              'markPrice': self.bid, 'timestamp': stamp()}]}.get(table, [])
        return {'table': table, 'action': 'partial', 'keys': KEYS.get(table, []), 'types': {}, 'filter': {},
                'data': rows}

    def quote(self):
        return {'timestamp': stamp(), 'symbol': SYMBOL, 'bidSize': 1000, 'bidPrice': self.bid,
                'askPrice': self.bid + 0.5, 'askSize': 1000}

    def open_orders(self):
        return [row for row in self.orders.values() if row['leavesQty']]

    async def tell(self, table, action, *rows):
        text = json.dumps({'table': table, 'action': action, 'data': rows}, separators=(',', ':'))
        for socket in list(self.sockets):
            await socket.send_str(text)

    # REST

    async def answer(self, request):
        if request.path == '/local-exchange':
            return self.reply({'name': 'bitmex-market-maker local exchange', 'version': '0', 'instance': 'bare',
                               'market': 'still', 'symbols': [SYMBOL], 'accounts': 'open', 'ended': False})
        if request.path == '/local-exchange/accounts':
            return self.reply({})
        text = await request.text()
        fields = dict(request.query)
        if text:
            try:
                fields.update(json.loads(text))
            except ValueError:   # a form
                fields.update(await request.post())
        if request.path.endswith('/cancelAllAfter'):
            return self.reply({'now': stamp(), 'cancelTime': 0})
        if not request.path.startswith('/api/v1/order') or request.method == 'GET':
            return self.reply(self.found(fields) if request.path.endswith('/order') else [])
        now = time.monotonic()
        items = fields.get('orders', [fields])
        items = json.loads(items) if isinstance(items, str) else items
        rows = getattr(self, request.method.lower())(items, now, request.path.endswith('all'))
        self.arrived.set()
        if self.delay:
            await asyncio.sleep(self.delay)
        return self.reply(rows if request.method == 'DELETE' or 'orders' in fields else rows[0])

    def reply(self, value):
        headers = {}
        if self.limit:
            recent = sum(1 for at, _, _ in self.log if at > time.monotonic() - 1)
            headers = {'x-ratelimit-limit': str(LIMIT), 'x-ratelimit-remaining': str(LIMIT - 1),
                       'x-ratelimit-reset': str(int(time.time()) + 1),
                       'x-ratelimit-remaining-1s': str(max(0, self.limit - recent))}
        return web.Response(body=json.dumps(value, separators=(',', ':')).encode(), content_type='application/json',
                            headers=headers)

    def found(self, fields):
        wanted = json.loads(fields.get('filter') or '{}')
        rows = list(self.orders.values())
        for name in ('orderID', 'clOrdID'):
            if name in wanted:
                values = wanted[name] if isinstance(wanted[name], list) else [wanted[name]]
                rows = [row for row in rows if row[name] in values]
        if wanted.get('open') or wanted.get('ordStatus.isTerminated') is False:
            rows = [row for row in rows if row['leavesQty']]
        return rows

    def post(self, items, now, is_all):
        rows = []
        for item in items:
            self.number += 1
            size = abs(int(item['orderQty']))
            side = item.get('side') or ('Buy' if int(item['orderQty']) > 0 else 'Sell')
            row = {'orderID': '{:08x}-0000-4000-8000-000000000000'.format(self.number),
                   'clOrdID': item.get('clOrdID', ''), 'clOrdLinkID': '', 'account': ACCOUNT, 'symbol': SYMBOL,
                   'side': side, 'orderQty': size, 'price': float(item['price']), 'currency': 'USD',
                   'settlCurrency': 'XBt', 'ordType': 'Limit', 'timeInForce': 'GoodTillCancel', 'execInst':
                   item.get('execInst', ''), 'ordStatus': 'New', 'workingIndicator': True, 'leavesQty': size,
                   'cumQty': 0, 'text': 'Submitted via API.', 'transactTime': stamp(), 'timestamp': stamp()}
            self.orders[row['orderID']] = row
            rows.append(dict(row))
            self.note(now, 'create', row, 'insert', dict(row))
        return rows

    def put(self, items, now, is_all):
        rows = []
        for item in items:
            row = self.orders[item['orderID']]
            row.update(timestamp=stamp(), transactTime=stamp(), text='Amended price: Amended via API.')
            if item.get('price') is not None:
                row['price'] = float(item['price'])
            if item.get('orderQty') is not None:
                row.update(orderQty=int(item['orderQty']), leavesQty=int(item['orderQty']) - row['cumQty'])
            rows.append(dict(row))
            self.note(now, 'amend', row, 'update', {name: row[name] for name in (
                'orderID', 'clOrdID', 'account', 'symbol', 'orderQty', 'leavesQty', 'price', 'text', 'transactTime',
                'timestamp')})
        return rows

    def delete(self, items, now, is_all):
        rows = []
        for item in items:
            names = [] if is_all else item.get('orderID') or item.get('clOrdID') or []
            names = names.split(',') if isinstance(names, str) else names
            for row in self.open_orders():
                if is_all or row['orderID'] in names or row['clOrdID'] in names:
                    row.update(ordStatus='Canceled', leavesQty=0, workingIndicator=False, text='Canceled via API.',
                               timestamp=stamp(), transactTime=stamp())
                    rows.append(dict(row))
                    self.note(now, 'cancel', row, 'update', {name: row[name] for name in (
                        'orderID', 'clOrdID', 'account', 'symbol', 'ordStatus', 'leavesQty', 'workingIndicator', 'text',
                        'transactTime', 'timestamp')})
        return rows

    def note(self, now, kind, row, action, echo):
        self.log.append((now, kind, row['orderID']))
        asyncio.get_running_loop().create_task(self.send_echo(action, echo))

    async def send_echo(self, action, row):
        if self.echo:
            await asyncio.sleep(self.echo)
        await self.tell('order', action, row)

    # WebSocket

    async def stream(self, request):
        socket = web.WebSocketResponse(compress=False, max_msg_size=0)
        await socket.prepare(request)
        await socket.send_json({'info': 'Welcome to the BitMEX Realtime API.', 'version': '2.0.0',
                                'timestamp': stamp(), 'docs': 'https://www.bitmex.com/app/wsAPI',
                                'limit': {'remaining': 39}})
        await self.subscribe(socket, [name for name in request.query.get('subscribe', '').split(',') if name])
        self.sockets.add(socket)
        async for message in socket:
            if message.type == WSMsgType.TEXT and message.data == 'ping':
                await socket.send_str('pong')
            elif message.type == WSMsgType.TEXT:
                words = json.loads(message.data)
                if words.get('op') == 'subscribe':
                    args = words['args'] if isinstance(words['args'], list) else [words['args']]
                    await self.subscribe(socket, args)
                else:
                    await socket.send_json({'success': True, 'request': words})
        self.sockets.discard(socket)
        return socket

    async def subscribe(self, socket, topics):
        for topic in topics:
            await socket.send_json({'success': True, 'subscribe': topic, 'request': {'op': 'subscribe',
                                                                                      'args': [topic]}})
            await socket.send_json(self.image(topic.partition(':')[0]))

    # What the benchmark asks for

    async def obey(self, words):
        return await getattr(self, 'do_' + words.pop('do'))(**words)

    async def do_set(self, **values):
        for name, value in values.items():
            setattr(self, name, value)
        return {}

    async def do_move(self, bid):
        """Move the touch, in quote and instrument; return when."""
        self.bid = bid
        now = time.monotonic()
        await self.tell('quote', 'insert', self.quote())
        await self.tell('instrument', 'update', {'symbol': SYMBOL, 'bidPrice': bid, 'midPrice': bid + 0.25,
                                                 'askPrice': bid + 0.5, 'timestamp': stamp()})
        return {'at': now}

    async def do_first(self, after, patience=30.0):
        """Return when the first order request after a moment came, and of what kind it was."""
        deadline = time.monotonic() + patience
        while True:
            for at, kind, _ in self.log:
                if at > after:
                    return {'at': at, 'kind': kind}
            await self.more(deadline)

    async def more(self, deadline):
        self.arrived.clear()
        await asyncio.wait_for(self.arrived.wait(), max(0.01, deadline - time.monotonic()))

    async def do_settle(self, quiet=0.3, least=0, patience=60.0):
        """Wait until at least so many order requests have come and none for ``quiet`` seconds; return all of them
        since the last clear."""
        began = time.monotonic()
        deadline = began + patience
        while True:
            left = max([began] + [at for at, _, _ in self.log[-1:]]) + quiet - time.monotonic()
            if left <= 0 and len(self.log) >= least:
                break
            assert time.monotonic() < deadline, 'orders did not settle'
            await asyncio.sleep(max(left, 0.01))
        return await self.do_log()

    async def do_log(self):
        counts = collections.Counter(kind for _, kind, _ in self.log)
        return {'counts': counts, 'times': [at for at, _, _ in self.log], 'open': len(self.open_orders())}

    async def do_clear(self):
        del self.log[:]
        return {}

    async def do_until(self, open, patience=30.0):
        """Wait until so many orders rest; return the moment of the request that made it so."""
        deadline = time.monotonic() + patience
        while len(self.open_orders()) != open:
            await self.more(deadline)
        return {'at': self.log[-1][0] if self.log else 0.0}

    async def do_fill_outer(self, side='Buy'):
        """Fill the outermost order of a side, without moving the position: only the ladder has a hole."""
        rows = [row for row in self.open_orders() if row['side'] == side]
        row = (min if side == 'Buy' else max)(rows, key=lambda each: each['price'])
        row.update(ordStatus='Filled', leavesQty=0, cumQty=row['orderQty'], workingIndicator=False, timestamp=stamp(),
                   transactTime=stamp())
        await self.tell('order', 'update', {name: row[name] for name in (
            'orderID', 'clOrdID', 'account', 'symbol', 'ordStatus', 'leavesQty', 'cumQty', 'workingIndicator',
            'timestamp', 'transactTime')})
        return {}

    async def do_flood(self, count):
        """Send ``count`` messages, such as an account gets, as fast as they are read."""
        rows = self.open_orders()
        for number in range(count):
            kind = number % 10
            if kind < 4 and rows:
                row = rows[number % len(rows)]
                await self.tell('order', 'update', {
                    'orderID': row['orderID'], 'clOrdID': row['clOrdID'], 'account': ACCOUNT, 'symbol': SYMBOL,
                    'price': row['price'], 'text': 'Amended price: Amended via API.', 'timestamp': stamp(),
                    'transactTime': stamp()})
            elif kind < 6:
                await self.tell('margin', 'update', {
                    'account': ACCOUNT, 'currency': 'XBt', 'grossMarkValue': number, 'riskValue': number,
                    'marginBalance': 10 ** 9 - number % 1000, 'timestamp': stamp()})
            elif kind < 7:
                await self.tell('position', 'update', {
                    'account': ACCOUNT, 'symbol': SYMBOL, 'strategy': 'OneWay', 'currency': 'XBt',
                    'currentQty': self.position, 'markPrice': self.bid + number % 10, 'timestamp': stamp()})
            elif kind < 8:
                await self.tell('trade', 'insert', {
                    'timestamp': stamp(), 'symbol': SYMBOL, 'side': 'Buy', 'size': 100, 'price': self.bid,
                    'tickDirection': 'ZeroPlusTick', 'trdMatchID': '00000000-006d-1000-0000-{:012x}'.format(number),
                    'grossValue': 166667, 'homeNotional': 0.00166667, 'foreignNotional': 100})
            elif kind < 9:
                await self.tell('quote', 'insert', dict(self.quote(), bidSize=number))
            else:
                await self.tell('instrument', 'update', {'symbol': SYMBOL, 'fairPrice': self.bid, 'markPrice': self.bid,
                                                         'openValue': number, 'timestamp': stamp()})
            if number % 100 == 0:
                await asyncio.sleep(0)
        return {}


async def main():
    """Serve until the standard input ends."""
    exchange = BareExchange()

    async def handler(request):
        return await (exchange.stream if request.path.startswith('/realtime') else exchange.answer)(request)
    runner = web.ServerRunner(web.Server(handler), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, '127.0.0.1', 0)
    await site.start()
    print(site._server.sockets[0].getsockname()[1], flush=True)
    loop = asyncio.get_running_loop()
    while True:
        line = await loop.run_in_executor(None, sys.stdin.readline)
        if not line.strip():
            return
        print(json.dumps(await exchange.obey(json.loads(line))), flush=True)


if __name__ == '__main__':
    asyncio.run(main())
