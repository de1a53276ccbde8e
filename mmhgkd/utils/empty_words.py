import logging
from typing import Any

import mmengine.logging
from mmengine.fileio import file_client


def leave_out_empty_words() -> None:
    """Keep lines of libraries back that mean nothing to a user.

    MMPretrain prints for debugging, at its import, that it finds no package
    of its makers, and MMEngine's hooks log twice at each start that a class
    which they use themselves will be deprecated.
    """
    print_log = mmengine.logging.print_log

    def print_log_of_level(
        msg: Any, logger: Any = None, level: int = logging.INFO
    ) -> None:
        if logger is not None or level > logging.DEBUG:
            print_log(msg, logger, level)

    mmengine.logging.print_log = print_log_of_level
    file_client.print_log = lambda *args, **kwargs: None
