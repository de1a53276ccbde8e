class RunError(RuntimeError):
    """A run that cannot go on now, but can be resumed once the cause is gone.

    The command line tools print its message and no traceback.
    """

    exit_code = 3
