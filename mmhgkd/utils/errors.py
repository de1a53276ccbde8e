"""Errors of which the command line tools print one line and no traceback."""


class ConfigError(ValueError):
    """A config, an option or a path that the user has to mend."""


class RunError(RuntimeError):
    """A run that can be resumed once the cause is gone."""

    exit_code = 3


class RunStopped(RunError):
    """A run that has saved its state because it was told to stop.

    Its exit code is ``EX_TEMPFAIL`` of ``sysexits.h``: try again later.
    """

    exit_code = 75
