"""``rso data list`` and ``rso data import``."""

import tyro
from small_archives import assert_same, message_of, random_mnist, write_mnist

from rso_jax.cli.data import DataImport, DataList, run_import, run_list
from rso_jax.data import load


def test_list_says_what_is_ready_and_what_to_do(prepared, capsys):
    data_dir, _ = prepared
    assert run_list(DataList(data_dir)) == 0
    first, digits, mnist, fashion, cifar = capsys.readouterr().out.splitlines()
    assert str(data_dir) in first
    assert digits.split()[0] == "digits" and "1437 train" in digits and "360 test" in digits
    assert "3.0.1" in mnist and "30 train" in mnist and "10 test" in mnist
    assert f"{data_dir}/mnist/3.0.1" in mnist and "not cached yet" in mnist
    for line, name in ((fashion, "fashion_mnist"), (cifar, "cifar10")):
        assert "not ready" in line and f"rso data import {name} SOURCE" in line

    load("mnist", data_dir)
    run_list(DataList(data_dir))
    assert capsys.readouterr().out.splitlines()[2].endswith("  cached")


def test_list_without_a_data_folder(tmp_path, capsys):
    assert run_list(DataList()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "1437 train" in lines[1] and "does not exist" in lines[2]
    message = message_of(run_list, DataList(tmp_path / "no"))
    assert f"--data-dir {tmp_path}/no" in message


def test_import_writes_and_says_where(tmp_path, capsys):
    splits = random_mnist()
    source = write_mnist(tmp_path / "source", splits)
    arguments = ["fashion_mnist", str(source), "--data-dir", str(tmp_path / "data")]
    assert run_import(tyro.cli(DataImport, args=arguments)) == 0
    assert capsys.readouterr().out == f"wrote {tmp_path}/data/fashion_mnist/3.0.1\n"
    assert_same(load("fashion_mnist", tmp_path / "data"), splits)
