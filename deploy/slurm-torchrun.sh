#!/bin/bash
# sbatch deploy/slurm-torchrun.sh CONFIG.yaml [t2i run's options …]
# One torchrun per node: when a process fails, torchrun starts all of them again, up to three times, without a new place
# in the queue. deploy/slurm.sh is simpler and gives the job back at the first failure.
#SBATCH --job-name=t2i
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=08:00:00
#SBATCH --signal=USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -u
# Without this torchrun dies of SIGUSR1; with it, it hands the signal on and gives the processes 30 s to save.
export TORCHELASTIC_SIGNALS_TO_HANDLE=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1
first_host=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun --kill-on-bad-exit=1 torchrun --nnodes="$SLURM_NNODES" --nproc-per-node=8 --max-restarts=3 \
  --rdzv-id="$SLURM_JOB_ID" --rdzv-backend=c10d --rdzv-endpoint="$first_host:29500" --no-python t2i run "$@"
