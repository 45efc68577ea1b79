"""Trained weights on disk, with what they were trained with: checkpoints to go on from, and the finished adapter.

Both are safetensors files of float32 weights by name (`adapter.0.proj.weight`, …, `decoder.pred.bias`) and, as
metadata, a description in JSON. A checkpoint holds the optimiser's state and the running averages beside them.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from excel_cam.errors import ModelError, OutputError, SettingsError
from excel_cam.files.atomic import write_atomically
from excel_cam.files.json_file import parse_json
from excel_cam.learnt.network import Network, NetworkShape
from excel_cam.learnt.training.learner import Learner
from excel_cam.learnt.training.settings import TrainingSettings
from excel_cam.model.clip import ClipModel
from excel_cam.settings import Settings, check_learnt_backend
from excel_cam.shipped import ADAPTER_FILE

FORMAT = 1  # raised when the meaning of a file changes
KEPT_CHECKPOINTS = 2
_METADATA_KEY = "excel_cam"  # one key alone: the format does not keep the order of several
_AVERAGE, _OPTIMISER = "average/", "optimiser/"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True, kw_only=True)
class Description:
    """What weights were trained with. clip: SHA-256 of CLIP's weights; bank, data: of text rows, and names and tags."""

    package: str  # version; weights of one fit another
    data_set: str
    classes: tuple[str, ...]
    model: str
    clip: str
    precision: str
    bank: str
    data: str
    shape: NetworkShape
    settings: Settings
    training: TrainingSettings

    def as_json(self) -> dict[str, Any]:
        """The description as a dictionary that JSON can hold, and `from_json` reads."""
        return {"format": FORMAT, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Description:
        """Read what `as_json` wrote; raises `ValueError`, `TypeError`, `KeyError` or `SettingsError` for all else."""
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}, expected {FORMAT}")
        settings = dict(content["settings"])
        for name in ("scales", "ignore_thresholds"):
            settings[name] = None if settings[name] is None else tuple(settings[name])
        parts = {
            "classes": tuple(content["classes"]),
            "shape": NetworkShape(**content["shape"]),
            "settings": Settings(**settings),
            "training": TrainingSettings(**content["training"]),
        }
        return cls(**{key: value for key, value in content.items() if key != "format"} | parts)

    def first_difference(self, other: Description) -> str | None:
        """What `other` was made with and this was not, as text; None where one may go on from the other."""
        ours, theirs = (dict(_flat(json.loads(json.dumps(each.as_json())))) for each in (self, other))
        for name, value in ours.items():
            if name != "package" and value != theirs.get(name):
                return f"{name} {theirs.get(name)}, now {value}"
        return None


@dataclass(frozen=True)
class TrainedAdapter:
    """A trained network on a model's device, ready for inference, and what it was trained with."""

    network: Network
    description: Description


@dataclass(frozen=True)
class Checkpoint:
    """A file to go on from: `step` steps have been taken."""

    path: Path
    step: int


def checkpoint_path(out: Path, step: int) -> Path:
    """Where the checkpoint after `step` steps goes."""
    return out / f"checkpoint-{step}.safetensors"


def find_checkpoints(out: Path) -> list[Checkpoint]:
    """The checkpoints of a folder, oldest first."""
    found = ((path, re.fullmatch(r"checkpoint-([0-9]+)\.safetensors", path.name)) for path in out.glob("checkpoint-*"))
    return sorted((Checkpoint(path, int(name[1])) for path, name in found if name), key=lambda entry: entry.step)


def write_checkpoint(out: Path, step: int, learner: Learner, description: Description) -> None:
    """Write all that is needed to go on, whole or not at all, and remove all but the last two. Raises `OutputError`."""
    tensors = {name: weight.detach() for name, weight in learner.network.named_parameters()}
    tensors |= {f"{_AVERAGE}{name}": average for name, average in learner.averages.items()}
    for name, weight in learner.network.named_parameters():
        state = learner.optimiser.state.get(weight, {})  # empty before the first step that moved the weights
        tensors |= {f"{_OPTIMISER}{moment}/{name}": state[moment] for moment in _MOMENTS if moment in state}
    _write(checkpoint_path(out, step), tensors, description)
    for old in find_checkpoints(out)[:-KEPT_CHECKPOINTS]:
        old.path.unlink(missing_ok=True)


def write_adapter(out: Path, learner: Learner, description: Description) -> Path:
    """Write the finished weights; returns the file. Raises `OutputError`."""
    path = out / ADAPTER_FILE
    _write(path, learner.trained_weights(), description)
    return path


