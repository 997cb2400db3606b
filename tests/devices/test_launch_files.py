"""What the launch files start, with Slurm's programs replaced by ones that note their calls."""

import os
import subprocess
from pathlib import Path

import pytest

LAUNCH = Path(__file__).parents[2] / "experiments" / "launch"


@pytest.fixture
def launched(tmp_path):
    calls = tmp_path / "calls"
    for name, ending in (("srun", "exit ${SRUN_STATUS:-0}"), ("scontrol", "")):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho {name} "$@" >> {calls}\n{ending}\n')
        program.chmod(0o755)

    def launch(file, *arguments, **environment):
        calls.write_text("")
        mine = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "RSO": "rso", "SLURM_JOB_ID": "7"}
        done = subprocess.run(
            ["bash", LAUNCH / file, *map(str, arguments)],
            env=os.environ | mine | environment,
            capture_output=True,
            text=True,
        )
        return done, calls.read_text().splitlines()

    return launch


def test_slurm_starts_a_run_and_goes_on_with_it(launched, tmp_path):
    folder, settings = tmp_path / "run", ("--dataset", "mnist", "--mesh", "data=16")
    done, (call,) = launched("slurm.sbatch", folder, *settings)
    assert done.returncode == 0
    assert call.endswith(f"rso train --coordinator auto --out {folder} {' '.join(settings)}")
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    _, (call,) = launched("slurm.sbatch", folder, *settings)
    assert call.endswith(f"rso train --coordinator auto --resume {folder} {' '.join(settings)}")


def test_slurm_requeues_what_it_stopped_and_nothing_else(launched, tmp_path):
    done, calls = launched("slurm.sbatch", tmp_path / "run", SRUN_STATUS="143")
    assert done.returncode == 143 and calls[-1] == "scontrol requeue 7"
    done, calls = launched("slurm.sbatch", tmp_path / "run", SRUN_STATUS="3")
    assert done.returncode == 3 and len(calls) == 1
    done, calls = launched("slurm.sbatch")
    assert done.returncode and "run folder" in done.stderr and not calls


def test_two_machines_name_the_first_of_them(launched):
    done, _ = launched("two_machines.sh", "first", 1, "--seed", 3, RSO="echo", PORT="1234")
    joining = "--coordinator first:1234 --processes 2 --process 1"
    assert done.stdout == f"train {joining} --seed 3\n"
