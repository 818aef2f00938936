"""The ledger: commands before they are sent, their ends, looks at growing intervals, names and fills over restarts."""
import errno
import gc
import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

import http_server
import market_maker
from market_maker.state import journal
from market_maker.state import ledger as ledgers
from market_maker.state.ledger import (ABSENT, AMEND, CANCEL, CREATE, DONE, REFUSED, UNKNOWN, Ledger, LedgerUnwritable,
                                       Order)
from market_maker.utils.clock import ManualClock
from market_maker.utils.errors import OrderRejected

NOW = 1700000000.0


def an_order(name='mm_1', order_id='', **body):
    return Order(name, order_id, 'XBTUSD', body)


def a_fill(name='e1', side='Buy', quantity=100, at='2026-05-03T05:01:55.000Z', **more):
    return dict({'execID': name, 'execType': 'Trade', 'side': side, 'lastQty': quantity, 'lastPx': 5000.5,
                 'execComm': 7, 'symbol': 'XBTUSD', 'clOrdID': 'mm_1', 'orderID': 'id1', 'transactTime': at}, **more)


class Diary(list):
    def __call__(self, level, text, *args):
        self.append((level, text % args))


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'ledger.db')


def lines(path):
    """Return (clOrdID, state) of each line of all journals."""
    return [(row[4], row[8]) for row in journal.rows_with(path)]


def in_sqlite(path, query='SELECT clOrdID, state FROM commands ORDER BY id'):
    database = sqlite3.connect(path)
    try:
        return database.execute(query).fetchall()
    finally:
        database.close()


def idle(ledger):
    """Stop the ledger's thread: from now on nothing is folded that the test does not fold."""
    ledger._over.set()
    ledger._thread.join(10)
    return ledger


def kill(ledger):
    """Leave the ledger as SIGKILL would: what is in its files stays there, and its lock is gone."""
    idle(ledger)
    ledger._db.close()
    if ledger._journal is not None:
        ledger._journal._file.close()


