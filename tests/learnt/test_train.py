"""Whole training runs on a small model: phases, resuming to the same bytes, several processes, refusals."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn import draw_photograph
from safetensors.torch import load_file, save_file
from small_model import small_bank, small_model

from excel_cam.data.dataset import DataSet, Sample
from excel_cam.errors import DataError, ExcelCamError, ImageError, ModelError, OutputError, SettingsError
from excel_cam.learnt.checkpoint import find_checkpoints, read_adapter
from excel_cam.learnt.segmenter import Segmenter
from excel_cam.learnt.training.learner import Learner, Losses
from excel_cam.learnt.training.settings import TrainingSettings
from excel_cam.learnt.training.train import LOG_FILE, TrainingRequest, train
from excel_cam.run.learnt_labeller import LearntLabeller
from excel_cam.settings import SegmentationSettings, Settings
from excel_cam.shipped import ADAPTER_FILE

TRAINING = TrainingSettings(
    steps=9, warm_up=2, dynamic_from=3, own_from=6, batch=2, channels=16, decoder_blocks=1, decoder_heads=2, radius=2
)
SUPPORT = Path(__file__).parents[1] / "support"


def small_data(folder: Path) -> DataSet:
    samples = []
    for index, tags in enumerate(((0,), (1, 2), (), (2,), (0, 1))):
        path = folder / f"{index}.png"
        draw_photograph(50 + 6 * index, 70 - 5 * index, index).save(path)
        samples.append(Sample(str(index), path, tags))
    names = ("one", "two", "three")
    return DataSet("folder", folder, names, names, tuple(samples), "tags.csv", ())


@pytest.fixture
def request_for(tmp_path: Path) -> Callable[..., TrainingRequest]:
    (tmp_path / "images").mkdir()
    data = small_data(tmp_path / "images")
    model, bank = small_model(1), small_bank(1, 3, 2)

    def make(out: str, changes: dict[str, Any] | None = None, **others: Any) -> TrainingRequest:
        values: dict[str, Any] = {
            "data": data, "model": model, "bank": bank, "settings": Settings(size=32), "workers": 0,
            "training": dataclasses.replace(TRAINING, **(changes or {})), "out": tmp_path / out, "checkpoint_every": 2,
        } | others  # fmt: skip
        return TrainingRequest(**values)

    return make


def log_lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / LOG_FILE).read_text().splitlines()]


def test_a_run_teaches_and_leaves_an_adapter(request_for: Callable[..., TrainingRequest]) -> None:
    request = request_for("out", {"steps": 40, "own_from": None, "dynamic_from": 0.5, "rate": 3e-3})
    records = list(train(request))
    assert [record.step for record in records] == list(range(40))
    assert records[0].rate == pytest.approx(3e-9)
    first, last = (np.mean([record.loss for record in part]) for part in (records[:20], records[-20:]))
    assert last < first
    assert [line["step"] for line in log_lines(request.out)] == list(range(40))
    assert set(log_lines(request.out)[0]) == {
        "step", "loss", "segmentation", "diversity", "rate", "seconds", "images_per_second",
    }  # fmt: skip
    assert sorted(path.name for path in request.out.iterdir()) == [
        ADAPTER_FILE, "checkpoint-38.safetensors", "checkpoint-40.safetensors", LOG_FILE,
    ]  # fmt: skip
    weights = load_file(request.out / ADAPTER_FILE)
    assert {"adapter.0.proj.weight", "adapter.6.proj_2.bias", "adapter.fuse.weight", "decoder.pred.bias"} <= set(
        weights
    )
    assert all(tensor.dtype == torch.float32 for tensor in weights.values())
    adapter = read_adapter(request.out, request.model)
    assert adapter.description.classes == ("one", "two", "three")
    assert adapter.description.training == request.training
    photograph = np.asarray(draw_photograph(40, 50, 3))
    label = Segmenter(request.model, adapter, SegmentationSettings(scales=(1.0,))).segment([photograph])[0]
    assert label.shape == (40, 50)
    assert label.max() <= 3
    label = LearntLabeller(request.model, request.bank, adapter, request.settings).label([photograph], [[1]])[0]
    assert set(np.unique(label)) <= {0, 2}


@pytest.mark.parametrize("changes", [{}, {"average": 0.9, "padding": "ignore", "relation_mean": "image"}])
def test_a_resumed_run_ends_with_the_same_bytes(
    request_for: Callable[..., TrainingRequest], changes: dict[str, Any]
) -> None:
    whole = request_for("whole", changes)
    records = list(train(whole))
    stopped = request_for("stopped", changes, workers=2)
    run = train(stopped)
    for _ in range(5):
        next(run)
    run.close()  # type: ignore[attr-defined]
    with (stopped.out / LOG_FILE).open("a") as log:
        log.write('{"step": 5, "lo')  # as a killed run leaves it
    assert [entry.step for entry in find_checkpoints(stopped.out)] == [2, 4]
    resumed = list(train(dataclasses.replace(stopped, resume=True)))
    assert [record.step for record in resumed] == [4, 5, 6, 7, 8]
    assert [record.loss for record in resumed] == [record.loss for record in records[4:]]
    assert (stopped.out / ADAPTER_FILE).read_bytes() == (whole.out / ADAPTER_FILE).read_bytes()
    last = "checkpoint-8.safetensors"
    assert (stopped.out / last).read_bytes() == (whole.out / last).read_bytes()
    assert [line["step"] for line in log_lines(stopped.out)] == list(range(9))
    assert list(train(dataclasses.replace(stopped, resume=True))) == []  # finished


def test_a_run_stopped_before_its_adapter_writes_it(request_for: Callable[..., TrainingRequest]) -> None:
    request = request_for("out", {"steps": 4})
    list(train(request))
    expected = (request.out / ADAPTER_FILE).read_bytes()
    (request.out / ADAPTER_FILE).unlink()
    assert list(train(dataclasses.replace(request, resume=True))) == []
    assert (request.out / ADAPTER_FILE).read_bytes() == expected


def test_switches_change_what_is_learnt(request_for: Callable[..., TrainingRequest]) -> None:
    changes: dict[str, dict[str, Any]] = {
        "plain": {}, "average": {"average": 0.9}, "padding": {"padding": "ignore"}, "seed": {"seed": 1},
        "slots": {"slots": "outputs"}, "mean": {"relation_mean": "image"}, "own": {"own_from": None},
        "dynamic": {"dynamic_from": 9},
    }  # fmt: skip
    made = {}
    for name, change in changes.items():
        request = request_for(name, {"rate": 1e-2} | change)
        list(train(request))
        made[name] = load_file(request.out / ADAPTER_FILE)["adapter.fuse.weight"].numpy().tobytes()
    assert len(set(made.values())) == len(changes)


def test_a_loss_that_is_not_finite_moves_nothing(
    request_for: Callable[..., TrainingRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Learner.losses

    def spoilt(self: Learner, batch: Any, step: int) -> Losses:
        losses = plain(self, batch, step)
        return dataclasses.replace(losses, segmentation=losses.segmentation * torch.nan) if step == 1 else losses

    monkeypatch.setattr(Learner, "losses", spoilt)
    request = request_for("out", {"steps": 3})
    run = train(request)
    next(run)
    before = load_file(request.out / ADAPTER_FILE) if (request.out / ADAPTER_FILE).exists() else None
    assert before is None
    record = next(run)
    assert record.skipped
    assert not next(run).skipped
    assert log_lines(request.out)[1] | {"seconds": 0, "images_per_second": 0} == {
        "step": 1, "loss": None, "segmentation": None, "diversity": pytest.approx(record.diversity),
        "rate": record.rate, "seconds": 0, "images_per_second": 0, "skipped": True,
    }  # fmt: skip
    monkeypatch.setattr(Learner, "losses", lambda *a: dataclasses.replace(plain(*a), diversity=torch.tensor(torch.nan)))
    monkeypatch.setattr("excel_cam.learnt.training.train.MOST_SKIPPED", 2)
    with pytest.raises(ModelError, match="not been finite in 2 steps in a row"):
        list(train(request_for("other")))


def test_photographs_that_cannot_be_read(request_for: Callable[..., TrainingRequest]) -> None:
    request = request_for("out", {"seed": 2})
    request.data.samples[1].image_path.unlink()
    records = list(train(request))
    failures = [reason for record in records for reason in record.unreadable]
    assert failures
    assert all("1.png: no such image" in reason for reason in failures)
    assert [line for line in log_lines(request.out) if "unreadable" in line]
    for sample in request.data.samples:
        sample.image_path.unlink(missing_ok=True)
    with pytest.raises(ImageError, match="no such image"):
        list(train(request_for("other")))


PROCESS = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
import test_train
from excel_cam.learnt.training.train import TrainingRequest, train
out = Path(sys.argv[3])
request = TrainingRequest(
    data=test_train.small_data(out), model=test_train.small_model(1), bank=test_train.small_bank(1, 3, 2),
    settings=test_train.Settings(size=32), training=test_train.TRAINING, out=out / "two", workers=0,
)
list(train(request))
"""


