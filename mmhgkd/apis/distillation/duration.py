"""How long a training takes, before it begins."""

import copy
import math
import time
from typing import Any

import torch
from mmpretrain.structures import DataSample

from mmhgkd.hooks.progress_hook import read_time

from .plan import Plan

#: Most images of the steps that are timed.
IMAGES = 8
#: Steps that are timed.
STEPS = 3


def guess_duration(model: Any, plan: Plan, bfloat16: bool = False) -> str:
    """Time that a training takes where loading photos does not hold it up.

    A few steps with a few images of noise are computed on a copy. The
    quickest counts: the first allocates, and others may have been held up by
    what else the machine does.

    Args:
        model (BaseModel): What is trained, on its device.
        plan (Plan): How much of it.
        bfloat16 (bool): Whether it computes in that. Defaults to False.

    Returns:
        str: Such as 'about 3 min'.
    """
    twin = copy.deepcopy(model)
    twin.train()
    number = min(plan.batch_size, IMAGES)
    place = next(twin.parameters()).device
    side = plan.image_size
    seconds = math.inf
    with torch.random.fork_rng(devices=[]):
        inputs = torch.randn(number, 3, side, side).to(place)
        samples = [DataSample().set_gt_label(0).to(place) for _ in inputs]
        for _ in range(STEPS):
            start = time.perf_counter()
            with torch.autocast(place.type, torch.bfloat16, bfloat16):
                total, _ = twin.parse_losses(twin.loss(inputs, samples))
            total.backward()
            if place.type == 'cuda':
                torch.cuda.synchronize()
            seconds = min(seconds, time.perf_counter() - start)
    images = plan.steps * plan.batch_size
    return f'about {read_time(seconds * images / number)}'
