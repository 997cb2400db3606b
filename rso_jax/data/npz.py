"""A user's own data: an .npz file with four arrays."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rso_jax.data.dataset import Dataset, check
from rso_jax.data.reason import reason
from rso_jax.errors import UserError

KEYS = ("x_train", "y_train", "x_test", "y_test")


def load_npz(path: str | Path) -> Dataset:
    """Return the data of an .npz file with x_train, y_train, x_test and y_test.

    Floats become float32 and uint8 stays. Examples of two axes, [N, H, W], are taken as images of
    one channel, [N, H, W, 1], which is what convolutions expect; [N, D] and [N, H, W, C] stay.
    There are as many classes as the largest training label plus one. The training examples are put
    in a random order, always the same, because statistics, training scores and a part of the data
    are taken from the first ones, and many files are sorted by class.

    Raises:
        UserError: not such a file, an array missing or of the wrong kind, or what
            ``dataset.check`` refuses.
    """
    path = Path(path).expanduser()
    arrays = _read(path)
    for key in ("x_train", "x_test"):
        images = arrays[key]
        if images.dtype.kind == "f" and images.dtype != np.float32:
            with np.errstate(over="ignore"):  # what overflows is found as not finite
                images = images.astype(np.float32)
        arrays[key] = images[..., None] if images.ndim == 3 else images
    labels = arrays["y_train"]
    countable = labels.size and labels.dtype.kind in "iu"
    # Where labels cannot be counted, check says what is wrong with them.
    classes = max(1, int(labels.max()) + 1) if countable else 1
    dataset = check(Dataset(path.name, classes=classes, **arrays))
    order = np.random.default_rng(0).permutation(len(dataset.y_train))
    return dataset._replace(
        x_train=dataset.x_train[order],
        y_train=dataset.y_train[order].astype(np.int32),
        y_test=dataset.y_test.astype(np.int32),
    )


def _read(path: Path) -> dict[str, NDArray[Any]]:
    remedy = "save it with numpy.savez(path, x_train=…, y_train=…, x_test=…, y_test=…)"
    if not path.is_file():
        raise UserError(f"{path} is not a file; pass the path of an .npz file")
    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            if not isinstance(content, np.lib.npyio.NpzFile):
                raise UserError(f"{path} holds a single array; {remedy}")
            with content:
                found = content.files
                if missing := [key for key in KEYS if key not in found]:
                    raise UserError(
                        f"{path} lacks {', '.join(missing)}; it has "
                        f"{', '.join(found) or 'no arrays'}; {remedy}"
                    )
                return {key: _member(path, content, key) for key in KEYS}
    except UserError:
        raise
    except Exception as error:  # numpy and zipfile raise many kinds for a damaged file
        raise UserError(
            f"{path} is not a readable .npz file ({reason(error)}); {remedy}"
        ) from error


def _member(path: Path, content: Any, key: str) -> NDArray[Any]:
    try:
        array: NDArray[Any] = content[key]
    except ValueError as error:
        if "Object arrays" not in str(error):
            raise
        raise UserError(
            f"{path}: {key} holds Python objects, not numbers; save it as an array of one shape"
        ) from error
    return array
