from collections.abc import Sequence

from torch import Tensor

from mmhgkd.utils import ConfigError


def global_embedding(
    feats: Tensor | Sequence[Tensor], num_extra_tokens: int | None = None
) -> Tensor:
    """Turn the features of a backbone into one embedding per image.

    A convolutional map is averaged over its positions, Transformer tokens
    over the patches, without the class token. Of several stages the last
    counts.

    Args:
        feats (Tensor or Sequence[Tensor]): Output of ``extract_feat``: a map
            ``(B, C, H, W)``, tokens ``(B, E + L, D)`` with the ``E`` extra
            tokens first, embeddings ``(B, D)``, or a sequence of these.
        num_extra_tokens (int, optional): Number ``E`` of tokens that are no
            patches. Needed for tokens only. Defaults to None.

    Returns:
        Tensor: ``(B, D)`` float32.

    Raises:
        TypeError: If ``feats`` is not of this form.
        ConfigError: If there are tokens but ``num_extra_tokens`` is None.
    """
    last = feats
    if isinstance(feats, Sequence) and feats:
        last = feats[-1]
    if not isinstance(last, Tensor) or last.ndim not in (2, 3, 4):
        shape = tuple(last.shape) if isinstance(last, Tensor) else type(last)
        raise TypeError(
            'an embedding needs a map (B, C, H, W), tokens (B, L, D) or a '
            f'vector (B, D) as the last output of `extract_feat`, got {shape}'
        )
    last = last.float()
    if last.ndim == 4:
        return last.mean(dim=(2, 3))
    if last.ndim == 3:
        if num_extra_tokens is None:
            raise ConfigError(
                'the backbone returns tokens but has no `num_extra_tokens`, '
                'so its class token cannot be told from patches; set '
                "`out_type='featmap'` or `'avg_featmap'` in the backbone"
            )
        return last[:, num_extra_tokens:].mean(dim=1)
    return last


def check_embeddings(
    bank: Tensor, bank_labels: Tensor, query: Tensor, query_labels: Tensor
) -> None:
    """Check that the bank can classify the query.

    Both have embeddings, ``(N, D)`` and ``(M, D)``, and class ids, ``(N, )``
    and ``(M, )``.

    Raises:
        ConfigError: If a side holds NaN or infinity, or a class of the query
            is missing from the bank.
        ValueError: If a side is empty or has another number of labels than
            embeddings, or the widths differ.
    """
    for name, embeddings, labels in (
        ('bank', bank, bank_labels),
        ('query', query, query_labels),
    ):
        if embeddings.ndim != 2 or not len(embeddings):
            raise ValueError(
                f'`{name}` must be embeddings (N, D) of at least one image, '
                f'got the shape {tuple(embeddings.shape)}'
            )
        if labels.shape != embeddings.shape[:1]:
            raise ValueError(
                f'`{name}` has {len(embeddings)} embeddings but labels of '
                f'shape {tuple(labels.shape)}; give one class id per image'
            )
        broken = int((~embeddings.isfinite().all(dim=1)).sum())
        if broken:
            raise ConfigError(
                f'{broken} of {len(embeddings)} embeddings of `{name}` hold '
                'NaN or infinity: the model has diverged or overflows in '
                'half precision; lower the learning rate or set `fp16=False` '
                'in the loop'
            )
    if bank.size(1) != query.size(1):
        raise ValueError(
            f'`bank` has embeddings of width {bank.size(1)}, `query` of '
            f'width {query.size(1)}; both must come from the same model'
        )
    missing = sorted(
        set(query_labels.tolist()).difference(bank_labels.tolist())
    )
    if missing:
        raise ConfigError(
            f'the classes {missing} of `query` have no image in `bank`; give '
            'a `bank` that holds every class'
        )
