"""What the benchmarks rest on: traffic in the shape of the wire, and a judge that sees when a ratio has fallen."""
import gzip
import importlib
import json
import os
import sys

import pytest

BENCHMARKS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'benchmarks')


@pytest.fixture
def module(monkeypatch):
    """Import a benchmark by its name."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield importlib.import_module
    for name in ('common', 'report', 'tables'):
        sys.modules.pop(name, None)


def kind(value):
    """Return what JSON calls a value; numbers are one kind, for a price of 5000.0 is written 5000."""
    return {bool: 'boolean', int: 'number', float: 'number', str: 'string', type(None): 'null'}.get(type(value))


def recorded_frames(folder):
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if not name.endswith(('.jsonl', '.jsonl.gz', '_ws.txt.gz')):
            continue
        with (gzip.open if name.endswith('.gz') else open)(path, 'rt', encoding='utf-8') as lines:
            for line in lines:
                start = line.find('{')
                if start < 0:
                    continue
                try:
                    frame = json.loads(line[start:])
                except ValueError:
                    continue
                for found in (frame, frame.get('msg'), frame.get('message')):
                    if isinstance(found, dict) and isinstance(found.get('data'), list) and 'table' in found:
                        yield found


def test_generated_traffic_has_the_shape_of_the_recordings(recordings, module):
    """Every field of every generated row was sent by BitMEX in that table, and holds the same kind of value."""
    tables = module('tables')
    known, keys, actions = {}, {}, set()
    for frame in recorded_frames(os.path.join(recordings, 'ws')):
        table = frame['table']
        actions.add((table, frame.get('action')))
        if frame.get('keys') and table not in keys:
            keys[table] = frame['keys']
        for row in frame['data']:
            for name, value in row.items():
                known.setdefault((table, name), set()).add(kind(value))
    checked = set()
    for traffic in (tables.account_traffic(1, 12, 400), tables.book_traffic(1, 2, 100, 200)):
        for message in traffic.images + traffic.deltas:
            table = message['table']
            assert message['action'] == 'partial' or (table, message['action']) in actions, message
            checked.add(table)
            for row in message['data']:
                for name, value in row.items():
                    if name == 'strategy':   # BitMEX added it to positions after these recordings
                        continue
                    assert kind(value) in known.get((table, name), ()), (table, name, value)
    assert {'order', 'position', 'margin', 'instrument', 'quote', 'orderBookL2'} <= checked
    for table, names in tables.KEYS.items():
        assert set(keys.get(table, names)) <= set(names) | {'strategy'}, (table, keys[table])


def test_the_same_seed_gives_the_same_traffic(module):
    """A benchmark can be repeated to the letter."""
    tables = module('tables')
    once, again, other = (tables.account_traffic(seed, 12, 200) for seed in (1, 1, 2))
    assert once.deltas == again.deltas and once.deltas != other.deltas


def test_a_ratio_that_halved_and_a_count_that_changed_are_seen(module):
    """What a quick run fails for, and what it does not."""
    common = module('common')
    recorded = {'ratios': {'speed': 4.0, 'not measured': 3.0}, 'counts': {'requests': 1}}
    assert common.compare(recorded, {'speed': 2.0, 'new': 0.1}, {'requests': 1}) == []
    assert len(common.compare(recorded, {'speed': 1.9}, {'requests': 1})) == 1
    assert len(common.compare(recorded, {'speed': float('nan')}, {'requests': 2})) == 2


def test_what_is_recorded_is_measured(module):
    """Every benchmark has its ratios in the file, so that a quick run looks at all of them."""
    common = module('common')
    with open(common.RECORDED) as file:
        recorded = json.load(file)
    assert set(recorded) == {'tables', 'converge', 'orders', 'bot', 'engine', 'server'}
    assert all(found['ratios'] for found in recorded.values())
    assert recorded['bot']['counts'] == {'outer filled': 1, 'inside the tolerance': 0, 'late echo, creates': 12,
                                         'late echo, cancels': 0}


def test_tables_find_their_places_on_the_page(module):
    """The page has a place for the table of each benchmark, and a new table replaces the old one."""
    report = module('report')
    with open(report.PAGE) as file:
        page = file.read()
    names = ('tables', 'converge', 'orders', 'bot', 'engine', 'server')
    once = report.filled(page, {name: ['| old |'] for name in names})
    assert once.count('| old |') == len(names)
    again = report.filled(once, {'bot': ['| new |']})
    assert again.count('| old |') == len(names) - 1 and again.count('| new |') == 1
    assert report.filled(again, {'bot': ['| old |']}) == once
