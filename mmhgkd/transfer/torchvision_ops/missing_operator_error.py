from mmhgkd.utils import ConfigError


class MissingOperatorError(ConfigError, NotImplementedError):
    """A model calls an operator that needs MMCV's compiled extension.

    Args:
        name (str): The operator, as MMCV calls it.
    """

    def __init__(self, name: str) -> None:
        super().__init__(
            f'the operator `{name}` of MMCV is not among those that mmhgkd '
            'provides on torchvision; install MMCV with its compiled '
            'operators (`mmcv._ext`), or choose a model without this one'
        )
