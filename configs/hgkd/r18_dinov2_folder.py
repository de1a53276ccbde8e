# As r18_folder.py with a stronger teacher, DINOv2's ViT-S/14, which learned
# without labels but is no masked image model. Its patches of 14 px lie on the
# grid of the student's 16 px when it sees the image at 84 px. It costs several
# times what the student does, which sees each image twice for one pass of it.
_base_ = 'r18_folder.py'

teacher_checkpoint = 'checkpoints/dinov2_vits14_pretrain.pth'

model = dict(
    teacher=dict(
        _delete_=True,
        type='mmhgkd.TimmTeacher',
        model_name='vit_small_patch14_dinov2.lvd142m',
        checkpoint=teacher_checkpoint,
        target_norm='whiten',
        precision='auto',
        input_size=84,
    ),
    head=dict(direct_loss=dict(out_channels=384)),
    views=2,
)
train_dataloader = dict(batch_size=32)
