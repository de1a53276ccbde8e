"""Rows of MMEngine's ``scalars.json``."""


def training_row(
    iteration: int, epoch: int | None = None, **values: float
) -> dict[str, float]:
    row = dict(
        values, lr=0.1, time=0.5, data_time=0.1, iter=iteration, step=iteration
    )
    return row if epoch is None else dict(row, epoch=epoch)


def evaluation_row(step: int, **values: float) -> dict[str, float]:
    return dict(values, time=0.2, data_time=0.1, step=step)
