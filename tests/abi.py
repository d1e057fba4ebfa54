"""The plugin interface of sdk/include/t2i/plugin.h from Python, by ctypes: the engine's host, and plugin libraries.

Tests call losses and tasks through it exactly as the core does, with any tensors, and compare with diffusers. Structures
mirror the header field by field. Tensors go in by the host's from_f32/from_i64 and come back by torch's own C shim: a
t2i_tensor is an AtenTensorHandle.
"""

import ctypes as c
import json
import os

import numpy as np
import torch  # first: the engine then finds the same libtorch in the process

BUILD = os.environ.get("T2I_BUILD", os.path.join(os.path.dirname(__file__), "..", "build"))
PLUGINS = os.path.join(BUILD, "lib", "t2i")
DTYPE = {torch.uint8: 0, torch.int32: 3, torch.int64: 4, torch.float16: 5, torch.float32: 6, torch.float64: 7,
         torch.bool: 11, torch.bfloat16: 15}
Handle = c.c_void_p


class Named(c.Structure):
    _fields_ = [("name", c.c_char_p), ("tensor", Handle)]


PUT = c.CFUNCTYPE(c.c_int32, c.c_void_p, c.c_char_p, Handle)


class Sink(c.Structure):
    _fields_ = [("size", c.c_size_t), ("ctx", c.c_void_p), ("put", PUT)]


class Host(c.Structure):
    pass


Host._fields_ = [
    ("size", c.c_size_t), ("abi_major", c.c_uint32), ("abi_minor", c.c_uint32), ("core_version", c.c_char_p),
    ("torch_version", c.c_char_p), ("service", c.CFUNCTYPE(c.c_void_p, c.POINTER(Host), c.c_char_p)),
    ("fail", c.CFUNCTYPE(c.c_int32, c.POINTER(Host), c.c_int32, c.c_char_p)),
    ("last_error", c.CFUNCTYPE(c.c_char_p, c.POINTER(Host))),
    ("log", c.CFUNCTYPE(None, c.POINTER(Host), c.c_int32, c.c_char_p))]


class TensorApi(c.Structure):
    _dims = [c.c_void_p, c.POINTER(c.c_int64), c.c_uint32, Handle, c.POINTER(Handle)]
    _fields_ = [("size", c.c_size_t), ("retain", c.CFUNCTYPE(c.c_int32, Handle, c.POINTER(Handle))),
                ("release", c.CFUNCTYPE(None, Handle)),
                ("shape", c.CFUNCTYPE(c.c_int32, Handle, c.POINTER(c.c_int64), c.c_uint32, c.POINTER(c.c_uint32))),
                ("dtype", c.CFUNCTYPE(c.c_int32, Handle, c.POINTER(c.c_int32))),
                ("item", c.CFUNCTYPE(c.c_int32, Handle, c.POINTER(c.c_double))),
                ("from_f32", c.CFUNCTYPE(c.c_int32, *_dims)), ("from_i64", c.CFUNCTYPE(c.c_int32, *_dims))]


class RngApi(c.Structure):
    _draw = c.CFUNCTYPE(c.c_int32, Handle, c.c_char_p, c.c_void_p, c.c_uint32, c.POINTER(Handle))
    _fields_ = [("size", c.c_size_t), ("uniform", _draw), ("normal", _draw)]


class Union(c.Union):
    _fields_ = [("t", Handle), ("i", c.c_int64), ("d", c.c_double)]


class Value(c.Structure):
    _fields_ = [("kind", c.c_uint32), ("count", c.c_uint32), ("u", Union)]


class OpApi(c.Structure):
    _fields_ = [("size", c.c_size_t), ("find", c.CFUNCTYPE(c.c_int32, c.c_char_p, c.c_char_p, c.POINTER(c.c_void_p))),
                ("call", c.CFUNCTYPE(c.c_int32, c.c_void_p, c.POINTER(Value), c.c_uint32, c.POINTER(Handle), c.c_uint32))]


CALL = c.CFUNCTYPE(c.c_int32, c.c_void_p, c.POINTER(Named), c.c_uint32, c.POINTER(Sink))
DESTROY = c.CFUNCTYPE(None, c.c_void_p)
DESCRIBE = c.CFUNCTYPE(c.c_int32, c.c_void_p, c.POINTER(c.c_char_p))


