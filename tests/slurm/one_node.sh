#!/usr/bin/env bash
# A study of 8 runs on a SLURM of this machine alone: two of its jobs are stopped and
# queued again, and the table equals that of the same study without a cluster.
#
#     bash tests/slurm/one_node.sh
#
# As root, from the root of a checkout whose environment is active; it takes some
# minutes. It needs Debian's SLURM and munge, whose own services are left alone:
#
#     apt-get install --no-install-recommends slurm-wlm munge
set -euo pipefail
recipe=$PWD
for tool in munged slurmctld slurmd sbatch srun squeue scontrol; do
    command -v "$tool" > /dev/null || {
        echo "There is no $tool: apt-get install --no-install-recommends slurm-wlm munge"
        exit 1
    }
done
folder=$(mktemp -d)
chmod 755 "$folder"
stop() {
    # All jobs of this cluster, and who waits for them.
    timeout 30 scancel $(squeue --noheader --format=%A) 2> /dev/null || true
    [ -z "${pid:-}" ] || kill "$pid" 2> /dev/null || true
    for _ in $(seq 60); do
        [ -n "$(squeue --noheader)" ] || break
        sleep 1
    done
    for file in "$folder"/{slurmd,slurmctld,munged}.pid; do
        [ ! -s "$file" ] || kill "$(cat "$file")" || true
    done
    echo "Everything lies in $folder."
}
trap stop EXIT

# --- the cluster -----------------------------------------------------------------
host=$(hostname -s)
dd if=/dev/urandom of="$folder/key" bs=1024 count=1 status=none
chmod 400 "$folder/key"
cat > "$folder/slurm.conf" <<CONF
ClusterName=one_node
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
AuthType=auth/munge
# A job that is queued again waits until its old credential is over: 120 s by default.
AuthInfo=socket=$folder/munge.socket,cred_expire=20
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
# Two CPUs whatever the machine has: two jobs at once.
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF=$folder/slurm.conf
munged --force --key-file="$folder/key" --socket="$folder/munge.socket" \
    --pid-file="$folder/munged.pid" --log-file="$folder/munged.log" \
    --seed-file="$folder/munged.seed"
mkdir "$folder/state" "$folder/spool"
slurmctld -f "$SLURM_CONF"
slurmd -f "$SLURM_CONF"
for _ in $(seq 60); do
    sinfo --noheader --format=%T 2> /dev/null | grep -q idle && break
    sleep 1
done
sinfo

# --- the study, here and there -----------------------------------------------------
study=(
    env "PYTHONPATH=$recipe" python -m lam_sb reproduce "$recipe/hparams/study/demo.yaml"
    --systems "[cc, layer_atn]" --seeds 2 --jobs 2 --max_steps 200
    --noprogressbar --device cpu
)
on_slurm=(--cluster slurm --gpus 0 --cpus 1 --minutes 30)
running() { squeue --noheader --array --states=RUNNING --format="%i" | grep _ || true; }
wait_for_epochs() { # of two runs at once, in the middle of their training
    until [ "$(running | wc -l)" = 2 ] &&
        [ "$(find results/demo/runs -name train_log.txt 2> /dev/null | wc -l)" -ge 2 ]; do
        sleep 1
    done
}
mkdir "$folder/cluster" "$folder/here"
cd "$folder/cluster"
echo "--- on the cluster"
"${study[@]}" "${on_slurm[@]}" &
pid=$!
wait_for_epochs
read -r first second <<< "$(running | xargs)"
echo "--- job $first: as if its node were lost; job $second: as if its time were over"
scontrol requeue "$first"
timeout 10 scancel --signal=USR2 "$second" || true # it tries again if the job is gone
squeue --array
echo "--- the submitting side is stopped, and started again"
kill -TERM $pid
wait $pid || echo "status $?"
"${study[@]}" "${on_slurm[@]}"
for job in "$first" "$second"; do
    scontrol show job "$job" | grep -E "JobState|Restarts" || true
done
grep -h -B2 -A2 "Stopped" results/study/demo/logs/*.log || true

cd "$folder/here"
mkdir -p results/demo
cp -r "$folder"/cluster/results/demo/{corpora,random-wavlm} results/demo/
echo "--- without a cluster"
"${study[@]}"
cd "$folder"
diff cluster/results/study/demo/table2.csv here/results/study/demo/table2.csv
echo "The tables are equal:"
cut -d, -f1-6 cluster/results/study/demo/table2.csv
find cluster/results/demo/runs -name predictions.csv | sort | while read -r file; do
    cmp "$file" "here/${file#cluster/}"
done
echo "The posteriors of all runs are equal, byte by byte."