class Disk(object):
    """A file on a disk that has room for so many more bytes."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, content):
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        part = content[:self.room]
        self.room -= len(part)
        return self.file.write(part)

    def __getattr__(self, name):
        return getattr(self.file, name)


def test_command_is_in_a_file_before_it_is_sent(path):
    """As soon as begin returns another process can read its line; its end follows with the next command, and both are
    in SQLite within moments."""
    ledger = Ledger(path, 'bot')
    record = ledger.begin(CREATE, [an_order(price=5000.5)], NOW)[0]
    row, = journal.rows_with(path)
    assert row == ['bot', NOW, record.written, 'create', 'mm_1', '', 'XBTUSD', '{"price":5000.5}', 'sent', None, '']
    ledger.end(record, DONE, {'orderID': 'id1', 'ordStatus': 'New'}, now=NOW + 1)
    ledger.begin(CANCEL, [an_order('mm_1', 'id1'), an_order('mm_2')], NOW + 2)
    assert lines(path) == [('mm_1', 'sent'), ('mm_1', 'done'), ('mm_1', 'sent'), ('mm_2', 'sent')]
    http_server.wait_for(lambda: in_sqlite(path, 'SELECT clOrdID, state, ended, orderID, note FROM commands') == [
        ('mm_1', 'done', NOW + 1, 'id1', ''), ('mm_1', 'sent', None, 'id1', ''), ('mm_2', 'sent', None, '', '')])


@pytest.mark.parametrize('state, row, note', [
    (DONE, {'orderID': 'i', 'ordStatus': 'Canceled',
            'text': 'Canceled: Order had execInst of ParticipateDoNotInitiate\nSubmitted via API.'},
     'Canceled Canceled: Order had execInst of ParticipateDoNotInitiate'),
    (DONE, {'orderID': 'i', 'ordStatus': 'Filled'}, 'Filled'), (REFUSED, {'error': 'Unable to cancel order'},
                                                               'Unable to cancel order')])
def test_ends_say_what_the_exchange_said(state, row, note):
    """A create may be done and rest no more."""
    ledger = Ledger()
    record = ledger.begin(CREATE, [an_order()], NOW)[0]
    ledger.end(record, state, row)
    assert (record.state, record.note) == (state, note) and ledger.unresolved() == []


def test_a_command_ends_once():
    """Unknown can become anything; done stays done."""
    ledger = Ledger()
    record = ledger.begin(CREATE, [an_order()], NOW)[0]
    ledger.end(record, UNKNOWN)
    assert ledger.unresolved() == [record] and ledger.is_unknown(['mm_1']) and not ledger.is_unknown(['mm_2'])
    ledger.end(record, DONE)
    ledger.end(record, REFUSED)
    assert record.state == DONE and not ledger.is_unknown(['mm_1'])


def test_looks_come_at_growing_intervals():
    """Ten looks in a minute, the last of them certain; then the command is over."""
    clock = ManualClock(0.0)
    ledger = Ledger(clock=clock.monotonic)
    record = ledger.begin(CREATE, [an_order()], NOW)[0]
    assert ledger.due(100.0) == []          # it is under way: its answer may come
    ledger.end(record, UNKNOWN)
    looks = []
    while record.state == UNKNOWN:
        if ledger.due(clock.monotonic()):
            looks.append(clock.monotonic())
            ledger.looked(record, clock.monotonic())
        clock.advance(0.25)
    assert looks == list(ledgers.LOOKS)
    assert record.state == ABSENT and ledger.unresolved() == []


def test_a_minute_of_looks_begins_with_the_last_sending():
    """A command that was shed twice before its answer was lost is in doubt since then, not since it was written."""
    clock = ManualClock(0.0)
    ledger = Ledger(clock=clock.monotonic)
    record = ledger.begin(CREATE, [an_order()], NOW)[0]
    clock.advance(25.0)
    ledger.end(record, UNKNOWN)
    assert not ledger.looked(record, 61.0) and record.state == UNKNOWN
    ledger.end(record, UNKNOWN)             # said again, it does not begin anew
    assert ledger.looked(record, 85.1) and record.state == ABSENT


def test_looks_that_were_missed_are_not_made_up_for():
    """A strategy that slept for twenty seconds looks once."""
    clock = ManualClock(0.0)
    ledger = Ledger(clock=clock.monotonic)
    record = ledger.begin(CREATE, [an_order()], NOW)[0]
    ledger.end(record, UNKNOWN)
    assert ledger.due(20.0) == [record] and not ledger.looked(record, 20.0)
    assert ledger.due(20.0) == [] and ledger.due(25.0) == [record]


def test_restart_finds_what_was_under_way(path):
    """What a killed process had sent is unknown to the next one; what is old needs one look, what is fresh a minute."""
    clock = ManualClock(500.0)
    first = Ledger(path, 'bot')
    first.begin(CREATE, [an_order('old')], NOW)
    first.begin(AMEND, [an_order('fresh', 'id2', price=2)], time.time())
    first.end(first.begin(CREATE, [an_order('over')], NOW)[0], DONE)
    first.begin(CANCEL, [an_order('over')], NOW)
    first.end(first.unresolved()[-1], DONE)
    first.flush()
    other = Ledger(path, 'other bot')
    other.begin(CREATE, [an_order('theirs')], NOW)
    kill(first)
    kill(other)
    Ledger(path, 'a tool').close()   # whoever comes first folds what they left
    with sqlite3.connect(path) as database:
        database.execute("UPDATE commands SET written = written - 3600 WHERE clOrdID = 'old'")

    second = Ledger(path, 'bot', clock=clock.monotonic)
    old, fresh = second.unresolved()
    assert (old.clOrdID, fresh.clOrdID, fresh.orderID, fresh.body) == ('old', 'fresh', 'id2', {'price': 2})
    assert old.state == fresh.state == UNKNOWN and second.due(500.0) == [old]
    assert second.looked(old, 500.0) and not second.looked(fresh, 501.0) and second.looked(fresh, 560.0)


def test_names_survive(path):
    """Own names are known after a restart, others' are not ours, but known to the account."""
    first = Ledger(path, 'bot')
    assert not first.owns('mm_1') and not first.owns(None) and not first.owns('')
    first.begin(CREATE, [an_order('mm_1')], NOW)
    first.begin(CANCEL, [an_order('foreign')], NOW)
    other = Ledger(path, 'other')
    other.begin(CREATE, [an_order('mm_2')], NOW)
    for ledger in (first, Ledger(path, 'bot')):
        assert [ledger.owns(name) for name in ('mm_1', 'mm_2', 'foreign')] == [True, False, False]
        assert [ledger.knows(name) for name in ('mm_1', 'mm_2', 'foreign')] == [True, True, False]


