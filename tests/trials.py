"""Trials of a real bot in tests: a project of its own, a local exchange that misbehaves, and the judge."""
import contextlib
import os

from market_maker.commands import trial
from market_maker.judge.evidence import in_words, requests_of, start_of
from market_maker.judge.verdict import judge

SETTINGS = {'ORDER_PAIRS': 3, 'INTERVAL': 0.0005, 'MIN_SPREAD': 0.0005, 'RELIST_INTERVAL': 0.0002}


def project(folder, **settings):
    """Make a folder with a settings file; return its path."""
    path = os.path.join(str(folder), 'project')
    os.makedirs(path, exist_ok=True)
    with open(os.path.join(path, 'settings.py'), 'w') as file:
        file.writelines('{} = {!r}\n'.format(name, value) for name, value in sorted(dict(SETTINGS, **settings).items()))
    os.chmod(os.path.join(path, 'settings.py'), 0o600)
    return path


@contextlib.contextmanager
def running(folder, exchange=None, **plan):
    """Have a bot on a local exchange for the length of a block; ``plan`` are fields of trial.Plan."""
    with trial.Trial(trial.a_plan('XBTUSD', **plan), str(folder), project(folder), **(exchange or {})) as one:
        one.start()
        assert one.cycles() > 0, log_of(one)
        yield one


def log_of(one):
    """Return the end of what the bot wrote."""
    with open(one.output, errors='replace') as file:
        return file.read()[-3000:]


def verdict(one, calm=True):
    """End the bot in good order, and fail with every promise that it broke; return the evidence."""
    one.testnet.faults.clear()
    if calm:
        one.calm_down()
    one.end()
    evidence = one.evidence()
    broken = ['({}) {}'.format(finding.letter, finding.words) for finding in judge(evidence) if not finding.is_kept]
    assert not broken, '\n'.join(broken + [log_of(one)])
    return evidence


def last_requests(evidence, count=20):
    """Return the last requests in words, for the message of a failed assertion."""
    return '\n'.join(in_words(request, start_of(evidence)) for request in requests_of(evidence)[-count:])
