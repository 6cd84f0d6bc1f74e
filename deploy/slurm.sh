#!/usr/bin/env bash
# A sweep in a SLURM allocation: sbatch deploy/slurm.sh STUDY OUT
# Submitted again, or requeued after a preemption, it trains what is not stored yet. Lines to change are marked.
#SBATCH --job-name=sweep
#SBATCH --nodes=4                # change: machines
#SBATCH --gpus-per-node=8        # change: GPUs of each
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --time=24:00:00          # change: to what your partition allows
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120      # two minutes before the end, to this script
set -euo pipefail

study=${1:?usage: sbatch deploy/slurm.sh STUDY OUT}
out=${2:?usage: sbatch deploy/slurm.sh STUDY OUT, where all machines see OUT}

# change: how your machines find the program, such as: module load cuda; source ~/venv/bin/activate

# A token of this job's own, in a file that only you can read; no command line shows it.
umask 077
RAY_AUTH_TOKEN_PATH=${HOME}/.sweep-token-${SLURM_JOB_ID}
export RAY_AUTH_TOKEN_PATH RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300  # many machines that import from one disk take more than its 30 s
export SWEEP=${RAY_AUTH_TOKEN_PATH}.sweep  # with .pid and .code: its process, and how it ended
rm -f "$SWEEP".*  # left by this job where it was killed outright before it was requeued
trap 'rm -f "$RAY_AUTH_TOKEN_PATH" "$SWEEP".*' EXIT
python3 -c 'import secrets; print(secrets.token_hex(32), end="")' > "$RAY_AUTH_TOKEN_PATH"

machines=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${machines%%$'\n'*}
port=$((20000 + SLURM_JOB_ID % 20000))

# The first machine, where this script runs too, becomes the head and runs the sweep. Ray leaves the others waiting for a
# head that is gone: srun ends them ten seconds later.
# shellcheck disable=SC2016  # the inner shell expands these
srun --kill-on-bad-exit=1 --wait=10 ray symmetric-run --address "$head:$port" --min-nodes "$SLURM_JOB_NUM_NODES" \
  --num-gpus "${SLURM_GPUS_ON_NODE:-0}" -- \
  bash -c '"$@" & echo $! > "$SWEEP.pid"; wait $!; code=$?; echo $code > "$SWEEP.code"; exit $code' bash \
  robustness sweep "$study" --address auto --out "$out" &
step=$!

# Time is nearly up: the sweep saves what runs within ten seconds, and the job waits for its next turn.
# shellcheck disable=SC2329  # the trap calls it
requeue() {
  kill -TERM "$(cat "$SWEEP.pid" 2> /dev/null || echo "$step")" || true  # the step, while the cluster still starts
  wait "$step" || true
  scontrol requeue "$SLURM_JOB_ID"
  exit 0
}
trap requeue USR1
wait "$step" || true
# What srun ends with is of all machines, and 0 where Ray does not start.
[ -s "$SWEEP.code" ] || { echo "the sweep was not started, or was killed: see above" >&2; exit 1; }
exit "$(cat "$SWEEP.code")"
