"""TorchScript archives are read without running what is in them."""

from __future__ import annotations

import collections
import io
import pickle
import tracemalloc
import zipfile
from pathlib import Path

import pytest
import torch

from excel_cam.errors import ModelError
from excel_cam.model.torchscript import _Module, _rebuild_tensor, _Tensors, read_torchscript
from excel_cam.model.weights import read_weights

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


class Part(torch.nn.Module):
    """A module with all that an archive can hold: parts, half precision, transposed tensors, buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.LayerNorm(3))
        self.transposed = torch.nn.Parameter(torch.arange(6.0).view(2, 3).half().t())
        self.register_buffer("input_resolution", torch.tensor(224))
        self.mask = torch.ones(3)  # neither parameter nor buffer

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.parts(pixels) + self.mask


class WritesAFile(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2))

    @torch.jit.export
    def __getstate__(self) -> tuple[torch.Tensor, bool]:
        return (self.weight, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]) -> None:
        self.weight = state[0]
        self.training = state[1]
        torch.save(state[0], "written-by-the-archive.pt")

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels + self.weight


@pytest.mark.parametrize("make", [torch.jit.script, lambda module: torch.jit.trace(module, torch.ones(1, 2))])
def test_the_state_dict_is_torchs_own(tmp_path: Path, make: object) -> None:
    module = make(Part())  # type: ignore[operator]
    module.save(tmp_path / "archive.pt")
    expected, found = module.state_dict(), read_torchscript(tmp_path / "archive.pt")
    assert found.keys() == expected.keys()
    assert "parts.1.weight" in found
    assert "mask" not in found
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)
    state, is_archive = read_weights(tmp_path / "archive.pt")
    assert is_archive
    assert "input_resolution" not in state


def test_code_that_runs_on_loading_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.jit.script(WritesAFile()).save("archive.pt")
    with pytest.raises(ModelError, match=r"archive\.pt: not a weights file, or one that would run code"):
        read_weights(Path("archive.pt"))
    assert [path.name for path in tmp_path.iterdir()] == ["archive.pt"]


class _Calls:
    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> object:
        return self.call


@pytest.mark.parametrize("kind", ["pickle", "zip", "torchscript", "safetensors"])
def test_pickles_that_call_something_are_refused(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "harm"
    content = pickle.dumps(collections.OrderedDict(weight=_Calls(Path.touch, target)), protocol=2)
    path = tmp_path / f"weights.{'safetensors' if kind == 'safetensors' else 'pt'}"
    if kind in ("zip", "torchscript"):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("archive/data.pkl", content)
            archive.writestr("archive/version", "3\n")
            if kind == "torchscript":
                archive.writestr("archive/constants.pkl", pickle.dumps((), protocol=2))
        content = stream.getvalue()
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)
    assert not target.exists()


def rewritten(path: Path, compression: int = zipfile.ZIP_STORED, **changes: bytes) -> None:
    """An archive again, members whose names end in a key of `changes` (`_` for `.`) with other content."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            key = name.rpartition("/")[2].replace(".", "_")
            archive.writestr(name, changes.get(key, content))


def test_an_archive_gives_no_more_bytes_than_it_has(tmp_path: Path) -> None:
    """Packed members, and tensors that repeat one stored number: both announce gigabytes in some hundred bytes."""
    path = tmp_path / "archive.pt"
    module = torch.nn.Module()
    module.weight = torch.nn.Parameter(torch.zeros(1_000_000))
    torch.jit.script(module).save(path)
    rewritten(path, zipfile.ZIP_DEFLATED)
    with pytest.raises(ModelError, match="more bytes unpacked than the file"):
        read_weights(path)
    torch.save({"weight": torch.zeros(1_000_000)}, path)
    rewritten(path, zipfile.ZIP_DEFLATED)
    with pytest.raises(ModelError, match="bytes unpacked, more than the file"):
        read_weights(path)


def test_a_tensor_has_no_more_elements_than_are_stored_of_it() -> None:
    stored = torch.zeros(6)
    assert _rebuild_tensor(stored, 1, (5,), (1,)).shape == (5,)
    with pytest.raises(ValueError, match="more elements than are stored"):
        _rebuild_tensor(stored, 0, (1 << 40,), (0,))
    with pytest.raises(RuntimeError):
        _rebuild_tensor(stored, 4, (5,), (1,))


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04N" + pickle.LONG_BINPUT + (1 << 31).to_bytes(4, "little") + b".",
        b"\x80\x05" + pickle.BYTEARRAY8 + (1 << 33).to_bytes(8, "little") + b".",
    ],
)
def test_sizes_that_a_pickle_announces_are_not_believed(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "archive.pt"
    torch.jit.script(Part()).save(path)
    rewritten(path, data_pkl=content)
    tracemalloc.start()
    with pytest.raises(ModelError, match=r"archive\.pt: "):
        read_weights(path)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_modules_that_name_one_another_again_and_again_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("excel_cam.model.torchscript.MAX_MODULES", 1000)
    module = _Module()
    module.attributes = {}
    for _ in range(30):
        outer = _Module()
        outer.attributes = {"left": module, "right": module}
        module = outer
    tensors = _Tensors(None)  # type: ignore[arg-type]  # no source text is looked for: the one class is known
    tensors._stored[""] = set()
    with pytest.raises(ValueError, match="more than 1,000 modules"):
        list(tensors.named(module))
