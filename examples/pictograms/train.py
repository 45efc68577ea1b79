"""Train the small CLIP of the demo on composed scenes: images against texts, and patches against what they show.

    python train.py --drawings run/drawings.npz --photographs run/photographs.npz --out run/

The same command goes on from the last checkpoint. Every batch follows from the seed and its number alone.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed
from batches import Batches, Stage, TimedBatches
from beginnings import begin_with, image_blocks, read_weights
from captions import Captions
from compose import CLASSES, Composer
from drawings import Drawing, load_drawings
from losses import (
    ATTENTION_WEIGHT,
    COVER_WEIGHT,
    MAP_WEIGHT,
    PATCH_WEIGHT,
    READ_WEIGHT,
    attention_loss,
    enrich,
    map_loss,
    patch_cover,
    patch_loss,
    read_loss,
    sigmoid_loss,
)
from open_clip import CLIP
from optimiser import Muon, fast_in_bfloat16
from passes import encode_pixels, encode_words
from photographs import Photograph, load_photographs
from stream import Batch, replayed
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from words import CONTEXT, Words

CONFIG: dict[str, Any] = {
    "embed_dim": 192, "quick_gelu": True,
    "vision_cfg": {"image_size": 112, "layers": 6, "width": 192, "head_width": 64, "patch_size": 16},
    "text_cfg": {"context_length": CONTEXT, "vocab_size": 0, "width": 160, "heads": 2, "layers": 3},
}  # fmt: skip
WARM_UP = 60  # batches over which the learning rate rises
FALL = 0.3  # last share of the training over which it falls
PHOTOGRAPHIC = 0.5  # share of scenes before photographs, which are the hardest
REDRAWN = 0.5  # share of drawings bent, and of ink drawn with another pen: there are few drawings of each class
PARTS = 0.12  # share of scenes that show one part of one object


class Trainer:
    """Towers, optimisers and their state."""

    def __init__(self, arguments: argparse.Namespace, words: Words, places: int, rank: int) -> None:
        self.places = places  # of the texts, the first: classes and background words
        torch.manual_seed(arguments.seed)
        config = json.loads(json.dumps(CONFIG))
        config["text_cfg"]["vocab_size"] = len(words.ids)
        config["vision_cfg"]["layers"] = arguments.layers
        config["vision_cfg"]["width"] = arguments.width
        self.config = config
        self.towers = CLIP(**config).to(arguments.device)
        self.towers.logit_bias = nn.Parameter(torch.tensor(-4.0, device=arguments.device))
        # For backgrounds without a name, and for maps; like the bias, no part of a CLIP.
        self.towers.other_row = nn.Parameter(0.02 * torch.randn(config["embed_dim"], device=arguments.device))
        self.towers.map_scale = nn.Parameter(torch.tensor(math.log(10), device=arguments.device))
        self.towers.map_bias = nn.Parameter(torch.tensor(-4.0, device=arguments.device))
        with torch.no_grad():
            self.towers.logit_scale.fill_(math.log(10))
        named = [(n, p) for n, p in self.towers.named_parameters()]
        hidden = [p for n, p in named if (p.ndim == 2 and "resblocks" in n) or "conv1" in n]
        chosen = {id(p) for p in hidden}
        others = [p for _n, p in named if id(p) not in chosen]
        self.muon = Muon(hidden, rank, arguments.processes)
        self.adam = torch.optim.AdamW(
            others,
            lr=arguments.rate,
            betas=(0.9, 0.98),
            weight_decay=0.0,
            fused=torch.device(arguments.device).type == "cuda",
        )
        self.peak = arguments.rate
        # Compiled, a step of 9 blocks takes 79 ms on an H100, as a CUDA graph of the same calls 118; the compiler takes
        # 46 s.
        compiled = torch.device(arguments.device).type == "cuda"
        self.see = torch.compile(encode_pixels, dynamic=False) if compiled else encode_pixels
        self.average = {name: p.detach().clone() for name, p in self.towers.state_dict().items()}
        self.number, self.batch, self.decay = 0, arguments.batch, arguments.average

    def step(self, batch: Batch, progress: float, processes: int) -> Tensor:
        """One update; returns the loss."""
        # Constant, then falling to nothing: a longer run goes on from a checkpoint of the constant stretch.
        rate = self.peak * min(1.0, (self.number + 1) / WARM_UP, (1 - progress) / FALL + 0.01)
        device, targets = batch.pixels.device, batch.targets
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=fast_in_bfloat16(device)):
            seen = self.see(self.towers.visual, batch.pixels)
            parts = [encode_words(self.towers, rows) for _places, rows in batch.words]
        texts = torch.cat(parts)[torch.cat([places for places, _rows in batch.words]).argsort()]
        loss = sigmoid_loss(seen.images, texts, self.towers.logit_scale, self.towers.logit_bias, targets)
        names = texts[: self.places]
        if batch.mask is None:
            loss = loss + PATCH_WEIGHT * patch_loss(seen.patches, names, targets, None, self.towers.other_row)
        else:
            cover = patch_cover(batch.mask)
            # What masks teach goes through the enriched rows, by which the method reads places.
            rows = enrich(names, texts[targets.enriching])
            loss = loss + COVER_WEIGHT * patch_loss(seen.patches, rows, targets, cover)
            loss = loss + READ_WEIGHT * read_loss(seen, rows, targets, cover)
            loss = loss + ATTENTION_WEIGHT * attention_loss(seen.attention, cover)
            loss = loss + MAP_WEIGHT * map_loss(seen.patches, rows, cover, self.towers.map_scale, self.towers.map_bias)
        loss.backward()
        parameters = [p for p in self.towers.parameters() if p.grad is not None]
        if processes > 1:
            flat = torch.cat([p.grad.flatten() for p in parameters])
            torch.distributed.all_reduce(flat)
            for p, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
                p.grad = (part / processes).reshape(p.shape)
        nn.utils.clip_grad_norm_(parameters, 5.0)
        for group in self.adam.param_groups:
            group["lr"] = rate / 2
        self.adam.step()
        self.adam.zero_grad()
        self.muon.step(rate)
        self.number += 1
        decay = min(self.decay, (1 + self.number) / (10 + self.number))
        own = self.towers.state_dict()
        floating = [name for name, value in own.items() if value.is_floating_point()]
        follow = get_ema_multi_avg_fn(decay)
        follow([self.average[name] for name in floating], [own[name] for name in floating], self.number)
        return loss.detach()

    def save(self, path: Path, words: Words) -> None:
        """Write a checkpoint at once or not at all."""
        content = {
            "config": self.config, "ids": words.ids, "number": self.number, "batch": self.batch,
            "weights": self.towers.state_dict(), "average": self.average, "adam": self.adam.state_dict(),
            "muon": self.muon.state_dict(),
        }  # fmt: skip
        torch.save(content, path.with_suffix(".part"))
        os.replace(path.with_suffix(".part"), path)

    def start_from(self, paths: Sequence[Path], words: Words) -> None:
        """Begin with other weights than those made by chance (`beginnings.begin_with`)."""
        own = self.towers.state_dict()
        begin_with(paths, own, words.ids)
        self.average = {name: p.detach().clone() for name, p in own.items()}

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        content = torch.load(path, map_location=next(self.towers.parameters()).device, weights_only=True)
        self.towers.load_state_dict(content["weights"])
        self.average, self.number = content["average"], content["number"]
        self.adam.load_state_dict(content["adam"])
        self.muon.load_state_dict(content["muon"])


def train(rank: int, arguments: argparse.Namespace) -> None:
    """One process's share of the training."""
    torch.set_num_threads(arguments.threads)
    processes, out = arguments.processes, Path(arguments.out)
    if processes > 1:
        store = f"file://{(out / 'rendezvous').resolve()}"
        torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=processes)
    captions = Captions(Path(arguments.knowledge))
    words = Words(captions.vocabulary())
    trainer = Trainer(arguments, words, len(CLASSES) + len(captions.background), rank)
    checkpoint = out / "checkpoint.pt"
    if checkpoint.is_file():
        trainer.load(checkpoint)
    elif arguments.start:
        trainer.start_from([Path(path) for path in arguments.start], words)
    report = Report(trainer, arguments)
    saved = time.monotonic()
    composer = _composer(arguments)
    follow = _batches_in_time if arguments.minutes else _batches_by_number
    for batch, progress in follow(arguments, trainer, composer, captions, words, rank):
        loss = trainer.step(batch, progress, processes)
        if rank == 0:
            report.add(batch, loss, progress)
            if time.monotonic() - saved > arguments.every:
                trainer.save(checkpoint, words)
                saved = time.monotonic()
    if rank == 0:
        trainer.save(checkpoint, words)


