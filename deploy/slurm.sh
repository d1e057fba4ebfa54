#!/bin/bash
# sbatch deploy/slurm.sh CONFIG.yaml [t2i run's options …]
# One task per GPU, started by srun; t2i reads rank and world from SLURM's variables. Two minutes before the time limit
# SLURM sends SIGUSR1: the step under way is saved, t2i ends with 75, and the job is put back into the queue, where the
# same command goes on from there.
#SBATCH --job-name=t2i
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=08:00:00
#SBATCH --signal=USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -u
srun --kill-on-bad-exit=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" t2i run "$@"
code=$?
if [ $code -eq 75 ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit $code
