import subprocess
import sys
from pathlib import Path

from small_archives import message_of

from rso_jax.data import DATASETS, load


def test_known_names():
    assert DATASETS == ("digits", "mnist", "fashion_mnist", "cifar10")


def test_an_unknown_name_lists_the_known_ones():
    message = message_of(load, "fashion-mnist")
    assert "'fashion-mnist'" in message and "did you mean 'fashion_mnist'?" in message
    assert all(name in message for name in (*DATASETS, ".npz"))
    assert "did you mean" not in message_of(load, "imagenet")
    assert "unknown data set" in message_of(load, Path("data.npy"))


def test_the_import_leaves_heavy_libraries_alone():
    program = (
        "import sys, rso_jax.data, rso_jax.data.importing\n"
        "print({'tensorflow_datasets', 'sklearn', 'array_record'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "set()"
