"""The module that functions import as `redisAI`: tensors, and what the models worker runs on them.

    tensors.py    tensors made of values or bytes, in keys and out of them
    models.py     one run of a model: createModelRunner, modelRunnerRun ...
    scripts.py    one run of a function of a script: createScriptRunner, scriptRunnerRun ...
    dag.py        several operations in one request: createDAGRunner
    stored.py     what is known of the models and scripts that keys hold
    arguments.py  what functions are called with

Whatever goes wrong is raised as `gears.error`. Texts of errors are the recorded ones of RedisAI 1.2 in
RedisGears 1.2. Every name is for every thread; what ends in `Async`, and a DAG's `Run`, starts at once and is
to be awaited.
"""

from keymiss.functions.redisai.dag import PyDAGRunner, createDAGRunner
from keymiss.functions.redisai.models import (
    PyGraphRunner,
    createModelRunner,
    modelRunnerAddInput,
    modelRunnerAddOutput,
    modelRunnerRun,
    modelRunnerRunAsync,
    runModel,
    runModelAsync,
)
from keymiss.functions.redisai.scripts import (
    PyScriptRunner,
    createScriptRunner,
    scriptRunnerAddInput,
    scriptRunnerAddInputList,
    scriptRunnerAddOutput,
    scriptRunnerRun,
    scriptRunnerRunAsync,
)
from keymiss.functions.redisai.tensors import (
    PyTensor,
    createTensorFromBlob,
    createTensorFromValues,
    getTensorFromKey,
    getTensorFromKeyAsync,
    mgetTensorsFromKeyspace,
    msetTensorsInKeyspace,
    setTensorInKey,
    tensorGetDataAsBlob,
    tensorGetDims,
    tensorToFlatList,
)

__all__ = [
    "PyDAGRunner",
    "PyGraphRunner",
    "PyScriptRunner",
    "PyTensor",
    "createDAGRunner",
    "createModelRunner",
    "createScriptRunner",
    "createTensorFromBlob",
    "createTensorFromValues",
    "getTensorFromKey",
    "getTensorFromKeyAsync",
    "mgetTensorsFromKeyspace",
    "modelRunnerAddInput",
    "modelRunnerAddOutput",
    "modelRunnerRun",
    "modelRunnerRunAsync",
    "msetTensorsInKeyspace",
    "runModel",
    "runModelAsync",
    "scriptRunnerAddInput",
    "scriptRunnerAddInputList",
    "scriptRunnerAddOutput",
    "scriptRunnerRun",
    "scriptRunnerRunAsync",
    "setTensorInKey",
    "tensorGetDataAsBlob",
    "tensorGetDims",
    "tensorToFlatList",
]
