"""The table of the simulated market's statistics is printed, and its files can be read again."""
import os
import subprocess
import sys

import pytest

from market_maker.simulator import feed

SCRIPT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'benchmarks', 'market_table.py')


def test_it_prints_a_column_a_seed_and_writes_files_that_a_replay_reads(tmp_path):
    if not os.path.exists(SCRIPT):
        pytest.skip('the benchmarks are not part of this copy')

    command = [sys.executable, SCRIPT, '--hours', '0.05', '--seeds', '1', '2', '--out', str(tmp_path), '--book']
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, timeout=100,
                          env=dict(os.environ, PYTHONPATH=os.path.dirname(os.path.dirname(SCRIPT))))

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ['seed', '1', 'seed', '2', 'recorded']
    assert len(lines) > 15 and lines[1].startswith('trade rows a second')
    for seed in (1, 2):
        for table in ('trade', 'quote'):
            path = tmp_path / 'simulated_xbtusd_seed{}_{}.csv'.format(seed, table)
            with open(str(path)) as text:
                rows = list(feed.read(path.name, text, ['XBTUSD']))
            assert len(rows) > 20
            assert not [row for row in rows if isinstance(row, feed.BadRow)]
        assert (tmp_path / 'simulated_xbtusd_seed{}_orderBookL2.csv'.format(seed)).stat().st_size > 1000