class LossTable(c.Structure):
    _fields_ = [("size", c.c_size_t), ("create", c.CFUNCTYPE(c.c_int32, c.c_char_p, c.c_char_p, c.POINTER(c.c_void_p))),
                ("destroy", DESTROY), ("describe", DESCRIBE), ("draw", CALL), ("prepare", CALL), ("compute", CALL)]


class TaskTable(c.Structure):
    _fields_ = [("size", c.c_size_t), ("create", c.CFUNCTYPE(c.c_int32, c.c_char_p, c.POINTER(c.c_void_p))),
                ("destroy", DESTROY), ("describe", DESCRIBE), ("apply", CALL),
                ("branches", c.CFUNCTYPE(c.c_int32, c.c_void_p, c.POINTER(c.c_uint32))),
                ("branch", c.CFUNCTYPE(c.c_int32, c.c_void_p, c.c_uint32, c.POINTER(Named), c.c_uint32, c.POINTER(Sink))),
                ("combine", c.CFUNCTYPE(c.c_int32, c.c_void_p, c.POINTER(Handle), c.c_uint32, c.POINTER(Handle)))]


class Component(c.Structure):
    _fields_ = [("size", c.c_size_t), ("kind", c.c_char_p), ("id", c.c_char_p), ("doc", c.c_char_p),
                ("config_schema", c.c_char_p), ("impl", c.c_void_p)]


class Plugin(c.Structure):
    _fields_ = [("size", c.c_size_t), ("abi_major", c.c_uint32), ("abi_minor", c.c_uint32), ("id", c.c_char_p),
                ("version", c.c_char_p), ("license", c.c_char_p), ("needs_torch", c.c_char_p),
                ("components", c.POINTER(c.POINTER(Component))), ("start", c.CFUNCTYPE(c.c_int32, c.POINTER(Host)))]


engine = c.CDLL(os.path.join(BUILD, "lib", "libt2i_engine.so"))
engine._ZN3t2i4hostEv.restype = c.POINTER(Host)  # const t2i_host* t2i::host()
host = engine._ZN3t2i4hostEv()
shim = c.CDLL(os.path.join(os.path.dirname(torch.__file__), "lib", "libtorch_cpu.so"))  # torch's C shim
tensors = c.cast(host.contents.service(host, b"t2i.tensor/1"), c.POINTER(TensorApi)).contents
draws = c.cast(host.contents.service(host, b"t2i.rng/1"), c.POINTER(RngApi)).contents
ops = c.cast(host.contents.service(host, b"t2i.op/1"), c.POINTER(OpApi)).contents


class PluginError(RuntimeError):
    pass


def check(code):
    if code:
        raise PluginError(host.contents.last_error(host).decode())


def to_handle(tensor):
    """A new handle with a copy of a CPU tensor of any dtype."""
    source = tensor.to(torch.int64 if not tensor.is_floating_point() else torch.float32).contiguous()
    dims = (c.c_int64 * source.dim())(*source.shape)
    make, out = (tensors.from_f32 if source.dtype == torch.float32 else tensors.from_i64), Handle()
    check(make(source.data_ptr(), dims, source.dim(), None, c.byref(out)))
    return out if source.dtype == tensor.dtype else cast(out, tensor.dtype)


def cast(handle, dtype):
    """The handle's tensor in another dtype, contiguous; the old handle is released."""
    op, out = c.c_void_p(), Handle()
    check(ops.find(b"aten::to", b"dtype", c.byref(op)))
    values = (Value * 2)(Value(1, 0, Union(t=handle)), Value(9, 0, Union(i=DTYPE[dtype])))
    check(ops.call(op, values, 2, c.byref(out), 1))
    tensors.release(handle)
    same = Handle()
    check(ops.find(b"aten::contiguous", b"", c.byref(op)))
    check(ops.call(op, (Value * 1)(Value(1, 0, Union(t=out))), 1, c.byref(same), 1))
    tensors.release(out)
    return same


def from_handle(handle):
    """The tensor of an owned handle, copied into Python's torch; the handle is released."""
    number, ndim, dims = c.c_int32(), c.c_uint32(), (c.c_int64 * 8)()
    handle = handle if isinstance(handle, Handle) else Handle(handle)
    check(tensors.dtype(handle, c.byref(number)))
    dtype = {v: k for k, v in DTYPE.items()}[number.value]
    handle = cast(handle, torch.float64 if dtype.is_floating_point else torch.int64)
    check(tensors.shape(handle, dims, 8, c.byref(ndim)))
    pointer = c.c_void_p()
    assert shim.aoti_torch_get_data_ptr(handle, c.byref(pointer)) == 0
    shape, wide = tuple(dims[: ndim.value]), np.float64 if dtype.is_floating_point else np.int64
    count = int(np.prod(shape, dtype=np.int64))
    bytes_ = c.string_at(pointer.value, count * 8) if count else b""
    array = np.frombuffer(bytes_, wide).reshape(shape).copy()
    tensors.release(handle)
    return torch.from_numpy(array).to(dtype)


