"""A run of a bot in plain values, as the judge is handed it, for tests that plant a breach in it."""
from market_maker.judge.evidence import (BotFill, Books, Closed, Command, Contract, Evidence, Execution, Frame, Opened,
                                         OrderRow, Process, Reply, Request, Rules, Wanted)

KEY, OTHER = 'bot-key', 'other-key'
PREFIX = 'mm_'
TABLES = ('instrument', 'quote', 'order', 'position', 'execution', 'margin')
CONTRACT = Contract('XBTUSD', 'inverse', 100000000, 100, 0.1)
RULES = Rules(KEY, PREFIX, -200, 200, 0.001, 5.0, 15.0, 15.0, 2.0, 60.0, 60.0, 120, 10)


def name(number):
    """Return the name of the bot's order of that number."""
    return PREFIX + '{:021d}A'.format(number)


class Run(object):
    """Writes a run down, event by event; ``evidence()`` hands it over, with anything replaced."""

    def __init__(self):
        self.events = []
        self.wanted = []
        self.commands = []
        self.fills = []
        self.rows = {}
        self.names, self.own = set(), set()
        self.now = 100.0
        self.number = 0
        self.executions = 0
        self.position, self.wallet = 0, 0
        self.troubles = []

    def pass_(self, seconds, session='s'):
        """Let time pass, with signs of life and rows of the instrument every second."""
        until = self.now + seconds
        while self.now + 1.0 <= until:
            self.now += 1.0
            self.frame('instrument', session=session, touch=(100.0, 101.0))
            self.frame('quote', session=session, touch=(100.0, 101.0))
        self.now = until

    def open(self, session='s', images=TABLES, key=KEY):
        """Open a socket and deliver images."""
        self.events.append(Opened(self.now, session, key, TABLES))
        for table in images:
            self.frame(table, 'partial', session=session)

    def close(self, session='s'):
        """Close a socket."""
        self.events.append(Closed(self.now, session))

    def frame(self, table, action='update', ids=(), session='s', touch=None):
        """Deliver a message."""
        self.events.append(Frame(self.now, session, table, action, tuple(ids), touch, True))

    def want(self, buys=(), sells=(), seconds=0.01):
        """Let the strategy ask for a ladder."""
        self.now += seconds
        self.wanted.append(Wanted(self.now, self.now + seconds, tuple(buys), tuple(sells)))
        self.now += seconds

    def request(self, verb, path, key=KEY, **fields):
        """Let a request arrive; return its number."""
        self.number += 1
        self.events.append(Request(self.now, self.number, key, verb, path, fields))
        return self.number

    def reply(self, number, status=200, wait=None, text='', delivered=True, charged=True, limited=False, rows=()):
        """Let it be answered."""
        self.now += 0.01
        self.events.append(Reply(self.now, number, status, wait, text, delivered, charged, limited, tuple(rows)))

    def order(self, cause, clOrdID, **changes):
        """Let an order come into being or change."""
        row = dict(self.rows.get(clOrdID) or {'orderID': 'id-' + clOrdID, 'clOrdID': clOrdID, 'symbol': 'XBTUSD',
                                              'ordStatus': 'New', 'cumQty': 0, 'text': ''}, **changes)
        self.rows[clOrdID] = row
        self.events.append(OrderRow(self.now, cause, row))
        self.frame('order', 'update', [row['orderID']])

    def create(self, number, side='Buy', size=100, price=100.0, **options):
        """Let the bot create an order in the common way; return its name."""
        clOrdID = options.pop('clOrdID', name(number))
        request = self.request('POST', '/order', clOrdID=clOrdID, side=side, orderQty=size, price=price)
        self.own.add(clOrdID)
        if options.pop('converged', True):
            self.names.add(clOrdID)
        if options.pop('in_ledger', True):
            self.commands.append(Command('create', clOrdID, 'id-' + clOrdID, 'done', 1.0))
        self.now += 0.005
        self.order(request, clOrdID, side=side, price=price, orderQty=size, leavesQty=size)
        self.reply(request, rows=[('id-' + clOrdID, clOrdID)])
        return clOrdID

    def amend(self, clOrdID, **changes):
        """Let the bot amend an order."""
        request = self.request('PUT', '/order', orderID='id-' + clOrdID, **changes)
        if 'orderQty' in changes:
            changes['leavesQty'] = changes['orderQty'] - self.rows[clOrdID]['cumQty']
        self.order(request, clOrdID, **changes)
        self.reply(request, rows=[('id-' + clOrdID, clOrdID)])

    def cancel(self, *names):
        """Let the bot cancel orders."""
        request = self.request('DELETE', '/order', orderID=['id-' + one for one in names])
        for one in names:
            self.order(request, one, ordStatus='Canceled', leavesQty=0)
        self.reply(request, rows=[('id-' + one, one) for one in names])

    def fill(self, clOrdID, size, price, cost, fee, booked=True):
        """Let the market trade with an order: its cost and fee in satoshi, as the exchange has them."""
        row = self.rows[clOrdID]
        left = row['leavesQty'] - size
        self.order(None, clOrdID, leavesQty=left, cumQty=row['cumQty'] + size,
                   ordStatus='PartiallyFilled' if left else 'Filled')
        self.executions += 1
        execution = {'execID': 'e{}'.format(self.executions), 'execType': 'Trade', 'symbol': 'XBTUSD',
                     'side': row['side'], 'lastQty': size, 'lastPx': price, 'commission': 0.0005, 'execCost': cost,
                     'execComm': fee, 'clOrdID': clOrdID, 'orderID': row['orderID']}
        self.events.append(Execution(self.now, None, execution))
        self.position += size if row['side'] == 'Buy' else -size
        if booked:
            self.fills.append(BotFill(execution['execID'], row['side'], size, price, fee))
        return execution

    def foreign(self, clOrdID='by-hand', **changes):
        """Let somebody else place or change an order."""
        self.order(None, clOrdID, **dict({'side': 'Buy', 'price': 50.0, 'orderQty': 100, 'leavesQty': 100}, **changes))

    def evidence(self, **replaced):
        """Return the whole of it, ended by a stop in good order."""
        self.now += 1.0
        stopped = self.now
        values = dict(events=self.events, wanted=self.wanted, names=self.names, own_names=self.own,
                      troubles=self.troubles, process=Process((99.0,), None, 0, stopped, None, stopped + 0.5),
                      commands=self.commands, fills=self.fills, summary=None,
                      books=Books(self.position, self.wallet), contract=CONTRACT, neighbours=(), rules=RULES,
                      start_quantity=0, start_cost=0)
        values.update(replaced)
        return Evidence(**values)


