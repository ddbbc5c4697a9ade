"""Which device, and whose arrays: everything that a loader needs to deliver there."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import numpy as np

from headrace.augment.chain import Chain
from headrace.errors import OptionError
from headrace.execution.augmenting import find_stages
from headrace.execution.deliver import to_arrow, to_numpy
from headrace.execution.delivery import Conversion, Delivery
from headrace.execution.device.base import Device
from headrace.execution.device.cuda import CudaDevice, CupyOutputs, load_cupy
from headrace.execution.device.delivery import Backend, DeviceDelivery, host_planned
from headrace.execution.device.host import HostDevice, HostOutputs
from headrace.execution.options import LoaderOptions, Output
from headrace.execution.stats import Stats


def find_device(device: object, output: Output, reuse: bool) -> Device | None:
    """Return a device by its name, or None for the CPU.

    Args:
        device: `"cpu"`, `"cuda"`, `"cuda:1"`, a `torch.device`, a `CudaDevice` or a `HostDevice`.
        output: Whose arrays are delivered.
        reuse: Whether outputs are to be written again.

    Raises:
        OptionError: There is no such device, or it cannot deliver that.
        MissingDependencyError: CuPy is not installed.
    """
    name = device.name if isinstance(device, (HostDevice, CudaDevice)) else str(device)
    if name == "cpu":
        if output == "cupy" or reuse:
            asked = 'output="cupy"' if output == "cupy" else "reuse=True"
            raise OptionError(f'`{asked}` needs `device="cuda"`, got device="cpu"')
        return None
    if isinstance(device, HostDevice):
        _check_output(name, output, ("torch", "numpy"))
        return device
    found = re.fullmatch(r"cuda(?::(\d+))?", name)
    if found is None:
        raise OptionError(f'`device` must be "cpu", "cuda" or "cuda:" and a number, got {device!r}')
    _check_output(name, output, ("torch", "cupy"))
    chosen = device if isinstance(device, CudaDevice) else CudaDevice(int(found[1]) if found[1] else None)
    chosen.check()
    if output == "torch":
        from headrace.torch import check_cuda

        check_cuda(name)
    return chosen


def find_delivery(options: LoaderOptions, chain: Chain | None, stats: Stats) -> Delivery:
    """Return what hands over batches with these options."""
    with_ids = options.with_ids
    if options.device is not None:
        backend = _find_backend(options.device, options.output)
        return DeviceDelivery(backend, chain, options.ahead, options.reuse, with_ids)
    if options.output == "torch":
        from headrace.torch import to_tensors as convert
    else:
        convert = to_numpy if options.output == "numpy" else to_arrow
    return Conversion(partial(convert, with_ids=with_ids), stats)


def _find_backend(device: Device, output: Output) -> Backend:
    if isinstance(device, HostDevice):
        if output == "torch":
            from headrace.torch import to_tensor as wrap
        else:
            wrap = _as_it_is
        return Backend(device, HostOutputs(device), find_stages, host_planned, np.empty, wrap)
    assert isinstance(device, CudaDevice)
    from headrace.augment.cuda.module import CudaLauncher
    from headrace.augment.cuda.stages import DevicePlanned, device_stages

    launcher = CudaLauncher(load_cupy())

    if output == "torch":
        from headrace.torch import TorchOutputs, current_ordinal, to_tensor

        device = device if device.is_chosen else CudaDevice(current_ordinal())
        outputs, wrap = TorchOutputs(device), to_tensor
    else:
        device = device if device.is_chosen else CudaDevice(int(load_cupy().cuda.Device().id))
        outputs, wrap = CupyOutputs(device), _as_it_is
    return Backend(
        device, outputs, partial(device_stages, launcher=launcher), DevicePlanned, load_cupy().empty, wrap
    )


def _check_output(name: str, output: Output, allowed: tuple[str, str]) -> None:
    if output not in allowed:
        raise OptionError(f'`output` must be "{allowed[0]}" or "{allowed[1]}" on {name}, got {output!r}')


def _as_it_is(column: Any) -> Any:
    return column
