#!/usr/bin/env bash
# One run on two machines, without a cluster manager. Start it on both, in any order:
#
#     experiments/launch/two_machines.sh FIRST 0 --dataset mnist --out runs/mnist    # on FIRST
#     experiments/launch/two_machines.sh FIRST 1 --dataset mnist --out runs/mnist    # on the other
#
# FIRST is the name or address by which the other machine reaches the first one; PORT must be open
# there. Both wait half a minute for each other. The run folder is on the first machine; a signal
# to either stops and saves both, and `--resume runs/mnist` in place of the settings goes on.
# More machines: PROCESSES=4, and 0 to 3 as second argument.
set -euo pipefail
first=${1:?name of the first machine} process=${2:?0 on the first machine, 1 on the second}
shift 2
exec "${RSO:-rso}" train --coordinator "$first:${PORT:-29500}" \
    --processes "${PROCESSES:-2}" --process "$process" "$@"
