from torch.utils.data import DataLoader, IterableDataset

from mmhgkd.utils import ConfigError, RunError

from .seeding import kept_random_states


def check_first_sample(dataloader: DataLoader, name: str) -> None:
    """Send one sample through a pipeline, before there is work to lose.

    A transform may take any option when it is built and fail at the first
    image, which in a validation comes after hours. Images that cannot be read
    are left to those who count them, and the random states stay as they are.

    Args:
        dataloader (DataLoader): The data.
        name (str): Its name in the config.

    Raises:
        ConfigError: It names the pipeline and what has failed.
    """
    dataset = dataloader.dataset
    if isinstance(dataset, IterableDataset) or not len(dataset):  # type: ignore[arg-type]
        return
    with kept_random_states():
        try:
            dataset[0]
        except (ConfigError, RunError, OSError):
            return
        except Exception as error:
            text = ' '.join(str(error).split()) or 'without words'
            if 'Cannot find valid image' in text:
                return
            raise ConfigError(
                f'`{name}.dataset.pipeline` fails at the first sample: {text} '
                f'({type(error).__name__})'
            ) from error