def test_fills_count_once(path):
    """From the stream, from REST after a gap, and after a restart: each execution once."""
    first = Ledger(path, 'bot')
    assert first.record_fill(a_fill('e1')) and not first.record_fill(a_fill('e1'))
    assert first.record_fill(a_fill('e2', 'Sell', 40, '2026-05-03T06:00:00.000Z', execComm=-3))
    assert not first.record_fill({'execType': 'New', 'execID': 'e3'}) and not first.record_fill({'execType': 'Trade'})
    first.flush()
    second = Ledger(path, 'bot')
    assert not second.record_fill(a_fill('e2')) and second.record_fill(a_fill('e4', at='2026-05-03T05:30:00.000Z'))
    assert second.totals() == (3, 200, 40, 11) and second.totals('2026-05-03T05:15:00.000Z') == (2, 100, 40, 4)
    assert second.last_fill() == '2026-05-03T06:00:00.000Z' and Ledger().last_fill() is None
    assert Ledger(path, 'other').totals().fills == 0


def test_full_disk_stops_creates_and_nothing_else(path):
    """Creates are refused before they are sent, amends and cancels go on, and what happened meanwhile is written when
    there is room again; each change is said once."""
    diary = Diary()
    ledger = idle(Ledger(path, 'bot', report=diary))
    done = ledger.begin(CREATE, [an_order('mm_0')], NOW)[0]
    file = ledger._journal._file
    ledger._journal._file = disk = Disk(file, 40)   # a part of a line
    for _ in range(2):
        with pytest.raises(LedgerUnwritable) as caught:
            ledger.begin(CREATE, [an_order('mm_1')], NOW)
        assert isinstance(caught.value, OrderRejected) and path in str(caught.value) and 'No space' in str(caught.value)
    assert not ledger.owns('mm_1') and lines(path) == [('mm_0', 'sent')]
    cancel = ledger.begin(CANCEL, [an_order('mm_0', 'id0')], NOW)[0]
    ledger.end(done, DONE)
    assert len(diary) == 1 and diary[0][0] == logging.ERROR and 'amends and cancels go on' in diary[0][1]

    disk.room = 10000
    ledger.begin(CREATE, [an_order('mm_1')], NOW)
    assert len(diary) == 2 and 'can be written again' in diary[1][1]
    ledger.end(cancel, DONE)
    kill(ledger)
    assert [(record.kind, record.clOrdID, record.state) for record in Ledger(path, 'bot').commands()] == [
        ('create', 'mm_0', 'done'), ('cancel', 'mm_0', 'sent'), ('create', 'mm_1', 'sent')]


def test_sqlite_without_room_stops_creates_and_nothing_else(path):
    """The same where lines still find room: they are kept for SQLite, and nothing is placed before it takes them."""
    diary = Diary()
    ledger = idle(Ledger(path, 'bot', report=diary))
    done = ledger.begin(CREATE, [an_order('mm_0')], NOW)[0]
    ledger.flush()
    pages = ledger._db.execute('PRAGMA page_count').fetchone()[0]
    ledger._db.execute('PRAGMA max_page_count = {}'.format(pages))     # what SQLite says of a disk without room
    cancel = ledger.begin(CANCEL, [an_order('mm_0', 'id0', text='x' * 100000)], NOW)[0]
    ledger.flush()
    ledger.flush()
    with pytest.raises(LedgerUnwritable) as caught:
        ledger.begin(CREATE, [an_order('mm_1')], NOW)
    assert path in str(caught.value) and 'full' in str(caught.value) and not ledger.owns('mm_1')
    ledger.end(done, DONE)
    ledger.end(cancel, DONE)
    ledger.flush()
    assert len(diary) == 1 and diary[0][0] == logging.ERROR and 'amends and cancels go on' in diary[0][1]

    ledger._db.execute('PRAGMA max_page_count = 1000000')
    ledger.begin(CREATE, [an_order('mm_1')], NOW)
    assert len(diary) == 2 and 'can be written again' in diary[1][1]
    ledger.close()
    assert in_sqlite(path, 'SELECT kind, clOrdID, state FROM commands ORDER BY id') == [
        ('create', 'mm_0', 'done'), ('cancel', 'mm_0', 'done'), ('create', 'mm_1', 'sent')]
    assert journal.found(path) == []


