from .run_error import RunError


class RunStopped(RunError):
    """A run that has saved its state because it was told to stop.

    Its exit code is ``EX_TEMPFAIL`` of ``sysexits.h``: try again later.
    """

    exit_code = 75
