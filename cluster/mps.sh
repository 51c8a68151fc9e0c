#!/usr/bin/env bash
# Start NVIDIA's MPS on this node, so that trials which share a GPU compute at the same time instead
# of taking turns. Run it as the user of Ray, before `ray start`. It starts nothing, and ends with 0,
# where MPS cannot be: no driver, MIG (whose parts have MPS of their own), a GPU older than Volta (its
# processes would not be kept from each other's memory), or an MPS that already runs.
set -u

say() { echo "mps: $*" >&2; }

if ! command -v nvidia-smi > /dev/null || ! command -v nvidia-cuda-mps-control > /dev/null; then
    say "not started: NVIDIA's tools are not installed here"
    exit 0
fi
if ! gpus=$(nvidia-smi --query-gpu=compute_cap,mig.mode.current --format=csv,noheader) ||
    [[ -z $gpus ]]; then
    say "not started: the driver finds no GPU"
    exit 0
fi
while IFS=', ' read -r capability mig; do
    if [[ ! $capability =~ ^([0-9]+)\.[0-9]+$ ]] || ((BASH_REMATCH[1] < 7)); then
        say "not started: a GPU has compute capability $capability, less than 7.0"
        exit 0
    fi
    if [[ $mig == Enabled ]]; then
        say "not started: a GPU is divided by MIG"
        exit 0
    fi
done <<< "$gpus"
if echo get_server_list | nvidia-cuda-mps-control > /dev/null 2>&1; then
    say "it runs already"
    exit 0
fi
if nvidia-cuda-mps-control -d > /dev/null; then
    say "started"
else
    say "not started: nvidia-cuda-mps-control -d failed"
fi
exit 0
