"""How a customer changes the margin of a position: leverage, isolation, risk limit, margin transfer.

A change that the account cannot carry is refused and leaves everything as it was.  Pure.
"""
from typing import Any, Dict  # noqa: F401

from market_maker.simulator import clearing
from market_maker.simulator.account import Position
from market_maker.simulator.orders import flag, given, real, whole
from market_maker.simulator.refusal import Refusal

BALANCE_TEXT = 'Account has insufficient Available Balance, {} {} required'


class MarginDesk(object):
    """Carries out the requests below /position of an exchange (``house``)."""

    def __init__(self, house: Any):
        self.house = house

    def _position(self, account: Any, fields: Dict[str, Any], *required: str) -> Position:
        for name in ('symbol',) + required:
            if not given(fields.get(name)):
                raise Refusal(400, "'{}' is a required arg.".format(name))
        position = account.position(self.house.tradable(fields['symbol']))  # type: Position
        return position

    def leverage(self, account: Any, fields: Dict[str, Any]) -> Position:
        """Set the leverage: 0 is cross margin, anything from 0.01 to the contract's maximum isolates the position at
        it.
        """
        position = self._position(account, fields, 'leverage')
        leverage = real(fields['leverage'], 'Invalid leverage')
        if leverage and not 0.01 <= leverage <= 100:
            raise Refusal(400, 'Invalid leverage')
        if leverage > 1 / position.instrument.row['initMargin'] + 1e-9:
            raise Refusal(400, 'Cannot exceed the maximum entry leverage')
        self._change(position, isolated=leverage > 0, leverage=leverage or None)
        return position

    def isolate(self, account: Any, fields: Dict[str, Any]) -> Position:
        """Switch a position between isolated (``enabled`` true, the default) and cross margin."""
        position = self._position(account, fields)
        enabled = fields.get('enabled')
        isolated = flag(enabled, 'Invalid enabled') if given(enabled) else True
        self._change(position, isolated=isolated, leverage=position.leverage if isolated else None)
        return position

    def risk_limit(self, account: Any, fields: Dict[str, Any]) -> Position:
        """Set the risk limit in minor units: the contract's base, or more at higher margins; a part of a step counts
        as one.
        """
        position = self._position(account, fields, 'riskLimit')
        limit = whole(fields['riskLimit'], 'Invalid riskLimit')
        if limit < position.instrument.row['riskLimit']:
            raise Refusal(400, 'Invalid riskLimit')
        row = position.instrument.row
        steps = -(-(limit - row['riskLimit']) // row['riskStep'])
        if row['initMargin'] + steps * row['maintMargin'] >= 1:
            raise Refusal(400, 'Invalid riskLimit')
        if abs(position.mark_value) + position.open_cost > limit:
            raise Refusal(400, 'Value of position and orders exceeds position Risk Limit')
        self._change(position, risk_limit=limit)
        return position

    def transfer_margin(self, account: Any, fields: Dict[str, Any]) -> Position:
        """Move margin (minor units, negative takes it back) between the purse and an isolated position."""
        position = self._position(account, fields, 'amount')
        amount = whole(fields['amount'], 'Invalid amount for isolated margin transfer')
        if not position.isolated:
            raise Refusal(400, 'Position has cross margin enabled')
        if not amount or not position.quantity:
            raise Refusal(400, 'Invalid amount for isolated margin transfer')
        if amount > 0 and amount > position.purse.available:
            raise Refusal(400, BALANCE_TEXT.format(amount, position.purse.currency), 'CodedHTTPError', '19000')
        loss = max(0, -position.upnl)
        if position.pos_cross + amount < (loss if amount < 0 else 0):
            raise Refusal(400, 'Position has insufficient isolated margin')
        self._change(position, pos_cross=position.pos_cross + amount)
        return position

    def _change(self, position: Position, **values: Any) -> None:
        """Set attributes of a position, unless its purse or its own margin cannot carry them."""
        before = {name: getattr(position, name) for name in values}
        crossed = position.pos_cross
        free = position.purse.available
        self._set(position, values)
        short = -position.purse.available if position.purse.available < min(0, free) else 0
        too_thin = position.isolated and position.quantity and position.pos_margin + position.upnl <= position.pos_maint
        if short or too_thin:
            self._set(position, dict(before, pos_cross=crossed))
            if short:
                raise Refusal(400, BALANCE_TEXT.format(short, position.purse.currency), 'CodedHTTPError', '19000')
            raise Refusal(400, 'Cannot exceed the maximum effective leverage')
        self.house.journal.mark_all(position)

    def _set(self, position: Position, values: Dict[str, Any]) -> None:
        was_isolated = position.isolated
        if was_isolated:
            position.purse.isolated_upnl -= position.upnl
        for name, value in values.items():
            setattr(position, name, value)
        if not position.isolated:
            position.pos_cross = position.pos_init = position.pos_comm = 0
        position.set_rates()
        if position.isolated:
            position.purse.isolated_upnl += position.upnl  # carry takes it out again
        clearing.carry(position)
        clearing.recharge(position)
