"""SIFT descriptors of real pictures, for benchmarks and tests without a download of a dataset.

The pictures are those inside the wheels of scikit-image and scikit-learn. OpenCV describes each of
them on a dense grid at several patch sizes; the descriptors are 128 integers from 0 to 255, as in
SIFT1M. Rows that occur twice, and those of flat patches, are dropped.

A picture is cut in blocks, and a block belongs to one set only: patches beside each other overlap,
so a random split by row would put near copies of every query in the base.

Writes {base,train,query}.{fvecs,npy}, float32, into the output folder. The same versions of the
packages (tools-requirements.txt) give the same bytes.
"""

import argparse
import importlib.util
import pathlib

import cv2
import numpy as np
from tqdm import tqdm

SKIMAGE_PICTURES = [
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
]
SKLEARN_PICTURES = ["china.jpg", "flower.jpg"]

BLOCK = 64  # pixels a side
PATCH_SIZES = (6, 9, 14, 20)  # SIFT keypoint diameters, in pixels
MIN_NORM = 100  # of a descriptor; OpenCV's have 512 unless the patch is flat
SHARES = {"base": 0.58, "train": 0.38, "query": 0.04}  # of the blocks


def picture_paths():
    # find_spec locates a package without importing it: its dependencies need not be installed.
    for package, folder, names in (
        ("skimage", "data", SKIMAGE_PICTURES),
        ("sklearn", "datasets/images", SKLEARN_PICTURES),
    ):
        spec = importlib.util.find_spec(package)
        if spec is None:
            raise SystemExit(f"{package} is not installed: see contrib/tools-requirements.txt")
        root = pathlib.Path(spec.origin).parent / folder
        yield from (root / name for name in names)


def describe(picture, step):
    """(descriptors (n, 128) uint8, block of each (n, 2)) of a grey picture."""
    height, width = picture.shape
    keypoints = [
        cv2.KeyPoint(float(x), float(y), float(size), 0.0)
        for size in PATCH_SIZES
        for y in range(size, height - size, step)
        for x in range(size, width - size, step)
    ]
    keypoints, descriptors = cv2.SIFT_create().compute(picture, keypoints)
    blocks = np.array([(int(p.pt[1]) // BLOCK, int(p.pt[0]) // BLOCK) for p in keypoints])
    return descriptors.astype("uint8"), blocks


def split_of_blocks(blocks, rng):
    """The name's number in SHARES for every row; a block goes to one set as a whole."""
    _, block_of_row = np.unique(blocks, axis=0, return_inverse=True)
    block_of_row = block_of_row.ravel()
    position = rng.permutation(block_of_row.max() + 1) / (block_of_row.max() + 1)
    bounds = np.cumsum(list(SHARES.values()))[:-1]
    return np.searchsorted(bounds, position, side="right")[block_of_row]


def write_fvecs(path, x):
    rows = np.empty((len(x), 1 + x.shape[1]), dtype="<i4")
    rows[:, 0] = x.shape[1]
    rows[:, 1:] = x.astype("<f4").view("<i4")
    rows.tofile(path)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=pathlib.Path, help="folder for the files")
    parser.add_argument("--step", type=int, default=5, help="grid step in pixels (default 5)")
    parser.add_argument("--queries", type=int, default=2000, help="at most (default 2000)")
    parser.add_argument("--seed", type=int, default=1234)
    arguments = parser.parse_args()
    if arguments.step < 1 or arguments.queries < 1:
        parser.error(f"--step {arguments.step} and --queries {arguments.queries} must be positive")
    return arguments


def main():
    arguments = parse_arguments()
    rng = np.random.default_rng(arguments.seed)
    rows, sets = [], []
    for path in tqdm(list(picture_paths()), unit="picture", disable=None):
        picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if picture is None:
            raise SystemExit(f"{path} cannot be read as a picture")
        descriptors, blocks = describe(picture, arguments.step)
        rows.append(descriptors)
        sets.append(split_of_blocks(blocks, rng))
    rows, sets = np.concatenate(rows), np.concatenate(sets)

    textured = np.linalg.norm(rows.astype("float32"), axis=1) >= MIN_NORM
    rows, sets = rows[textured], sets[textured]
    _, first = np.unique(rows.view("V128").ravel(), return_index=True)
    order = rng.permutation(np.sort(first))
    rows, sets = rows[order], sets[order]

    arguments.output.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(SHARES):
        x = rows[sets == number].astype("float32")
        if name == "query":
            x = x[: arguments.queries]
        write_fvecs(arguments.output / f"{name}.fvecs", x)
        np.save(arguments.output / f"{name}.npy", x)
        print(f"{name:<6}{len(x):>8} x {x.shape[1]}")


if __name__ == "__main__":
    main()