def resume_from(checkpoint: Checkpoint, learner: Learner, description: Description) -> None:
    """Give a learner the weights and the optimiser's state of a checkpoint.

    Raises `OutputError` where it was made with anything else than `description` says, naming it, or cannot be read.
    """
    try:
        tensors, found = _read(checkpoint.path)
        check_same_run(checkpoint.path, found, description)
        device = learner.model.device
        learner.network.load_state_dict({name: t for name, t in tensors.items() if "/" not in name})
        learner.averages = {name: tensors[f"{_AVERAGE}{name}"].to(device) for name in learner.averages}
        for name, weight in learner.network.named_parameters():
            keys = {moment: f"{_OPTIMISER}{moment}/{name}" for moment in _MOMENTS}
            if keys["step"] in tensors:
                state = {moment: tensors[key].to(device) for moment, key in keys.items()}
                # As AdamW makes it: its step counter stays on the CPU, where reading it waits for nothing.
                learner.optimiser.state[weight] = state | {"step": tensors[keys["step"]]}
    except (ModelError, KeyError, RuntimeError) as error:
        raise OutputError(f"{checkpoint.path} cannot be gone on from: {_one_line(error)}; remove it") from None


def check_same_run(path: Path, found: Description, wanted: Description) -> None:
    """Raise `OutputError`, naming the first difference, where a file belongs to another run than the one wanted."""
    if difference := wanted.first_difference(found):
        raise OutputError(f"{path} was made with {difference}; choose another --out, or the choices it was made with")


def read_adapter(path: Path, model: ClipModel) -> TrainedAdapter:
    """Read trained weights, of a file or of a folder that training has finished in, onto the model's device.

    >>> from excel_cam.shipped import DEMO_ADAPTER
    >>> read_adapter(DEMO_ADAPTER, model).description.classes[:2]
    ('aeroplane', 'bicycle')

    A checkpoint is read too, its averages where weights are averaged. Raises `ModelError` where the file cannot be
    read, is no trained adapter, or was trained on another CLIP, naming what differs; `SettingsError` where the model's
    backend is not torch.
    """
    check_learnt_backend(model.backend)
    if path.is_dir():
        path = path / ADAPTER_FILE
        if not path.is_file():
            raise ModelError(f"{path}: not there, training has not finished; name a checkpoint-*.safetensors instead")
    tensors, description = _read(path)
    _check_model(path, description, model)
    weights = {name: t for name, t in tensors.items() if "/" not in name}
    weights |= {name.removeprefix(_AVERAGE): t for name, t in tensors.items() if name.startswith(_AVERAGE)}
    network = Network(description.shape)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelError(f"{path}: its weights do not fit its own description: {_one_line(error)}") from None
    return TrainedAdapter(network.to(model.device).eval().requires_grad_(False), description)


def read_description(path: Path) -> Description:
    """What a file of trained weights was trained with; raises `ModelError`."""
    return _read(path)[1]


def _check_model(path: Path, description: Description, model: ClipModel) -> None:
    depth, width = model_size(model)
    compared = {
        "blocks": (description.shape.depth, depth),
        "token width": (description.shape.width, width),
        "weights (SHA-256)": (description.clip, model.fingerprint),
    }
    for name, (theirs, ours) in compared.items():
        if theirs != ours:
            raise ModelError(
                f"{path} was trained on {description.model} with {name} {theirs}, but model {model.name} has {ours}; "
                "choose the model it was trained on with --model and --weights"
            )


def model_size(model: ClipModel) -> tuple[int, int]:
    """An image tower's number of blocks and its token width."""
    return len(model.visual.transformer.resblocks), int(model.visual.conv1.out_channels)


def _write(path: Path, tensors: Mapping[str, Tensor], description: Description) -> None:
    metadata = {_METADATA_KEY: json.dumps(description.as_json(), ensure_ascii=False, sort_keys=True)}
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(content, metadata))


def _read(path: Path) -> tuple[dict[str, Tensor], Description]:
    """A file's tensors, on the CPU, and its description; raises `ModelError`."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: cannot be read as trained weights: {_one_line(error)}") from None
    try:
        return tensors, Description.from_json(parse_json(metadata[_METADATA_KEY]))
    except KeyError:
        raise ModelError(f"{path}: not weights that excel-cam has trained: no description of them inside") from None
    except (ValueError, TypeError, AttributeError, SettingsError) as error:
        raise ModelError(
            f"{path}: its description cannot be read, another version may have written it: {_one_line(error)}"
        ) from None


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested dictionaries by dotted names."""
    for name, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
