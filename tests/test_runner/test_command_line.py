import pytest
from torch import distributed

from mmhgkd.runner import command_line


@pytest.mark.parametrize(
    ('error', 'code', 'message'),
    [
        (
            # While the processes find each other, before there is a group.
            distributed.DistNetworkError('Failed to recv, got 0 bytes.\nat'),
            3,
            'error: another process of this run is lost: Failed to recv, got '
            '0 bytes.; see its message, then add --resume\n',
        ),
        (
            distributed.DistStoreError('Timed out after 61 seconds'),
            3,
            'error: another process of this run has not answered in time '
            '(Timed out after 61 seconds); see whether it has been stopped or '
            'hangs, and end it, then add --resume; how long to wait is set by '
            '`env_cfg.dist_cfg.timeout`\n',
        ),
        (
            distributed.DistNetworkError('port: 29500, error: EADDRINUSE'),
            2,
            'error: the port 29500 is in use, maybe by another run; set PORT '
            'to another one\n',
        ),
    ],
)
def test_processes_that_do_not_meet(
    error: Exception,
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv('MASTER_PORT', '29500')

    def body() -> None:
        raise error

    assert command_line.run_tool(body) == code
    assert capsys.readouterr().err == message


def test_other_errors_keep_their_traceback() -> None:
    def body() -> None:
        raise RuntimeError('Connection reset by a part of the model')

    with pytest.raises(RuntimeError, match='part of the model'):
        command_line.run_tool(body)
