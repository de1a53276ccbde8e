#!/usr/bin/env bash
# Check on a real Slurm, of one node and on the CPU, that a job is preempted,
# queued again and resumed without a loss. Debian's packages are installed;
# configuration, keys and logs lie in a temporary folder, and the daemons are
# stopped at the end. Run it in the environment of the project.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

skip() {
    echo "Slurm check: skipped, $1"
    exit 0
}

[[ $(id -u) -eq 0 ]] || skip 'it needs root'
export PATH="$PATH:/usr/sbin:/sbin"
folder=$(mktemp -d)
daemons=()

finish() {
    code=$?
    trap - EXIT
    reason=
    if [[ $code -ne 0 ]]; then
        tail -n 30 "$folder"/*/slurm-*.log "$folder"/*.log 2>/dev/null || true
        reason=$(tail -n 1 "$folder/reason.log" 2>/dev/null || true)
    fi
    if [[ ${#daemons[@]} -gt 0 ]]; then
        # Slurm ends the processes of the jobs; they outlive its daemons.
        timeout 10 scancel --user=root || true
        for _ in {1..60}; do
            [[ -n $(timeout 10 squeue --noheader || true) ]] || break
            sleep 0.5
        done
        kill "${daemons[@]}" 2>/dev/null || true
        wait
    fi
    rm -rf "$folder"
    if [[ $code -ne 0 ]]; then
        echo "Slurm check: failed, ${reason:-see above}"
    fi
    exit "$code"
}
trap finish EXIT
trap 'exit 1' HUP INT TERM

if ! type munged slurmctld slurmd &>/dev/null; then
    type apt-get &>/dev/null || skip 'there is no apt-get'
    export DEBIAN_FRONTEND=noninteractive
    {
        timeout 120 apt-get -q -o Acquire::http::Timeout=20 update &&
            timeout 300 apt-get -q -y --no-install-recommends install \
                slurm-wlm munge
    } &>"$folder/apt.txt" ||
        skip "the packages cannot be installed: $(tail -n 1 "$folder/apt.txt")"
fi

# munge lets everybody reach its socket, or does not start.
chmod 755 "$folder"
mkdir "$folder/state" "$folder/spool"
head -c 64 /dev/urandom >"$folder/munge.key"
chmod 600 "$folder/munge.key"
read -r controller_port node_port < <(python - <<'PYTHON'
import socket

probes = [socket.create_server(('127.0.0.1', 0)) for _ in range(2)]
print(*(probe.getsockname()[1] for probe in probes))
PYTHON
)
host=${HOSTNAME%%.*}
# The GPUs are mere names, for the options of slurm_train.sh, and no task sees
# one. What is not asked of the kernel here (control groups, affinity) needs no
# privilege in a container. A job is queued again after seconds, not minutes.
for number in {0..3}; do
    ln -s /dev/null "$folder/gpu$number"
done
echo "Name=gpu File=$folder/gpu[0-3]" >"$folder/gres.conf"
# Before 23.02 the plugin cannot be switched off; that of version 1 idles.
version=$(slurmd -V | grep -oE '[0-9]+' | head -n 1)
plugin=$([[ $version -ge 23 ]] && echo disabled || echo cgroup/v1)
echo "CgroupPlugin=$plugin" >"$folder/cgroup.conf"
printf '#!/bin/sh\necho export CUDA_VISIBLE_DEVICES=-1\n' >"$folder/prolog.sh"
chmod 755 "$folder/prolog.sh"
cat >"$folder/slurm.conf" <<CONFIG
ClusterName=check
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$controller_port
SlurmdPort=$node_port
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket,cred_expire=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
TaskProlog=$folder/prolog.sh
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
SchedulerParameters=sched_interval=2
SlurmdParameters=config_overrides
KillWait=20
GresTypes=gpu
NodeName=localhost NodeHostname=$host NodeAddr=127.0.0.1 CPUs=4 Gres=gpu:4
PartitionName=check Nodes=localhost Default=YES
CONFIG
export SLURM_CONF="$folder/slurm.conf"

munged --foreground --key-file="$folder/munge.key" \
    --socket="$folder/munge.socket" --pid-file="$folder/munge.pid" \
    --seed-file="$folder/munge.seed" &>"$folder/munged.log" &
daemons+=($!)
for _ in {1..20}; do
    [[ ! -S $folder/munge.socket ]] || break
    sleep 0.5
done
slurmctld -D &>"$folder/slurmctld.log" &
daemons+=($!)
slurmd -D &>"$folder/slurmd.log" &
daemons+=($!)
for _ in {1..60}; do
    state=$(timeout 10 sinfo --noheader --format=%T 2>/dev/null || true)
    [[ $state != idle ]] || break
    sleep 0.5
done
if [[ $state != idle ]]; then
    echo "the node is ${state:-not there}" >"$folder/reason.log"
    exit 1
fi

export PYTHONPATH="$here:$here/../faults${PYTHONPATH:+:$PYTHONPATH}"
export OMP_NUM_THREADS=1
cd "$folder"
# Not in the foreground, where a signal to this script would wait for its end.
python "$here/check_requeue.py" 2>"$folder/reason.log" &
daemons+=($!)
wait $!