class Call:
    """Named tensors in, named tensors out: one call of a component's function."""

    def __init__(self, **given):
        self.handles = {name: to_handle(tensor) for name, tensor in given.items()}
        self.named = (Named * len(given))(*[Named(n.encode(), h) for n, h in self.handles.items()])
        self.out = {}

        def put(_, name, handle):
            self.out[name.decode()] = from_handle(handle)
            return 0

        self.put = PUT(put)
        self.sink = Sink(c.sizeof(Sink), None, self.put)

    def run(self, function, *before):
        try:
            check(function(*before, self.named, len(self.named), c.byref(self.sink)))
        finally:
            for handle in self.handles.values():
                tensors.release(handle)
        return self.out


class _Component:
    def __init__(self, library, kind, id_, options):
        path = library if os.path.sep in library else os.path.join(PLUGINS, library)
        self.library = c.CDLL(path)
        self.library.t2i_plugin_v1.restype = c.POINTER(Plugin)
        plugin = self.library.t2i_plugin_v1().contents
        check(plugin.start(host))
        i = 0
        while plugin.components[i]:
            component = plugin.components[i].contents
            if component.kind.decode() == kind and (id_ is None or component.id.decode() == id_):
                break
            i += 1
        else:
            raise KeyError((kind, id_))
        schema = json.loads(component.config_schema)
        assert not set(options) - set(schema), "options that the schema does not know"
        self.config = {**{k: v.get("default") for k, v in schema.items()}, **options}
        self.impl, self.self_ = component.impl, c.c_void_p()

    def describe(self):
        text = c.c_char_p()
        check(self.table.describe(self.self_, c.byref(text)))
        return json.loads(text.value)

    def __del__(self):
        if getattr(self, "self_", None):
            self.table.destroy(self.self_)


class Loss(_Component):
    def __init__(self, library, scheduler, id_=None, patch=1, **options):
        super().__init__(library, "loss", id_, options)
        self.table = c.cast(self.impl, c.POINTER(LossTable)).contents
        context = json.dumps({"scheduler": scheduler, "latent": {"patch": patch}}).encode()
        check(self.table.create(json.dumps(self.config).encode(), context, c.byref(self.self_)))

    def draw(self, **given):
        return Call(**given).run(self.table.draw, self.self_)["timesteps"]

    def prepare(self, **given):
        out = Call(**given).run(self.table.prepare, self.self_)
        return out["noisy"], out["target"]

    def compute(self, **given):
        out = Call(**given).run(self.table.compute, self.self_)
        return out["loss_per_sample"], out["raw_loss_per_sample"]


class Task(_Component):
    def __init__(self, library, id_=None, **options):
        super().__init__(library, "task", id_, options)
        self.table = c.cast(self.impl, c.POINTER(TaskTable)).contents
        check(self.table.create(json.dumps(self.config).encode(), c.byref(self.self_)))

    def apply(self, **given):
        return Call(**given).run(self.table.apply, self.self_)

    def branches(self):
        count = c.c_uint32()
        check(self.table.branches(self.self_, c.byref(count)))
        return count.value

    def branch(self, index, **given):
        return Call(**given).run(self.table.branch, self.self_, index)

    def combine(self, *predictions):
        handles = [to_handle(p) for p in predictions]
        out = Handle()
        check(self.table.combine(self.self_, (Handle * len(handles))(*handles), len(handles), c.byref(out)))
        for h in handles:
            tensors.release(h)
        return from_handle(out)


def rng(n, seed=1, step=0):
    """The step's tensor "rng": (seed, step, sample) of each sample."""
    return torch.tensor([[seed, step, i] for i in range(n)], dtype=torch.int64)


def uniform(key, stream):
    """What the core's own draw of this stream gives: one number a sample."""
    handle, out = to_handle(key), Handle()
    check(draws.uniform(handle, stream.encode(), None, 0, c.byref(out)))
    tensors.release(handle)
    return from_handle(out)
