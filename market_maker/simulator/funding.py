"""Funding of perpetuals and the end of dated futures: money that moves between holders at set times.

Funding is paid peer to peer on the value at the mark; what is below a unit is cut off each payment, and what that
leaves over or lacks is the insurance fund's, so that money is conserved.  (BitMEX, perpetual contracts guide.)  Pure.
"""
from typing import Any, Dict, List, Tuple  # noqa: F401

from market_maker.simulator import clearing
from market_maker.simulator.instruments import scaled
from market_maker.simulator.matching import last_line
from market_maker.simulator.tables import Tape
from market_maker.simulator.timestamps import DAY, iso, next_multiple, span

CLAMP = 0.0005           # how far interest may pull the rate away from the premium
CAP = 0.75               # of initial less maintenance margin for the rate, of maintenance margin for its change
RATE_DECIMALS = 6
RELIST_SECONDS = 60      # after which a contract with a relistInterval trades again, for its next week


class Funding(object):
    """Pays funding on an exchange (``house``), predicts it, and settles what expires."""

    def __init__(self, house: Any):
        self.house = house
        self._samples = {}  # type: Dict[str, Tuple[float, int]]  # symbol -> sum and count of this interval's premiums

    def start(self, tape: Tape) -> None:
        """Set the dates of a contract."""
        instrument = tape.instrument
        if instrument.expires is not None:
            self.house.at(instrument.expires, lambda due: self.expire(tape, due))
        else:
            self._schedule(tape)

    def _schedule(self, tape: Tape) -> None:
        instrument = tape.instrument
        offset = 4 * 3600 if instrument.funding_interval == 8 * 3600 else 0
        instrument.funding_at = next_multiple(self.house.now, instrument.funding_interval, offset)
        tape.set('fundingTimestamp', iso(instrument.funding_at))
        self.house.at(instrument.funding_at, lambda due: self._pay_at(tape, due))

    def set_interval(self, tape: Tape, seconds: float) -> None:
        """Let funding be paid at another pace than every eight hours."""
        tape.instrument.funding_interval = seconds
        tape.set('fundingInterval', span(seconds))
        self._samples.pop(tape.symbol, None)
        self._schedule(tape)

    # -- prediction ------------------------------------------------------------------------------------

    def sample(self, tape: Tape) -> None:
        """Take the minute's premium and predict the rate of the interval after this one (indicativeFundingRate)."""
        instrument, row = tape.instrument, tape.instrument.row
        if instrument.expires is not None or instrument.parked:
            return
        bid, ask, mark, index = (row.get(name) for name in (
            'impactBidPrice', 'impactAskPrice', 'markPrice', 'indicativeSettlePrice'))
        if bid is None or ask is None or not index:
            return
        premium = (max(0.0, bid - mark) - max(0.0, mark - ask)) / index + row['fairBasis'] / index
        total, count = self._samples.get(tape.symbol, (0.0, 0))
        self._samples[tape.symbol] = (total + premium, count + 1)
        tape.set('indicativeFundingRate', self.rate(tape))

    def rate(self, tape: Tape) -> float:
        """Return F = P + clamp(I - P, -0.05 %, 0.05 %), within its caps; P is the mean of the minute samples so far."""
        row = tape.instrument.row
        total, count = self._samples.get(tape.symbol, (0.0, 0))
        premium = total / count if count else 0.0
        interest = (row['fundingQuoteRate'] - row['fundingBaseRate']) * tape.instrument.funding_interval / DAY
        rate = premium + max(-CLAMP, min(CLAMP, interest - premium))
        most, step = CAP * (row['initMargin'] - row['maintMargin']), CAP * row['maintMargin']
        rate = max(-most, min(most, rate))
        before = tape.instrument.funding_rate
        return round(max(before - step, min(before + step, rate)), RATE_DECIMALS)

    # -- payment ---------------------------------------------------------------------------------------

    def _pay_at(self, tape: Tape, due: float) -> None:
        instrument = tape.instrument
        if instrument.funding_at != due:
            return  # the pace was changed meanwhile
        if instrument.row['state'] == 'Open':
            self.pay(tape)
            following = self.rate(tape) if self._samples.get(tape.symbol) else instrument.row['indicativeFundingRate']
            self._samples.pop(tape.symbol, None)
            tape.set('fundingRate', following)
            instrument.set_funding_rate(following)
            tape.set('indicativeFundingRate', following)
            self.recarry(tape)
            self.house.liquidation.check()
        self._schedule(tape)

    def recarry(self, tape: Tape) -> None:
        """Bring the funding reserves of all holders up to date after the rate changed."""
        for position in self.house.holders[tape.symbol].values():
            clearing.carry(position)
            self.house.journal.mark_all(position)

    def pay(self, tape: Tape) -> None:
        """Let the holders of a contract pay each other the rate that is due; positive: longs pay."""
        house, instrument = self.house, tape.instrument
        rate = instrument.funding_scaled
        kept = 0
        for position in list(house.holders[tape.symbol].values()):
            amount = self.due_of(position, rate)
            kept += amount
            self._charge(position, amount, tape)
        for own in (house.market, house.liquidator):
            position = own.positions.get(tape.symbol)
            if position is not None and position.quantity:
                amount = self.due_of(position, rate)
                kept += amount
                position.purse.wallet -= amount
        house.liquidator.purse(instrument.currency).wallet += kept
        stamp = house.stamp()
        row = {'timestamp': stamp, 'symbol': tape.symbol, 'fundingInterval': instrument.row['fundingInterval'],
               'fundingRate': instrument.funding_rate,
               'fundingRateDaily': round(instrument.funding_rate * DAY / instrument.funding_interval, 10)}
        house.funding_rows.append(row)
        house.journal.tell('funding', 'insert', [row], None, tape.symbol)

    @staticmethod
    def due_of(position: Any, rate: int) -> int:
        """Return what a position pays (negative: receives) at a scaled rate, in minor units."""
        instrument = position.instrument
        value = abs(position.quantity) // instrument.lot * instrument.mark_lot_value
        amount = clearing.portion(value, rate)
        return amount if position.quantity > 0 else -amount

    def _charge(self, position: Any, amount: int, tape: Tape) -> None:
        """Book a funding payment of a customer: purse, execution, wallet history."""
        house, instrument, account = self.house, position.instrument, position.account
        position.purse.wallet -= amount
        position.rebalanced -= amount
        stamp = house.stamp()
        size = abs(position.quantity)
        home, foreign = instrument.notionals(size, abs(position.mark_value))
        sign = 1 if position.quantity > 0 else -1
        mark = instrument.row['markPrice']
        execution = {
            'execID': house.new_execution_id(), 'clOrdID': '', 'account': account.id, 'symbol': tape.symbol,
            'strategy': 'OneWay', 'lastQty': size, 'lastPx': mark, 'orderQty': size, 'price': mark,
            'currency': instrument.row['quoteCurrency'], 'settlCurrency': instrument.currency, 'execType': 'Funding',
            'ordType': 'Limit', 'timeInForce': 'AtTheClose', 'ordStatus': 'Filled', 'workingIndicator': False,
            'leavesQty': 0, 'cumQty': size, 'avgPx': mark, 'commission': sign * instrument.funding_rate,
            'text': 'Funding',
            'trdMatchID': house.new_execution_id(), 'execCost': position.mark_value, 'execComm': amount,
            'homeNotional': sign * home, 'foreignNotional': -sign * foreign, 'transactTime': stamp, 'timestamp': stamp,
        }  # type: Dict[str, Any]
        account.executions.append(execution)
        house.journal.tell('execution', 'insert', [execution], account.id, tape.symbol)
        house.banker.note(position.purse, 'Funding', -amount, amount, tape.symbol)
        house.journal.mark_all(position)

    # -- expiry ----------------------------------------------------------------------------------------

    def expire(self, tape: Tape, due: float) -> None:
        """Settle a dated future at its index: orders are canceled, positions closed, the contract is Settled."""
        instrument = tape.instrument
        if instrument.expires != due:
            return
        price = self.house.instruments[instrument.index_symbol].row['lastPrice']
        self.settle(tape, price)
        if instrument.row.get('relistInterval'):
            self.house.at(due + RELIST_SECONDS, lambda when: self._relist(tape, when))

    def settle(self, tape: Tape, price: float) -> None:
        """Close everything on a contract at a price, for the settlement fee."""
        house, instrument = self.house, tape.instrument
        for order in self.orders_on(tape):
            house.matcher.cancel(order, 'Canceled: Instrument expired\n' + last_line(order), tape)
        for side in (tape.book.bids, tape.book.asks):
            for level in list(side.walk()):
                for order in list(level):
                    house.withdraw(order)
        lot_value = instrument.lot_value_at(price)
        fee_rate = scaled(instrument.row.get('settlementFee', 0))
        for position in list(house.holders[tape.symbol].values()):
            self._close(position, price, lot_value, fee_rate, tape)
        for own in (house.market, house.liquidator):
            position = own.positions.get(tape.symbol)
            if position is not None and position.quantity:
                cost = -position.quantity // instrument.lot * lot_value * instrument.buy_sign
                position.purse.wallet += clearing.apply_fill(position, -position.quantity, cost)
        tape.long_interest = 0
        stamp = house.stamp()
        row = {'timestamp': stamp, 'symbol': tape.symbol, 'settlementType': 'Settlement', 'settledPrice': price}
        house.settlement_rows.append(row)
        house.journal.tell('settlement', 'insert', [row], None, tape.symbol)
        tape.set('settledPrice', price)
        tape.set('state', 'Settled')
        tape.check_quote(stamp)

    def orders_on(self, tape: Tape) -> List[Any]:
        """Return the open orders of all customers on a contract, waiting ones included."""
        return [order for account in self.house.accounts.values() for order in list(account.orders.values())
                if order.instrument is tape.instrument]

    def _close(self, position: Any, price: float, lot_value: int, fee_rate: int, tape: Tape) -> None:
        house, instrument, account = self.house, position.instrument, position.account
        quantity = position.quantity
        size = abs(quantity)
        value = size // instrument.lot * lot_value
        fee = clearing.portion(value, fee_rate)
        cost = value * instrument.buy_sign * (-1 if quantity > 0 else 1)
        result = house.matcher.book_fill(position, -quantity, cost, fee, tape)
        stamp = house.stamp()
        home, foreign = instrument.notionals(size, value)
        sign = -1 if quantity > 0 else 1
        execution = {
            'execID': house.new_execution_id(), 'clOrdID': '', 'account': account.id, 'symbol': tape.symbol,
            'strategy': 'OneWay', 'side': 'Sell' if quantity > 0 else 'Buy', 'lastQty': size, 'lastPx': price,
            'orderQty': size, 'price': price, 'currency': instrument.row['quoteCurrency'],
            'settlCurrency': instrument.currency, 'execType': 'Settlement', 'ordType': 'Market',
            'timeInForce': 'AtTheClose', 'ordStatus': 'Filled', 'workingIndicator': False, 'leavesQty': 0,
            'cumQty': size,
            'avgPx': price, 'commission': instrument.row.get('settlementFee', 0), 'text': 'Settlement',
            'trdMatchID': house.new_execution_id(), 'execCost': cost, 'execComm': fee, 'homeNotional': sign * home,
            'foreignNotional': -sign * foreign, 'realisedPnl': result, 'transactTime': stamp, 'timestamp': stamp,
        }  # type: Dict[str, Any]
        account.executions.append(execution)
        house.journal.tell('execution', 'insert', [execution], account.id, tape.symbol)
        house.banker.note_result(position, result, fee, '', stamp)

    def _relist(self, tape: Tape, when: float) -> None:
        """List a settled contract again for its next week."""
        row = tape.instrument.row
        before = {name: row.get(name) for name in ('listing', 'front', 'expiry', 'settle', 'listedSettle')}
        tape.instrument.begin(when)
        for name in before:
            tape.changes[name] = row[name]
        tape.set('settledPrice', None)
        tape.set('state', 'Open')
        self.start(tape)
