#!/bin/bash
# One job of an array: the same nunbit line in every job, each with a part of its own.
#
#   Slurm:    sbatch --array=1-8 --cpus-per-task=4 examples/job_array.sh prepare /data/aihub --out /data/set
#   PBS:      qsub -J 1-8 -v NUNBIT_JOBS=8 -- examples/job_array.sh evaluate /data/set --out /data/eval
#   SGE:      qsub -t 1-8 examples/job_array.sh analyze /data/visits --out /data/timelines
#   LSF:      bsub -J "nunbit[1-8]" examples/job_array.sh analyze /data/visits --out /data/timelines
#   no queue: for i in 1 2 3; do NUNBIT_JOB=$i NUNBIT_JOBS=3 examples/job_array.sh prepare SRC --out OUT; done
#
# prepare, evaluate and analyze have parts. All jobs write to one OUT, on storage that all machines
# share. The job that finishes last joins everything. Where a job was killed, submit the same array
# again, with as many jobs as you like: finished parts are kept and found in seconds.
#SBATCH --job-name=nunbit
#SBATCH --requeue
set -euo pipefail

job=${NUNBIT_JOB:-${SLURM_ARRAY_TASK_ID:-${PBS_ARRAY_INDEX:-${SGE_TASK_ID:-${LSB_JOBINDEX:-}}}}}
jobs=${NUNBIT_JOBS:-${SLURM_ARRAY_TASK_MAX:-${SGE_TASK_LAST:-${LSB_JOBINDEX_END:-}}}}
if [ -z "$job" ] || [ -z "$jobs" ]; then
  echo "job_array.sh: not in a job array; give NUNBIT_JOB and NUNBIT_JOBS" >&2
  exit 2
fi
# The queue says how many cores the job has; networks and numpy take one thread a process.
export OMP_NUM_THREADS=1
exec "${NUNBIT:-nunbit}" "$@" --part "$job/$jobs"
