"""Laws of the judge's money: whatever is traded on an account, by the bot and by others, it agrees with the exchange.

The engine is driven without sockets, and the judge is handed what it tells of the account.
"""
import pytest

pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')

from engine_world import an_exchange  # noqa: E402
from judged import KEY, PREFIX, Run  # noqa: E402

from market_maker.commands import trial  # noqa: E402
from market_maker.judge import position  # noqa: E402
from market_maker.judge.evidence import BotFill, Books, Execution, Summary  # noqa: E402
from market_maker.simulator.exchange import Refusal  # noqa: E402

hypothesis = pytest.importorskip('hypothesis', reason='the laws are checked with hypothesis')
st = hypothesis.strategies

SYMBOLS = ('XBTUSD', 'ETHUSD', 'XBTUSDT', 'XBT7D')
WEALTH = 10 ** 12   # minor units of either currency: nobody is liquidated
MAKER = -0.0001     # of the dated future, so that there is a rebate too

sides = st.sampled_from(['Buy', 'Sell'])
symbols = st.sampled_from(SYMBOLS)
offsets = st.integers(-12, 12)   # steps of 0.05 % from the price at the start
lots = st.integers(1, 60)
steps = st.one_of(
    st.tuples(st.just('place'), st.booleans(), symbols, sides, offsets, lots),
    st.tuples(st.just('place'), st.booleans(), symbols, sides, offsets, lots),
    st.tuples(st.just('rest'), symbols, sides, offsets, lots),
    st.tuples(st.just('take'), symbols, sides, lots),
    st.tuples(st.just('take'), symbols, sides, lots),
    st.tuples(st.just('mark'), symbols, st.integers(-200, 200)),
    st.tuples(st.just('fund'), symbols, st.integers(-40, 40)),
    st.tuples(st.just('advance'), st.sampled_from([0.05, 61, 3600])),
    st.tuples(st.just('settle')),
)


class Account(object):
    """One account of an exchange, on which a bot and somebody else trade; ``rows`` are its executions."""

    def __init__(self):
        self.exchange = an_exchange(SYMBOLS)
        self.exchange.set_fees('XBT7D', maker=MAKER)
        self.account = self.exchange.open_account(KEY, 'secret', {'XBt': WEALTH, 'USDt': WEALTH})
        self.rows = []
        self.orders = 0
        self.middles = {}
        for symbol in SYMBOLS:
            instrument = self.exchange.instruments[symbol]
            self.middles[symbol] = instrument.nearest_ticks(instrument.row['indicativeSettlePrice'])
            for offset in (1, 3, 7):
                self.rest(symbol, 'Buy', -offset, 20)
                self.rest(symbol, 'Sell', offset, 20)

    def do(self, step):
        """Carry out one step, unless the exchange refuses it, and take down what the account hears of it."""
        try:
            getattr(self, step[0])(*step[1:])
        except Refusal:
            pass
        self.rows += [dict(row) for change in self.exchange.drain()
                      if change.table == 'execution' and change.account_id == self.account.id for row in change.rows]

    def ticks(self, symbol, offset):
        return self.middles[symbol] + offset * max(1, self.middles[symbol] // 2000)

    def place(self, is_own, symbol, side, offset, size):
        instrument = self.exchange.instruments[symbol]
        self.orders += 1
        name = '{}{:022d}'.format(PREFIX, self.orders) if is_own else ''
        self.exchange.place(self.account, dict({'clOrdID': name} if name else {}, symbol=symbol, side=side,
                                               orderQty=size * instrument.lot,
                                               price=instrument.price_of(self.ticks(symbol, offset))))

    def rest(self, symbol, side, offset, size):
        self.exchange.rest(symbol, side, self.ticks(symbol, offset), size * self.exchange.instruments[symbol].lot)

    def take(self, symbol, side, size):
        self.exchange.take(symbol, side, size * self.exchange.instruments[symbol].lot)

    def mark(self, symbol, points):
        mark = self.exchange.instruments[symbol].row['indicativeSettlePrice']
        self.exchange.set_mark(symbol, round(mark * (1 + points / 10000.0), 2))

    def fund(self, symbol, rate):
        if self.exchange.instruments[symbol].expires is None:
            self.exchange.set_funding(symbol, rate / 10000.0, interval=3600)

    def advance(self, seconds):
        self.exchange.advance(self.exchange.now + seconds)

    def settle(self):
        self.exchange.set_state('XBT7D', 'Settled')

    def evidence(self, symbol, **replaced):
        """Return what the judge is handed when the bot has quoted ``symbol``, with all that it must have booked."""
        contracts = {name: trial.contract_of(self.exchange.instruments[name]) for name in SYMBOLS}
        currency = self.exchange.instruments[symbol].currency
        own = [row for row in self.rows if row['symbol'] == symbol and row['execType'] == 'Trade'
               and row['clOrdID'].startswith(PREFIX)]
        bought, sold = [sum(row['lastQty'] for row in own if row['side'] == side) for side in ('Buy', 'Sell')]
        held, change = self.account.position(self.exchange.instruments[symbol]).quantity, self.result(symbol)
        run = Run()
        run.events = [Execution(float(number), None, row) for number, row in enumerate(self.rows)]
        return run.evidence(**dict(dict(
            contract=contracts[symbol], books=Books(held, change),
            summary=Summary(len(own), bought, sold, held, change),
            neighbours=tuple(contracts[name] for name in SYMBOLS if name != symbol
                             and self.exchange.instruments[name].currency == currency),
            fills=[BotFill(row['execID'], row['side'], row['lastQty'], row['lastPx'], row['execComm'])
                   for row in own]), **replaced))

    def result(self, symbol):
        """Return by how much the wallet of a contract's currency has changed."""
        return self.account.position(self.exchange.instruments[symbol]).purse.wallet - WEALTH


@hypothesis.settings(max_examples=40, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(st.lists(steps, min_size=20, max_size=80))
def test_own_and_foreign_fills_add_up_to_the_satoshi(session):
    """Any mixture of own and foreign orders on four contracts, funding and settlement: cost, fee, position and result
    of each contract's bot are the exchange's, and one satoshi off is seen."""
    one = Account()
    for step in session:
        one.do(step)

    for symbol in SYMBOLS:
        evidence = one.evidence(symbol)
        assert position.miscount(evidence) == ''
        quantity, change = evidence.books
        assert position.miscount(evidence._replace(books=Books(quantity, change + 1)))
        assert position.miscount(evidence._replace(summary=evidence.summary._replace(realised=change - 1)))


def test_an_order_by_hand_on_another_contract_counts_for_the_wallet():
    """An order far from the market that fills when the book is empty pays its fee from the wallet that the bot's
    contract is settled in: 57 satoshi for one ETHUSD at 1151.12, which are not missing from the bot's result."""
    one = Account()
    instrument = one.exchange.instruments['ETHUSD']
    one.exchange.place(one.account, {'symbol': 'ETHUSD', 'side': 'Buy', 'orderQty': 1, 'price': 1151.12})
    one.exchange.take('ETHUSD', 'Sell', 61, instrument.nearest_ticks(1151.12))
    one.do(('advance', 0.05))

    assert [row['execComm'] for row in one.rows if row['execType'] == 'Trade'] == [57]
    assert one.result('XBTUSD') == -57
    assert position.miscount(one.evidence('XBTUSD')) == ''
    assert 'a result of 0, the books say 0 and -57' in position.miscount(one.evidence('XBTUSD', neighbours=()))