def test_what_sqlite_does_not_take_at_the_end_is_left_for_the_next_start(path):
    ledger = idle(Ledger(path, 'bot', report=Diary()))
    ledger._db.execute('PRAGMA max_page_count = 1')
    first = ledger.begin(CREATE, [an_order('mm_0', text='x' * 100000)], NOW)[0]
    ledger.end(first, DONE, {'orderID': 'id0'})
    ledger.close()
    assert len(journal.found(path)) == 1 and in_sqlite(path) == []
    again = Ledger(path, 'bot')
    assert [(record.clOrdID, record.orderID, record.state) for record in again.commands()] == [('mm_0', 'id0', 'done')]
    assert journal.found(path) == []


def test_killed_between_line_and_sqlite(path):
    """The next process of the bot finds what was under way as unknown, and what was done as done; each command once,
    also those that SQLite had already."""
    ledger = idle(Ledger(path, 'bot'))
    folded = ledger.begin(AMEND, [an_order('mm_0', 'id0', price=1)], NOW)[0]
    ledger.begin(AMEND, [an_order('', 'id1', price=1), an_order('', 'id2', price=1)], NOW)
    ledger.flush()
    ledger.end(folded, DONE, {'orderID': 'id0'}, now=NOW + 1)
    ledger.end(ledger.begin(CREATE, [an_order('mm_1')], NOW)[0], REFUSED, note='no')
    ledger.begin(CREATE, [an_order('mm_2')], NOW)
    before = ledger.unresolved()[:2]
    kill(ledger)

    second = Ledger(path, 'bot')
    assert [(record.name, record.state, record.note) for record in second.commands()] == [
        ('mm_0', 'done', ''), ('id1', 'sent', ''), ('id2', 'sent', ''), ('mm_1', 'refused', 'no'), ('mm_2', 'sent', '')]
    assert [record.name for record in second.unresolved()] == ['id1', 'id2', 'mm_2'] and second.owns('mm_2')
    assert [record.written for record in second.unresolved()[:2]] == [record.written for record in before]
    assert journal.found(path) == []
    second.end(second.unresolved()[0], DONE)       # its line came with another process
    second.begin(CREATE, [an_order('mm_3')], NOW)
    kill(second)
    assert [record.state for record in Ledger(path, 'bot').commands()][1:3] == ['done', 'sent']


def test_killed_between_sqlite_and_the_end_of_its_journal(path):
    """What was folded is not folded twice, and what SQLite knows better stays."""
    ledger = idle(Ledger(path, 'bot'))
    record = ledger.begin(CREATE, [an_order('mm_0')], NOW)[0]
    ledger.begin(CREATE, [an_order('mm_1')], NOW)
    ledger.end(record, DONE)
    ledger.flush()
    assert lines(path) == [('mm_0', 'sent'), ('mm_1', 'sent')]
    kill(ledger)
    left, = journal.found(path)
    with open(left, 'rb') as file:
        content = file.read()
    for _ in range(2):
        assert [(record.clOrdID, record.state) for record in Ledger(path, 'bot').commands()] == [
            ('mm_0', 'done'), ('mm_1', 'sent')]
        with open(left, 'wb') as file:   # killed between the transaction and the file's removal
            file.write(content)


@pytest.mark.parametrize('tail', [b'["bot",1700000000.0,1700000000.1,"create","mm_2","","XBT', b'\0' * 4096, b'\n\n',
                                  b'\xff\xfe'])
