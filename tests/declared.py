"""What a model plugin declares for each part of a configuration, asked through the plugin interface: every parameter's
name and shape, and nothing is allocated.
"""

import ctypes as c
import json
import os

import abi

DECLARE = c.CFUNCTYPE(c.c_int32, c.c_void_p, c.c_char_p, c.POINTER(c.c_int64), c.c_uint32, c.c_char_p, c.POINTER(c.c_uint32))


class ParamApi(c.Structure):
    _fields_ = [("size", c.c_size_t), ("declare", DECLARE), ("get", c.c_void_p), ("linear", c.c_void_p), ("conv2d", c.c_void_p)]


class ModelTable(c.Structure):
    _fields_ = [("size", c.c_size_t), ("create", c.CFUNCTYPE(c.c_int32, c.c_char_p, c.c_void_p, c.POINTER(c.c_void_p))),
                ("destroy", abi.DESTROY), ("describe", abi.DESCRIBE),
                ("build", c.CFUNCTYPE(c.c_int32, c.c_void_p, c.c_char_p, c.c_void_p)),
                *((name, c.c_void_p) for name in ("forward", "tokenize", "encode_text", "encode_image", "decode_image", "scale_latents")),
                ("file_names", abi.DESCRIBE)]


declared = {}
file_names = {}  # what the last model built() asked said of single files


@DECLARE
def declare(_, name, shape, ndim, init, out):
    assert name.decode() not in declared and init
    out[0] = len(declared)
    declared[name.decode()] = tuple(shape[:ndim])
    return 0


params = ParamApi(c.sizeof(ParamApi), declare)
SERVICE = dict(abi.Host._fields_)["service"]


@SERVICE
def service(_, name):
    return c.addressof(params) if name == b"t2i.param/1" else abi.host.contents.service(abi.host, name)


def built(library, parts, **config):
    """Of `parts` (name -> config.json): what the plugin declares for each, name -> shape, and what it says of itself.
    `config` overrides what else it is given."""
    host = abi.Host.from_buffer_copy(abi.host.contents)
    host.service = service
    plugin_library = c.CDLL(os.path.join(abi.PLUGINS, library))
    plugin_library.t2i_plugin_v1.restype = c.POINTER(abi.Plugin)
    plugin = plugin_library.t2i_plugin_v1().contents
    abi.check(plugin.start(c.byref(host)))
    table = c.cast(plugin.components[0].contents.impl, c.POINTER(ModelTable)).contents
    self_, text, result = c.c_void_p(), c.c_char_p(), {}
    given = {"parts": parts, "classes": {}, "scheduler": {}, "options": {"clip_skip": None}, **config}
    abi.check(table.create(json.dumps(given).encode(), None, c.byref(self_)))
    try:
        abi.check(table.describe(self_, c.byref(text)))
        about = json.loads(text.value)
        abi.check(table.file_names(self_, c.byref(text)))
        file_names.clear()
        file_names.update(json.loads(text.value))
        for part in parts:
            declared.clear()
            abi.check(table.build(self_, part.encode(), None))
            result[part] = dict(declared)
    finally:
        table.destroy(self_)
    return result, about


def shapes(module):
    return {name: tuple(p.shape) for name, p in module.state_dict().items()}


def keywords(config):
    """What a config.json says to diffusers' class of that name."""
    return {key: value for key, value in config.items() if not key.startswith("_")}