class Report:
    """Lines of progress."""

    def __init__(self, trainer: Trainer, arguments: argparse.Namespace) -> None:
        self.trainer, self.every = trainer, arguments.report
        self.started, self.first = time.monotonic(), trainer.number
        self.losses: list[Tensor] = []

    def add(self, batch: Batch, loss: Tensor, progress: float) -> None:
        """A step that was made."""
        self.losses.append(loss)
        trainer = self.trainer
        if trainer.number % self.every:
            return
        mean, seconds = float(torch.stack(self.losses).mean()), time.monotonic() - self.started
        rate = (trainer.number - self.first) * trainer.batch / seconds
        print(
            f"{trainer.number * trainer.batch:8,d} images  {rate:6.1f}/s  side {batch.pixels.shape[-1]}  "
            f"loss {mean:7.3f}  done {progress:.3f}  {seconds / 60:.1f} min",
            flush=True,
        )
        self.losses.clear()


def _batches_by_number(
    arguments: argparse.Namespace, trainer: Trainer, composer: Composer, captions: Captions, words: Words, rank: int
) -> Iterator[tuple[Batch, float]]:
    """Every batch once, with the share of the training that is done with it: of patches, which is what time is spent
    on."""
    stages = [stage for stage in arguments.stages for _ in range(stage.images // arguments.batch)]
    spent = np.cumsum([(stage.side / 16) ** 2 for stage in stages])
    share, seed = arguments.batch // arguments.processes, arguments.seed + 7919 * rank
    loader = torch.utils.data.DataLoader(
        Batches(composer, _seen_photographs(arguments), captions, words, stages, share, seed), batch_size=None,
        sampler=range(trainer.number, len(stages)), num_workers=arguments.workers,
        prefetch_factor=4 if arguments.workers else None,
    )  # fmt: skip
    for number, batch in enumerate(loader, trainer.number):
        yield batch.to(torch.device(arguments.device)), float(spent[number] / spent[-1])


def _batches_in_time(
    arguments: argparse.Namespace, trainer: Trainer, composer: Composer, captions: Captions, words: Words, rank: int
) -> Iterator[tuple[Batch, float]]:
    """Batches for so many minutes, again and again while new ones are composed, with the share of the time gone by."""
    batches = TimedBatches(
        composer, _seen_photographs(arguments), captions, words, arguments.stages, arguments.batch, arguments.seed + 1
    )
    loader = torch.utils.data.DataLoader(
        batches, batch_size=None, sampler=range(trainer.number, 10**9), num_workers=arguments.workers,
        prefetch_factor=2 if arguments.workers else None,
    )  # fmt: skip
    device = torch.device(arguments.device)
    yield from replayed(loader, device, arguments.seed + trainer.number, arguments.minutes, batches.tell)


def _seen_drawings(arguments: argparse.Namespace) -> list[Drawing]:
    """What training may see; every class must be among it."""
    drawings = [drawing for drawing in load_drawings(Path(arguments.drawings)) if drawing.world == "seen"]
    if absent := sorted(set(CLASSES) - {drawing.name for drawing in drawings}):
        raise ValueError(f"{arguments.drawings}: no drawing of {', '.join(absent)} to train on")
    return drawings


def _seen_photographs(arguments: argparse.Namespace) -> list[Photograph]:
    found = [picture for path in arguments.photographs for picture in load_photographs(Path(path))]
    return [picture for picture in found if picture.world == "seen"]


def _composer(arguments: argparse.Namespace) -> Composer:
    """A composer of what training may see; each batch brings its own backgrounds."""
    composer = Composer(_seen_drawings(arguments), ())
    composer.photographic = PHOTOGRAPHIC if arguments.photographs else 0.0
    composer.close, composer.redrawn = PARTS, REDRAWN
    return composer


def _stage(text: str) -> Stage:
    side, images, easy, *masks = text.split(":")
    if masks not in ([], ["masks"]):
        raise argparse.ArgumentTypeError(f"{text}: after SIDE:IMAGES:EASY only :masks can follow")
    return Stage(int(side), int(images), float(easy), bool(masks))


def main() -> None:
    """Read the command line and start the processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drawings", required=True, help="drawings.npz, as drawings.py writes it")
    parser.add_argument(
        "--photographs", action="append", default=[], help="as photographs.py writes it; may be repeated"
    )
    parser.add_argument(
        "--start",
        action="append",
        default=[],
        help="a checkpoint, or a model's configuration, whose weights to begin with where --out has no checkpoint yet; "
        "repeated: with the mean of them",
    )
    parser.add_argument("--knowledge", default=str(Path(__file__).parents[2] / "kb" / "voc.json"))
    parser.add_argument("--out", required=True, help="folder for the checkpoint")
    parser.add_argument("--stages", type=_stage, nargs="+", default=[Stage(80, 200_000, 1.0), Stage(112, 300_000, 0.5)],
                        help="SIDE:IMAGES:EASY or SIDE:IMAGES:EASY:masks, one after the other")  # fmt: skip
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--processes", type=int, default=1, help="processes that share each batch (CPU)")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--workers", type=int, default=1, help="composing processes for each training process")
    parser.add_argument("--report", type=int, default=50, help="batches between lines of progress")
    parser.add_argument("--average", type=float, default=0.995, help="decay of the running average, which is kept")
    parser.add_argument(
        "--minutes", type=float, default=0.0,
        help="train for so long, with scenes again while new ones are composed; the stages' numbers are shares of it",
    )  # fmt: skip
    parser.add_argument("--every", type=float, default=240, help="seconds between checkpoints")
    arguments = parser.parse_args()
    if arguments.minutes < 0 or (arguments.minutes and arguments.processes > 1):
        parser.error(f"--minutes {arguments.minutes:g}: more than 0, and for one process; leave --processes out")
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "rendezvous").unlink(missing_ok=True)
    try:
        _seen_drawings(arguments)
        _seen_photographs(arguments)
        for start in arguments.start:
            if (blocks := image_blocks(read_weights(Path(start))[0])) > arguments.layers:
                raise ValueError(f"{start}: {blocks} image blocks, of which none can be left out; --layers {blocks}")
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if arguments.processes == 1:
        train(0, arguments)
    else:
        spawn(train, (arguments,), arguments.processes)


if __name__ == "__main__":
    main()
