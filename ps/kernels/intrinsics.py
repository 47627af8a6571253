"""What LLVM can do and numba does not spell: prefetch, unchecked access, vector tag match."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba.core import cgutils as _cgutils
from numba.core import types
from numba.extending import intrinsic as _intrinsic

if TYPE_CHECKING:
    from collections.abc import Callable

    def intrinsic(fn: Callable[..., Any]) -> Callable[..., Any]: ...
else:
    intrinsic = _intrinsic

cgutils: Any = _cgutils  # numba's own annotations stop short of it


def _address(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    view = context.make_array(array_type)(context, builder, array)
    return builder.gep(view.data, [index])


@intrinsic
def prefetch_line(typingctx: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line that holds array[index], to be read soon; never faults."""
    sig = types.void(array, types.int64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.bitcast(
            _address(context, builder, signature.args[0], args[0], args[1]),
            cgutils.voidptr_t,
        )
        i32 = ir.IntType(32)
        prefetch = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, i32, i32, i32]),
            "llvm.prefetch.p0",
        )
        # read, keep in all levels, data
        builder.call(prefetch, [pointer, i32(0), i32(3), i32(1)])
        return context.get_dummy_value()

    return sig, codegen


@intrinsic
def load(typingctx: Any, array: Any, index: Any) -> Any:
    """array[index] for a contiguous array and 0 <= index: no wraparound, so loops vectorise."""
    sig = array.dtype(array, types.int64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _address(context, builder, signature.args[0], args[0], args[1])
        return builder.load(pointer, align=array.dtype.bitwidth // 8)

    return sig, codegen


@intrinsic
def store(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """array[index] = value for a contiguous array and 0 <= index."""
    sig = types.void(array, types.int64, array.dtype)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _address(context, builder, signature.args[0], args[0], args[1])
        builder.store(args[2], pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return sig, codegen
