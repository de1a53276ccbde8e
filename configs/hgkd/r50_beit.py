# Not yet run at full scale.
# The teacher is the BEiT of unilm that was only pre-trained; fine-tuned ones
# have seen the labels.
_base_ = 'r50_mae.py'

teacher_checkpoint = 'checkpoints/beit_base_patch16_224_pt22k.pth'

model = dict(
    teacher=dict(
        backbone=dict(
            _delete_=True,
            type='BEiTPretrainViT',
            arch='base',
            img_size=224,
            patch_size=16,
        ),
        mean=(127.5, 127.5, 127.5),
        std=(127.5, 127.5, 127.5),
        checkpoint=teacher_checkpoint,
    )
)
