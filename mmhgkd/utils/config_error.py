class ConfigError(ValueError):
    """A config, an option or a path that the user has to mend.

    The command line tools print its message and no traceback.
    """
