from pathlib import Path

from mmhgkd.datasets import ProbeImages


def test_joins_bank_and_query(class_folders: Path) -> None:
    dataset = ProbeImages(str(class_folders))
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    assert [info['split'] for info in infos] == ['train'] * 8 + ['val'] * 8
    assert [info['gt_label'] for info in infos] == [0] * 4 + [1] * 4 + [
        0
    ] * 4 + [1] * 4
    assert dataset.metainfo['classes'] == ('a', 'b')


def test_limits_the_bank_only(class_folders: Path) -> None:
    dataset = ProbeImages(str(class_folders), max_bank_images=3)
    splits = [
        dataset.get_data_info(index)['split'] for index in range(len(dataset))
    ]
    assert splits == ['train'] * 3 + ['val'] * 8
