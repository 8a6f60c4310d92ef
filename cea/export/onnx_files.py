"""The network's graphs as ONNX files, in single and half precision."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from cea.errors import ConfigError, brief
from cea.export import runner
from cea.export.programs import Graph

OPSET = 18
"""The version of ONNX's operators by default."""

OPSETS = (18, 23)
"""The oldest and the newest that PyTorch writes without a conversion that may fail."""

RUNNER = "run.py"


def write(graphs: Iterable[Graph], folder: Path, *, opset: int, fp16: bool, facts: Mapping[str, str]) -> None:
    """``<name>.onnx`` of each graph, ``<name>.fp16.onnx`` where wanted, and ``run.py``, which runs them.

    The weights lie inside the files. Graphs of half precision take and give float32.

    Args:
        graphs: from `cea.export.programs.graphs`.
        folder: is made.
        opset: version of ONNX's operators, within ``OPSETS``.
        fp16: also write half precision.
        facts: what each file says of itself, as ONNX's metadata.

    Raises:
        ConfigError: the network has a part that ONNX lacks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for graph in graphs:
        path = folder / f"{graph.name}.onnx"
        _write(graph, path, opset, facts)
        if fp16:
            _write_half(path, folder / f"{graph.name}.fp16.onnx")
    shutil.copyfile(runner.__file__, folder / RUNNER)


def _write(graph: Graph, path: Path, opset: int, facts: Mapping[str, str]) -> None:
    import onnx
    import torch

    try:
        made = torch.onnx.export(
            graph.program,
            dynamo=True,
            opset_version=opset,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            external_data=False,
            verbose=False,
        )
        assert made is not None
        proto = made.model_proto
        onnx.helper.set_model_props(proto, dict(facts))
        onnx.checker.check_model(proto)
    except Exception as error:  # operators of somebody's adapter or block
        raise ConfigError(
            f"the graph {graph.name} cannot be written as ONNX ({brief(error)})",
            expected=f"operators of opset {opset}",
            remedy="try another --opset, or leave the format onnx out",
        ) from error
    written = {one.domain: one.version for one in proto.opset_import}
    assert written[""] == opset, f"opset {written['']} instead of {opset}"
    onnx.save(proto, path)


def _write_half(single: Path, path: Path) -> None:
    import onnx
    import onnx_ir
    from onnxruntime.transformers.float16 import convert_float_to_float16

    half = onnx_ir.from_proto(convert_float_to_float16(onnx.load(single), keep_io_types=True))
    half.graph.sort()  # the converter puts its casts last; ONNX wants every node after what it takes
    proto = onnx_ir.to_proto(half)
    del proto.graph.value_info[:]  # some still say float32 of what is half now; they follow from the operators
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)
