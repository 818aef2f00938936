"""Index, fair and mark prices, and what a new mark means for those who hold or want the contract.

Perpetuals: fair = index * (1 + fundingRate * time left / interval).  Dated futures: a yearly basis rate, taken from
the impact mid price once a minute while the book is liquid, times index and time left.  (BitMEX, fair price marking;
checked against published rows.)  Pure.
"""
from typing import Any, Dict

from market_maker.simulator import clearing
from market_maker.simulator.instruments import Instrument
from market_maker.simulator.tables import Tape
from market_maker.simulator.timestamps import DAY

YEAR = 365 * DAY
BITCOIN_INDEX = '.BXBT'   # prices the satoshis that quanto contracts are settled in
SATOSHIS = 100000000
# the basis of perpetuals wears off in so many steps from one payment to the next: every minute of eight hours, as the
# rows of several contracts at one moment show
BASIS_STEPS = 480


def to_grid(price: float, step: float) -> float:
    """Return a price rounded to a step, without binary noise."""
    return round(round(price / step) * step, 10)


def fair_fields(instrument: Instrument, index: float, now: float) -> Dict[str, Any]:
    """Return the fair price fields of a contract at an index price."""
    row, step = instrument.row, instrument.row['minTick']
    if instrument.expires is None:
        left = max(0, -(-(instrument.funding_at - now) * BASIS_STEPS // instrument.funding_interval)) / BASIS_STEPS
        fair = to_grid(index * (1 + instrument.funding_rate * left), step)
        rate = round(instrument.funding_rate * YEAR / instrument.funding_interval, 10)
    else:
        rate = row.get('fairBasisRate', 0)
        fair = to_grid(index + index * rate * max(0.0, instrument.expires - now) / YEAR, step)
    fair = max(fair, step)
    return {'indicativeSettlePrice': index, 'fairPrice': fair, 'fairBasis': round(fair - index, 8),
            'fairBasisRate': rate}


class Marker(object):
    """Publishes marks on an exchange (``house``)."""

    def __init__(self, house: Any):
        self.house = house

    def publish_index(self, index: Instrument, price: float) -> None:
        """Print an index at a price, and let the contracts that nobody has traded follow it."""
        house, row = self.house, index.row
        if price == row['lastPrice']:
            return
        stamp = house.stamp()
        row['lastTickDirection'] = 'PlusTick' if price > row['lastPrice'] else 'MinusTick'
        row['lastPrice'] = row['markPrice'] = price
        row['timestamp'] = stamp
        trade = {'timestamp': stamp, 'symbol': index.symbol, 'side': 'Buy', 'size': 0, 'price': price,
                 'tickDirection': row['lastTickDirection'], 'trdType': 'Referential'}
        house.index_prints.append(trade)
        house.journal.tell('trade', 'insert', [trade], None, index.symbol)
        house.journal.tell('instrument', 'update', [{
            'symbol': index.symbol, 'lastPrice': price, 'markPrice': price,
            'lastTickDirection': row['lastTickDirection'],
            'timestamp': stamp}], None, index.symbol)
        for tape in house.tapes.values():
            if tape.instrument.kind == 'quanto' and index.symbol == BITCOIN_INDEX:
                tape.set('quoteToSettleMultiplier', int(round(SATOSHIS / price)))
                for position in house.holders[tape.symbol].values():
                    house.journal.mark_all(position)  # its notionals are counted in other satoshis now
            if tape.instrument.parked and tape.instrument.index_symbol == index.symbol:
                tape.repark(price, stamp)

    def publish(self, tape: Tape, now: float) -> None:
        """Take a contract's index over into its fair and mark price and revalue everything that hangs on them."""
        instrument, row = tape.instrument, tape.instrument.row
        index = self.house.instruments[instrument.index_symbol].row['lastPrice']
        fields = fair_fields(instrument, index, now)
        mark = fields['fairPrice'] if instrument.mark_pinned is None else instrument.mark_pinned
        moved = row.get('markPrice') != mark
        for name in ('indicativeSettlePrice', 'fairPrice', 'fairBasis', 'fairBasisRate'):
            tape.set(name, fields[name])
        tape.set('markPrice', mark)
        if moved or not instrument.mark_lot_value:
            instrument.mark_lot_value = instrument.lot_value_at(mark)
            instrument.mark_epoch += 1
            self._revalue(tape, mark)
        tape.set_interest()

    def _revalue(self, tape: Tape, mark: float) -> None:
        """Value all positions anew, and the premium of all orders that now stand beyond the mark."""
        house, journal = self.house, self.house.journal
        symbol = tape.symbol
        for own in (house.market, house.liquidator):
            if symbol in own.positions:
                clearing.carry(own.positions[symbol])
        for position in house.holders[symbol].values():
            clearing.carry(position)
            journal.mark_all(position)
        self._premiums(tape, mark)

    def _premiums(self, tape: Tape, mark: float) -> None:
        house, instrument = self.house, tape.instrument
        affected = house.premiums[tape.symbol]
        for position in affected.values():
            position.buy_premium = position.sell_premium = 0
        for side in (tape.book.bids, tape.book.asks):
            for level in side.walk():
                if level.price <= mark if side.sign > 0 else level.price >= mark:
                    break
                a_lot = clearing.premium_of_lot(instrument, side.sign > 0, level.lot_value)
                for order in level:
                    if order.row is not None:
                        self._premium(order, a_lot)
                        affected[order.account.id] = order.position
        for key in list(affected):
            position = affected[key]
            clearing.recharge(position)
            house.journal.mark_orders(position)
            if not position.buy_premium and not position.sell_premium:
                del affected[key]

    @staticmethod
    def _premium(order: Any, a_lot: int) -> None:
        order.premium = premium = order.leaves // order.instrument.lot * a_lot
        order.premium_epoch = order.instrument.mark_epoch
        if order.is_buy:
            order.position.buy_premium += premium
        else:
            order.position.sell_premium += premium

    def refresh_basis(self, tape: Tape) -> None:
        """Take a dated future's yearly basis rate from its impact mid price, while the book is liquid."""
        instrument, row = tape.instrument, tape.instrument.row
        if instrument.expires is None or instrument.parked or not row.get('hasLiquidity'):
            return
        index = self.house.instruments[instrument.index_symbol].row['lastPrice']
        left = (instrument.expires - self.house.now) / YEAR
        if left > 0:
            row['fairBasisRate'] = round((row['impactMidPrice'] / index - 1) / left, 2)
            tape.changes['fairBasisRate'] = row['fairBasisRate']
