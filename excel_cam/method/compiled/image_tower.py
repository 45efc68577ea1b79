"""The calibrated forward pass compiled as one graph by OpenVINO (extra `fast`): `calibration` holds the arithmetic.

The graph is made of the tower's own weights when it is first wanted, in about two seconds; nothing is kept on disk.
Sums are taken in other orders than in torch, so that features differ in their last digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import numpy as np
import openvino
import openvino.opset13 as ops
import torch
from torch import Tensor, nn

from excel_cam.errors import ModelError
from excel_cam.method.calibration import DenseFeatures, check_depth, keeps_map, resized_positions
from excel_cam.method.threads import threads_beside, threads_here

# What the products run in is said outright: left alone, some processors would be given bfloat16 or float16.
_PROPERTIES = {"INFERENCE_PRECISION_HINT": "f32"}
_QUICK_GELU = 1.702  # OpenAI's activation: x · sigmoid(1.702 · x)

Tower = Any  # open_clip's VisionTransformer, or our ImageTower
Block = Any  # one of its blocks
Node = Any  # an operation of the graph


class CompiledTower:
    """The calibrated forward pass of one image of `side` x `side` patches, as `encode_images` computes it."""

    def __init__(self, visual: Tower, side: int, attention: str, blocks: int) -> None:
        """Takes an image from each of the threads that work beside this one, or shares one among all threads there are.

        Raises `ModelError` where the tower has fewer than `blocks` blocks, or an activation that is not known here.
        """
        graph = _CalibratedPass(visual, side, attention, blocks).graph()
        streams = threads_beside()
        hint = "LATENCY" if streams == 1 else "THROUGHPUT"
        threads = threads_here() if streams == 1 else streams
        properties = {"PERFORMANCE_HINT": hint, "NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": threads}
        self._compiled = openvino.Core().compile_model(graph, "CPU", _PROPERTIES | properties)
        self._requests: SimpleQueue[Any] = SimpleQueue()  # a request computes one image at a time
        for _ in range(streams):
            self._requests.put(self._compiled.create_infer_request())

    def encode(self, pixels: Tensor) -> DenseFeatures:
        """Features of (n, 3, S, S) float32 network inputs on the CPU, image by image."""
        found = [self._encode_one(image[None]) for image in pixels]
        return DenseFeatures(*(torch.cat(parts) for parts in zip(*found, strict=True)))

    def _encode_one(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        request = self._requests.get()
        try:
            results = request.infer([pixels.contiguous().numpy()], share_inputs=True, share_outputs=True)
            tokens, attention = (torch.from_numpy(results[place].copy()) for place in range(2))
        finally:
            self._requests.put(request)
        return tokens, attention


@dataclass(frozen=True)
class _Heads:
    """Queries, keys and values of one block, each (1, heads, 1 + N, d), and the values before they are parted.

    Products of queries, keys and evened values with one another come out scaled: each has d^-1/4 in it.
    """

    query: Node
    key: Node
    value: Node
    evened_value: Node
    joined_value: Node  # (1, 1 + N, width)


class _CalibratedPass:
    """Lays out the operations of `encode_images` for one image; nodes are (1, t, width) where nothing else is said."""

    def __init__(self, visual: Tower, side: int, attention: str, blocks: int) -> None:
        self._visual, self._side, self._attention = visual, side, attention
        self._layers = check_depth(visual, attention, blocks)
        self._calibrated_from = len(self._layers) if attention == "qk" else len(self._layers) - blocks
        self._width = int(visual.conv1.out_channels)
        self._count = int(self._layers[0].attn.num_heads)
        self._root = (self._width / self._count) ** -0.25

    def graph(self) -> openvino.Model:
        """From (1, 3, S, S) pixels to tokens, (1, 1 + N, D), and attention, (1, 1 + N, 1 + N)."""
        size = self._side * self._visual.patch_size[0]
        pixels = ops.parameter([1, 3, size, size], np.float32)
        original = calibrated = self._embed(pixels)
        maps = []
        for index, block in enumerate(self._layers):
            is_calibrated, is_last = index >= self._calibrated_from, index == len(self._layers) - 1
            if index == self._calibrated_from:
                calibrated = original
            heads = self._project(block, _layer_norm(block.ln_1, original))
            # After the last block the original path's patches are not used, but where there is no other path.
            ends = is_last and is_calibrated
            attended, kept = self._attend(heads, is_calibrated, keeps_map(index, self._layers), ends)
            maps += kept
            if is_calibrated:
                calibrated = ops.add(calibrated, self._project_out(block, self._attend_alike(heads)))
            original = _first_token(original) if ends else original
            original = ops.add(original, self._project_out(block, self._join(attended)))
            original = ops.add(original, _perceive(block, original))
        if self._calibrated_from < len(self._layers):
            original = ops.concat([original, _without_first_token(calibrated)], 1)
        tokens = ops.matmul(_layer_norm(self._visual.ln_post, original), _constant(self._visual.proj), False, False)
        return openvino.Model([tokens, _times(_sum(maps), 1 / len(maps))], [pixels], "calibrated")

    def _embed(self, pixels: Node) -> Node:
        visual, (patch, _) = self._visual, self._visual.patch_size
        found = ops.convolution(pixels, _constant(visual.conv1.weight), [patch, patch], [0, 0], [0, 0], [1, 1])
        patches = ops.transpose(ops.reshape(found, _whole(1, self._width, -1), False), _whole(0, 2, 1))
        tokens = ops.concat([_constant(visual.class_embedding.view(1, 1, -1)), patches], 1)
        return _layer_norm(visual.ln_pre, ops.add(tokens, _constant(resized_positions(visual, self._side)[None])))

    def _project(self, block: Block, normed: Node) -> _Heads:
        weights, biases = block.attn.in_proj_weight.chunk(3), block.attn.in_proj_bias.chunk(3)
        query, key = (_linear(normed, weights[part] * self._root, biases[part] * self._root) for part in range(2))
        joined = _linear(normed, weights[2], biases[2])
        value = self._part(joined)
        return _Heads(self._part(query), self._part(key), value, _times(value, self._root), joined)

    def _attend(self, heads: _Heads, is_calibrated: bool, keeps: bool, ends: bool) -> tuple[Node, list[Node]]:
        """What a block's own attention finds, (1, heads, t, d), and its map, (1, 1 + N, 1 + N), where it is kept."""
        probabilities = _softmax_products(heads.query, heads.key)
        kept = [_times(_over_heads(probabilities), 1 if is_calibrated else 1 / self._count)] if keeps else []
        rows = _first_token(probabilities, axis=2) if ends else probabilities
        return ops.matmul(rows, heads.value, False, False), kept

    def _attend_alike(self, heads: _Heads) -> Node:
        if self._attention == "v":
            return heads.joined_value
        parts = [heads.evened_value] if self._attention == "vv" else [heads.query, heads.key, heads.evened_value]
        correlation = _times(_sum([_over_heads(_softmax_products(part, part)) for part in parts]), 1 / len(parts))
        return ops.matmul(correlation, heads.joined_value, False, False)  # one matrix for all heads

    def _project_out(self, block: Block, joined: Node) -> Node:
        return _scaled_linear(joined, block.attn.out_proj, block.ls_1)

    def _part(self, joined: Node) -> Node:
        """(1, t, width) to (1, heads, t, d)."""
        parted = ops.reshape(joined, _whole(1, -1, self._count, self._width // self._count), False)
        return ops.transpose(parted, _whole(0, 2, 1, 3))

    def _join(self, parted: Node) -> Node:
        """(1, heads, t, d) to (1, t, width)."""
        return ops.reshape(ops.transpose(parted, _whole(0, 2, 1, 3)), _whole(1, -1, self._width), False)


def _perceive(block: Block, tokens: Node) -> Node:
    inner = _linear(_layer_norm(block.ln_2, tokens), block.mlp.c_fc.weight, block.mlp.c_fc.bias)
    return _scaled_linear(_activate(block.mlp.gelu, inner), block.mlp.c_proj, block.ls_2)


def _activate(activation: nn.Module, states: Node) -> Node:
    if isinstance(activation, nn.GELU):
        return ops.gelu(states, "tanh" if activation.approximate == "tanh" else "erf")
    if type(activation).__name__ == "QuickGELU":  # ours, or open_clip's
        return ops.swish(states, ops.constant(_QUICK_GELU, np.float32))
    raise ModelError(
        f"backend openvino does not know the activation {type(activation).__name__} of this model; leave --backend out"
    )


def _softmax_products(rows: Node, columns: Node) -> Node:
    return ops.softmax(ops.matmul(rows, columns, False, True), -1)


def _over_heads(maps: Node) -> Node:
    return ops.reduce_sum(maps, _whole(1), False)


def _scaled_linear(states: Node, linear: nn.Linear, scale: Any) -> Node:
    if isinstance(scale, nn.Identity):
        return _linear(states, linear.weight, linear.bias)
    return _linear(states, linear.weight * scale.gamma[:, None], linear.bias * scale.gamma)


def _linear(states: Node, weight: Tensor, bias: Tensor) -> Node:
    return ops.add(ops.matmul(states, _constant(weight), False, True), _constant(bias))


def _layer_norm(norm: Any, tokens: Node) -> Node:
    if isinstance(norm, nn.Identity):  # models without `ln_pre`
        return tokens
    evened = ops.mvn(tokens, _whole(-1), True, norm.eps, "inside_sqrt")
    return ops.add(ops.multiply(evened, _constant(norm.weight)), _constant(norm.bias))


def _first_token(states: Node, axis: int = 1) -> Node:
    return ops.slice(states, _whole(0), _whole(1), _whole(1), _whole(axis))


def _without_first_token(states: Node) -> Node:
    return ops.slice(states, _whole(1), _whole(np.iinfo(np.int64).max), _whole(1), _whole(1))


def _times(states: Node, factor: float) -> Node:
    return states if factor == 1 else ops.multiply(states, ops.constant(factor, np.float32))


def _sum(nodes: Sequence[Node]) -> Node:
    total = nodes[0]
    for node in nodes[1:]:
        total = ops.add(total, node)
    return total


def _constant(tensor: Tensor) -> Node:
    """The graph looks at a tensor's own memory until it is compiled, and keeps it from being freed."""
    return ops.constant(tensor.detach().contiguous().numpy(), shared_memory=True)


def _whole(*numbers: int) -> Node:
    return ops.constant(np.array(numbers, np.int64))
