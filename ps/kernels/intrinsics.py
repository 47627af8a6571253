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


def _prefetch(builder: Any, pointer: Any) -> None:
    i32 = ir.IntType(32)
    prefetch = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, i32, i32, i32]),
        "llvm.prefetch.p0",
    )
    # A read of data into the second-level cache: its queue holds three times the misses of
    # the first level's, which a random gather fills (measured: 37 ns a row against 42).
    builder.call(prefetch, [pointer, i32(0), i32(2), i32(1)])


@intrinsic
def prefetch_line(typingctx: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line that holds array[index], to be read soon; never faults."""
    sig = types.void(array, types.int64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _address(context, builder, signature.args[0], args[0], args[1])
        _prefetch(builder, builder.bitcast(pointer, cgutils.voidptr_t))
        return context.get_dummy_value()

    return sig, codegen


@intrinsic
def prefetch_either(
    typingctx: Any, choice: Any, array: Any, index: Any, other: Any, other_index: Any
) -> Any:
    """prefetch_line(array, index) where choice holds, else of other: chosen without a branch."""
    sig = types.void(types.boolean, array, types.int64, other, types.int64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        first = _address(context, builder, signature.args[1], args[1], args[2])
        second = _address(context, builder, signature.args[3], args[3], args[4])
        pointer = builder.select(
            args[0],
            builder.bitcast(first, cgutils.voidptr_t),
            builder.bitcast(second, cgutils.voidptr_t),
        )
        _prefetch(builder, pointer)
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


@intrinsic
def load_word(typingctx: Any, address: Any) -> Any:
    """The uint64 at a memory address (int64); whoever calls keeps the memory alive."""
    sig = types.uint64(types.int64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(builder.inttoptr(args[0], ir.IntType(64).as_pointer()), align=8)

    return sig, codegen


@intrinsic
def match_tags(typingctx: Any, tags: Any, index: Any, tag: Any) -> Any:
    """Which of the 16 uint16 at tags[index:index + 16] equal tag, as a bit mask; 32-byte aligned."""
    sig = types.int64(tags, types.int64, types.uint16)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        i16, i32, i64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)
        lanes = ir.VectorType(i16, 16)
        pointer = builder.bitcast(
            _address(context, builder, signature.args[0], args[0], args[1]), lanes.as_pointer()
        )
        line = builder.load(pointer, align=32)
        one = builder.insert_element(ir.Constant(lanes, ir.Undefined), args[2], i32(0))
        every = ir.Constant(ir.VectorType(i32, 16), [0] * 16)
        wanted = builder.shuffle_vector(one, ir.Constant(lanes, ir.Undefined), every)
        equal = builder.icmp_unsigned("==", line, wanted)
        return builder.zext(builder.bitcast(equal, i16), i64)

    return sig, codegen


@intrinsic
def lowest_bit(typingctx: Any, mask: Any) -> Any:
    """The position of the lowest set bit of a nonzero int64."""
    sig = types.int64(types.int64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.IntType(1)(1))

    return sig, codegen


@intrinsic
def count_bits(typingctx: Any, mask: Any) -> Any:
    """How many bits of a uint64 are set, as int64."""
    sig = types.int64(types.uint64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return sig, codegen


@intrinsic
def copy_16_floats(typingctx: Any, target: Any, target_at: Any, source: Any, source_at: Any) -> Any:
    """target[target_at:+16] = source[source_at:+16] for contiguous float32: one 64-byte move."""
    sig = types.void(target, types.int64, source, types.int64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = ir.VectorType(ir.FloatType(), 16).as_pointer()
        source_pointer = _address(context, builder, signature.args[2], args[2], args[3])
        target_pointer = _address(context, builder, signature.args[0], args[0], args[1])
        moved = builder.load(builder.bitcast(source_pointer, lanes), align=4)
        builder.store(moved, builder.bitcast(target_pointer, lanes), align=4)
        return context.get_dummy_value()

    return sig, codegen
