import io
import logging
from contextlib import redirect_stdout
from typing import Any

from mmengine.logging import MMLogger
from mmengine.registry import RUNNERS

from mmhgkd.runner import ResumableRunner


@RUNNERS.register_module()
class QuietRunner(ResumableRunner):
    """A runner whose log goes to its file, and errors only to the terminal.

    Warnings of Python go to the file too.
    """

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build the logger."""
        logger = super().build_logger(*args, **kwargs)
        warnings = logging.getLogger('py.warnings')
        warnings.propagate = False
        for handler in list(warnings.handlers):
            warnings.removeHandler(handler)
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                warnings.addHandler(handler)
            else:
                handler.setLevel(logging.ERROR)
        return logger

    def load_checkpoint(
        self, filename: str, *args: Any, **kwargs: Any
    ) -> dict:
        """Load a checkpoint; MMEngine prints how, with its log or without."""
        with redirect_stdout(io.StringIO()):
            return super().load_checkpoint(filename, *args, **kwargs)