def test_two_processes_train_as_one(request_for: Callable[..., TrainingRequest], tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    package = str(Path(__file__).parents[2])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(SUPPORT), str(Path(__file__).parent), str(tmp_path / "shared")],
            env=os.environ
            | {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1"}
            | {"MASTER_PORT": port, "PYTHONPATH": package, "OMP_NUM_THREADS": "1"},
        )
        for rank in range(2)
    ]
    one = request_for("one")
    records = list(train(one))
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    together = log_lines(tmp_path / "shared" / "two")
    for name in ("loss", "segmentation", "diversity"):
        assert [line[name] for line in together] == pytest.approx([getattr(r, name) for r in records], abs=2e-5)
    first, second = (load_file(out / ADAPTER_FILE) for out in (one.out, tmp_path / "shared" / "two"))
    differences = np.concatenate([(first[name] - second[name]).abs().numpy().ravel() for name in first])
    # AdamW takes full steps along gradients that are rounding noise, so a few weights part.
    assert (differences < 1e-5).mean() > 0.99


REFUSED: dict[str, tuple[dict[str, Any], type[ExcelCamError], str]] = {
    "no background": ({"bank": dataclasses.replace(small_bank(1, 3, 2), has_background=False)}, SettingsError,
                      "needs a background class"),
    "other classes": ({"bank": small_bank(1, 4, 2)}, DataError, "has 3 classes, but the text bank 4"),
    "attention": ({"settings": Settings(size=32, attention="vv")}, SettingsError, "--attention is vv"),
    "views": ({"settings": Settings(size=32, scales=(1.0, 1.5))}, SettingsError, "--scales is 1,1.5"),
    "crf": ({"settings": Settings(size=32, refine="crf")}, SettingsError, "too slow for the label of every crop"),
    "doubt": ({"settings": Settings(size=32, ignore_thresholds=(0.2, 0.8))}, SettingsError, "train without it"),
    "batch": ({"training": dataclasses.replace(TRAINING, batch=9)}, DataError, "do not fill a batch of 9"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trained_is_refused_at_once(request_for: Callable[..., TrainingRequest], name: str) -> None:
    changes, error, message = REFUSED[name]
    with pytest.raises(error, match=message) as raised:
        train(request_for("out", **changes))
    assert "\n" not in str(raised.value)
    assert not request_for("out").out.exists()


def test_settings_out_of_range() -> None:
    for changes in (
        {"steps": 0}, {"dynamic_from": 1.5}, {"dynamic_from": None}, {"own_from": -1}, {"batch": 0}, {"slots": "all"},
        {"decoder_heads": 7}, {"dropped": 1.0}, {"average": 1.0}, {"padding": "no"}, {"relation_mean": "pair"},
        {"rate": 0.0}, {"radius": -1}, {"seed": -1}, {"warm_up": -1},
    ):  # fmt: skip
        with pytest.raises(SettingsError, match=next(iter(changes))):
            TrainingSettings(**changes)
    for changes in ({"scales": ()}, {"variant": "ade"}, {"positions": "own"}, {"scales": (9.0,)}, {"crf_backend": "c"}):
        with pytest.raises(SettingsError, match=next(iter(changes))):
            SegmentationSettings(**changes)


def test_folders_and_checkpoints_that_do_not_fit(request_for: Callable[..., TrainingRequest], tmp_path: Path) -> None:
    request = request_for("out")
    run = train(request)
    for _ in range(4):
        next(run)
    run.close()  # type: ignore[attr-defined]
    with pytest.raises(OutputError, match="holds a training run already"):
        train(request)
    going_on = dataclasses.replace(request, resume=True)
    others: dict[str, dict[str, Any]] = {
        "training.seed 0, now 1": {"training": dataclasses.replace(TRAINING, seed=1)},
        "training.slots paper, now outputs": {"training": dataclasses.replace(TRAINING, slots="outputs")},
        "clip f+, now 0+": {"model": dataclasses.replace(request.model, fingerprint="0" * 64)},
        "bank ": {"bank": small_bank(2, 3, 2)},
        "data ": {"data": dataclasses.replace(request.data, samples=request.data.samples[:4])},
        "settings.normalisation imagenet, now clip": {"settings": Settings(size=32, normalisation="clip")},
    }
    for message, changes in others.items():
        with pytest.raises(OutputError, match=f"was made with {message}"):
            train(dataclasses.replace(going_on, **changes))
    checkpoint = find_checkpoints(request.out)[-1].path
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(ExcelCamError, match="cannot be read as trained weights"):
        train(going_on)


def test_adapters_that_do_not_fit(request_for: Callable[..., TrainingRequest], tmp_path: Path) -> None:
    request = request_for("out", {"steps": 2})
    list(train(request))
    file = request.out / ADAPTER_FILE
    for model, message in (
        (dataclasses.replace(request.model, fingerprint="0" * 64), "weights \\(SHA-256\\) f+, but model small has 0+"),
        (small_model(1, layers=6), "blocks 7, but model small has 6"),
        (small_model(1, width=64), "token width 32, but model small has 64"),
    ):
        with pytest.raises(ModelError, match=message):
            read_adapter(file, model)
    with pytest.raises(ModelError, match="training has not finished"):
        read_adapter(tmp_path, request.model)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"x": torch.zeros(1)}, foreign)
    with pytest.raises(ModelError, match="not weights that excel-cam has trained"):
        read_adapter(foreign, request.model)
    foreign.write_bytes(b"?")
    with pytest.raises(ModelError, match="cannot be read as trained weights"):
        read_adapter(foreign, request.model)
    adapter = read_adapter(find_checkpoints(request.out)[-1].path, request.model)
    with pytest.raises(ModelError, match="trained for 3 classes, but the text bank has 4"):
        LearntLabeller(request.model, small_bank(1, 4, 2), adapter, request.settings)
    with pytest.raises(SettingsError, match="--calibrated-blocks is 4, but the adapter was trained with 5"):
        LearntLabeller(request.model, request.bank, adapter, Settings(size=32, calibrated_blocks=4))
    with pytest.raises(SettingsError, match="needs a background class"):
        LearntLabeller(
            request.model, dataclasses.replace(request.bank, has_background=False), adapter, request.settings
        )