def test_a_torn_line_is_of_what_was_never_sent(path, tail):
    ledger = idle(Ledger(path, 'bot'))
    ledger.begin(CREATE, [an_order('mm_1')], NOW)
    kill(ledger)
    with open(journal.found(path)[0], 'ab') as file:
        file.write(tail)
    diary = Diary()
    assert [record.clOrdID for record in Ledger(path, 'bot', report=diary).unresolved()] == ['mm_1'] and not diary
    assert journal.found(path) == []


def test_tools_read_the_same_truth_beside_a_running_bot(path):
    """Names are known at once, before anything is in SQLite and after the lines are cleared away; who looks changes
    nothing, and what the tool does is there as well."""
    bot = idle(Ledger(path, 'bot'))
    bot.begin(CREATE, [an_order('mm_1'), an_order('m\u00fc "1"')], NOW)
    with_it = idle(Ledger(path, 'bot'))   # marketmaker cancel
    beside = idle(Ledger(path, 'another'))
    assert with_it.unresolved() == []     # the bot that sent them sees to them
    for _ in range(3):
        for name in ('mm_1', 'm\u00fc "1"'):
            with_it._owned.clear()
            assert with_it.owns(name) and beside.bot_of(name) == 'bot' and beside.knows(name)
        assert not beside.owns('mm_1') and not beside.knows('mm_2') and not with_it.owns('mm_2')
        bot.flush()
        bot._journal.clear()
    with_it.end(with_it.begin(CANCEL, [an_order('mm_1')], NOW)[0], DONE)
    with_it.close()
    assert in_sqlite(path, "SELECT kind, clOrdID, state FROM commands WHERE bot = 'bot'") == [
        ('create', 'mm_1', 'sent'), ('create', 'm\u00fc "1"', 'sent'), ('cancel', 'mm_1', 'done')]
    assert len(bot.unresolved()) == 2 and len(journal.found(path)) == 1


def test_a_bot_that_was_killed_is_folded_by_another_and_comes_back(path):
    """The other does not take its commands for its own."""
    killed, other = idle(Ledger(path, 'bot')), idle(Ledger(path, 'other'))
    killed.begin(CREATE, [an_order('mm_1')], NOW)
    other.begin(CREATE, [an_order('other_1')], NOW)
    kill(killed)
    assert other.bot_of('mm_1') == 'bot'   # although nobody has folded it yet
    third = idle(Ledger(path, 'third'))
    assert third.unresolved() == [] and in_sqlite(path) == [('mm_1', 'sent')] and lines(path) == [('other_1', 'sent')]
    assert [record.clOrdID for record in Ledger(path, 'bot').unresolved()] == ['mm_1']


def test_journals_are_private_short_and_end_with_their_ledger(path, monkeypatch):
    monkeypatch.setattr(ledgers, 'JOURNAL_SIZE', 1000)
    monkeypatch.setattr(ledgers, 'FOLD_EVERY', 0.01)
    ledger = Ledger(path, 'bot')
    assert journal.found(path) == []      # it only reads
    for number in range(100):
        ledger.begin(CREATE, [an_order('mm_{}'.format(number))], NOW)
    name, = journal.found(path)
    if os.name == 'posix':
        assert os.stat(name).st_mode & 0o777 == 0o600
    http_server.wait_for(lambda: os.path.getsize(name) <= 1000)
    assert len(in_sqlite(path)) == 100
    ledger.close()
    assert journal.found(path) == [] and not ledger._thread.is_alive()


def test_a_ledger_that_nobody_has_any_more_ends_its_thread(path, monkeypatch):
    monkeypatch.setattr(ledgers, 'FOLD_EVERY', 0.01)
    thread = Ledger(path, 'bot')._thread
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()


def test_a_journal_that_goes_or_is_taken_under_way(path, monkeypatch):
    """One that somebody else folds between our look and our lock is left alone; a new one that somebody takes for an
    abandoned one is made anew."""
    killed = idle(Ledger(path, 'bot'))
    killed.begin(CREATE, [an_order('mm_1')], NOW)
    kill(killed)
    name, = journal.found(path)
    plain, seen = journal.lock_file, []

    def taken(file):
        seen.append(file)
        if len(seen) == 1:
            os.remove(journal.found(path)[0])
        return plain(file)
    monkeypatch.setattr(journal, 'lock_file', taken)
    assert journal.abandoned(name) is None and journal.found(path) == []
    del seen[:]
    made = journal.Journal(path)
    assert len(seen) == 2 and journal.found(path) == [made.path]


