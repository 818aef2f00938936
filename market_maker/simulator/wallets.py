"""The wallet histories: realised results, fees, funding, deposits, and withdrawals that stay requests until somebody
confirms them.

Rows as in BitMEX' walletHistory since 2024: one per fill with its order, amounts net of fees.  Pure.
"""
from typing import Any, Dict, List, Optional  # noqa: F401

from market_maker.simulator.refusal import Refusal


class Banker(object):
    """Writes the transactions of all accounts of an exchange (``house``)."""

    def __init__(self, house: Any):
        self.house = house
        self.kept = None    # type: Optional[List[Dict[str, Any]]]  # takes every new row, where somebody keeps them
        self.count = 0      # transactIDs given out

    def new_id(self) -> str:
        """Return a transactID: a counter, in the form of BitMEX'."""
        self.count += 1
        return '00000000-0077-1000-0000-%012x' % self.count

    def note_result(self, position: Any, result: int, fee: int, order_id: str, stamp: str) -> None:
        """Append the RealisedPNL row of a fill; its money is in the wallet already."""
        purse = position.purse
        row = {
            'transactID': self.new_id(), 'account': purse.account.id, 'currency': purse.currency,
            'transactType': 'RealisedPNL',
            'amount': result - fee, 'fee': fee, 'transactStatus': 'Completed', 'address': position.instrument.symbol,
            'orderID': order_id,
            'transactTime': stamp, 'timestamp': stamp, 'walletBalance': purse.wallet}
        purse.account.transactions.append(row)
        if self.kept is not None:
            self.kept.append(row)

    def note(self, purse: Any, kind: str, amount: int, fee: int = 0, address: str = '', tell: bool = False,
             **more: Any) -> Dict[str, Any]:
        """Append a row of another type and return it; ``tell`` sends it to the transact table as well."""
        stamp = self.house.stamp()
        row = {'transactID': self.new_id(), 'account': purse.account.id, 'currency': purse.currency,
               'transactType': kind, 'amount': amount,
               'fee': fee, 'transactStatus': 'Completed', 'address': address, 'transactTime': stamp, 'timestamp': stamp,
               'walletBalance': purse.wallet}  # type: Dict[str, Any]
        row.update(more)
        purse.account.transactions.append(row)
        if self.kept is not None:
            self.kept.append(row)
        if tell:
            self.house.journal.tell('transact', 'insert', [dict(row)], purse.account.id)
        return row

    def deposit(self, purse: Any, amount: int) -> None:
        """Book money that comes from outside."""
        purse.wallet += amount
        purse.deposited += amount
        self.note(purse, 'Deposit', amount, tell=True)
        self.house.journal.mark_purse(purse)

    def transfer(self, purse: Any, target: Any, amount: int) -> Dict[str, Any]:
        """Move money to the same currency of another account at once; return the sender's row."""
        if amount <= 0:
            raise Refusal(400, 'Invalid amount')
        self._need(purse, amount)
        other = target.purse(purse.currency)
        purse.wallet -= amount
        purse.transferred_out += amount
        other.wallet += amount
        other.transferred_in += amount
        row = self.note(purse, 'Transfer', -amount, 0, str(target.id), True)
        self.note(other, 'Transfer', amount, 0, str(purse.account.id), True)
        self.house.journal.mark_purse(purse)
        self.house.journal.mark_purse(other)
        return row

    @staticmethod
    def _need(purse: Any, amount: int) -> None:
        """Refuse an amount that is not there to be taken out."""
        if amount > purse.row.get('withdrawableMargin', purse.wallet) - purse.pending_debit:
            raise Refusal(400, 'Account has insufficient Available Balance, {} {} required'.format(
                amount, purse.currency), 'CodedHTTPError', '19000')

    def request_withdrawal(self, purse: Any, amount: int, fee: int, address: str, **more: Any) -> Dict[str, Any]:
        """Note a withdrawal that waits for its confirmation; the money stays, and is no longer available for another
        one.
        """
        if amount <= 0:
            raise Refusal(400, 'Invalid amount')
        self._need(purse, amount + fee)
        purse.pending_debit += amount + fee
        row = self.note(purse, 'Withdrawal', -amount, fee, address, True, transactStatus='Pending', **more)
        self.house.journal.mark_purse(purse)
        return row

    def cancel_withdrawal(self, account: Any, transact_id: str) -> Dict[str, Any]:
        """Take back a withdrawal that still waits."""
        row = self._waiting(account, transact_id)
        return self._end(row, account.purse(row['currency']), 'Canceled')

    def confirm_withdrawal(self, account: Any, transact_id: str) -> Dict[str, Any]:
        """Carry out a withdrawal that waits: the money leaves the exchange, and its fee with it.

        Refusal when the account has lost it meanwhile.
        """
        row = self._waiting(account, transact_id)
        purse = account.purse(row['currency'])
        amount = row['fee'] - row['amount']
        if amount > purse.row.get('withdrawableMargin', purse.wallet):
            raise Refusal(400, 'Account has insufficient Available Balance, {} {} required'.format(
                amount, purse.currency), 'CodedHTTPError', '19000')
        purse.wallet -= amount
        purse.withdrawn += amount
        row['walletBalance'] = purse.wallet
        return self._end(row, purse, 'Completed')

    @staticmethod
    def _waiting(account: Any, transact_id: str) -> Dict[str, Any]:
        for row in account.transactions:
            if row['transactID'] == transact_id and (row['transactType'], row['transactStatus']) == ('Withdrawal',
                                                                                                     'Pending'):
                return row  # type: ignore[no-any-return]
        raise Refusal(404, 'Not Found')

    def _end(self, row: Dict[str, Any], purse: Any, status: str) -> Dict[str, Any]:
        purse.pending_debit -= row['fee'] - row['amount']
        row['transactStatus'] = status
        row['timestamp'] = self.house.stamp()
        self.house.journal.tell('transact', 'update', [dict(row)], purse.account.id)
        self.house.journal.mark_purse(purse)
        return row
