"""The diary on stderr and, when asked for, in a file.

``logging.getLogger('root')`` is the package's logger everywhere.  Importing this module adds no handler; ``cli``,
``run`` and ``OrderManager`` do so by calling ``setup_custom_logger``.  No key and no secret is ever handed to a
logger.
"""
from __future__ import absolute_import

import logging
import logging.handlers
import os
import sys
from typing import Any, Optional

from market_maker.utils.errors import SettingsError

LINE = '%(asctime)s - %(levelname)s - %(module)s - %(message)s'
FILE_BYTES = 10 * 1000 * 1000  # a log file is rotated at this size ...
FILE_BACKUPS = 5               # ... and this many older ones are kept beside it


def setup_custom_logger(name: str, log_level: Any = logging.INFO, log_file: Optional[str] = None) -> logging.Logger:
    """Return the logger of that name with a handler on stderr; asked again for it, add no second handler.

    ``log_level`` is a level of ``logging``, as number or name.  ``log_file`` is a path that the same lines are
    appended to (rotated), or None.  Raise SettingsError when that file cannot be written.
    """
    logger = logging.getLogger(name)
    logger.setLevel(log_level)
    if not any(getattr(handler, 'is_ours', False) for handler in logger.handlers):
        logger.addHandler(_ours(logging.StreamHandler()))
    if log_file:
        _add_file(logger, str(log_file))
    return logger


def under(module: str, name: str = 'root') -> 'ModuleLogger':
    """Return a logger whose lines carry ``module`` in their third field, whatever file the call stands in."""
    return ModuleLogger(logging.getLogger(name), module)


def to_files(module: str, message: str) -> None:
    """Append an ERROR line to the log files only: for what the terminal gets in another form."""
    logger = logging.getLogger('root')
    for handler in logger.handlers:
        if isinstance(handler, LogFile):
            handler.handle(_record(logger, logging.ERROR, module, message, ()))


class ModuleLogger(object):
    """Logs for another module: same logger, same levels, but the record names ``module`` as its origin."""

    def __init__(self, logger, module):
        # type: (logging.Logger, str) -> None
        self.logger = logger
        self.module = module

    def debug(self, message: str, *args: Any, **kwargs: Any) -> None:
        """Log at DEBUG."""
        self._log(logging.DEBUG, message, args, **kwargs)

    def info(self, message: str, *args: Any, **kwargs: Any) -> None:
        """Log at INFO."""
        self._log(logging.INFO, message, args, **kwargs)

    def warning(self, message: str, *args: Any, **kwargs: Any) -> None:
        """Log at WARNING."""
        self._log(logging.WARNING, message, args, **kwargs)

    def error(self, message: str, *args: Any, **kwargs: Any) -> None:
        """Log at ERROR."""
        self._log(logging.ERROR, message, args, **kwargs)

    def exception(self, message: str, *args: Any, **kwargs: Any) -> None:
        """Log at ERROR with the traceback of the exception that is being handled."""
        self._log(logging.ERROR, message, args, exc_info=True)

    def critical(self, message: str, *args: Any, **kwargs: Any) -> None:
        """Log at CRITICAL."""
        self._log(logging.CRITICAL, message, args, **kwargs)

    def log(self, level: int, message: str, *args: Any, **kwargs: Any) -> None:
        """Log at the level given as a number."""
        self._log(level, message, args, **kwargs)

    def isEnabledFor(self, level: int) -> bool:
        """Tell whether a line at that level would be written."""
        return self.logger.isEnabledFor(level)

    def _log(self, level, message, args, exc_info=None):
        # type: (int, str, Any, Any) -> None
        if not self.logger.isEnabledFor(level):
            return
        if exc_info is True:
            exc_info = sys.exc_info()
        self.logger.handle(_record(self.logger, level, self.module, message, args, exc_info))


class LogFile(logging.handlers.RotatingFileHandler):
    """Appends to the log file and, when that fails under way (a full disk), says so once instead of at every line."""

    failed = False

    def handleError(self, record):
        # type: (logging.LogRecord) -> None
        """Report the first failure in one line; the diary on stderr goes on."""
        if not self.failed:
            self.failed = True
            reason = sys.exc_info()[1]
            sys.stderr.write('LOG_FILE {!r} can no longer be written: {}\n'.format(self.baseFilename, reason))


def _record(logger, level, module, message, args, exc_info=None):
    # type: (logging.Logger, int, str, str, Any, Any) -> logging.LogRecord
    record = logger.makeRecord(logger.name, level, module + '.py', 0, message, args, exc_info)
    record.module = module
    return record


def _add_file(logger, path):
    # type: (logging.Logger, str) -> None
    path = os.path.abspath(os.path.expanduser(path))
    if any(getattr(handler, 'baseFilename', None) == path for handler in logger.handlers):
        return
    try:
        handler = LogFile(path, maxBytes=FILE_BYTES, backupCount=FILE_BACKUPS, encoding='utf-8')
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise SettingsError('LOG_FILE {!r} cannot be written ({}): name a file in a folder that you may write to, '
                            'or None'.format(path, reason))
    logger.addHandler(_ours(handler))


def _ours(handler):
    # type: (logging.Handler) -> logging.Handler
    handler.setFormatter(logging.Formatter(LINE))
    handler.is_ours = True  # type: ignore[attr-defined]
    return handler