OLD_LAYOUT = '''
CREATE TABLE commands (id INTEGER PRIMARY KEY, bot TEXT NOT NULL, began REAL NOT NULL, written REAL NOT NULL,
    kind TEXT NOT NULL, clOrdID TEXT NOT NULL, orderID TEXT NOT NULL, symbol TEXT NOT NULL, body TEXT NOT NULL,
    state TEXT NOT NULL, ended REAL, note TEXT NOT NULL DEFAULT '');
CREATE INDEX command_names ON commands (clOrdID);
INSERT INTO commands VALUES (7, 'bot', 1.0, 1.0, 'create', 'mm_1', '', 'XBTUSD', '{"price":1}', 'sent', NULL, '');
'''


def test_files_of_other_layouts(path):
    """A ledger from before there were journals is gone on with; a line of a time to come is kept, and told of."""
    database = sqlite3.connect(path)
    database.executescript(OLD_LAYOUT)
    database.close()
    with open(path + '-0123456789abcdef' + journal.SUFFIX, 'w') as file:
        file.write(json.dumps(['bot', 'of a time to come']) + '\n')
    diary = Diary()
    ledger = Ledger(path, 'bot', report=diary)
    record, = ledger.unresolved()
    assert (record.clOrdID, record.body, record.state) == ('mm_1', {'price': 1}, UNKNOWN) and ledger.owns('mm_1')
    ledger.end(record, DONE)
    ledger.close()
    assert in_sqlite(path) == [('mm_1', 'done')]
    assert len(journal.found(path)) == 1 and len(diary) == 1 and 'another version' in diary[0][1]


