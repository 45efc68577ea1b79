"""Open photographs, normalise and resize them: from a file to the network's input."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from excel_cam.errors import ImageError

# Mean and standard deviation of R, G, B on 0..255. The release feeds CLIP with ImageNet's (METHOD.md step 2.1).
NORMALISATIONS = {
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "clip": ((122.7709383, 116.7460125, 104.09373615), (68.5005327, 66.6321579, 70.32316305)),
}


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode one photograph to (H, W, 3) uint8 RGB, in the orientation it is stored in.

    Raises `ImageError` with a reason a person understands: missing, empty, damaged, cut off, not an image, too large.
    """
    try:
        if path.stat().st_size == 0:
            raise ImageError(f"{path}: the file is empty")
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return np.asarray(image.convert("RGB"))
    except FileNotFoundError:
        raise ImageError(f"{path}: no such image") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ImageError(f"{path}: too large to decode safely ({error})") from None
    except UnidentifiedImageError:
        raise ImageError(f"{path}: not an image, or a format Pillow cannot read") from None
    except MemoryError:
        raise ImageError(f"{path}: not enough memory to decode it") from None
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, KeyError) as error:
        # Pillow's decoders raise all of these on damaged files.
        raise ImageError(f"{path}: cannot be decoded ({error})") from None


def normalise(image: NDArray[np.uint8], normalisation: str) -> Tensor:
    """(H, W, 3) uint8 RGB to (3, H, W) float32 of zero mean and unit deviation (METHOD.md step 2.1)."""
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in NORMALISATIONS[normalisation])
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1).to(torch.float32)
    return (pixels - mean) / deviation


def resize_to_input(normalised: Tensor, size: int) -> Tensor:
    """(3, H, W) float32 to (3, S, S), bilinear, half-pixel centres, no antialias, aspect ratio not kept."""
    return F.interpolate(normalised[None], size=(size, size), mode="bilinear", align_corners=False)[0]