def a_clean_run():
    """Return a run with a create, an amend, a round trip of fills, a reconnect, a lost reply and a cancel."""
    run = Run()
    run.open()
    run.pass_(1.0)
    run.want(buys=[(100.0, 100)], sells=[(125.0, 100)])
    bid = run.create(1)
    ask = run.create(2, side='Sell', price=125.0)
    run.pass_(1.0)
    run.fill(bid, 100, 100.0, -100000000, 50000)       # 100 USD at 100: one bitcoin
    run.fill(ask, 100, 125.0, 80000000, 40000)
    run.wallet = 20000000 - 90000                       # 0.2 of a bitcoin earned, less fees
    run.pass_(1.0)
    run.want(buys=[(100.0, 100)], sells=[(125.0, 100)])
    third = run.create(3)
    run.want(buys=[(100.0, 200)])
    run.amend(third, orderQty=200)
    lost = run.request('PUT', '/order', orderID='id-' + third, price=99.9)
    run.order(lost, third, price=99.9)
    run.reply(lost, delivered=False)
    look = run.request('GET', '/order', filter='{}')
    run.reply(look, rows=[('id-' + third, third)])
    run.want(buys=[(99.9, 200)])
    run.close()
    run.now += 2.0
    run.open('s2')
    run.pass_(2.0, 's2')
    for _ in range(4):
        run.want(buys=[(99.9, 200)])
        run.pass_(1.0, 's2')
    run.cancel(third)
    return run