def test_two_that_start_at_once_both_find_what_was_left(path):
    """Whoever folds first, the other sees it, and nothing is there twice."""
    for number in range(10):
        killed = idle(Ledger(path, 'bot'))
        killed.begin(CREATE, [an_order('mm_{}'.format(number))], NOW)
        kill(killed)
        found = []

        def start(found=found):
            found.append([record.clOrdID for record in Ledger(path, 'bot').unresolved()])
        threads = [threading.Thread(target=start) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert found == [['mm_{}'.format(n) for n in range(number + 1)]] * 3


def test_without_a_file_memory_serves():
    """Everything works, until the process ends."""
    ledger = Ledger(None, 'bot')
    ledger.end(ledger.begin(CREATE, [an_order()], NOW)[0], DONE)
    assert ledger.owns('mm_1') and ledger.record_fill(a_fill()) and not ledger.record_fill(a_fill())
    assert [record.state for record in ledger.commands()] == ['done'] and ledger.totals().fills == 1
    ledger.close()
    ledger.close()
    ledger.begin(CANCEL, [an_order()], NOW)     # a late cancel is not kept from going out
    assert len(ledger.unresolved()) == 1 and ledger.owns('mm_1') and not ledger.owns('mm_9')


@pytest.mark.parametrize('content', [b'no database at all, but as long as one' * 100, b'SQLite format 3\0'])
def test_broken_file_is_put_aside(path, content):
    """The bot starts with a new ledger and says where the old one is."""
    with open(path, 'wb') as file:
        file.write(content)
    diary = Diary()
    ledger = Ledger(path, 'bot', report=diary)
    ledger.begin(CREATE, [an_order()], NOW)
    assert len(diary) == 1 and '.broken-' in diary[0][1]
    assert sorted(name.split('-')[0] for name in os.listdir(os.path.dirname(path)))[:2] == [
        'ledger.db', 'ledger.db']
    assert Ledger(path, 'bot').owns('mm_1')


def test_old_commands_are_forgotten(path, monkeypatch):
    """The latest are kept; what is older goes when it is finished, at the start and now and then."""
    monkeypatch.setattr(ledgers, 'KEEP_ROWS', 3)
    ledger = Ledger(path, 'bot')
    ledger.begin(CREATE, [an_order('open')], NOW)
    for name in 'abcde':
        ledger.end(ledger.begin(CREATE, [an_order(name)], NOW)[0], DONE)
        ledger.record_fill(a_fill(name))
    ledger.flush()
    second = Ledger(path, 'bot')
    assert [record.clOrdID for record in second.commands()] == ['open', 'c', 'd', 'e'] and second.totals().fills == 3
    monkeypatch.setattr(ledgers, 'TIDY_EVERY', 2)
    for name in 'fgh':
        second.end(second.begin(CREATE, [an_order(name)], NOW)[0], DONE)
    assert [record.clOrdID for record in second.commands()] == ['open', 'f', 'g', 'h']


def test_many_threads_and_bots_write_at_once(path):
    """Nothing is lost or doubled when six threads of two bots write to one file."""
    bots = [Ledger(path, 'bot {}'.format(number)) for number in range(2)]

    def work(bot, number):
        for count in range(50):
            name = '{} {}'.format(number, count)
            bot.end(bot.begin(CREATE, [an_order(name)], NOW)[0], DONE)
            bot.record_fill(a_fill(name))
    threads = [threading.Thread(target=work, args=(bots[number % 2], number)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for number, bot in enumerate(bots):
        assert len({record.clOrdID for record in bot.commands()}) == len(bot.commands()) == 150
        assert bot.totals().fills == 150 and Ledger(path, 'bot {}'.format(number)).unresolved() == []


KILLED = '''
import sys, time
from market_maker.state.ledger import Ledger, Order
ledger = Ledger(sys.argv[1], 'bot')
for number in range(1000000):
    ledger.begin('create', [Order('mm_%d' % number, '', 'XBTUSD', {})], time.time())
    sys.stdout.write('mm_%d\\n' % number)      # it is at the exchange
    sys.stdout.flush()
'''


@pytest.mark.skipif(os.name != 'posix', reason='there is no SIGKILL elsewhere')
def test_killed_process_loses_nothing_that_was_sent(path):
    """SIGKILL at a random moment, five times: every name that left the process is in the file."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(market_maker.__file__)))
    for _ in range(5):
        process = subprocess.Popen([sys.executable, '-c', KILLED, path], stdout=subprocess.PIPE,
                                   env=dict(os.environ, PYTHONPATH=root))
        for _ in range(100):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        sent = 100 + process.stdout.read().count(b'\n')
        process.wait()
        ledger = Ledger(path, 'bot')
        names = [record.clOrdID for record in ledger.unresolved()]
        assert sent <= len(names) <= sent + 1
        for record in ledger.unresolved():
            ledger.end(record, ABSENT)
        ledger.close()


@pytest.mark.skipif(not hasattr(signal, 'setitimer'), reason='this system has no timer signals')
def test_signal_in_the_middle_of_a_record(path):
    """A handler that cancels, on top of a write of the same thread, neither hangs nor breaks the file."""
    ledger, stop = Ledger(path, 'bot'), time.monotonic() + 0.5
    handled, caught = [], []

    def handler(*_):
        handled.append(ledger.begin(CANCEL, [an_order('c{}'.format(len(handled)))], NOW)[0])
        if len(handled) % 3 == 0 and caught:
            caught.pop()
            raise SystemExit(0)

    def work():   # a function: the jump back of a loop is not in the block around it, in Python 3.13
        nonlocal count
        while time.monotonic() < stop:
            ledger.begin(CREATE, [an_order('mm_{}'.format(count))], NOW)
            count += 1
    before = signal.signal(signal.SIGALRM, handler)
    gc.disable()   # an exception in a callback of the collector would be lost
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0007)
    count = left = 0
    try:
        while time.monotonic() < stop:
            try:
                caught.append(True)   # from here on, and once only
                work()
                del caught[:]   # to here: the way out of the block may be outside of it
            except SystemExit:
                left += 1
    finally:
        del caught[:]
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()
    names = [record.clOrdID for record in ledger.commands()]
    assert left > 3 and {record.clOrdID for record in handled} <= set(names)
    assert {'mm_{}'.format(number) for number in range(count)} <= set(names)
